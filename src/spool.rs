//! What waits to be sent or published, on disk: an append-only file for each queue, in a folder that one server uses at a
//! time. Knows nothing of what is in it.
//!
//! A line is `CHECKSUM ID EVENT` for an event that waits and `CHECKSUM ID` for one that is settled; the checksum is
//! of the rest of the line. An incomplete last line is cut, a damaged one passed over, both with a warning. Nothing
//! secret is in it: requests are signed when they are sent, and of the URL there is only a digest, in the file's name.
//!
//! Lines are in the system's hands as soon as they are written, so they survive the end of the process; they are not
//! forced to the disk, so a power failure may take the last seconds of them (and of what was settled: such events are
//! sent again).
//!
//! A disk that takes no more is no reason to stop, nor not to start: events go on in memory, the log says so once for
//! all files and `/health` as long as it lasts, and every few seconds a file is tried that holds what waits then.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

/// From this size on a file is rewritten when it holds mostly settled events.
const COMPACT_BYTES: u64 = 1024 * 1024;

/// No event of ours has a higher number: a line that says one is damaged, however right its checksum is.
const MAX_ID: u64 = u64::MAX / 2;

/// How often a write to a broken file is retried.
const RETRY: Duration = Duration::from_secs(5);

/// The spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use {} (spool of [webhooks]): {source}", path.display())]
pub struct Error {
    /// The folder, or a file in it.
    path: PathBuf,
    /// The system's error.
    source: io::Error,
}

/// An undelivered event and its number in the spool, which is 0 if it was not written.
#[derive(Debug, Clone)]
pub struct SpooledEvent {
    /// Its number.
    pub id: u64,
    /// What waits, on one line.
    pub json: Arc<str>,
}

/// The spool's folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held by this process. Empty as long as a full disk leaves no room for the lock file.
    lock: OnceLock<File>,
    failures: watch::Sender<WriteFailures>,
}

/// How many files cannot be written, and the first error.
#[derive(Debug, Clone, Default)]
struct WriteFailures {
    files: usize,
    problem: Option<String>,
}

impl Folder {
    /// Creates the folder if needed and locks it for this process. A full disk is no error.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let folder = Self {
            path: path.to_owned(),
            lock: OnceLock::new(),
            failures: watch::Sender::default(),
        };
        match folder.lock() {
            Err(source) if !is_full(&source) => Err(Error {
                path: path.to_owned(),
                source,
            }),
            // Whoever writes to it next says so.
            Err(_) | Ok(()) => Ok(folder),
        }
    }

    fn lock(&self) -> io::Result<()> {
        if self.lock.get().is_some() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.path)?;
        let lock = File::create(self.path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {
                self.lock.get_or_init(|| lock);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(io::Error::other("another server uses it")),
            Err(TryLockError::Error(source)) => Err(source),
        }
    }

    /// Why events would not survive a restart at present.
    pub fn problem(&self) -> Option<String> {
        self.failures.borrow().problem.clone()
    }

    fn record_failure(&self, path: &Path, source: &io::Error) {
        self.failures.send_modify(|failures| {
            failures.files += 1;
            if failures.problem.is_none() {
                failures.problem = Some(format!("cannot write {}: {source}", path.display()));
                error!(path = %path.display(), %source, "the spool cannot be written: webhook events are in memory only, \
                    until it can; give the disk room");
            }
        });
    }

    fn record_recovery(&self) {
        self.failures.send_modify(|failures| {
            failures.files = failures.files.saturating_sub(1);
            if failures.files == 0 {
                failures.problem = None;
                info!(path = %self.path.display(), "the spool can be written again and holds all that waits");
            }
        });
    }

    /// Opens the spool of a queue of an app, which `identity` tells from its others. Returns it with its undelivered
    /// events.
    ///
    /// # Errors
    /// The file cannot be used.
    pub fn spool(
        self: &Arc<Self>,
        app: &str,
        identity: &str,
    ) -> Result<(Spool, Vec<SpooledEvent>), Error> {
        let name = format!("{app}-{}.spool", digest(identity));
        Spool::open(Arc::clone(self), self.path.join(name))
    }

    /// Logs the files that hold events for endpoints that are not configured. They are left alone.
    pub fn warn_of_others(&self, known: &[PathBuf]) {
        let entries = std::fs::read_dir(&self.path).into_iter().flatten();
        for path in entries.flatten().map(|entry| entry.path()) {
            let is_spool = path
                .extension()
                .is_some_and(|extension| extension == "spool");
            let has_events = std::fs::metadata(&path).is_ok_and(|file| file.len() > 0);
            if is_spool && has_events && !known.contains(&path) {
                let path = path.display();
                warn!(%path, "the spool holds events for a webhook or a source that is not configured (any more)");
            }
        }
    }
}

