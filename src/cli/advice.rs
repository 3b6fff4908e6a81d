//! What to change where, for each way in which a connection, a subscription or a publish can fail.
//!
//! Texts for people: the concrete line of the configuration first. Reads what servers and proxies said, changes nothing.

use std::io::ErrorKind;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::CertificateError;

use super::api::Answer;
use crate::client::{self, Address, TlsFault};
use crate::protocol::CloseCode;

/// Requests are good for so long around the server's time (protocol §4.2).
const CLOCK_WINDOW: Duration = Duration::from_secs(600);

/// What a proxy needs to pass an upgrade on.
const UPGRADE_HEADERS: &str = "nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
     proxy_set_header Connection \"upgrade\"; in the location that serves this path. Apache: mod_proxy_wstunnel. Load \
     balancers of clouds: an HTTP/1.1 listener, not one of TCP with its own idea of HTTP.";

/// What to do when there is no connection.
pub(super) fn of(error: &client::Error, address: &Address) -> String {
    use client::Error as E;
    match error {
        E::Resolve { host, .. } => format!(
            "Check the spelling of {host} and its A or AAAA record (`dig {host}`), and which name server this machine \
             asks. Between containers the name is that of the service, and only within one network."
        ),
        E::Tcp { address, source } => tcp(*address, source.kind()),
        E::Tls { name, fault } => tls(name, fault, address),
        E::NotUpgraded(answer) => not_upgraded(answer, address),
        E::BadUpgrade { .. } => format!("A proxy in between does not speak WebSocket. {UPGRADE_HEADERS}"),
        E::NotHttp(text) => not_http(text, address),
        E::NoAnswer => if_tls_is_expected(address),
        E::Timeout { .. } => "Something accepts connections there and then says nothing: a proxy that cannot reach the \
             server behind it, a firewall that swallows packets, or a server that stands still. The proxy's error log \
             and the server's `/live` on its admin port tell which."
            .to_owned(),
        E::Closed { code, reason } => closed(*code, reason, address),
        E::Broken(_) => "Something between here and there cut it. The logs of the proxy and of the server tell who was \
             first; proxies cut what they find idle (nginx: proxy_read_timeout, 60 s unless set)."
            .to_owned(),
        E::Silent(_) => "The way to the server is lost without a word: a machine went down, or a firewall forgot the \
             connection. Lower activity_timeout in [server] below what the firewall allows."
            .to_owned(),
        E::ProtocolViolation(_) => "What answers is a WebSocket, but not this protocol. Check host, port and path: the path \
             before /app/ is path_prefix in [server], and wsPath in pusher-js."
            .to_owned(),
        E::NoSecret(_) => "Give the app's secret with --secret-file or as TIDEWIRE_APP_SECRET, or name an app of the \
             configuration with --app."
            .to_owned(),
    }
}

fn tcp(address: std::net::SocketAddr, kind: ErrorKind) -> String {
    let port = address.port();
    match kind {
        ErrorKind::ConnectionRefused => format!(
            "Nothing listens on {address}. Is the server running (its log says `listening`), and is {port} its port \
             ([server] port; `docker run -p {port}:6001`)? With host = \"127.0.0.1\" in [server] it is reachable from \
             its own machine or container only."
        ),
        ErrorKind::TimedOut => format!(
            "Packets to {address} get no answer: a firewall or a cloud's security group drops them, or the address is \
             an old one. Open port {port} for TCP, or correct the name's DNS record."
        ),
        _ => format!(
            "There is no way from this machine to {address}: check its network and its routes."
        ),
    }
}

fn tls(name: &str, fault: &TlsFault, address: &Address) -> String {
    use CertificateError as C;
    match fault {
        TlsFault::NotTls => format!(
            "Port {} speaks plain HTTP. Use ws:// (pusher-js: forceTLS: false, wsPort: {0}), or put TLS in front of it \
             and use that port (443, as a rule).",
            address.port
        ),
        TlsFault::Name => "Use the name that the certificate is for.".to_owned(),
        TlsFault::Certificate(C::Expired | C::ExpiredContext { .. }) => format!(
            "Renew the certificate of {name} and have what ends TLS load it (certbot renew; nginx -s reload). If it \
             was renewed already, the process still serves the old file. If this machine's clock is wrong, set it."
        ),
        TlsFault::Certificate(C::NotValidYet | C::NotValidYetContext { .. }) => {
            "The certificate begins in the future: set the clock of this machine, or that of the authority.".to_owned()
        }
        TlsFault::Certificate(C::NotValidForName | C::NotValidForNameContext { .. }) => format!(
            "The certificate is for another name than {name}. Use one of its names in the URL, or get a certificate \
             that has {name} as subjectAltName; with several sites on one proxy, check that server_name leads to the \
             right one."
        ),
        TlsFault::Certificate(C::UnknownIssuer | C::Other(_)) => {
            "No authority that is trusted here has signed it: it is self-signed or a private authority's, or the \
             certificate between it and its authority is not sent along (nginx: ssl_certificate must name the full \
             chain, fullchain.pem). Browsers refuse it too. For a private authority say --ca-file FILE."
                .to_owned()
        }
        TlsFault::Certificate(_) => format!("Get another certificate for {name}: browsers refuse this one too."),
        TlsFault::Refused(_) | TlsFault::Other(_) => format!(
            "What ends TLS there does not agree: it may know no certificate for {name} (its virtual hosts), want a \
             certificate of the client, or allow versions of TLS older than 1.2 only."
        ),
    }
}

