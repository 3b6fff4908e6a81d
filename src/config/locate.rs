//! Where the file is, and what can be said of a server without reading more of it than that takes.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::environment::EnvInput;
use super::error::{Error, path};
use super::files::Files;
use super::read::read;
use super::tree::Tree;
use super::values::Host;
use super::{Admin, GeneratedApp, Settings, Sources, load};
use crate::bounded::number;

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
    let file = found(sources, &input, &mut Files::within(BRIEF_TIMEOUT))
        .ok()
        .flatten();
    let file = file.and_then(|(_, text)| Tree::parse("", &text).ok());
    let layers: Vec<Tree> = environment.into_iter().chain(file).collect();
    let Admin { host, port, .. } = Admin::default();
    let host_given = understood::<Host>(&layers, "host");
    let port_given = understood::<Port>(&layers, "port");
    (
        host_given.map_or(host, |host| host.0),
        port_given.map_or(port, |port| port.0),
    )
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

/// `port`, by itself.
#[derive(Deserialize)]
struct Port(#[serde(deserialize_with = "number::<0, 65535, _, _>")] u16);

/// What the first of some layers that says something of a key of `[admin]` says.
fn understood<T: for<'de> Deserialize<'de>>(layers: &[Tree], key: &str) -> Option<T> {
    let path = path(&format!("admin.{key}"));
    let said = layers.iter().filter_map(|layer| layer.at(&path));
    said.filter_map(|tree| read(&tree).ok()).next()
}
