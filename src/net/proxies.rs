//! The client behind proxies, from the headers `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded` (RFC 7239) of
//! proxies that the operator trusts.
//!
//! Anybody can send these headers. The list is read from its end, where the nearest proxy wrote, up to the first address
//! that is no trusted proxy's. That address is the client's, and anything before it is unverified. An unreadable element
//! makes the client unknown, and an unknown client gets no trust.

use std::net::{IpAddr, SocketAddr};

use actix_http::header::HeaderMap;
use ipnet::IpNet;

const X_FOR: &str = "x-forwarded-for";
const X_PROTO: &str = "x-forwarded-proto";
const FORWARDED: &str = "forwarded";

/// The networks of trusted proxies.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// The client of a request, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Client {
    /// The client's address. None if a proxy hides it or sends an unreadable one, or if the connection is gone.
    pub address: Option<IpAddr>,
    /// Whether the client speaks TLS to this server, or to the proxy that says so.
    pub secure: bool,
}

impl Client {
    /// Whether the client is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address
            .is_some_and(|address| address.to_canonical().is_loopback())
    }
}

impl TrustedProxies {
    /// Trusts these networks. A single address is a network of one.
    #[must_use]
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether an address is a trusted proxy's.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client of a request on a connection from `peer`, where `tls` is whether that connection is TLS.
    #[must_use]
    pub fn client(&self, peer: Option<SocketAddr>, tls: bool, headers: &HeaderMap) -> Client {
        let direct = Client {
            address: peer.map(|peer| peer.ip().to_canonical()),
            secure: tls,
        };
        match direct.address {
            Some(address) if self.contains(address) => self.forwarded(direct, headers),
            _ => direct,
        }
    }

    fn forwarded(&self, proxy: Client, headers: &HeaderMap) -> Client {
        let has = |name| last_first(headers, name).next().is_some();
        if !has(X_FOR) && !has(X_PROTO) {
            return self.standard(proxy, headers);
        }
        // The last one is what the proxy at the other end of this connection says.
        let secure = last_first(headers, X_PROTO)
            .next()
            .map_or(proxy.secure, is_secure);
        let hops = last_first(headers, X_FOR).map(address);
        Client {
            address: self.nearest(proxy.address, hops),
            secure,
        }
    }

    fn standard(&self, proxy: Client, headers: &HeaderMap) -> Client {
        let hops = last_first(headers, FORWARDED)
            .map(|element| parameter(element, "for").and_then(|value| address(value.as_bytes())));
        let secure = match last_first(headers, FORWARDED).next() {
            // Nothing that can be read, and nothing that says https.
            Some(element) if std::str::from_utf8(element).is_err() => false,
            Some(element) => parameter(element, "proto")
                .map_or(proxy.secure, |proto| is_secure(proto.as_bytes())),
            None => proxy.secure,
        };
        Client {
            address: self.nearest(proxy.address, hops),
            secure,
        }
    }

    /// The last hop that is no trusted proxy. The first hop if all are; none if a proxy hides its client.
    fn nearest(
        &self,
        proxy: Option<IpAddr>,
        last_first: impl Iterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut nearest = proxy;
        for hop in last_first {
            nearest = hop;
            match hop {
                Some(address) if self.contains(address) => {}
                _ => break,
            }
        }
        nearest
    }
}

/// What a list header says, over all its lines, from its end; in bytes, so that none is passed over because it is no
/// text. Nothing is collected: the list may be as long as a head.
fn last_first<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    headers
        .get_all(name)
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// The value of one parameter of an element of `Forwarded`.
fn parameter<'a>(element: &'a [u8], name: &str) -> Option<&'a str> {
    let text = std::str::from_utf8(element).ok()?;
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs
        .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(value)
}