fn not_upgraded(answer: &client::Answer, address: &Address) -> String {
    let server = answer.header("server").unwrap_or("whatever answers there");
    let path = format!("{}/app/…", address.prefix);
    match answer.status {
        301 | 302 | 303 | 307 | 308 => {
            let location = answer.header("location").unwrap_or("another place");
            let base = location.split("/app/").next().unwrap_or(location);
            let to = Address::parse(base).map_or_else(|_| base.to_owned(), |to| to.ws());
            format!(
                "WebSockets follow no redirection. Use what {server} redirects to: {to} (pusher-js: wsHost, wssPort, \
                 and forceTLS: true for wss), or exempt {path} from the redirection."
            )
        }
        400 if answer.excerpt.contains("HTTPS port") => {
            "That port speaks TLS: use wss:// (pusher-js: forceTLS: true).".to_owned()
        }
        400 | 426 => format!(
            "The request arrived without its upgrade: a proxy in between does not pass it on. {UPGRADE_HEADERS}"
        ),
        401 | 403 | 407 => format!(
            "{server} lets nobody through without a password, or refuses this address: exempt {path} from basic \
             authentication, single sign-on and firewall rules; the protocol has its own authorisation."
        ),
        404 | 405 => format!(
            "{server} has nothing at {path}. Check the path before /app/: path_prefix in [server], wsPath in pusher-js, \
             and the location of the proxy (nginx: location {}/app/ {{ proxy_pass … }}).",
            address.prefix
        ),
        429 => "Too many requests from this address: raise the proxy's limit for WebSocket upgrades (nginx: limit_req, \
             limit_conn)."
            .to_owned(),
        502..=504 => bad_gateway(answer, server),
        500.. => format!("{server} fails: its error log says why."),
        _ => format!(
            "{server} answered as a web site does: the request did not get to the server. Check host, port and path, \
             and which location of the proxy is for {path}. {UPGRADE_HEADERS}"
        ),
    }
}

fn bad_gateway(answer: &client::Answer, server: &str) -> String {
    if answer.status == 503 && answer.header("retry-after").is_some() {
        return format!(
            "The server takes no connections at the moment: it goes down, or max_connections in [server] is reached. \
             It says: {:?}",
            answer.excerpt
        );
    }
    format!(
        "{server} cannot reach the server behind it. Is that running, and does the proxy name its host and port \
         (nginx: proxy_pass http://127.0.0.1:6001; its error log says what it tried)? From inside a container, \
         127.0.0.1 is the container itself."
    )
}

fn not_http(text: &str, address: &Address) -> String {
    // An alert of TLS begins with 21, 3.
    if text.starts_with("\u{15}\u{3}") {
        return "That port speaks TLS: use wss:// (pusher-js: forceTLS: true).".to_owned();
    }
    format!(
        "Another service answers on port {}: check the port.",
        address.port
    )
}

fn if_tls_is_expected(address: &Address) -> String {
    if address.tls {
        "What ends TLS there closed the connection: its error log says why; often it cannot reach the server behind it."
            .to_owned()
    } else {
        format!(
            "Whatever listens on port {} does not want to talk: perhaps it expects TLS (use wss://), a PROXY protocol \
             header, or it is a proxy whose server is away.",
            address.port
        )
    }
}

