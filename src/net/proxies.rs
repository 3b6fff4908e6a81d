//! Who is at the other end when proxies are in between: `X-Forwarded-For`, `X-Forwarded-Proto` and `Forwarded`
//! (RFC 7239), as far as they come from proxies that the operator trusts.
//!
//! Anybody can send these headers. The list is read from its end, where the nearest proxy wrote, up to the first
//! address that is no trusted proxy's: that is the client, and what stands before it is hearsay.

use std::net::{IpAddr, SocketAddr};

use actix_http::header::HeaderMap;
use ipnet::IpNet;

/// The networks whose proxies are believed.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// Who made a request, as far as it can be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Client {
    /// None where a proxy hides it, or the connection is gone already.
    pub address: Option<IpAddr>,
    /// Whether it came over TLS, to this server or to the proxy that says so.
    pub secure: bool,
}

impl Client {
    /// Whether it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address
            .is_some_and(|address| address.to_canonical().is_loopback())
    }
}

impl TrustedProxies {
    /// Those networks; single addresses are networks of one.
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

    /// Who made a request that came over a connection from `peer`, itself over TLS or not.
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
        let x_for = elements(headers, "x-forwarded-for");
        let x_proto = elements(headers, "x-forwarded-proto");
        if x_for.is_empty() && x_proto.is_empty() {
            return self.standard(proxy, headers);
        }
        // The last one is what the proxy at the other end of this connection says.
        let secure = x_proto
            .last()
            .map_or(proxy.secure, |proto| is_secure(proto));
        let hops = x_for.iter().map(|text| address(text));
        Client {
            address: self.nearest(proxy.address, hops),
            secure,
        }
    }

    fn standard(&self, proxy: Client, headers: &HeaderMap) -> Client {
        let forwarded = elements(headers, "forwarded");
        let parameter = |element: &&str, name: &str| {
            let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
            let value = pairs
                .map(|(key, value)| (key.trim(), value.trim().trim_matches('"')))
                .find(|(key, _)| key.eq_ignore_ascii_case(name))?
                .1;
            Some(value.to_owned())
        };
        let hops = forwarded.iter().map(|element| {
            let text = parameter(element, "for")?;
            address(&text)
        });
        let proto = forwarded
            .last()
            .and_then(|element| parameter(element, "proto"));
        Client {
            address: self.nearest(proxy.address, hops),
            secure: proto.map_or(proxy.secure, |proto| is_secure(&proto)),
        }
    }

    /// The last hop that is no trusted proxy. Where all are, the first; where one hides its client, nobody.
    fn nearest(
        &self,
        proxy: Option<IpAddr>,
        hops: impl DoubleEndedIterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut nearest = proxy;
        for hop in hops.rev() {
            nearest = hop;
            match hop {
                Some(address) if self.contains(address) => {}
                _ => break,
            }
        }
        nearest
    }
}

/// What a list header says, over all its lines.
fn elements<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
        .collect()
}

fn is_secure(proto: &str) -> bool {
    proto.eq_ignore_ascii_case("https") || proto.eq_ignore_ascii_case("wss")
}

/// `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`; anything else hides somebody.
fn address(text: &str) -> Option<IpAddr> {
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

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(
                HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
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

    const FOR: &str = "x-forwarded-for";
    const PROTO: &str = "x-forwarded-proto";

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
            ("10.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
            ("fd00::1", "2001:db8::1", "2001:db8::1"),
            ("fd00::1", "[2001:db8::1]:4711", "2001:db8::1"),
        ] {
            let found = seen(peer, &[(FOR, forwarded)]);
            assert_eq!(found, (address.to_owned(), false), "{peer} {forwarded}");
        }
        let lines = [(FOR, "192.0.2.1"), (FOR, "10.0.0.2")];
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
            ("192.0.2.9", "https", false),
        ] {
            let lines = [(FOR, "192.0.2.1"), (PROTO, proto)];
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
    }

    proptest! {
        #[test]
        fn what_the_client_writes_first_changes_nothing(claim in "[ -~]{0,40}", proto in "[ -~]{0,10}") {
            let written = format!("{claim}, 192.0.2.1, 10.0.0.2");
            let lines = [("x-forwarded-for", &*written), ("x-forwarded-proto", &format!("{proto}, http"))];
            prop_assert_eq!(seen("10.0.0.1", &lines), ("192.0.2.1".to_owned(), false));
        }
    }
}
