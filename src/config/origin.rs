//! An entry of `allowed_origins`, brought into the form in which browsers send an origin (RFC 6454 and the URL
//! standard): lower case, without a default port, without a slash at the end. What no browser can send is refused.

use std::net::{Ipv4Addr, Ipv6Addr};

/// What to say of an entry that matches nothing.
type Hint = String;

/// The entry as it is compared.
pub(super) fn page_origin(text: &str) -> Result<String, String> {
    normalised(&text.to_ascii_lowercase()).map_err(|hint| {
        format!(
            "expected scheme and host as browsers send them (\"https://example.com\", \"https://*.example.com\", \
             \"http://localhost:*\"), \"file://\", \"null\" or \"*\"; found {text:?}{hint}"
        )
    })
}

fn normalised(text: &str) -> Result<String, Hint> {
    // A page opened from a file says "null" or "file://".
    if matches!(text, "*" | "null") {
        return Ok(text.to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(would_match(&format!("https://{text}")));
    };
    let page_scheme = match scheme {
        "ws" => "http",
        "wss" => "https",
        other => other,
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    if scheme == "file" {
        return if rest.trim_matches('/').is_empty() {
            Ok("file://".to_owned())
        } else {
            Err(would_match("file://"))
        };
    }
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.*".contains(c);
    if scheme.is_empty() || !scheme.chars().all(is_scheme) {
        return Err(Hint::new());
    }
    let place = authority
        .rsplit_once('@')
        .map_or(authority, |(_, place)| place);
    if page_scheme != scheme || place != rest.trim_end_matches('/') {
        return Err(would_match(&format!("{page_scheme}://{place}")));
    }
    let (host, port) = port_of(place);
    let host = self::host(host)?;
    let is_default = matches!((scheme, port), ("http", "80") | ("https", "443"));
    match port {
        "" => Ok(format!("{scheme}://{host}")),
        // Without a port a star at the end would stand for other ports too.
        _ if is_default && host.ends_with('*') => Err(format!(
            ": browsers leave {port} out, and \"{scheme}://{host}\" would be for every port"
        )),
        _ if is_default => Ok(format!("{scheme}://{host}")),
        _ if port.contains('*') => Ok(format!("{scheme}://{host}:{port}")),
        _ => match port.parse::<u16>() {
            Ok(number) if number.to_string() == port => Ok(format!("{scheme}://{host}:{port}")),
            _ => Err(": a port is a number from 0 to 65535".to_owned()),
        },
    }
}

/// The entry that was meant, if it can be told.
fn would_match(meant: &str) -> Hint {
    match normalised(meant) {
        Ok(origin) => format!(": \"{origin}\" would match"),
        Err(hint) => hint,
    }
}

/// Host and port, which is empty if there is none.
fn port_of(place: &str) -> (&str, &str) {
    match place.rsplit_once(':') {
        // The colons of an address in brackets are its own.
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (place, ""),
    }
}

fn host(text: &str) -> Result<String, Hint> {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').unwrap_or(address);
        let address: Ipv6Addr = address
            .parse()
            .map_err(|_| ": that is no IPv6 address".to_owned())?;
        return Ok(format!("[{address}]"));
    }
    if !text.is_ascii() {
        return Err(": browsers send such a name in its form that begins with xn--".to_owned());
    }
    let is_host = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
    if text.is_empty() || !text.chars().all(is_host) {
        return Err(Hint::new());
    }
    let last = text.rsplit('.').next().unwrap_or(text);
    if last.parse::<u64>().is_ok() && !text.contains('*') && text.parse::<Ipv4Addr>().is_err() {
        return Err(": browsers send an IPv4 address as four numbers".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_kept_as_browsers_send_them() {
        for (given, kept) in [
            ("*", "*"),
            ("null", "null"),
            ("NULL", "null"),
            ("https://example.com", "https://example.com"),
            ("HTTPS://Example.COM/", "https://example.com"),
            ("https://example.com//", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("https://example.com:443/", "https://example.com"),
            ("https://example.com:", "https://example.com"),
            ("http://example.com:80", "http://example.com"),
            ("http://example.com:443", "http://example.com:443"),
            ("https://example.com:80", "https://example.com:80"),
            ("https://*.example.com:443", "https://*.example.com"),
            ("https://*.example.com:8443/", "https://*.example.com:8443"),
            ("http://localhost:*", "http://localhost:*"),
            ("*://example.com", "*://example.com"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("http://[::1]", "http://[::1]"),
            ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
            ("http://192.168.1.*:5173", "http://192.168.1.*:5173"),
            ("http://127.0.0.1:3000", "http://127.0.0.1:3000"),
            ("file://", "file://"),
            ("file:///", "file://"),
            ("FILE://", "file://"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("chrome-extension://abc", "chrome-extension://abc"),
        ] {
            assert_eq!(page_origin(given).as_deref(), Ok(kept), "{given}");
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused_with_what_would_match() {
        for (given, hint) in [
            ("", ""),
            ("https://", ""),
            ("://example.com", ""),
            ("https://exa mple.com", ""),
            ("example.com", ": \"https://example.com\" would match"),
            ("Example.com:443/", ": \"https://example.com\" would match"),
            (
                "wss://example.com:443",
                ": \"https://example.com\" would match",
            ),
            (
                "ws://localhost:6001",
                ": \"http://localhost:6001\" would match",
            ),
            (
                "https://example.com/path",
                ": \"https://example.com\" would match",
            ),
            (
                "https://user@example.com:8443?a",
                ": \"https://example.com:8443\" would match",
            ),
            ("file:///home/me/page.html", ": \"file://\" would match"),
            (
                "https://example.com:70000",
                ": a port is a number from 0 to 65535",
            ),
            (
                "https://example.com:0443",
                ": a port is a number from 0 to 65535",
            ),
            (
                "https://example.com:x",
                ": a port is a number from 0 to 65535",
            ),
            (
                "http://127.1",
                ": browsers send an IPv4 address as four numbers",
            ),
            ("http://[::1", ": that is no IPv6 address"),
            ("http://[::g]", ": that is no IPv6 address"),
            (
                "https://bücher.example",
                ": browsers send such a name in its form that begins with xn--",
            ),
            (
                "https://*:443",
                ": browsers leave 443 out, and \"https://*\" would be for every port",
            ),
        ] {
            let error = page_origin(given).unwrap_err();
            assert!(
                error.ends_with(&format!("; found {given:?}{hint}")),
                "{error}"
            );
        }
    }
}