fn closed(code: Option<u16>, reason: &str, address: &Address) -> String {
    let Some(code) = code.and_then(CloseCode::of_number) else {
        return "The server's log says why it closed the connection.".to_owned();
    };
    let text = match code {
        CloseCode::TlsOnly => {
            "The app has tls_only = true. Use wss://; if you do, the proxy that ends TLS must say so: \
             nginx: proxy_set_header X-Forwarded-Proto $scheme;"
        }
        CloseCode::UnknownApp => {
            "No app of that server has this key. Compare it with key in [[apps]], character by \
             character (`tidewire check-config`); is it another server, another cluster or another environment's key?"
        }
        CloseCode::AppDisabled => {
            "Set enabled = true for the app in [[apps]]; running servers take it over by \
             themselves."
        }
        CloseCode::OverQuota => {
            "Raise connections in [apps.limits], or find who holds them: `tidewire channels`, and \
             /health on the admin port. In Pusher's cloud the plan sets it."
        }
        CloseCode::PathNotFound => {
            "The path before /app/ is wrong: it is path_prefix in [server], and wsPath in \
             pusher-js."
        }
        CloseCode::BadVersion | CloseCode::UnsupportedProtocol | CloseCode::NoProtocol => {
            "A proxy cuts the query off or changes it: ?protocol=7 must arrive (nginx: proxy_pass without a path, or \
             with $is_args$args)."
        }
        CloseCode::Unauthorized
        | CloseCode::OriginRefused
        | CloseCode::Terminated
        | CloseCode::TokenEndedForGood => {
            return unauthorized(reason);
        }
        // They share a number.
        CloseCode::SlowConsumer | CloseCode::TooFast | CloseCode::OverShare => {
            "This side reads more slowly than the server sends: subscribe to less, or raise outbox_bytes in [server]. Or it \
             sends far more than messages_per_second in [apps.limits] of the app. Or, with limits_scope = \"cluster\", the \
             other nodes have nearly all of its connections."
        }
        CloseCode::ShuttingDown | CloseCode::Operator | CloseCode::TokenEnded => {
            "The server goes down, an operator closed this connection, or its token has ended; clients come back at once, to it or to another node."
        }
        CloseCode::NoPong => "Pings were not answered: something in between holds messages back.",
        CloseCode::ProtocolViolation
        | CloseCode::Binary
        | CloseCode::NotUtf8
        | CloseCode::TooBig => {
            "Something in between changes what is sent. Use wss://, which nobody can change."
        }
    };
    if code == CloseCode::TlsOnly && !address.tls {
        return "The app has tls_only = true: use wss:// (pusher-js: forceTLS: true).".to_owned();
    }
    text.to_owned()
}

fn unauthorized(reason: &str) -> String {
    if reason.to_ascii_lowercase().contains("origin") {
        "Add the page's origin to allowed_origins of the app in [[apps]], as the browser says it: scheme, host and \
         port, such as \"https://app.example.com\". With --origin this command claims to be such a page."
            .to_owned()
    } else {
        "The app has authorize_within: a client must sign in or join a private or presence channel within that time. \
         Or the application ended this user's connections (`tidewire terminate`)."
            .to_owned()
    }
}

/// What will cut the connection while it is idle, if a proxy in between is one that does so.
pub(super) fn idle(answer: &client::Answer, silence: Duration) -> Option<String> {
    /// nginx' `proxy_read_timeout`, unless it is set.
    const NGINX: Duration = Duration::from_secs(60);
    let server = answer.header("server")?.to_ascii_lowercase();
    (server.contains("nginx") && silence >= NGINX).then(|| {
        format!(
            "nginx cuts what is silent for 60 s, unless it is told otherwise, and clients are silent for {} s: set \
             proxy_read_timeout and proxy_send_timeout above that, or activity_timeout in [server] below 60.",
            silence.as_secs()
        )
    })
}

/// What to do when a subscription is refused.
pub(super) fn refused_subscription(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    let text = if lower.contains("signature") {
        "The secret is not this app's. Compare it with secret in [[apps]] (secret_file, or the variable that it names): \
         a line end or a quote too much is enough. Your backend's authorisation endpoint needs the same one."
    } else if lower.contains("invalid key") {
        "The key in auth is another app's than the one that the client connects with: use one pair of key and secret."
    } else if lower.contains("auth info required") {
        "The channel needs a signature: give the app's secret with --secret-file or TIDEWIRE_APP_SECRET. In a page: \
         the authorisation endpoint (channelAuthorization.endpoint) did not answer with {\"auth\": …}."
    } else if lower.contains("limit") || lower.contains("allowed are") {
        "A limit of the app: see [apps.limits]."
    } else {
        "The server's text says what is wrong; its log, with TIDEWIRE_LOG=debug, says it too."
    };
    text.to_owned()
}

