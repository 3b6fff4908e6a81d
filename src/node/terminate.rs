//! Terminate: a backend ends the connections signed in as a user.

use super::Node;
use crate::adapter;
use crate::app::App;
use crate::protocol::UserId;

impl Node {
    /// Closes every connection signed in as the user with 4009; none is fine too.
    ///
    /// # Errors
    /// The cluster cannot be told.
    pub async fn terminate(&self, app: &App, user: &UserId) -> Result<(), adapter::Error> {
        self.adapter.terminate(app, user).await
    }
}
