//! A request to the HTTP API, as its bytes come. The first byte says what is done with it: as it is, which nobody signed,
//! nothing is carried out; signed as a backend signs, it is not refused for its signature, whatever it asks for;
//! changed after that, it is. Nothing is answered with 500, and no body is taken that is over the app's limit. Bytes that
//! are no request are published as data, and are what is kept of the channel.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_codec::Decoder as _;
use actix_http::body::to_bytes;
use actix_http::h1::{Codec, Message};
use actix_http::header::AUTHORIZATION;
use actix_http::{Method, Payload, Request, ServiceConfig, StatusCode};
use bytes::{Bytes, BytesMut};
use hmac::{Hmac, KeyInit as _, Mac as _};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use sha2::Sha256;
use tidewire::adapter::{Adapter, Deps, Local};
use tidewire::app::{Apps, CurrentApps};
use tidewire::config::{Sources, load};
use tidewire::feed::Feed;
use tidewire::http::Api;
use tidewire::hub::inbox::{Inbox, inboxes};
use tidewire::metrics::Metrics;
use tidewire::node::{ApiTokens, Node};
use tidewire::registry::Registry;
use tidewire::webhook::Webhooks;
use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

const SECRET: &str = "2d1c8fbd0a7f4f0c8c4de9f1b4ac9b25";
const SETTINGS: &str = r#"
[[apps]]
id = "1"
key = "k"
secret = "2d1c8fbd0a7f4f0c8c4de9f1b4ac9b25"
[[apps.channels]]
match = "kept-*"
history = { events = 10, seconds = 60 }
"#;

/// The mode in which a request is signed and not changed.
const SIGNED: u8 = 1;

struct Backend {
    api: Api,
    apps: Arc<Apps>,
    runtime: Runtime,
    /// What is published is posted there, if somebody listens, which nobody does.
    _inboxes: Vec<Inbox>,
}

impl Backend {
    fn new() -> Self {
        let name = format!(
            "tidewire-fuzz-api-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        );
        let file = std::env::temp_dir().join(name);
        std::fs::write(&file, SETTINGS).unwrap();
        let loaded = load(&Sources {
            file: Some(file.clone()),
            ..Sources::default()
        });
        std::fs::remove_file(file).unwrap();
        let settings = loaded.unwrap().settings;
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let metrics = Metrics::default();
        let feed = Feed::new("fuzz", metrics.clone());
        let (inboxes, pool) = inboxes(1, 1 << 20, metrics.clone());
        let registry = Arc::new(Registry::new(1 << 20, 1 << 20));
        let webhooks = Webhooks::start(&settings.apps, &settings.webhooks, &metrics, &feed);
        let webhooks = LocalSet::new().block_on(&runtime, webhooks).unwrap();
        let apps = Arc::new(CurrentApps::new(settings.apps));
        let local = Local::new(Deps {
            registry: Arc::clone(&registry),
            inboxes: inboxes.clone(),
            webhooks: webhooks.clone(),
            metrics: metrics.clone(),
            linger: Duration::ZERO,
            feed: feed.clone(),
            apps: Arc::clone(&apps),
        });
        let now = apps.get();
        let proxies = Arc::new(settings.server.trusted_proxies());
        let node = Node::new(
            apps,
            Adapter::Local(Arc::new(local)),
            registry,
            inboxes,
            webhooks,
            120,
            metrics,
            feed,
        );
        Self {
            api: Api::new(Arc::new(node), "", ApiTokens::new(false), proxies),
            apps: now,
            runtime,
            _inboxes: pool,
        }
    }

    fn serve(&self, request: Request, body: &Bytes) -> (StatusCode, Bytes) {
        let (request, _) = request.replace_payload(Payload::from(body.clone()));
        let (status, answer) = LocalSet::new().block_on(&self.runtime, async {
            let answer = self.api.serve(request).await;
            (answer.status(), to_bytes(answer.into_body()).await.unwrap())
        });
        assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_success() {
            let limit = self.apps.by_id("1").unwrap().limits.batch_body_bytes();
            assert!(body.len() <= limit);
        }
        (status, answer)
    }

    /// The answer to a request that is signed.
    fn ask(&self, method: Method, uri: &str, body: &str) -> (StatusCode, Bytes) {
        let mut request = Request::new();
        request.head_mut().method = method;
        request.head_mut().uri = uri.parse().unwrap();
        let (request, body) = signed(request, body.to_owned().into(), SIGNED).unwrap();
        self.serve(request, &body)
    }
}

pub(crate) fn check(bytes: &[u8]) {
    thread_local! {
        static BACKEND: OnceCell<Backend> = const { OnceCell::new() };
    }
    let [mode, bytes @ ..] = bytes else { return };
    BACKEND.with(|backend| {
        let backend = backend.get_or_init(Backend::new);
        // The codec reads the time from a task of its thread.
        let request = LocalSet::new().block_on(&backend.runtime, async { request(bytes) });
        match request {
            Some((request, body)) => check_request(backend, request, body, *mode),
            None => is_kept(backend, &String::from_utf8_lossy(bytes)),
        }
    });
}

/// What is published is what is kept.
fn is_kept(backend: &Backend, data: &str) {
    let event = json!({"name": "e", "channel": "kept-a", "data": data});
    let published = backend.ask(Method::POST, "/apps/1/events", &event.to_string());
    match published.0 {
        StatusCode::PAYLOAD_TOO_LARGE => return,
        status => assert_eq!(status, StatusCode::OK, "{published:?}"),
    }
    let last = "/apps/1/channels/kept-a/events?limit=1&order=desc";
    let (_, page) = backend.ask(Method::GET, last, "");
    let page: Value = serde_json::from_slice(&page).unwrap();
    assert_eq!(page["events"][0]["data"], data);
    assert_eq!(page["events"][0]["name"], "e");
}

fn check_request(backend: &Backend, request: Request, body: Bytes, mode: u8) {
    let is_api = ["/apps/", "/users/"]
        .iter()
        .any(|begin| request.path().starts_with(begin));
    let by_token = request.head().headers.contains_key(AUTHORIZATION);
    if !is_api || by_token || request.method() == Method::OPTIONS {
        return;
    }
    if mode.is_multiple_of(4) {
        let (status, _) = backend.serve(request, &body);
        assert!(!status.is_success(), "nobody signed it");
        return;
    }
    let Some((signed, body)) = signed(request, body, mode) else {
        return;
    };
    let (status, _) = backend.serve(signed, &body);
    match mode % 4 {
        SIGNED => assert_ne!(status, StatusCode::UNAUTHORIZED, "it was signed"),
        _ => assert!(!status.is_success(), "it was changed"),
    }
}

/// The head of a request, and what follows it.
fn request(bytes: &[u8]) -> Option<(Request, Bytes)> {
    let mut bytes = BytesMut::from(bytes);
    match Codec::new(ServiceConfig::default()).decode(&mut bytes) {
        Ok(Some(Message::Item(request))) => Some((request, bytes.freeze())),
        _ => None,
    }
}

/// A query taken apart: keys and values, decoded.
type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// The request as a backend signs it; changed behind the signature, if the mode says so.
fn signed(mut request: Request, mut body: Bytes, mode: u8) -> Option<(Request, Bytes)> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut pairs = foreign_pairs(&query)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs().to_string();
    pairs.push(("auth_key".into(), "k".into()));
    pairs.push(("auth_timestamp".into(), now.into()));
    pairs.push(("auth_version".into(), "1.0".into()));
    if !body.is_empty() {
        pairs.push(("body_md5".into(), hex::encode(Md5::digest(&body)).into()));
    }
    let signature = signature(request.method(), request.path(), &pairs);
    pairs.push(("auth_signature".into(), signature.into()));

