//! What single steps cost: `cargo bench --bench micro`. The numbers are for comparing two builds on one machine.

#![expect(
    clippy::expect_used,
    reason = "a bench may end at the first surprise, and clippy's allowance is for tests only"
)]

mod worker;

use std::time::Instant;

use actix_codec::Decoder as _;
use actix_http::ws::{Codec, Frame};
use bytes::BytesMut;
use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use tidewire::app::AppId;
use tidewire::auth::{Secret, body_md5, channel_string, request_string};
use tidewire::channel_log::PastWanted;
use tidewire::protocol::{ChannelName, ClientFrame, Encoded, ServerFrame, SocketId};
use tidewire::registry::{EndedSubscription, NewSubscription, Registry, SubscribeOutcome};
use tidewire::rules::{ChannelPattern, Rule, Rules, USER_ID, WhoMaySubscribe};
use worker::Worker;

/// Adds what each step allocates to the table.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const SUBSCRIBE: &str = r#"{"event":"pusher:subscribe","data":{"auth":"app-key:58df8b0c36d6982b82c3ecf6b4662e34fe8c25bba48f5369f135bf843651c3a4","channel":"private-invoice.7"}}"#;
const PING: &str = r#"{"event":"pusher:ping","data":{}}"#;
const CLIENT_EVENT: &str =
    r#"{"event":"client-typing","channel":"presence-room.7","data":{"user":"ada","at":[1,2,3]}}"#;

fn main() {
    divan::main();
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name, 200).expect("a good name")
}

/// A message of a client from the socket's bytes to the command.
#[divan::bench(args = [PING, SUBSCRIBE, CLIENT_EVENT])]
fn frame_decode(bencher: Bencher<'_, '_>, text: &str) {
    let bytes = masked(text);
    bencher
        .with_inputs(|| (Codec::new(), BytesMut::from(&bytes[..])))
        .bench_local_values(|(mut codec, mut bytes)| {
            let frame = codec.decode(&mut bytes).expect("a good frame");
            let Some(Frame::Text(text)) = frame else {
                return None;
            };
            ClientFrame::parse(std::str::from_utf8(&text).expect("UTF-8")).ok()
        });
}

/// A masked text frame of fewer than 65,536 bytes.
fn masked(text: &str) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(short) if short < 126 => out.push(0x80 | short),
        _ => {
            let length = u16::try_from(text.len()).expect("a short text");
            out.push(0x80 | 126);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(text.bytes().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m));
    out
}

/// An event with that many bytes of data, from its parts to the frame that everybody gets.
#[divan::bench(args = [100, 1000, 10_000])]
fn frame_encode(bencher: Bencher<'_, '_>, bytes: usize) {
    let (channel, data) = (channel("private-invoice.7"), "x".repeat(bytes));
    bencher.bench_local(|| -> Encoded {
        ServerFrame::Event {
            channel: black_box(&channel),
            event: "payment.received",
            data: black_box(&data),
            user_id: None,
        }
        .encode()
    });
}

/// The signature of a subscription.
#[divan::bench]
fn signature_of_a_channel(bencher: Bencher<'_, '_>) {
    let (secret, socket_id) = (Secret::new("7ad3773142a6692b25b8"), SocketId::random());
    let signature = secret.sign(channel_string(socket_id, "private-invoice.7", None).as_bytes());
    bencher.bench_local(|| {
        let text = channel_string(socket_id, black_box("private-invoice.7"), None);
        assert!(secret.verifies(text.as_bytes(), black_box(&signature)));
    });
}

