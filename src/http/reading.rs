//! How a request's target is read: the query's pairs, and what may have been signed.
//!
//! SDKs differ in how they escape what they sign, so there are several readings; none of them is more than the text of
//! the request says. Knows no app and no secret.

use percent_encoding::percent_decode_str;

use crate::auth;
use crate::protocol::unmounted;

/// The `auth_key` of a query, however long that is.
pub(super) fn key(query: &str) -> Option<String> {
    let read = |text| percent_decode_str(text).decode_utf8_lossy();
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (read(key), value))
        .find(|(key, _)| key.eq_ignore_ascii_case("auth_key"))
        .map(|(_, value)| read(value).into_owned())
}

/// The paths that may have been signed: without the mount prefix first, as sent, and with the prefix that a proxy took
/// off; each as sent and decoded.
pub(super) fn signed_paths(path: &str, prefix: &str) -> Vec<String> {
    let stripped = unmounted(path, prefix);
    let mounted = format!("{prefix}{stripped}");
    let mut paths = vec![stripped.to_owned()];
    for candidate in [stripped, path, &mounted] {
        for reading in [
            candidate.to_owned(),
            percent_decode_str(candidate)
                .decode_utf8_lossy()
                .into_owned(),
        ] {
            if !paths.contains(&reading) {
                paths.push(reading);
            }
        }
    }
    paths
}

/// What else the client may have signed: SDKs differ in how they escape. Only tried when the usual reading failed, and
/// only as far as the readings differ: each is the whole request, to be hashed.
pub(super) fn other_readings<'a>(
    query: &'a str,
    method: &'a str,
    paths: &'a [String],
) -> impl Iterator<Item = String> + 'a {
    let decodings = [
        (Decoding::Percent, true),
        (Decoding::Form, query.contains('+')),
        (Decoding::None, query.contains('%')),
    ];
    let differing = decodings.into_iter().filter(|(_, differs)| *differs);
    differing.flat_map(move |(decoding, _)| {
        // The first path in the usual decoding is the usual reading.
        let tried = usize::from(decoding == Decoding::Percent);
        let query = pairs(query, decoding);
        paths
            .iter()
            .skip(tried)
            .map(move |path| auth::request_string(method, path, &query))
    })
}

/// How a query string's values are read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Decoding {
    /// `%2B` is a plus, and so is `+`.
    Percent,
    /// `+` is a space.
    Form,
    /// As they stand.
    None,
}

pub(super) fn pairs(query: &str, decoding: Decoding) -> Vec<(String, String)> {
    let read = |text: &str| match decoding {
        Decoding::Percent => percent_decode_str(text).decode_utf8_lossy().into_owned(),
        Decoding::Form => percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned(),
        Decoding::None => text.to_owned(),
    };
    let split = |pair: &str| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (read(key), read(value))
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(split)
        .collect()
}

pub(super) fn get<'a>(query: &'a [(String, String)], name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_may_have_been_signed() {
        assert_eq!(signed_paths("/apps/1/events", ""), ["/apps/1/events"]);
        assert_eq!(
            signed_paths("/rt/apps/1/events", "/rt"),
            ["/apps/1/events", "/rt/apps/1/events"]
        );
        assert_eq!(
            signed_paths("/apps/1/channels/a%3Bb", ""),
            ["/apps/1/channels/a%3Bb", "/apps/1/channels/a;b"]
        );
        assert_eq!(signed_paths("/a", "/rt"), ["/a", "/rt/a"]);
        assert_eq!(signed_paths("/rtx/a", "/rt"), ["/rtx/a", "/rt/rtx/a"]);
    }

    #[test]
    fn queries_split_on_the_first_equals_sign_only() {
        let query = pairs("a=1=2&b&c=%2B+;x&=v", Decoding::Percent);
        let expected = [("a", "1=2"), ("b", ""), ("c", "++;x"), ("", "v")];
        assert_eq!(query, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(pairs("c=%2B+", Decoding::Form)[0].1, "+ ");
    }
}