    let mut path = request.path().to_owned();
    match mode % 4 {
        2 if body.is_empty() => body = Bytes::from_static(b"{}"),
        2 => {
            let mut changed = body.to_vec();
            let at = usize::from(mode / 4) % changed.len();
            changed[at] ^= 1;
            body = changed.into();
        }
        3 => path.push('x'),
        _ => {}
    }
    let query = pairs
        .iter()
        .map(|(key, value)| format!("{}={}", encoded(key), encoded(value)));
    let uri = format!("{path}?{}", query.collect::<Vec<_>>().join("&"));
    request.head_mut().uri = uri.parse().ok()?;
    Some((request, body))
}

/// The parameters that are not part of a signature. None where one would be taken apart again: no SDK sends it so.
fn foreign_pairs(query: &str) -> Option<Pairs<'_>> {
    const OURS: [&str; 5] = [
        "auth_key",
        "auth_timestamp",
        "auth_version",
        "body_md5",
        "auth_signature",
    ];
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Pairs<'_> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decoded(key), decoded(value)))
        .filter(|(key, _)| !OURS.contains(&key.to_lowercase().as_str()))
        .collect();
    let is_odd = |text: &str| text.contains(['&', '=', '#', '%', '+', '\u{fffd}']);
    let is_any_odd = pairs
        .iter()
        .any(|(key, value)| is_odd(key) || is_odd(value));
    (!is_any_odd).then_some(pairs)
}

fn signature(method: &Method, path: &str, pairs: &Pairs<'_>) -> String {
    let lower = |(key, value): &(Cow<'_, str>, Cow<'_, str>)| {
        (key.to_ascii_lowercase(), value.clone().into_owned())
    };
    let mut sorted: Vec<(String, String)> = pairs.iter().map(lower).collect();
    sorted.sort_by(|a, b| a.0.cmp(&b.0));
    let sorted = sorted.iter().map(|(key, value)| format!("{key}={value}"));
    let query = sorted.collect::<Vec<_>>().join("&");
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(format!("{method}\n{path}\n{query}").as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

fn decoded(text: &str) -> Cow<'_, str> {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