/// The signature of a publish with that many bytes, digest of the body included.
#[divan::bench(args = [100, 10_000])]
fn signature_of_a_request(bencher: Bencher<'_, '_>, bytes: usize) {
    let (secret, body) = (Secret::new("7ad3773142a6692b25b8"), "x".repeat(bytes));
    let query: Vec<(String, String)> = [
        ("auth_key", "278d425bdf160c739803"),
        ("auth_timestamp", "1353088179"),
        ("auth_version", "1.0"),
        ("body_md5", &body_md5(body.as_bytes())),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let path = "/apps/3/events";
    let signature = secret.sign(request_string("POST", path, &query).as_bytes());
    bencher.bench_local(|| {
        let text = request_string("POST", path, black_box(&query));
        assert!(secret.verifies(text.as_bytes(), black_box(&signature)));
        assert_eq!(body_md5(black_box(body.as_bytes())), query[3].1);
    });
}

/// What a subscription asks of that many rules, of which the last one is its own: four times which one that is, and twice
/// for whom. The patterns begin with what tells them apart, or with a wildcard.
#[divan::bench(args = [1, 1000], consts = [true, false])]
fn rules_of_a_subscription<const WILD: bool>(bencher: Bencher<'_, '_>, rules: usize) {
    let rule = |number: usize| Rule {
        pattern: ChannelPattern::parse(&match WILD {
            true => format!("*.{{user_id}}.invoices-{number}"),
            false => format!("shop-{number}.{{user_id}}.invoices"),
        })
        .expect("a good pattern"),
        subscribe: WhoMaySubscribe::User,
        cache: false,
        history: None,
        rewind: None,
        client_events: None,
        subscription_count: None,
    };
    let last = rules - 1;
    let own = channel(&match WILD {
        true => format!("shop.eu.4f1c2a.invoices-{last}"),
        false => format!("shop-{last}.4f1c2a.invoices"),
    });
    let rules = Rules::new((0..rules).map(rule).collect());
    bencher.bench_local(|| {
        for asked in 0..4 {
            let rule = rules.of(black_box(&own)).expect("a rule");
            if asked < 2 {
                assert_eq!(rule.pattern.value_of(USER_ID, own.as_str()), Some("4f1c2a"));
            }
        }
    });
}

/// From a worker's inbox to the sockets, the system's part included. Ten thousand subscriptions share the sockets of
/// a few hundred.
#[divan::bench(args = [1, 100, 10_000], sample_size = 1)]
fn hub_deliver(bencher: Bencher<'_, '_>, subscribers: usize) {
    let system = actix_rt::System::new();
    let (worker, audience) = system.block_on(async {
        let worker = Worker::new().await;
        let audience = worker.subscribe(subscribers);
        (worker, audience)
    });
    bencher
        .counter(ItemsCount::new(subscribers))
        .with_inputs(|| worker.drain())
        .bench_local_values(|()| system.block_on(worker.deliver(&audience)));
}

/// A subscription that comes and goes beside that many channels: on one that is occupied, and on one of its own.
#[divan::bench(args = [1, 50_000], consts = [true, false])]
fn registry_subscribe_and_unsubscribe<const OCCUPIED: bool>(
    bencher: Bencher<'_, '_>,
    channels: usize,
) {
    let (registry, app) = (Registry::new(1 << 20, 1 << 20), AppId::new("1"));
    for number in 0..channels {
        join(&registry, &app, &channel(&format!("c{number}")));
    }
    let own = channel(if OCCUPIED { "c0" } else { "own" });
    bencher.bench_local(|| {
        let joined = join(&registry, &app, black_box(&own));
        let leave = EndedSubscription {
            app: &app,
            channel: &own,
            worker: 0,
            user: None,
            tell_count: false,
            lingers: None,
            resumable: None,
        };
        registry.unsubscribe(&leave, Instant::now(), |_, _| {});
        joined
    });
}

fn join(registry: &Registry, app: &AppId, channel: &ChannelName) -> SubscribeOutcome {
    let join = NewSubscription {
        app,
        channel,
        worker: 0,
        member: None,
        max_members: 100,
        tell_count: false,
        past: PastWanted::default(),
        resumable: None,
    };
    let joined = registry.subscribe(&join, Instant::now(), |_, _| {});
    joined.expect("a public channel is never full")
}
