//! Where Redis is, as people write it: `redis://user:password@host:6379/0` and `host:6379`.
//!
//! No message shows what was given where a password may be in it.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize, Serializer};

use super::secrets::reference;
use super::values::masked;
use crate::adapter::redis::{Address, Login};
use crate::host_port::{self, Fault, digits};

const PORT: u16 = 6379;

const NO_HOST: &str = "its host is neither a name nor an address (IPv6 stands in brackets)";
const FRAGMENT: &str = "it has a \"#\", behind which nothing is read";
const QUERY: &str = "it has a \"?\", behind which nothing is read";
const NO_PORT: &str = "its port is not a number from 1 to 65535";

/// `url`, or the name of the variable that holds it. Its password is written as `***`.
#[derive(Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Url(pub(super) String);

/// What a URL says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) tls: bool,
    pub(super) login: Login,
    pub(super) address: Address,
    pub(super) database: u32,
}

impl TryFrom<String> for Url {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if reference(&text).is_none() {
            server(&text)?;
        }
        Ok(Self(text))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Parts::of(&self.0) {
            Some(Parts {
                scheme,
                login: Some(login),
                place,
            }) => match login.split_once(':') {
                Some((user, _)) => write!(f, "{scheme}://{user}:***@{place}"),
                None => write!(f, "{scheme}://{login}@{place}"),
            },
            _ => f.write_str(&self.0),
        }
    }
}

masked!(Url);

/// A URL, cut: `scheme://login@place`.
struct Parts<'a> {
    scheme: &'a str,
    login: Option<&'a str>,
    /// Host, port and database.
    place: &'a str,
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split('/').next().unwrap_or(rest);
        // No host has this sign, but many a password.
        let (login, place) = match authority.rfind('@') {
            Some(at) => (Some(&rest[..at]), &rest[at + 1..]),
            None => (None, rest),
        };
        Some(Self {
            scheme,
            login,
            place,
        })
    }
}

/// Reads a URL.
pub(super) fn server(text: &str) -> Result<Server, String> {
    parsed(text).map_err(|problem| {
        let escapes = if text.contains('@') {
            "; in user and password write \"/\" as %2F, \"#\" as %23, \"?\" as %3F, \"@\" as %40, \"%\" as %25"
        } else {
            ""
        };
        format!(
            "expected \"redis://[user[:password]@]host[:port][/db]\", or \"rediss://…\" for TLS; {problem}{escapes}"
        )
    })
}

fn parsed(text: &str) -> Result<Server, &'static str> {
    let no_scheme = "it does not begin with redis:// or rediss://";
    let Parts {
        scheme,
        login,
        place,
    } = Parts::of(text).ok_or(no_scheme)?;
    let tls = match scheme {
        "redis" => false,
        "rediss" => true,
        _ => return Err(no_scheme),
    };
    if place.contains('#') {
        return Err(FRAGMENT);
    }
    if place.contains('?') {
        return Err(QUERY);
    }
    let (address, database) = place.split_once('/').unwrap_or((place, ""));
    Ok(Server {
        tls,
        login: self::login(login.unwrap_or_default())?,
        address: self::address(address, PORT)?,
        database: match database {
            "" => 0,
            number => digits(number).ok_or("its database is not a number")?,
        },
    })
}

fn login(text: &str) -> Result<Login, &'static str> {
    let (username, password) = text.split_once(':').unwrap_or((text, ""));
    let given = |text: String| (!text.is_empty()).then_some(text);
    Ok(Login {
        username: given(decoded(username)?),
        password: given(decoded(password)?),
    })
}

/// The decoder leaves what is no escape as it is. It is a password that nobody encoded, so its other signs would
/// become something else.
fn decoded(text: &str) -> Result<String, &'static str> {
    let is_escape = |rest: &str| {
        let mut signs = rest.chars();
        let mut is_hex = || signs.next().is_some_and(|c| c.is_ascii_hexdigit());
        is_hex() && is_hex()
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(
            "its user or password has a \"%\" that is not followed by two hexadecimal digits",
        );
    }
    let text = percent_decode_str(text).decode_utf8();
    Ok(text
        .map_err(|_| "its user or password is not UTF-8 text")?
        .into_owned())
}

/// A host with or without a port.
fn address(text: &str, port: u16) -> Result<Address, &'static str> {
    let (host, given) = host_port::split(text).map_err(|fault| match fault {
        Fault::Host => NO_HOST,
        Fault::Port => NO_PORT,
    })?;
    Ok(Address {
        host: host.to_owned(),
        port: given.unwrap_or(port),
    })
}

/// An entry of `sentinel` or `cluster`, and the port of one that names none.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HostPort<const PORT: u16>(pub(super) Address);

impl<const PORT: u16> TryFrom<String> for HostPort<PORT> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.contains(['@', '/']) {
            return Err("expected \"host:port\", without scheme, user and password".to_owned());
        }
        let address = address(&text, PORT);
        address
            .map(Self)
            .map_err(|problem| format!("expected \"host:port\"; {problem}; found {text:?}"))
    }
}

