//! A spool file after a damage: no whole record is lost, nothing is read that was not written, and what was read is in the
//! file that replaces it. The first byte says where, between the bytes that follow, whole records stand.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tidewire::spool::Folder;

pub(crate) fn check(bytes: &[u8]) {
    thread_local! {
        static FOLDER: OnceCell<(Arc<Folder>, PathBuf)> = const { OnceCell::new() };
    }
    let [at, junk @ ..] = bytes else { return };
    FOLDER.with(|folder| {
        let (folder, file) = folder.get_or_init(folder_of_this_thread);
        let read = |bytes: &[u8]| -> Vec<(u64, String)> {
            std::fs::write(file, bytes).unwrap();
            let (_, waiting) = folder.spool("1", "fuzz").unwrap();
            let read = waiting
                .into_iter()
                .map(|event| (event.id, event.json.to_string()));
            read.collect()
        };
        // Whole lines may be in it, which the search for input finds when it begins with some.
        let found = read(junk);
        for event in &found {
            let mut lines = junk.split(|byte| *byte == b'\n');
            assert!(
                lines.any(|line| says(line, event)),
                "{event:?} was never written"
            );
        }
        let replaced = std::fs::read(file).unwrap();
        assert_eq!(read(&replaced), found, "the file that replaces it");

        let first = found
            .iter()
            .map(|(id, _)| id + 1)
            .max()
            .unwrap_or(1)
            .max(1 << 40);
        let records: Vec<(u64, String)> = (first..first + 3)
            .map(|id| (id, format!("{{\"n\":{id}}}")))
            .collect();
        let lines: String = records
            .iter()
            .map(|(id, json)| line(&format!("{id} {json}")))
            .collect();
        let (before, behind) = junk.split_at(usize::from(*at).min(junk.len()));
        // A record that could not be finished is cut before the next one is written.
        let between = [before, b"\n", lines.as_bytes(), behind].concat();
        let found = read(&between);
        for record in &records {
            assert!(found.contains(record), "{record:?} was lost");
        }
    });
}

fn folder_of_this_thread() -> (Arc<Folder>, PathBuf) {
    let name = format!(
        "tidewire-fuzz-{}-{:?}",
        std::process::id(),
        std::thread::current().id()
    );
    let folder = Arc::new(Folder::open(&std::env::temp_dir().join(name)).unwrap());
    let path = folder.spool("1", "fuzz").unwrap().0.path().to_owned();
    (folder, path)
}

/// A line as the documentation of the spool says it.
fn line(record: &str) -> String {
    let digest = hex::encode(&Sha256::digest(record)[..8]);
    format!("{digest} {record}\n")
}

/// Whether a line is whole, and of this event.
fn says(bytes: &[u8], (id, json): &(u64, String)) -> bool {
    let record = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split_once(' '));
    record.is_some_and(|(_, record)| {
        let parts = record.split_once(' ');
        line(record).as_bytes() == [bytes, b"\n"].concat()
            && parts.is_some_and(|(number, rest)| number.parse() == Ok(*id) && rest == json)
    })
}
