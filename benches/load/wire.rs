//! The bytes of WebSockets: masked frames out, unmasked frames in. Only as much of RFC 6455 as a bench needs.

/// Any mask is as good as another between two programs of one machine.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// A whole frame as the server sent it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame<'a> {
    pub(crate) opcode: u8,
    pub(crate) payload: &'a [u8],
    /// With its header.
    pub(crate) length: usize,
}

/// The first frame, if all of it is there.
pub(crate) fn first_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let (&first, &second) = (bytes.first()?, bytes.get(1)?);
    let (length, start) = match second & 0x7f {
        126 => (
            usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
            4,
        ),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            (usize::try_from(length).ok()?, 10)
        }
        short => (usize::from(short), 2),
    };
    let end = start + length;
    Some(Frame {
        opcode: first & 0x0f,
        payload: bytes.get(start..end)?,
        length: end,
    })
}

/// A masked frame of at most 65,535 bytes, behind what is there.
pub(crate) fn push_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(0x80 | opcode);
    if let Ok(short) = u8::try_from(payload.len())
        && short < 126
    {
        out.push(0x80 | short);
    } else {
        out.push(0x80 | 126);
        let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&length.to_be_bytes());
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
}

/// The position of a byte sequence.
pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|part| part == wanted)
}
