//! Server-Sent Events: the blocks that a stream consists of, and the ids by which it is resumed.

use super::plain::{Event, Told};

/// How a stream shows its events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SseStyle {
    /// `event:` is the event's name and `data:` the publisher's string.
    #[default]
    Named,
    /// No `event:`, so that `onmessage` hears all; `data:` is a plain frame, `{"channel":…,"event":…,"data":…}`.
    Wrapped,
}

/// The block of a server frame, without an id; none if it means nothing there.
pub fn sse_block(frame: &str, style: SseStyle) -> Option<String> {
    match Told::of(frame)? {
        Told::Event(event) => Some(match style {
            SseStyle::Named => named(&event.name, &event.data),
            SseStyle::Wrapped => wrapped(&event),
        }),
        Told::Error(error) => Some(sse_notice("pusher:error", error, style)),
    }
}

/// The block of something that the server says of the stream itself; `data` is JSON.
pub fn sse_notice(name: &str, data: &str, style: SseStyle) -> String {
    match style {
        SseStyle::Named => named(name, data),
        SseStyle::Wrapped => wrapped(&Event::without_channel(name, data)),
    }
}

fn named(name: &str, data: &str) -> String {
    let mut block = String::with_capacity(32 + name.len() + data.len());
    block.push_str("event: ");
    // A line's end inside a name would end its line: a client event may have one.
    block.extend(name.chars().map(|c| match c {
        '\r' | '\n' => ' ',
        c => c,
    }));
    block.push('\n');
    push_data(&mut block, data);
    block
}

fn wrapped(event: &Event<'_>) -> String {
    let json = event.json();
    let mut block = String::with_capacity(16 + json.len());
    push_data(&mut block, &json);
    block
}

/// A `data:` for each line, and the end of the block. The reader puts the lines together with `\n`, whatever was between
/// them.
fn push_data(block: &mut String, data: &str) {
    let mut rest = data;
    loop {
        let end = rest.find(['\r', '\n']).unwrap_or(rest.len());
        block.push_str("data: ");
        block.push_str(&rest[..end]);
        block.push('\n');
        let Some(ended) = rest[end..].chars().next() else {
            break;
        };
        rest = &rest[end + 1..];
        if ended == '\r' {
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
    }
    block.push('\n');
}

/// The line before a block that says up to where a stream has been sent: its channels' places in their logs, in the order
/// in which they were asked for, `17-5`.
pub fn sse_id(places: impl IntoIterator<Item = u64>) -> String {
    let places: Vec<String> = places.into_iter().map(|place| place.to_string()).collect();
    format!("id: {}\n", places.join("-"))
}

/// Reads an id of a stream with so many channels; none if it is no such id.
pub fn read_sse_id(text: &str, channels: usize) -> Option<Vec<u64>> {
    // What is far too long is not even taken apart.
    const MOST_DIGITS: usize = 20;
    if text.len() > channels * (MOST_DIGITS + 1) {
        return None;
    }
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let places = text
        .split('-')
        .map(|part| is_number(part).then(|| part.parse().ok())?);
    let places: Vec<u64> = places.collect::<Option<_>>()?;
    (places.len() == channels).then_some(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, CloseCode, ServerFrame};
    use proptest::prelude::*;

    fn block(event: &str, data: &str, style: SseStyle) -> String {
        let frame = ServerFrame::Event {
            channel: &ChannelName::parse("c", 200).unwrap(),
            event,
            data,
            user_id: None,
        };
        sse_block(frame.encode().text_payload().unwrap(), style).unwrap()
    }

    /// What `EventSource` makes of a block: name and data (WHATWG, "interpreting an event stream").
    fn read(block: &str) -> (String, String) {
        let (mut name, mut data) = (String::new(), String::new());
        let text = block.strip_suffix("\n\n").unwrap();
        for line in text.replace("\r\n", "\n").split(['\r', '\n']) {
            let (field, value) = line.split_once(':').unwrap();
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => data = data + value + "\n",
                other => panic!("{other} in {block:?}"),
            }
        }
        (name, data.strip_suffix('\n').unwrap().to_owned())
    }

    #[test]
    fn exact_blocks() {
        for (event, data, style, expected) in [
            ("e", "x", SseStyle::Named, "event: e\ndata: x\n\n"),
            ("e", "", SseStyle::Named, "event: e\ndata: \n\n"),
            ("e", "a\n", SseStyle::Named, "event: e\ndata: a\ndata: \n\n"),
            (
                "client-a\r\ndata: b",
                "a\r\rb\r\nc",
                SseStyle::Named,
                "event: client-a  data: b\ndata: a\ndata: \ndata: b\ndata: c\n\n",
            ),
            (
                "e",
                "{\n  \"a\": 1\n}",
                SseStyle::Wrapped,
                "data: {\"channel\":\"c\",\"event\":\"e\",\"data\":{\ndata:   \"a\": 1\ndata: }}\n\n",
            ),
        ] {
            assert_eq!(block(event, data, style), expected);
        }
        let closing = ServerFrame::Closing {
            code: CloseCode::ShuttingDown,
            message: "m",
        };
        let closing = closing.encode();
        let told = |style| sse_block(closing.text_payload().unwrap(), style);
        assert_eq!(
            told(SseStyle::Named).as_deref(),
            Some("event: pusher:error\ndata: {\"code\":4200,\"message\":\"m\"}\n\n")
        );
        assert_eq!(
            told(SseStyle::Wrapped).as_deref(),
            Some(
                "data: {\"event\":\"pusher:error\",\"data\":{\"code\":4200,\"message\":\"m\"}}\n\n"
            )
        );
        let pong = ServerFrame::Pong.encode();
        assert_eq!(
            sse_block(pong.text_payload().unwrap(), SseStyle::Named),
            None
        );
    }

    #[test]
    fn ids() {
        assert_eq!(sse_id([17]), "id: 17\n");
        assert_eq!(sse_id([17, 5, 0]), "id: 17-5-0\n");
        for (text, channels, expected) in [
            ("17", 1, Some(vec![17])),
            ("17-5", 2, Some(vec![17, 5])),
            ("17-5", 1, None),
            ("17", 2, None),
            ("", 1, None),
            ("-", 2, None),
            ("+7", 1, None),
            ("17-x", 2, None),
            ("18446744073709551616", 1, None),
            ("0000000000000000000000", 1, None),
        ] {
            assert_eq!(read_sse_id(text, channels), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_data_survives(data in any::<String>(), name in "[^\r\n]{1,20}") {
            let lines = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read(&block(&name, &data, SseStyle::Named)), (name.clone(), lines));
            let (none, json) = read(&block(&name, &data, SseStyle::Wrapped));
            prop_assert_eq!(none, "");
            let json: serde_json::Value = serde_json::from_str(&json).unwrap();
            let expected: serde_json::Value = serde_json::from_str(&data).unwrap_or_else(|_| data.into());
            prop_assert_eq!(&json["data"], &expected);
            prop_assert_eq!(json["event"].as_str(), Some(name.as_str()));
        }

        #[test]
        fn any_lines_survive(data in "[a\r\n ]{0,12}") {
            let lines = data.replace("\r\n", "\n").replace('\r', "\n");
            prop_assert_eq!(read(&block("e", &data, SseStyle::Named)).1, lines);
        }

        #[test]
        fn any_id_is_read_back(places in prop::collection::vec(any::<u64>(), 1..5)) {
            let line = sse_id(places.iter().copied());
            let text = line.strip_prefix("id: ").unwrap().trim_end();
            prop_assert_eq!(read_sse_id(text, places.len()), Some(places));
        }
    }
}
