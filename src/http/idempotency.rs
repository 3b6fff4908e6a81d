//! Idempotency keys of publishes: where they stand, which events they cover, and what counts as the same content.

use std::sync::Arc;

use actix_http::RequestHead;
use sha2::{Digest as _, Sha256};

use super::error::ApiError;
use super::events::{Request, bad};
use crate::app::App;
use crate::node::{Once, Publication};
use crate::protocol::excerpt;

/// The header's names, of which the first that is there counts.
const HEADERS: [&str; 2] = ["Idempotency-Key", "X-Idempotency-Key"];

/// Says that the answer is that of an earlier request with the same key.
pub(super) const REPLAYED: &str = "Idempotent-Replayed";

/// The most characters of a key.
const LONGEST: usize = 128;

/// A key that covers a request.
pub(super) fn of_request(head: &RequestHead) -> Result<Option<Arc<str>>, ApiError> {
    let given = HEADERS.iter().find_map(|name| {
        let value = head.headers.get(*name)?;
        Some((name, String::from_utf8_lossy(value.as_bytes())))
    });
    given
        .map(|(name, key)| checked(&format!("The header {name}"), &key))
        .transpose()
}

/// Takes a key that stands at a place.
pub(super) fn checked(place: &str, key: &str) -> Result<Arc<str>, ApiError> {
    let is_key = (1..=LONGEST).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic());
    match is_key {
        true => Ok(key.into()),
        false => Err(bad(format!(
            "{place} is no idempotency key: it has 1 to {LONGEST} printable ASCII characters and no spaces, this one is {:?}",
            excerpt(key)
        ))),
    }
}

/// Makes publications recognisable by their own keys; those that have none by the request's, all of them together.
pub(super) fn mark(app: &App, requests: &mut [Request], of_request: Option<&Arc<str>>) {
    let covered = requests.iter().filter(|request| request.key.is_none());
    let covered: Vec<_> = match of_request {
        Some(_) => covered.map(|r| content(&r.publication)).collect(),
        None => Vec::new(),
    };
    let of_covered = match covered[..] {
        [one] => one,
        _ => Sha256::digest(covered.concat()).into(),
    };
    let mut parts = 0..;
    for request in requests {
        let (key, part, content) = match (&request.key, of_request) {
            (Some(key), _) => (key, 0, content(&request.publication)),
            (None, Some(key)) => (key, parts.next().unwrap_or_default(), of_covered),
            (None, None) => continue,
        };
        request.publication.once = Some(Once {
            key: Arc::clone(key),
            part,
            content: Some(content),
            window: app.idempotency,
            note: request.note(),
        });
    }
}

/// A hash of the event's name, its data, the connection that gets nothing, and the set of channels.
fn content(publication: &Publication) -> [u8; 32] {
    let mut channels: Vec<&str> = publication.channels.iter().map(|c| c.as_str()).collect();
    channels.sort_unstable();
    // No socket id is empty.
    let except = publication.except.map(|id| id.to_string());
    let fields = [
        publication.event.as_str(),
        &publication.data,
        except.as_deref().unwrap_or_default(),
    ];
    let mut hash = Sha256::new();
    for text in fields.into_iter().chain(channels) {
        // With their lengths, so that no two lists of texts look alike.
        hash.update((text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{ChannelName, EventName};
    use proptest::prelude::*;

    fn publication(
        event: &str,
        data: &str,
        channels: &[String],
        except: Option<(u32, u32)>,
    ) -> Publication {
        Publication {
            event: EventName::parse(event, 200).unwrap(),
            data: data.to_owned(),
            channels: channels
                .iter()
                .map(|name| ChannelName::parse(name, 200).unwrap())
                .collect(),
            except: except.map(|(a, b)| format!("{a}.{b}").parse().unwrap()),
            once: None,
        }
    }

    prop_compose! {
        // Few letters, so that fields often look like parts of each other.
        fn fields()(
            event in "[ab]{1,3}",
            data in "[ab1.]{0,4}",
            channels in proptest::collection::btree_set("[ab]{1,2}", 1..4),
            except in proptest::option::of((1_u32..3, 1_u32..3)),
        ) -> (String, String, Vec<String>, Option<(u32, u32)>) {
            (event, data, channels.into_iter().collect(), except)
        }
    }

    proptest! {
        #[test]
        fn contents_are_equal_if_and_only_if_all_their_parts_are(a in fields(), b in fields()) {
            let [of_a, of_b] = [&a, &b].map(|(event, data, channels, except)| {
                content(&publication(event, data, channels, *except))
            });
            prop_assert_eq!(of_a == of_b, a == b);
        }

        #[test]
        fn the_order_of_channels_does_not_matter(a in fields(), seed in any::<u64>()) {
            let (event, data, channels, except) = a;
            let mut others = channels.clone();
            others.rotate_left(usize::try_from(seed % channels.len() as u64).unwrap());
            others.reverse();
            prop_assert_eq!(
                content(&publication(&event, &data, &channels, except)),
                content(&publication(&event, &data, &others, except))
            );
        }

        #[test]
        fn a_key_is_what_the_rule_says(key in "[ -~\u{7f}é]{0,130}") {
            let expected = (1..=128).contains(&key.len()) && key.bytes().all(|b| (0x21..=0x7e).contains(&b));
            prop_assert_eq!(checked("It", &key).is_ok(), expected);
        }
    }
}
