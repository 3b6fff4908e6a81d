//! A host and a port as people write them: `example.com`, `10.0.0.1:6379`, `[::1]:443`.

use std::net::{IpAddr, Ipv6Addr};

/// What is wrong with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The host is neither a name nor an address; IPv6 stands in brackets.
    Host,
    /// The port is not a number from 1 to 65535.
    Port,
}

/// Splits a text into the host, without the brackets of IPv6, and the port, if one is named.
///
/// # Errors
/// Says which of the two is wrong.
pub fn split(text: &str) -> Result<(&str, Option<u16>), Fault> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or(Fault::Host)?;
            host.parse::<Ipv6Addr>().map_err(|_| Fault::Host)?;
            (host, rest)
        }
        None => {
            let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            if host.is_empty() || !host.chars().all(is_name) {
                return Err(Fault::Host);
            }
            (host, rest)
        }
    };
    match rest.strip_prefix(':') {
        Some(port) => match digits(port) {
            None | Some(0) => Err(Fault::Port),
            port => Ok((host, port)),
        },
        None if rest.is_empty() => Ok((host, None)),
        None => Err(Fault::Host),
    }
}

/// Reads a number without the sign that `parse` would take.
pub fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Whether only this machine reaches a host.
pub fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports() {
        for (text, expected) in [
            ("example.com", Ok(("example.com", None))),
            ("a_b:1", Ok(("a_b", Some(1)))),
            ("10.0.0.1:65535", Ok(("10.0.0.1", Some(65535)))),
            ("[::1]", Ok(("::1", None))),
            ("[::1]:443", Ok(("::1", Some(443)))),
            ("", Err(Fault::Host)),
            (":1", Err(Fault::Host)),
            ("a b", Err(Fault::Host)),
            ("me@a", Err(Fault::Host)),
            ("::1", Err(Fault::Host)),
            ("[::1", Err(Fault::Host)),
            ("[a]", Err(Fault::Host)),
            ("[::1]1", Err(Fault::Host)),
            ("a:", Err(Fault::Port)),
            ("a:0", Err(Fault::Port)),
            ("a:+1", Err(Fault::Port)),
            ("a:65536", Err(Fault::Port)),
            ("a:1:2", Err(Fault::Port)),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn loopback() {
        for (host, expected) in [
            ("127.0.0.1", true),
            ("127.1.2.3", true),
            ("::1", true),
            ("localhost", true),
            ("0.0.0.0", false),
            ("::", false),
            ("example.com", false),
        ] {
            assert_eq!(is_loopback(host), expected, "{host}");
        }
    }
}
