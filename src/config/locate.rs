//! Where the file is, and what can be said of a server without reading more of it than that takes.

use std::path::PathBuf;
use std::time::Duration;

use super::environment::EnvInput;
use super::error::{Error, path};
use super::files::Files;
use super::read::{read, readable};
use super::tree::Tree;
use super::{Admin, GeneratedApp, Settings, Sources, load};

/// Where a file is looked for when none is named.
pub const PLACES: [&str; 2] = ["apps.toml", "/etc/tidewire/apps.toml"];

/// How long a file may keep somebody waiting who only wants to know whether a server is well.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(1);

/// The file that counts and its text; none if none is named and none is there.
pub(super) fn found(
    sources: &Sources,
    input: &EnvInput,
    files: &mut Files,
) -> Result<Option<(PathBuf, String)>, Error> {
    let found = match sources.file.as_deref().or(input.file.as_deref()) {
        Some(named) => Some((named, files.read(named))),
        None => files.first(&sources.places),
    };
    let Some((path, text)) = found else {
        return Ok(None);
    };
    let path = path.to_owned();
    match text {
        Ok(text) => Ok(Some((path, text))),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Host and port of the operators' listener of the server that such sources describe. What cannot be understood is
/// passed over, because a running server goes on when its file breaks.
#[must_use]
pub fn admin_address(sources: &Sources) -> (String, u16) {
    let input = sources.environment.input();
    let environment = Tree::new().below(&input.overrides).ok();
    let file = found(sources, &input, &mut Files::within(BRIEF_TIMEOUT));
    let file = file.ok().flatten();
    let file = file.and_then(|(_, text)| Tree::parse("", &text).ok());
    let [file, environment] = [file, environment].map(|layer| {
        let admin = layer.and_then(|layer| layer.at(&path("admin")));
        let mut admin = admin.unwrap_or_else(Tree::new);
        readable::<Admin>(&mut admin);
        admin
    });
    let admin = file.below(&[environment]).ok();
    let admin: Option<Admin> = admin.and_then(|admin| read(&admin).ok());
    let Admin { host, port, .. } = admin.unwrap_or_default();
    (host, port)
}

/// The settings of the server that such sources describe, whether they have an app or not; those of the apps do not count.
///
/// # Errors
/// What else they say cannot be used.
pub fn without_app(sources: &Sources) -> Result<Settings, Error> {
    let sources = Sources {
        environment: sources.environment.without_app(),
        generated_app: GeneratedApp::random().ok(),
        ..sources.clone()
    };
    Ok(load(&sources)?.settings)
}
