//! `Encoded`: one WebSocket frame of the server, header included, as shared bytes. Fan-out takes nothing else, so
//! encoding once for each subscriber cannot be written.

use bytes::Bytes;

use super::beginning;

/// One WebSocket frame from the server, ready for any number of sockets. Cloning shares the bytes.
#[derive(Debug, Clone)]
pub struct Encoded(Bytes);

impl Encoded {
    /// The frame's bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// A frame that another server made with [`Encoded::text`]; none if the bytes are not one whole text frame.
    pub fn checked(bytes: Bytes) -> Option<Self> {
        let frame = Self(bytes);
        frame.text_payload().is_some().then_some(frame)
    }

    /// The text that it carries; none if it is not one whole text frame.
    pub fn text_payload(&self) -> Option<&str> {
        let bytes = &self.0;
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (length, start) = match second {
            0..126 => (u64::from(second), 2),
            126 => (
                u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)),
                4,
            ),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            // A mask, which a server does not set.
            _ => return None,
        };
        let payload = &bytes[start..];
        let is_whole = first == 0x81 && u64::try_from(payload.len()) == Ok(length);
        is_whole.then(|| std::str::from_utf8(payload).ok())?
    }

    /// A text frame around a payload: RFC 6455 §5.2 with FIN, no mask (a server does not).
    pub(super) fn text(payload: &str) -> Self {
        Self::frame(0x1, payload.as_bytes())
    }

    /// This frame behind bytes of another kind, for one write: the response to the upgrade.
    pub fn behind(&self, head: &[u8]) -> Self {
        Self([head, &self.0].concat().into())
    }

    /// A ping, whose payload (at most 125 bytes) the answer repeats.
    pub fn ping(payload: &[u8]) -> Self {
        Self::frame(0x9, payload)
    }

    /// The answer to a ping, with its payload (at most 125 bytes, as the frame parser has checked).
    pub fn pong(payload: &[u8]) -> Self {
        Self::frame(0xA, payload)
    }

    /// A close frame; the reason is cut to the 123 bytes that fit.
    pub fn close(code: u16, reason: &str) -> Self {
        let reason = beginning(reason, 123).as_bytes();
        Self::frame(0x8, &[&code.to_be_bytes(), reason].concat())
    }

    fn frame(opcode: u8, payload: &[u8]) -> Self {
        let len = payload.len();
        let mut out = Vec::with_capacity(len + 10);
        out.push(0x80 | opcode);
        if let Ok(short) = u8::try_from(len)
            && short < 126
        {
            out.push(short);
        } else if let Ok(medium) = u16::try_from(len) {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        } else {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
        out.extend_from_slice(payload);
        Self(out.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_others_are_checked() {
        for length in [0, 5, 125, 126, 65535, 65536] {
            let bytes = Encoded::text(&"x".repeat(length)).0;
            assert!(Encoded::checked(bytes.clone()).is_some());
            assert!(Encoded::checked(bytes.slice(..bytes.len() - 1)).is_none());
            assert!(Encoded::checked([&bytes[..], b"x"].concat().into()).is_none());
        }
        for strange in [
            &b""[..],
            b"\x81",
            b"\x01\x01x",
            b"\x88\0",
            b"\x81\x81xxxxx",
            b"\x81\x01\xff",
            b"\x81\x7ex",
        ] {
            assert!(Encoded::checked(Bytes::copy_from_slice(strange)).is_none());
        }
    }

    #[test]
    fn frame_headers() {
        for (len, header) in [
            (5, vec![0x81, 5]),
            (126, vec![0x81, 126, 0, 126]),
            (65536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let frame = Encoded::text(&"x".repeat(len));
            assert_eq!(frame.bytes()[..header.len()], header);
            assert_eq!(frame.bytes().len(), header.len() + len);
        }
        assert_eq!(
            Encoded::close(4200, "go").bytes()[..],
            [0x88, 4, 0x10, 0x68, b'g', b'o']
        );
        assert_eq!(
            Encoded::close(1002, &"ü".repeat(100)).bytes().len(),
            2 + 2 + 122
        );
        assert_eq!(Encoded::ping(b"7").bytes()[..], [0x89, 1, b'7']);
    }
}
