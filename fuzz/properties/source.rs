//! Deliveries to sources. The first byte says which source, the second what is done: a delivery as it is, which nobody
//! signed, is refused; one that the provider signed is taken, in whatever headers it comes; a changed one is refused, and
//! so is one that is too old. What is taken becomes no more events than there are routes. Then come lines of headers,
//! an empty line and the body.

use std::cell::OnceCell;
use std::path::PathBuf;
use std::sync::Arc;

use actix_http::header::HeaderMap;
use tidewire::app::App;
use tidewire::config::{Sources, load};
use tidewire::source::{Delivery, Source, Verified, header_line};
use tokio::runtime::{Builder, Runtime};

const SETTINGS: &str = include_str!("source.toml");

/// A time since 1970 at which everything is delivered.
const NOW: u64 = 1_800_000_000;

struct Sink {
    app: Arc<App>,
    runtime: Runtime,
}

impl Sink {
    fn new() -> Self {
        let name = format!(
            "tidewire-fuzz-source-{}-{:?}.toml",
            std::process::id(),
            std::thread::current().id()
        );
        let file: PathBuf = std::env::temp_dir().join(name);
        std::fs::write(&file, SETTINGS).unwrap();
        let loaded = load(&Sources {
            file: Some(file.clone()),
            ..Sources::default()
        });
        std::fs::remove_file(file).unwrap();
        Self {
            app: Arc::clone(loaded.unwrap().settings.apps.iter().next().unwrap()),
            runtime: Builder::new_current_thread().build().unwrap(),
        }
    }

    /// Whether it is taken; then it becomes events.
    fn takes(&self, source: &Source, delivery: Delivery<'_>, now: u64) -> bool {
        let Ok(verified) = self.runtime.block_on(source.verify(delivery, now)) else {
            return false;
        };
        if let Verified::Message(message) = verified
            && let Ok(routed) = source.route(&message)
        {
            assert!(routed.events.len() <= source.routes.len());
            assert!(routed.id.is_none_or(|id| !id.is_empty()));
        }
        true
    }
}

pub(crate) fn check(bytes: &[u8]) {
    thread_local! {
        static SINK: OnceCell<Sink> = const { OnceCell::new() };
    }
    let [which, mode, bytes @ ..] = bytes else {
        return;
    };
    SINK.with(|sink| {
        let sink = sink.get_or_init(Sink::new);
        let source = &sink.app.sources[usize::from(*which) % sink.app.sources.len()];
        let (mut headers, body) = parts(bytes);
        // SNS is asked for its certificate, so its messages are only read.
        let Some(signed) = source.sign(body, "id-1", NOW) else {
            let _ = source.dry_run(delivery(&headers, body, NOW));
            return;
        };
        assert!(
            !sink.takes(source, delivery(&headers, body, NOW), NOW),
            "nobody signed it"
        );
        for (name, value) in signed {
            headers.insert(name, value.parse().unwrap());
        }
        assert!(
            sink.takes(source, delivery(&headers, body, NOW), NOW),
            "the provider signed it"
        );
        if source.sends_its_secret() {
            return;
        }
        let mut changed = body.to_vec();
        match changed.get_mut(usize::from(*mode)) {
            Some(byte) => *byte ^= 1 << (which % 8),
            None => changed.push(*mode),
        }
        assert!(
            !sink.takes(source, delivery(&headers, &changed, NOW), NOW),
            "it was changed"
        );
        let late = NOW + source.tolerance.as_secs() + 1;
        let is_dated = source.sign(body, "id-1", late) != source.sign(body, "id-1", NOW);
        assert_eq!(
            sink.takes(source, delivery(&headers, body, late), late),
            !is_dated,
            "it is old"
        );
    });
}

fn delivery<'a>(headers: &'a HeaderMap, body: &'a [u8], now: u64) -> Delivery<'a> {
    Delivery {
        headers,
        body,
        time_ms: now * 1000,
    }
}

/// The headers, as far as they are some, and the body.
fn parts(bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let end = bytes.windows(2).position(|pair| pair == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (&b""[..], bytes),
    };
    let mut headers = HeaderMap::new();
    for line in String::from_utf8_lossy(head).lines().take(100) {
        if let Ok((name, value)) = header_line(line) {
            headers.append(name, value);
        }
    }
    (headers, body)
}
