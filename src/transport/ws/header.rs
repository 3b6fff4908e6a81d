//! A frame's header, judged as soon as it has come: what RFC 6455 forbids, and what is longer than may come, ends the
//! connection before any of its payload is read.
//!
//! `actix_http::ws` decodes frames, but judges length and opcode only when the whole frame is there, so a client could
//! announce anything and be waited for.

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// RFC 6455 forbids it.
    Forbidden(&'static str),
    /// The protocol has no binary messages.
    Binary,
    /// It, or the message that it goes on with, is over the limit.
    TooBig,
    /// A close frame says something that none may say.
    Close,
}

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The opcodes, and from which on a frame is a control frame.
const CONTINUATION: u8 = 0x0;
const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CONTROL: u8 = 0x8;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xA;

/// The largest length in the second byte; above it are the marks of a longer field.
const SHORT: u8 = 125;
const MEDIUM: u8 = 126;

/// Looks at as much as has come of the frame that `bytes` begin with. `begun` is how many bytes of an unfinished message
/// have come in earlier frames, `max` how many a message may have.
///
/// # Errors
/// It must not be read.
pub(super) fn judge(bytes: &[u8], begun: Option<usize>, max: usize) -> Result<(), Fault> {
    let Some(&first) = bytes.first() else {
        return Ok(());
    };
    let opcode = first & 0x0f;
    let is_control = opcode >= CONTROL;
    judge_first(first, begun.is_some())?;
    let Some(&second) = bytes.get(1) else {
        return Ok(());
    };
    if second & MASKED == 0 {
        return Err(Fault::Forbidden("a client's frame must be masked"));
    }
    let length = second & !MASKED;
    if is_control {
        return match length {
            0..=SHORT => Ok(()),
            _ => Err(Fault::Forbidden("a control frame has 125 bytes at most")),
        };
    }
    let length = match length {
        0..=SHORT => Some(u64::from(length)),
        MEDIUM => field::<2>(bytes).map(|field| u64::from(u16::from_be_bytes(field))),
        _ => field::<8>(bytes).map(u64::from_be_bytes),
    };
    let room = max.saturating_sub(begun.unwrap_or_default());
    match length {
        Some(length) if usize::try_from(length).is_ok_and(|length| length <= room) => Ok(()),
        Some(_) => Err(Fault::TooBig),
        None => Ok(()),
    }
}

fn judge_first(first: u8, has_begun: bool) -> Result<(), Fault> {
    if first & RESERVED != 0 {
        return Err(Fault::Forbidden(
            "the reserved bits belong to extensions, and none is agreed on",
        ));
    }
    match first & 0x0f {
        CONTINUATION if !has_begun => Err(Fault::Forbidden("there is no message to go on with")),
        TEXT | BINARY if has_begun => Err(Fault::Forbidden("the message before is unfinished")),
        BINARY => Err(Fault::Binary),
        CONTINUATION | TEXT => Ok(()),
        CLOSE..=PONG if first & FIN == 0 => {
            Err(Fault::Forbidden("a control frame comes in one piece"))
        }
        CLOSE..=PONG => Ok(()),
        _ => Err(Fault::Forbidden("the opcode is reserved")),
    }
}

/// The longer length field, if all of it has come.
fn field<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.get(2..2 + N)?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAX: usize = 70_000;

    fn forbids(bytes: &[u8], begun: Option<usize>) -> bool {
        matches!(judge(bytes, begun, MAX), Err(Fault::Forbidden(_)))
    }

    #[test]
    fn what_cannot_be_said_yet_is_waited_for() {
        for bytes in [
            &b""[..],
            &[0x81],
            &[0x01],
            &[0x89],
            &[0x81, 0xfe],
            &[0x81, 0xfe, 0xff],
            &[0x81, 0xff, 0, 0, 0, 0, 0, 1, 0xff],
        ] {
            assert_eq!(judge(bytes, None, MAX), Ok(()), "{bytes:x?}");
        }
    }

    #[test]
    fn the_first_byte_is_enough_to_forbid() {
        for (first, begun) in [
            (0xc1, None),
            (0xa1, None),
            (0x91, None),
            (0x83, None),
            (0x87, None),
            (0x8b, None),
            (0x8f, None),
            (0x08, None),
            (0x09, None),
            (0x0a, Some(0)),
            (0x80, None),
            (0x00, None),
            (0x81, Some(0)),
            (0x82, Some(5)),
        ] {
            assert!(forbids(&[first], begun), "{first:x} {begun:?}");
        }
        assert_eq!(judge(&[0x82], None, MAX), Err(Fault::Binary));
    }

    #[test]
    fn the_second_byte_is_enough_for_control_frames() {
        for bytes in [
            [0x88, 0xfe],
            [0x89, 0xff],
            [0x8a, 0xff],
            [0x81, 0x05],
            [0x89, 0x00],
        ] {
            assert!(forbids(&bytes, None), "{bytes:x?}");
        }
        assert_eq!(judge(&[0x89, 0xfd], Some(MAX), MAX), Ok(()));
    }

    #[test]
    fn lengths_are_judged_with_what_came_before() {
        let long = |length: u64| [&[0x81, 0xff][..], &length.to_be_bytes()].concat();
        let on = |length: u16| [&[0x80, 0xfe][..], &length.to_be_bytes()].concat();
        for (bytes, begun, fits) in [
            (long(70_000), None, true),
            (long(70_001), None, false),
            (long(1 << 40), None, false),
            (long(1 << 63), None, false),
            (long(u64::MAX), None, false),
            (on(10_000), Some(60_000), true),
            (on(10_001), Some(60_000), false),
            (vec![0x80, 0x80 | 5], Some(MAX), false),
            (vec![0x00, 0x80], Some(MAX), true),
        ] {
            let expected = if fits { Ok(()) } else { Err(Fault::TooBig) };
            assert_eq!(judge(&bytes, begun, MAX), expected, "{bytes:x?} {begun:?}");
        }
    }

    proptest! {
        /// More bytes of a refused frame change nothing.
        #[test]
        fn a_refusal_stands(bytes in proptest::collection::vec(any::<u8>(), 0..20), begun in proptest::option::of(0..80_000_usize)) {
            let whole = judge(&bytes, begun, MAX);
            for end in 0..bytes.len() {
                let part = judge(&bytes[..end], begun, MAX);
                prop_assert!(part.is_ok() || part == whole);
            }
        }
    }
}
