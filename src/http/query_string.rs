//! How a request's target is read: the query's pairs, and what may have been signed.
//!
//! SDKs differ in how they escape what they sign, so there are several readings; none of them is more than the text of
//! the request says. Knows no app and no secret.

use std::borrow::Cow;

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

/// A query taken apart: keys and values, decoded.
pub(super) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The path without the mount prefix: what is signed, as a rule.
pub(super) fn signed_path<'a>(path: &'a str, prefix: &str) -> &'a str {
    unmounted(path, prefix)
}

/// The paths that may have been signed: the usual one first, as sent, and with the prefix that a proxy took off; each as
/// sent and decoded.
fn signed_paths(path: &str, prefix: &str) -> Vec<String> {
    let usual = signed_path(path, prefix);
    let mounted = format!("{prefix}{usual}");
    let mut paths = vec![usual.to_owned()];
    for candidate in [usual, path, &mounted] {
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
pub(super) fn other_readings(
    method: &str,
    path: &str,
    prefix: &str,
    query: &str,
) -> impl Iterator<Item = String> {
    let decodings = [
        (Decoding::Percent, true),
        (Decoding::Form, query.contains('+')),
        (Decoding::None, query.contains('%')),
    ];
    let differing = decodings.into_iter().filter(|(_, differs)| *differs);
    let paths = signed_paths(path, prefix);
    differing.flat_map(move |(decoding, _)| {
        // The first path in the usual decoding is the usual reading.
        let tried = usize::from(decoding == Decoding::Percent);
        let query = pairs(query, decoding);
        let readings = paths.iter().skip(tried);
        let readings = readings.map(|path| auth::request_string(method, path, &query));
        readings.collect::<Vec<_>>()
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

pub(super) fn pairs(query: &str, decoding: Decoding) -> Pairs<'_> {
    // Most queries have no escapes at all.
    let is_plain = !query.contains('%');
    let read = |text| match decoding {
        Decoding::Percent if is_plain => Cow::Borrowed(text),
        Decoding::Percent => percent_decode_str(text).decode_utf8_lossy(),
        Decoding::Form => percent_decode_str(&str::replace(text, "+", " "))
            .decode_utf8_lossy()
            .into_owned()
            .into(),
        Decoding::None => Cow::Borrowed(text),
    };
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (read(key), read(value)))
        .collect()
}

pub(super) fn get<'a>(query: &'a Pairs<'_>, name: &str) -> Option<&'a str> {
    query
        .iter()
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| &**value)
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
        assert_eq!(query, expected.map(|(k, v)| (k.into(), v.into())));
        assert_eq!(pairs("c=%2B+", Decoding::Form)[0].1, "+ ");
    }
}