/// Whether the error is a lack of room, not a folder that cannot be used.
fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// The file of one endpoint.
#[derive(Debug)]
pub struct Spool {
    folder: Arc<Folder>,
    path: PathBuf,
    /// None if it could not be created.
    file: Option<File>,
    next_id: u64,
    bytes: u64,
    settled_bytes: u64,
    /// When the next write is tried, if the file is broken.
    retry: Option<Instant>,
}

impl Spool {
    fn open(folder: Arc<Folder>, path: PathBuf) -> Result<(Self, Vec<SpooledEvent>), Error> {
        let wrap = |source| Error {
            path: path.clone(),
            source,
        };
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(e) => return Err(wrap(e)),
        };
        let (waiting, next_id) = waiting(&text, &path);
        let mut spool = Self {
            folder,
            path: path.clone(),
            file: None,
            next_id,
            bytes: 0,
            settled_bytes: 0,
            retry: None,
        };
        match spool.rewrite(waiting.iter()) {
            Err(source) if is_full(&source) => spool.record_failure(&source),
            result => result.map_err(wrap)?,
        }
        Ok((spool, waiting))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When [`Spool::retry_write`] is due, if it is needed.
    pub fn retry(&self) -> Option<Instant> {
        self.retry
    }

    /// Writes an event to the file and returns its number. If the write fails the event is delivered all the same, but
    /// would not survive a restart.
    pub fn append(&mut self, json: &str) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        if self.retry.is_none() {
            self.write(&line(&format!("{id} {json}")));
        }
        id
    }

    /// Marks events as settled. `undelivered` are the others, for a rewrite of the file.
    pub fn settle<'a>(
        &mut self,
        events: impl Iterator<Item = &'a SpooledEvent>,
        undelivered: impl Iterator<Item = &'a SpooledEvent>,
    ) {
        if self.retry.is_some() {
            return;
        }
        let mut text = String::new();
        for event in events {
            text.push_str(&line(&event.id.to_string()));
            self.settled_bytes += event.json.len() as u64;
        }
        self.settled_bytes += text.len() as u64;
        self.write(&text);
        if self.retry.is_none()
            && self.bytes > COMPACT_BYTES
            && self.settled_bytes > self.bytes / 2
            && let Err(source) = self.rewrite(undelivered)
        {
            self.record_failure(&source);
        }
    }

    /// Retries to write the file, with all undelivered events.
    pub fn retry_write<'a>(&mut self, undelivered: impl Iterator<Item = &'a SpooledEvent>) {
        match self.rewrite(undelivered) {
            Ok(()) => {
                self.retry = None;
                self.folder.record_recovery();
            }
            Err(_) => self.retry = Some(Instant::now() + RETRY),
        }
    }

    fn write(&mut self, text: &str) {
        let Some(file) = &mut self.file else { return };
        match file.write_all(text.as_bytes()) {
            Ok(()) => self.bytes += text.len() as u64,
            Err(source) => {
                // What was written of it must not run into the next line. If this fails too, the checksum tells.
                let _ = file.set_len(self.bytes);
                self.record_failure(&source);
            }
        }
    }

    fn record_failure(&mut self, source: &io::Error) {
        self.retry = Some(Instant::now() + RETRY);
        self.folder.record_failure(&self.path, source);
    }

    /// Replaces the file by one that holds only undelivered events.
    fn rewrite<'a>(
        &mut self,
        undelivered: impl Iterator<Item = &'a SpooledEvent>,
    ) -> io::Result<()> {
        self.folder.lock()?;
        let text: String = undelivered
            .map(|event| line(&format!("{} {}", event.id, event.json)))
            .collect();
        let new = self.path.with_extension("new");
        let write = || {
            let mut file = File::create(&new)?;
            // One byte more tells whether there is room for what comes next, even if nothing waits.
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_data()?;
            file.set_len(text.len() as u64)?;
            std::fs::rename(&new, &self.path)
        };
        if let Err(error) = write() {
            // Half a file only takes room. It may not even be there.
            let _ = std::fs::remove_file(&new);
            return Err(error);
        }
        self.file = Some(append_to(&self.path)?);
        self.bytes = text.len() as u64;
        self.settled_bytes = 0;
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// The unsettled events of a file in order, and a number above all numbers in it.
fn waiting(text: &[u8], path: &Path) -> (Vec<SpooledEvent>, u64) {
    let mut events = BTreeMap::new();
    let mut next_id = 1;
    let mut damaged = 0;
    let mut lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    // Behind the last line's end there is nothing, or what could not be finished.
    if let Some(torn) = lines.pop().filter(|torn| !torn.is_empty()) {
        warn!(path = %path.display(), bytes = torn.len(), "the spool's last line is incomplete and was cut");
    }
    for bytes in lines {
        let Some((id, json)) = parsed(bytes) else {
            damaged += 1;
            continue;
        };
        next_id = next_id.max(id + 1);
        match json {
            Some(json) => events.insert(id, Arc::from(json)),
            None => events.remove(&id),
        };
    }
    if damaged > 0 {
        warn!(path = %path.display(), lines = damaged, "damaged lines of the spool were passed over");
    }
    let events = events
        .into_iter()
        .map(|(id, json)| SpooledEvent { id, json });
    (events.collect(), next_id)
}

/// A line's number and event, if its checksum is right.
fn parsed(line: &[u8]) -> Option<(u64, Option<&str>)> {
    let (checksum, record) = std::str::from_utf8(line).ok()?.split_once(' ')?;
    if checksum != digest(record) {
        return None;
    }
    let (id, json) = match record.split_once(' ') {
        Some((id, json)) => (id, Some(json)),
        None => (record, None),
    };
    let id = id.parse().ok().filter(|id| *id <= MAX_ID)?;
    Some((id, json))
}

fn line(record: &str) -> String {
    format!("{} {record}\n", digest(record))
}

/// 64 bits of SHA-256, in hex.
fn digest(text: &str) -> String {
    hex::encode(&Sha256::digest(text.as_bytes())[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a folder that is there and nobody's.
    fn open(path: &Path) -> (Spool, Vec<SpooledEvent>) {
        let folder = Folder {
            path: std::env::temp_dir(),
            lock: OnceLock::from(append_to(path).unwrap()),
            failures: watch::Sender::default(),
        };
        Spool::open(Arc::new(folder), path.to_owned()).unwrap()
    }

    fn appended(spool: &mut Spool, json: Arc<str>) -> SpooledEvent {
        let id = spool.append(&json);
        SpooledEvent { id, json }
    }

    fn jsons(kept: &[SpooledEvent]) -> Vec<&str> {
        kept.iter().map(|kept| &*kept.json).collect()
    }

    #[test]
    fn what_was_not_settled_is_there_again() {
        let path = std::env::temp_dir().join(format!("tidewire-spool-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (mut spool, waiting) = open(&path);
        assert!(waiting.is_empty());
        let events: Vec<SpooledEvent> = (0..4)
            .map(|i| appended(&mut spool, format!("{{\"n\":{i}}}").into()))
            .collect();
        spool.settle(events[..1].iter(), events[1..].iter());
        drop(spool);

        let whole = std::fs::read(&path).unwrap();
        // A torn tail, and a line in the middle that the disk has changed.
        let mut torn = whole.clone();
        let at = whole.windows(6).position(|w| w == b"{\"n\":2").unwrap();
        torn[at + 5] = b'7';
        torn.extend_from_slice(b"0123456789abcdef 9 {\"n\":");
        std::fs::write(&path, torn).unwrap();
        let (mut spool, waiting) = open(&path);
        assert_eq!(jsons(&waiting), [r#"{"n":1}"#, r#"{"n":3}"#]);
        let next = appended(&mut spool, "{}".into());
        assert!(next.id > waiting[1].id);
        drop(spool);
        let (_, waiting) = open(&path);
        assert_eq!(jsons(&waiting), [r#"{"n":1}"#, r#"{"n":3}"#, "{}"]);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_cut_anywhere_keeps_what_was_whole() {
        let lines: Vec<String> = (1..4).map(|id| line(&format!("{id} {{}}"))).collect();
        let text = lines.concat() + &line("2");
        for cut in 0..=text.len() {
            let (events, next_id) = waiting(&text.as_bytes()[..cut], Path::new("spool"));
            let ids: Vec<u64> = events.iter().map(|kept| kept.id).collect();
            let whole = cut / lines[0].len();
            let expected: &[u64] = if cut == text.len() {
                &[1, 3]
            } else {
                &[1, 2, 3][..whole.min(3)]
            };
            assert_eq!(ids, expected, "cut at {cut}");
            assert!(next_id > ids.last().copied().unwrap_or_default());
        }
    }

    #[test]
    fn numbers_behind_which_there_would_be_none_are_damage() {
        let text =
            line(&format!("{} {{}}", u64::MAX)) + &line(&u64::MAX.to_string()) + &line("7 {}");
        let (events, next_id) = waiting(text.as_bytes(), Path::new("spool"));
        assert_eq!((jsons(&events), next_id), (vec!["{}"], 8));
    }

    #[test]
    fn it_does_not_grow_with_what_was_delivered() {
        let path = std::env::temp_dir().join(format!("tidewire-spool-b-{}", std::process::id()));
        let (mut spool, _) = open(&path);
        let json: Arc<str> = "x".repeat(10_000).into();
        for _ in 0..1000 {
            let kept = appended(&mut spool, Arc::clone(&json));
            spool.settle([kept].iter(), std::iter::empty());
        }
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 2 * COMPACT_BYTES, "{bytes}");
        std::fs::remove_file(path).unwrap();
    }
}