fn is_secure(proto: &[u8]) -> bool {
    proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss")
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; anything else hides somebody.
fn address(element: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(element).ok()?;
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse().ok();
    let address = address.or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()));
    address.map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use actix_http::header::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> TrustedProxies {
        let networks = ["127.0.0.0/8", "10.0.0.0/8", "fd00::/8"];
        TrustedProxies::new(networks.iter().map(|text| text.parse().unwrap()).collect())
    }

    /// `ÿ` stands for a byte that is no text.
    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let bytes: Vec<u8> = value.chars().map(|c| u8::try_from(c).unwrap()).collect();
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(&bytes).unwrap(),
            );
        }
        map
    }

    fn seen(peer: &str, lines: &[(&'static str, &str)]) -> (String, bool) {
        let peer: IpAddr = peer.parse().unwrap();
        let client = trusted().client(Some((peer, 5000).into()), false, &headers(lines));
        let address = client
            .address
            .map_or_else(String::new, |address| address.to_string());
        (address, client.secure)
    }

    #[test]
    fn the_nearest_address_that_is_no_proxy_of_ours_is_the_client() {
        for (peer, forwarded, address) in [
            ("192.0.2.9", "", "192.0.2.9"),
            // Whoever is no proxy of ours says what it likes.
            ("192.0.2.9", "8.8.8.8", "192.0.2.9"),
            ("10.0.0.1", "", "10.0.0.1"),
            ("10.0.0.1", "192.0.2.1", "192.0.2.1"),
            ("::ffff:10.0.0.1", "192.0.2.1", "192.0.2.1"),
            // The client wrote the first one itself.
            ("10.0.0.1", "1.1.1.1, 192.0.2.1, 10.0.0.2", "192.0.2.1"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("10.0.0.1", "192.0.2.1, unknown", ""),
            // What cannot be read is nobody known, wherever that leaves the rest.
            ("10.0.0.1", "\u{ff}", ""),
            ("10.0.0.1", "192.0.2.1, \u{ff}", ""),
            ("10.0.0.1", "\u{ff}, 192.0.2.1", "192.0.2.1"),
            ("10.0.0.1", "127.0.0.1\u{ff}, 10.0.0.2", ""),
            ("10.0.0.1", "127.0.0.1\u{a0}", ""),
            ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
            ("fd00::1", "2001:db8::1", "2001:db8::1"),
            ("fd00::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ] {
            let found = seen(peer, &[(X_FOR, forwarded)]);
            assert_eq!(found, (address.to_owned(), false), "{peer} {forwarded}");
        }
        let lines = [(X_FOR, "192.0.2.1"), (X_FOR, "10.0.0.2")];
        assert_eq!(
            seen("10.0.0.1", &lines).0,
            "192.0.2.1",
            "one list in two lines"
        );
    }

    #[test]
    fn the_nearest_proxy_says_whether_it_was_tls() {
        for (peer, proto, secure) in [
            ("10.0.0.1", "https", true),
            ("10.0.0.1", "wss", true),
            ("10.0.0.1", "http", false),
            // Appended to what the client claimed.
            ("10.0.0.1", "https, http", false),
            ("10.0.0.1", "\u{ff}, https", true),
            ("10.0.0.1", "https\u{ff}", false),
            ("10.0.0.1", "https, \u{ff}", false),
            ("192.0.2.9", "https", false),
        ] {
            let lines = [(X_FOR, "192.0.2.1"), (X_PROTO, proto)];
            assert_eq!(seen(peer, &lines).1, secure, "{peer} {proto}");
        }
    }

    #[test]
    fn the_standard_header_says_the_same() {
        for (forwarded, address, secure) in [
            (
                "for=\"[2001:db8::1]:80\";proto=https;by=10.0.0.1",
                "2001:db8::1",
                true,
            ),
            (
                "For=1.1.1.1, for=192.0.2.1;proto=http, for=10.0.0.2;Proto=https",
                "192.0.2.1",
                true,
            ),
            ("for=_hidden;proto=https", "", true),
            ("for=192.0.2.1;by=\u{ff}", "", false),
            ("for=\u{ff}, for=192.0.2.1;proto=https", "192.0.2.1", true),
            ("for=127.0.0.1;proto=https, \u{ff}", "", false),
        ] {
            let found = seen("10.0.0.1", &[("forwarded", forwarded)]);
            assert_eq!(found, (address.to_owned(), secure), "{forwarded}");
        }
    }

    #[test]
    fn tls_that_ends_here_counts_unless_the_proxy_says_otherwise() {
        let peer = Some("10.0.0.1:1".parse().unwrap());
        let of = |lines: &[(&'static str, &str)]| trusted().client(peer, true, &headers(lines));
        assert!(of(&[]).secure);
        assert!(of(&[("x-forwarded-for", "192.0.2.1")]).secure);
        assert!(!of(&[("x-forwarded-proto", "http")]).secure);
        assert!(!of(&[("x-forwarded-proto", "\u{ff}")]).secure);
        assert!(!of(&[("forwarded", "proto=\u{ff}")]).secure);
    }

    proptest! {
        #[test]
        fn what_the_client_writes_first_changes_nothing(claim in "[ -~\u{80}-\u{ff}]{0,40}", proto in "[ -~\u{80}-\u{ff}]{0,10}") {
            let written = format!("{claim}, 192.0.2.1, 10.0.0.2");
            let lines = [("x-forwarded-for", &*written), ("x-forwarded-proto", &format!("{proto}, http"))];
            prop_assert_eq!(seen("10.0.0.1", &lines), ("192.0.2.1".to_owned(), false));
        }
    }
}
