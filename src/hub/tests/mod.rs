//! The hub with real sockets: order, slices, pending subscriptions, and that a walk costs nothing per subscriber.

mod fetched;
mod resume;

use std::sync::Arc;
use std::time::Duration;

use actix_rt::net::TcpStream;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use super::inbox::{Inboxes, inboxes};
use super::*;
use crate::app::{App, CurrentApps};
use crate::channel_log::LogId;
use crate::net::Socket;
use crate::protocol::{Form, ResumeToken, ServerFrame, SocketId};

const SETTINGS: HubSettings = HubSettings {
    outbox_bytes: 1 << 20,
    activity_timeout: 120,
};

/// A hub with its inbox being served, and a way to connect peers to it.
struct Fixture {
    hub: Rc<Hub>,
    inboxes: Inboxes,
    listener: TcpListener,
    app: Arc<App>,
}

impl Fixture {
    async fn new() -> Self {
        let metrics = Metrics::default();
        let (inboxes, mut receiving) = inboxes(1, 1 << 20, metrics.clone());
        let hub = Hub::new(0, SETTINGS, metrics);
        tokio::task::spawn_local(Rc::clone(&hub).serve(receiving.remove(0)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self {
            hub,
            inboxes,
            listener,
            app: Arc::new(App::plain()),
        }
    }

    /// A peer and the client's end of its connection.
    async fn peer(&self) -> (Rc<Peer>, TcpStream) {
        self.peer_with(None).await
    }

    /// A peer whose lines are fetched.
    fn fetched(&self) -> Rc<Peer> {
        let identity = Identity {
            socket_id: SocketId::random(),
            app: Arc::clone(&self.app),
            transport: Transport::XhrStreaming,
            protocol: 7,
            client_info: ClientInfo::default(),
            resume: None,
            address: None,
        };
        self.hub.admit(identity, Outlet::Fetched(Form::Line))
    }

    async fn peer_with(&self, resume: Option<ResumeToken>) -> (Rc<Peer>, TcpStream) {
        let address = self.listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), self.listener.accept());
        let identity = Identity {
            socket_id: SocketId::random(),
            app: Arc::clone(&self.app),
            transport: Transport::WebSocket,
            protocol: 7,
            client_info: ClientInfo::default(),
            resume,
            address: None,
        };
        (
            self.hub.admit(
                identity,
                Outlet::WebSocket(Socket::plain(accepted.unwrap().0, false, None)),
            ),
            client.unwrap(),
        )
    }

    fn post(&self, name: &ChannelName, number: u64, except: Option<SocketId>) {
        let delivery = Delivery {
            number,
            log_id: Some(LogId(number)),
            frame: frame(name, number),
            except,
            accepted: None,
        };
        self.inboxes.post(
            0,
            WorkerCommand::Deliver {
                app: self.app.id.clone(),
                channel: name.clone(),
                delivery,
            },
        );
    }
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text, 200).unwrap()
}

fn frame(channel: &ChannelName, number: u64) -> Encoded {
    ServerFrame::Event {
        channel,
        event: &number.to_string(),
        data: "",
        user_id: None,
    }
    .encode()
}

/// The event names of the next `count` frames.
async fn events(client: &mut TcpStream, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..count {
        let mut header = [0; 2];
        tokio::time::timeout(Duration::from_secs(10), client.read_exact(&mut header))
            .await
            .unwrap()
            .unwrap();
        let mut text = vec![0; usize::from(header[1])];
        client.read_exact(&mut text).await.unwrap();
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        events.push(value["event"].as_str().unwrap().to_owned());
    }
    events
}

#[actix_web::test]
async fn a_channel_of_many_slices_keeps_its_order_beside_others() {
    let fixture = Fixture::new().await;
    let (large, small) = (name("large"), name("small"));
    let mut clients = Vec::new();
    let mut slots = Vec::new();
    for i in 0..(3 * SLICE + 7) {
        let (peer, client) = fixture.peer().await;
        let channel = if i == 0 { &small } else { &large };
        let slot = fixture.hub.subscribe(channel, &peer);
        fixture.hub.activate(&slot, 0, &[]);
        slots.push((slot, peer));
        clients.push(client);
    }
    let excluded = slots[5].1.socket_id();
    for number in 1..=4 {
        fixture.post(&large, number, (number == 2).then_some(excluded));
        fixture.post(&small, number, None);
    }
    for (i, client) in clients.iter_mut().enumerate() {
        let expected: &[&str] = if i == 5 {
            &["1", "3", "4"]
        } else {
            &["1", "2", "3", "4"]
        };
        assert_eq!(events(client, expected.len()).await, expected);
    }
    for (slot, peer) in slots {
        fixture.hub.unsubscribe(&slot);
        fixture.hub.dismiss(&peer);
    }
    assert!(fixture.hub.is_empty());
    assert_eq!(fixture.inboxes.bytes(), 0);
}

