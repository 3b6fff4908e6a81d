//! `Files`: which files one reading of the configuration looked into and what it found there, so that a change of any
//! of them can be told later.
//!
//! Contents are compared, not times: a bind mount, a rename and the swapped links of a mounted Kubernetes secret look
//! alike. Only hashes are kept, because some of the files hold secrets.
//!
//! Whoever names a file does not know what is under its name later: a pipe that nobody writes to, a network that is
//! gone. So each is read on a thread of its own, which is left alone when it hangs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use crate::limits::ConcurrencyLimit;

/// How long one file may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// More than any configuration, secret or certificate has.
const LARGEST: u64 = 16 * 1024 * 1024;

/// How many readings may be under way. If as many hang, further ones fail at once.
const READINGS: usize = 32;

/// What a reading found, by path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Files {
    found: BTreeMap<PathBuf, Result<u64, io::ErrorKind>>,
    timeout: Duration,
}

impl Default for Files {
    fn default() -> Self {
        Self::within(TIMEOUT)
    }
}

impl Files {
    /// For a reading that gives a file up after so long.
    pub(super) fn within(timeout: Duration) -> Self {
        Self {
            found: BTreeMap::new(),
            timeout,
        }
    }

    /// Reads a file and notes what was found, also if that is an error: what is missing may come.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<String> {
        let hangs = |found: &Result<u64, io::ErrorKind>| *found == Err(io::ErrorKind::TimedOut);
        let text = if self.found.values().any(hangs) {
            // The others are most likely in the same place: one wait is enough.
            Err(no_answer(self.timeout))
        } else {
            let path = path.to_owned();
            in_time(self.timeout, move || regular(&path))
        };
        let found = match &text {
            Ok(text) => Ok(hash(text)),
            Err(error) => Err(error.kind()),
        };
        self.found.insert(path.to_owned(), found);
        text
    }

    /// Reads the first of some files that is there. Those before it are noted as missing: one that comes is a change.
    pub(super) fn first<'a>(
        &mut self,
        places: &'a [PathBuf],
    ) -> Option<(&'a Path, io::Result<String>)> {
        places.iter().find_map(|place| match self.read(place) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            read => Some((place.as_path(), read)),
        })
    }

    /// What stands for the contents of a file that was read.
    pub(super) fn content(&self, path: &Path) -> Option<u64> {
        self.found.get(path)?.ok()
    }

    /// The same files as they are now.
    pub(super) fn now(&self) -> Self {
        let mut now = Self::within(self.timeout);
        for path in self.found.keys() {
            // Noted like any other finding.
            let _ = now.read(path);
        }
        now
    }
}

/// The text of a regular file. What is none is not even opened: that may block, or do something to a device.
fn regular(path: &Path) -> io::Result<String> {
    let kind = fs::metadata(path)?.file_type();
    if !kind.is_file() {
        let kind = match () {
            () if kind.is_dir() => "a directory",
            () if kind.is_fifo() => "a pipe",
            () if kind.is_socket() => "a socket",
            () => "a device",
        };
        let text = format!(
            "it is {kind}: expected a regular file, which can be read again when it changes"
        );
        return Err(io::Error::other(text));
    }
    let mut text = String::new();
    File::open(path)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        let text = format!("it is larger than {LARGEST} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(text)
}

fn no_answer(timeout: Duration) -> io::Error {
    let text = format!(
        "no answer within {} s from the disk or network that holds it",
        timeout.as_secs()
    );
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// Does something on a thread of its own, and gives it up after a while.
fn in_time<T: Send + 'static>(
    timeout: Duration,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    static ROOM: LazyLock<Arc<ConcurrencyLimit>> =
        LazyLock::new(|| Arc::new(ConcurrencyLimit::new(Some(READINGS))));
    let place = ROOM.acquire().ok_or_else(|| no_answer(timeout))?;
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new()
        .name("file".to_owned())
        .spawn(move || {
            let done = work();
            drop(place);
            // Nobody waits any more for what comes too late.
            let _ = sender.send(done);
        })?;
    receiver
        .recv_timeout(timeout)
        .unwrap_or_else(|_| Err(no_answer(timeout)))
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_first_file_that_is_there_is_read_and_a_better_one_is_a_change() {
        let folder = std::env::temp_dir().join(format!("tidewire-places-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let places = ["here.toml", "there.toml"].map(|name| folder.join(name));
        let mut files = Files::default();
        assert!(files.first(&places).is_none());
        fs::write(&places[1], "2").unwrap();
        assert_ne!(files.now(), files);
        let (place, text) = files.first(&places).unwrap();
        assert_eq!((place, text.unwrap().as_str()), (&*places[1], "2"));
        assert_eq!(files.now(), files);
        fs::write(&places[0], "1").unwrap();
        assert_ne!(files.now(), files);
        let (place, text) = files.first(&places).unwrap();
        assert_eq!((place, text.unwrap().as_str()), (&*places[0], "1"));
        // What is there and cannot be read is not passed over.
        fs::remove_file(&places[0]).unwrap();
        fs::create_dir(&places[0]).unwrap();
        let (place, text) = files.first(&places).unwrap();
        assert_eq!(place, &*places[0]);
        text.unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_hangs_is_given_up_and_what_hangs_too_often_is_not_tried() {
        let mut ends = Vec::new();
        for _ in 0..READINGS {
            let (end, wait) = mpsc::channel::<()>();
            ends.push(end);
            let hangs = move || {
                let _ = wait.recv();
                Ok(())
            };
            let error = in_time(Duration::from_millis(1), hangs).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
        // Nothing is waited for.
        let refused = in_time(Duration::MAX, || Ok(())).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
        drop(ends);
        let mut tries = std::iter::repeat_with(|| in_time(Duration::MAX, || Ok(())));
        assert!(tries.any(|tried| tried.is_ok()));
    }

    #[test]
    fn what_is_too_large_is_not_read() {
        let path = std::env::temp_dir().join(format!("tidewire-large-{}", std::process::id()));
        let file = File::create(&path).unwrap();
        file.set_len(LARGEST + 1).unwrap();
        let error = Files::default().read(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        file.set_len(LARGEST).unwrap();
        Files::default().read(&path).unwrap();
        fs::remove_file(&path).unwrap();
    }

    /// How Kubernetes updates what it mounts: the file is a link through a link to a folder, which is swapped.
    #[test]
    fn a_swapped_link_a_missing_file_and_its_return_are_changes() {
        let folder = std::env::temp_dir().join(format!("tidewire-files-{}", std::process::id()));
        for (version, text) in [("one", "1"), ("two", "2")] {
            fs::create_dir_all(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("apps.toml"), text).unwrap();
        }
        let point_to = |version: &str| {
            symlink(version, folder.join("new")).unwrap();
            fs::rename(folder.join("new"), folder.join("data")).unwrap();
        };
        point_to("one");
        let path = folder.join("data/apps.toml");
        let mut files = Files::default();
        assert_eq!(files.read(&path).unwrap(), "1");
        assert_eq!(files.now(), files);
        point_to("two");
        assert_ne!(files.now(), files);
        fs::write(&path, "1").unwrap();
        assert_eq!(files.now(), files);
        fs::remove_file(&path).unwrap();
        assert_ne!(files.now(), files);
        fs::remove_dir_all(&folder).unwrap();
    }
}
