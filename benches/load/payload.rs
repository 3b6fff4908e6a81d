//! What an event carries: `@`, when it was due and which one it is, and as many more bytes as were asked for.
//!
//! The mark is found in whatever a server wraps around it; no channel or event of the bench has an `@` in its name.

/// `@`, 16 hexadecimal digits of nanoseconds, 8 of the number.
pub(crate) const LEAST_BYTES: usize = 25;

const MARK: u8 = b'@';

/// When an event was due, in nanoseconds of the client's clock, and its number within its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) due: u64,
    pub(crate) number: u32,
}

/// The text of an event.
pub(crate) fn data(stamp: Stamp, bytes: usize) -> String {
    let mut text = format!("@{:016x}{:08x}", stamp.due, stamp.number);
    text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
    text
}

/// Finds stamps. Frames of a channel are alike, so it looks first where the last one was.
#[derive(Debug, Default)]
pub(crate) struct Finder {
    last: usize,
}

impl Finder {
    /// The stamp of a frame, if it is an event of the bench.
    pub(crate) fn find(&mut self, frame: &[u8]) -> Option<Stamp> {
        if frame.get(self.last) != Some(&MARK) {
            self.last = frame.iter().position(|byte| *byte == MARK)?;
        }
        let digits = frame.get(self.last + 1..self.last + LEAST_BYTES)?;
        let (due, number) = digits.split_at(16);
        Some(Stamp {
            due: hexadecimal(due)?,
            number: u32::try_from(hexadecimal(number)?).ok()?,
        })
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some(value << 4 | u64::from(digit))
    })
}