#[actix_web::test]
async fn a_pending_subscription_gets_what_came_meanwhile_after_its_welcome_and_nothing_older() {
    let fixture = Fixture::new().await;
    let channel = name("c");
    let (other, mut others_end) = fixture.peer().await;
    let others = fixture.hub.subscribe(&channel, &other);
    fixture.hub.activate(&others, 0, &[]);
    let (peer, mut client) = fixture.peer().await;
    let slot = fixture.hub.subscribe(&channel, &peer);
    for number in [10, 11, 12] {
        fixture.post(&channel, number, None);
    }
    assert_eq!(
        events(&mut others_end, 3).await,
        ["10", "11", "12"],
        "the worker has seen all three"
    );
    fixture.hub.activate(&slot, 10, &[frame(&channel, 999)]);
    fixture.post(&channel, 13, None);
    assert_eq!(events(&mut client, 4).await, ["999", "11", "12", "13"]);
}

#[actix_web::test]
async fn who_leaves_during_a_walk_is_passed_over_and_its_slot_is_used_again() {
    let fixture = Fixture::new().await;
    let channel = name("c");
    let (first, mut firsts_end) = fixture.peer().await;
    let (second, mut seconds_end) = fixture.peer().await;
    let slot = fixture.hub.subscribe(&channel, &first);
    fixture.hub.activate(&slot, 0, &[]);
    let keeper = fixture.hub.subscribe(&channel, &second);
    fixture.hub.activate(&keeper, 0, &[]);
    fixture.post(&channel, 1, None);
    assert_eq!(events(&mut firsts_end, 1).await, ["1"]);
    fixture.hub.unsubscribe(&slot);
    let again = fixture.hub.subscribe(&channel, &first);
    fixture.hub.activate(&again, 1, &[]);
    fixture.post(&channel, 1, None);
    fixture.post(&channel, 2, None);
    assert_eq!(
        events(&mut firsts_end, 1).await,
        ["2"],
        "an older number is not for the new subscription"
    );
    assert_eq!(events(&mut seconds_end, 3).await, ["1", "1", "2"]);
    assert_eq!(fixture.hub.report().subscriptions, 2);
}

#[actix_web::test]
async fn a_reader_that_stops_is_ended_as_slow_and_only_that_one() {
    let fixture = Fixture::new().await;
    let channel = name("c");
    let (stuck, _stucks_end) = fixture.peer().await;
    let (good, mut goods_end) = fixture.peer().await;
    for peer in [&stuck, &good] {
        let slot = fixture.hub.subscribe(&channel, peer);
        fixture.hub.activate(&slot, 0, &[]);
    }
    let big = "x".repeat(60_000);
    let read = tokio::task::spawn_local(async move {
        let mut buffer = vec![0; 1 << 20];
        let mut total = 0;
        while total < 200 * 60_000 {
            total += goods_end.read(&mut buffer).await.unwrap();
        }
    });
    for number in 1..=200 {
        let event = ServerFrame::Event {
            channel: &channel,
            event: "e",
            data: &big,
            user_id: None,
        };
        let delivery = Delivery {
            number,
            log_id: None,
            frame: event.encode(),
            except: None,
            accepted: None,
        };
        let (app, channel) = (fixture.app.id.clone(), channel.clone());
        fixture.inboxes.post(
            0,
            WorkerCommand::Deliver {
                app,
                channel,
                delivery,
            },
        );
        // No task flushes these peers: the test does it, for the good one.
        let delivered = fixture.hub.metrics.deliveries.get();
        while fixture.hub.metrics.deliveries.get() == delivered || good.outbox_bytes() > 0 {
            tokio::task::yield_now().await;
            std::future::poll_fn(|cx| std::task::Poll::Ready(good.poll(cx).is_ready())).await;
        }
    }
    read.await.unwrap();
    assert!(stuck.is_ending() && !good.is_ending());
    assert!(stuck.outbox_bytes() <= SETTINGS.outbox_bytes);
    assert_eq!(fixture.hub.metrics.slow_consumers.get(), 1);
}