/// What to do when a publish is refused, or answered by somebody else.
pub(super) fn refused_publish(answer: &Answer, base: &str) -> String {
    let text = answer.text.to_ascii_lowercase();
    if let Some(skew) = answer
        .date()
        .and_then(clock_skew)
        .filter(|_| answer.status == 401)
    {
        return skew;
    }
    match answer.status {
        300..=399 => {
            let location = answer.header("location").unwrap_or("another place");
            let location = location.split("/apps/").next().unwrap_or(location);
            format!(
                "Signed requests follow no redirection. Give backends the URL that it redirects to: {location} (host, \
                 port, and useTLS: true for https)."
            )
        }
        401 if text.contains("timestamp") => "The clocks differ by more than ten minutes: let both machines keep \
             network time (`timedatectl set-ntp true`); in a virtual machine that was asleep, restart its time service."
            .to_owned(),
        401 if text.contains("auth_key") => "The key is not that of this app: id, key and secret must come from the \
             same [[apps]] entry, on the server that answers here."
            .to_owned(),
        401 if text.contains("signature") => "The secret is not this app's, or a proxy changes the path: the signed \
             path begins with /apps/, so a prefix must be path_prefix in [server] or be taken off by the proxy. \
             Compare the secret with secret in [[apps]]: a line end or a quote too much is enough."
            .to_owned(),
        401 | 407 => "A proxy wants a password before the server is reached: exempt /apps/ from it. The API has its \
             own signatures."
            .to_owned(),
        403 if text.contains("disabled") => "Set enabled = true for the app in [[apps]]; running servers take it over \
             by themselves."
            .to_owned(),
        403 => "A proxy or a firewall refuses it: allow POST on /apps/ from the backends' addresses.".to_owned(),
        404 if text.contains("no app with the id") => "No app of that server has this id: compare it with id in \
             [[apps]]. It is not the key."
            .to_owned(),
        404 | 405 => format!(
            "Nothing is at {base}/apps/: check the path before /apps/ (path_prefix in [server], `path` in the server \
             SDK), and that the proxy passes on /apps/ as well as /app/."
        ),
        413 => "The proxy takes no body of that size (nginx: client_max_body_size), or the app's event_bytes in \
             [apps.limits] is small."
            .to_owned(),
        429 => "More events than events_per_second in [apps.limits] of the app, or than the proxy allows.".to_owned(),
        503 => "The server cannot take events now: it goes down, its inboxes are full, or Redis is away. `/ready` on \
             its admin port says which."
            .to_owned(),
        502 | 504 => "The proxy cannot reach the server behind it for /apps/, although it does for /app/: compare the \
             two locations."
            .to_owned(),
        _ => "The server's log says more.".to_owned(),
    }
}

/// What to do when an event was taken and did not come.
pub(super) const LOST: &str = "The publish was answered with success and the event did not come: most likely the API and \
     the WebSocket are different servers. Several nodes need the same [redis], or they are several servers; check where \
     the proxy sends /apps/ and /app/. A server in front that buffers (nginx: proxy_buffering off) would delay it only.";

/// If the other side's clock makes signatures bad, what to say.
fn clock_skew(date: SystemTime) -> Option<String> {
    let now = SystemTime::now();
    let (apart, direction) = match now.duration_since(date) {
        Ok(apart) => (apart, "ahead of"),
        Err(error) => (error.duration(), "behind"),
    };
    (apart >= CLOCK_WINDOW).then(|| {
        format!(
            "This machine's clock is {} s {direction} the server's, and a signature holds for ten minutes: let both \
             keep network time (`timedatectl set-ntp true`). Backends with a wrong clock are refused likewise.",
            apart.as_secs()
        )
    })
}

/// The days from now to a time, and its date; negative when it is over.
pub(super) fn days_until(time: SystemTime) -> (i64, String) {
    const DAY: i64 = 24 * 3600;
    let seconds = |time: SystemTime| match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    };
    let end = seconds(time);
    let days = end
        .saturating_sub(seconds(SystemTime::now()))
        .div_euclid(DAY);
    let date = time::OffsetDateTime::from_unix_timestamp(end).map_or_else(
        |_| "a time beyond all calendars".to_owned(),
        |end| end.date().to_string(),
    );
    (days, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        let now = SystemTime::now();
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(days_until(now + day * 2 + day / 2).0, 2);
        assert_eq!(days_until(now - day / 2).0, -1);
        let known = UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        assert_eq!(days_until(known).1, "2030-01-01");
    }

    #[test]
    fn skew_counts_from_where_signatures_fail() {
        let now = SystemTime::now();
        assert!(clock_skew(now).is_none());
        assert!(clock_skew(now - CLOCK_WINDOW / 2).is_none());
        let behind = clock_skew(now + CLOCK_WINDOW * 2).unwrap();
        assert!(behind.contains("behind the server's"), "{behind}");
        let ahead = clock_skew(now - CLOCK_WINDOW * 2).unwrap();
        assert!(ahead.contains("ahead of the server's"), "{ahead}");
    }
}