impl<const PORT: u16> Serialize for HostPort<PORT> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TLS, user, password, host, port, database.
    type Expected = (bool, &'static str, &'static str, &'static str, u16, u32);

    /// A URL, what it says, and how it is shown, if not as given.
    const READ: &[(&str, Expected, &str)] = &[
        (
            "redis://localhost",
            (false, "", "", "localhost", 6379, 0),
            "",
        ),
        (
            "redis://localhost/",
            (false, "", "", "localhost", 6379, 0),
            "",
        ),
        (
            "rediss://r-1.a_b:7000/3",
            (true, "", "", "r-1.a_b", 7000, 3),
            "",
        ),
        (
            "redis://10.0.0.1:1/15",
            (false, "", "", "10.0.0.1", 1, 15),
            "",
        ),
        ("redis://[::1]:6380", (false, "", "", "::1", 6380, 0), ""),
        (
            "redis://[fe80::1]/2",
            (false, "", "", "fe80::1", 6379, 2),
            "",
        ),
        ("redis://me@h", (false, "me", "", "h", 6379, 0), ""),
        (
            "redis://:hidden@h",
            (false, "", "hidden", "h", 6379, 0),
            "redis://:***@h",
        ),
        (
            "rediss://me:hidden@[::1]:6380/1",
            (true, "me", "hidden", "::1", 6380, 1),
            "rediss://me:***@[::1]:6380/1",
        ),
        (
            "redis://m%40e:hid%2Fd%C3%A9n%25@h",
            (false, "m@e", "hid/dén%", "h", 6379, 0),
            "redis://m%40e:***@h",
        ),
        // What still has one meaning is taken.
        (
            "redis://me:hid:d@en?#+@h/1",
            (false, "me", "hid:d@en?#+", "h", 6379, 1),
            "redis://me:***@h/1",
        ),
    ];

    #[test]
    fn urls_are_read() {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        for (url, (tls, user, password, host, port, database), shown) in READ {
            let expected = Server {
                tls: *tls,
                login: Login {
                    username: text(user),
                    password: text(password),
                },
                address: Address {
                    host: (*host).to_owned(),
                    port: *port,
                },
                database: *database,
            };
            assert_eq!(server(url), Ok(expected), "{url}");
            let url = Url::try_from((*url).to_owned()).unwrap();
            let shown = if shown.is_empty() { &*url.0 } else { shown };
            assert_eq!(url.to_string(), shown);
            assert_eq!(format!("{url:?}"), shown);
        }
        let reference = Url::try_from("${REDIS_URL}".to_owned()).unwrap();
        assert_eq!(reference.to_string(), "${REDIS_URL}");
    }

    #[test]
    fn urls_are_refused_without_being_shown() {
        let no_scheme = "it does not begin with redis:// or rediss://";
        let no_escape =
            "its user or password has a \"%\" that is not followed by two hexadecimal digits";
        for (url, expected) in [
            ("", no_scheme),
            ("hidden", no_scheme),
            ("hidden:6379", no_scheme),
            ("http://hidden", no_scheme),
            ("unix:///hidden", no_scheme),
            ("$REDIS_URL", no_scheme),
            ("redis://", NO_HOST),
            ("redis://me:hidden@", NO_HOST),
            ("redis://:6379", NO_HOST),
            ("redis://hid den", NO_HOST),
            ("redis://::1", NO_HOST),
            ("redis://[::1", NO_HOST),
            ("redis://[hidden]", NO_HOST),
            ("redis://[::1]hidden", NO_HOST),
            ("redis://h:", NO_PORT),
            ("redis://h:0", NO_PORT),
            ("redis://h:+1", NO_PORT),
            ("redis://h:65536", NO_PORT),
            ("redis://h:1:2", NO_PORT),
            ("redis://:hid/den@h", NO_HOST),
            ("redis://me:hid/den@h", NO_PORT),
            ("redis://me:1/hid@h", "its database is not a number"),
            ("redis://h/hidden", "its database is not a number"),
            ("redis://h/0/hidden", "its database is not a number"),
            ("redis://h/-1", "its database is not a number"),
            ("redis://h?hidden=1", QUERY),
            ("redis://:hid/d?en@h", QUERY),
            ("redis://:hid#d/en@h", FRAGMENT),
            ("redis://h/0#hidden", FRAGMENT),
            ("redis://:hidden%@h", no_escape),
            ("redis://:hidden%4@h", no_escape),
            ("redis://:hid%+1den@h", no_escape),
            ("redis://:hid%é@h", no_escape),
            (
                "redis://:hidden%FF@h",
                "its user or password is not UTF-8 text",
            ),
        ] {
            let error = Url::try_from(url.to_owned()).unwrap_err();
            let expected = format!("for TLS; {expected}");
            assert!(error.contains(&expected), "{url}: {error}");
            assert!(!error.contains("hid"), "{error}");
            assert_eq!(error.contains("%40"), url.contains('@'), "{error}");
        }
    }

    #[test]
    fn hosts_with_ports() {
        for (given, expected) in [
            ("redis-1.example.com:7000", "redis-1.example.com:7000"),
            ("redis-1", "redis-1:26379"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("[::1]", "[::1]:26379"),
            ("[::1]:7000", "[::1]:7000"),
        ] {
            let read = HostPort::<26379>::try_from(given.to_owned()).unwrap();
            assert_eq!(read.0.to_string(), expected);
        }
        for (given, expected) in [
            (
                "a:b",
                "expected \"host:port\"; its port is not a number from 1 to 65535; found \"a:b\"",
            ),
            (
                "",
                "expected \"host:port\"; its host is neither a name nor an address (IPv6 stands in brackets); found \"\"",
            ),
            (
                "redis://me:hidden@h:6379",
                "expected \"host:port\", without scheme, user and password",
            ),
            (
                "me:hidden@h",
                "expected \"host:port\", without scheme, user and password",
            ),
        ] {
            let error = HostPort::<6379>::try_from(given.to_owned()).unwrap_err();
            assert_eq!(error, expected);
        }
    }
}