/// Small frames cost more than their bytes, and pongs wait in the place of one.
#[actix_web::test]
async fn an_outbox_is_charged_what_its_frames_cost() {
    let fixture = Fixture::new().await;
    let (stuck, mut client) = fixture.peer().await;
    let small = ServerFrame::Pong.encode();
    while stuck.outbox_bytes() == 0 {
        stuck.send(&small);
    }
    stuck.answer_ping(b"first");
    let owed = stuck.outbox_bytes();
    for _ in 0..100_000 {
        stuck.answer_ping(b"");
    }
    stuck.answer_ping(b"final");
    assert_eq!(stuck.outbox_bytes(), owed);
    let mut waiting = 2;
    while !stuck.is_ending() {
        stuck.send(&small);
        waiting += 1;
    }
    assert!(waiting * 128 <= SETTINGS.outbox_bytes);
    assert!(stuck.outbox_bytes() <= SETTINGS.outbox_bytes);

    let all = tokio::task::spawn_local(async move {
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        all
    });
    let flushed = async {
        while stuck.outbox_bytes() > 0 {
            std::future::poll_fn(|cx| std::task::Poll::Ready(stuck.poll(cx).is_ready())).await;
            tokio::task::yield_now().await;
        }
    };
    flushed.await;
    assert_eq!(stuck.outbox_bytes(), 0);
    stuck.socket().unwrap().finish();
    let all = all.await.unwrap();
    let pongs: Vec<_> = all.split(|&byte| byte == 0x8a).skip(1).collect();
    assert_eq!(pongs.len(), 1, "one pong was owed");
    assert!(pongs[0].starts_with(b"\x05final"), "to the latest ping");
}

/// A connection that waits for too many events at once is better started again.
#[actix_web::test]
async fn more_than_so_many_deliveries_are_not_held_for_who_is_pending() {
    const MOST: u64 = 1024;
    let fixture = Fixture::new().await;
    let channel = name("c");
    let ((pending, _client), (reader, mut client)) = (fixture.peer().await, fixture.peer().await);
    let slot = fixture.hub.subscribe(&channel, &reader);
    fixture.hub.activate(&slot, 0, &[]);
    let _held = fixture.hub.subscribe(&channel, &pending);
    let mut read = 0;
    let mut post = async |upto: u64| {
        while read < upto {
            read += 1;
            fixture.post(&channel, read, None);
            // What the reader gets, the other one is held.
            let mut bytes = vec![0; frame(&channel, read).bytes().len()];
            client.read_exact(&mut bytes).await.unwrap();
            assert_eq!(bytes, frame(&channel, read).bytes()[..]);
        }
    };
    post(MOST).await;
    assert!(!pending.is_ending());
    post(MOST + 1).await;
    assert!(pending.is_ending() && !reader.is_ending());
    assert_eq!(fixture.hub.metrics.slow_consumers.get(), 1);
}

#[actix_web::test]
async fn silence_is_answered_by_a_ping_and_then_by_the_end() {
    let fixture = Fixture::new().await;
    let (peer, mut client) = fixture.peer().await;
    fixture.hub.tick(119);
    assert_eq!(
        client.try_read(&mut [0; 8]).unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock
    );
    fixture.hub.tick(120);
    let mut ping = [0; 2];
    client.read_exact(&mut ping).await.unwrap();
    assert_eq!(ping, [0x89, 0]);
    fixture.hub.tick(140);
    peer.on_read(1);
    fixture.hub.tick(151);
    assert!(!peer.is_ending(), "an answer is life");
    fixture.hub.tick(260);
    fixture.hub.tick(289);
    assert!(!peer.is_ending());
    fixture.hub.tick(290);
    assert!(peer.is_ending());
    assert_eq!(fixture.hub.metrics.silent_connections.get(), 1);
}

#[actix_web::test]
async fn peers_follow_the_newest_apps_however_old_the_command() {
    let fixture = Fixture::new().await;
    let current = Arc::new(CurrentApps::new(Apps::new([App::plain()])));
    let (peer, _client) = fixture.peer().await;
    let follow = async || {
        fixture
            .inboxes
            .post(0, WorkerCommand::ReloadApps(Arc::clone(&current)));
        fixture.inboxes.reports().await;
    };
    // The app goes and comes back before the worker has seen that it went.
    current.swap(Arc::new(Apps::default()));
    let mut changed = App::plain();
    changed.limits.event_bytes = 7;
    current.swap(Arc::new(Apps::new([changed])));
    follow().await;
    assert!(!peer.is_ending());
    assert_eq!(peer.app().limits.event_bytes, 7);

    let (other, _client) = fixture.peer().await;
    let mut disabled = App::plain();
    disabled.enabled = false;
    current.swap(Arc::new(Apps::new([disabled])));
    follow().await;
    assert!(peer.is_ending() && other.is_ending());
}
