//! `Files`: which files one reading of the configuration looked into and what it found there, so that a change of any
//! of them can be told later.
//!
//! Contents are compared, not times: a bind mount, a rename and the swapped links of a mounted Kubernetes secret look
//! alike. Only hashes are kept, because some of the files hold secrets.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

/// What a reading found, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files(BTreeMap<PathBuf, Result<u64, io::ErrorKind>>);

impl Files {
    /// Reads a file and notes what was found, also if that is an error: what is missing may come.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<String> {
        let text = std::fs::read_to_string(path);
        let found = match &text {
            Ok(text) => Ok(hash(text)),
            Err(error) => Err(error.kind()),
        };
        self.0.insert(path.to_owned(), found);
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
        self.0.get(path)?.ok()
    }

    /// The same files as they are now.
    pub(super) fn now(&self) -> Self {
        let mut now = Self::default();
        for path in self.0.keys() {
            // Noted like any other finding.
            let _ = now.read(path);
        }
        now
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::fs;
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
