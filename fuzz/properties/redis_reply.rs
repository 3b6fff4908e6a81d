//! What comes from Redis: in however many pieces, the same values are read, up to what is no value. Texts that were written as
//! a list are read as they were. Every value is taken or refused by every reader of replies, and an event of a log that
//! was read is written as what is read as the same event. The first byte says how large the pieces are.

use std::cell::OnceCell;

use redis::Value;
use tidewire::fuzzing::{logged_again, survives_readers, values_of};
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

pub(crate) fn check(bytes: &[u8]) {
    thread_local! {
        static RUNTIME: OnceCell<Runtime> = const { OnceCell::new() };
    }
    let [piece, bytes @ ..] = bytes else { return };
    let piece = usize::from(*piece % 64) + 1;
    RUNTIME.with(|runtime| {
        let runtime = runtime.get_or_init(|| Builder::new_current_thread().build().unwrap());
        let read = |bytes: &[u8], at_a_time| {
            let (values, end) = LocalSet::new().block_on(runtime, values_of(bytes, at_a_time));
            assert!(!end.is_empty());
            // A number that is none is not equal to itself, but prints alike.
            let printed: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
            (values, printed)
        };
        let (values, at_once) = read(bytes, bytes.len());
        let (_, in_pieces) = read(bytes, piece);
        // Behind what is no value, the parser goes on or not, as the pieces are. A server sends nothing of the kind.
        let both = at_once.len().min(in_pieces.len());
        assert_eq!(at_once[..both], in_pieces[..both], "{bytes:?}");
        for value in &values {
            survives_readers(value);
        }
        let texts: Vec<&[u8]> = bytes.chunks(piece).collect();
        let mut list = format!("*{}\r\n", texts.len()).into_bytes();
        for text in &texts {
            list.extend_from_slice(format!("${}\r\n", text.len()).as_bytes());
            list.extend_from_slice(text);
            list.extend_from_slice(b"\r\n");
        }
        let (values, _) = read(&list, piece);
        let [Value::Array(found)] = &values[..] else {
            panic!("not a list: {values:?}");
        };
        let is_same = |(value, text): (&Value, &&[u8])| matches!(value, Value::BulkString(found) if found == text);
        assert_eq!(found.len(), texts.len());
        assert!(found.iter().zip(&texts).all(is_same));
    });
    if let Some(again) = logged_again(bytes) {
        assert_eq!(logged_again(&again), Some(again));
    }
}
