//! Stub: the composition root.

use crate::config::Settings;

/// Why the server stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {}

/// Serves until a signal.
///
/// # Errors
/// None here.
pub fn run(settings: Settings) -> Result<(), Error> {
    drop(settings);
    Ok(())
}
