//! One worker's hub with real sockets, for the micro benches and for `tests/alloc.rs`.

#![expect(
    clippy::unwrap_used,
    reason = "benches and tests may end at the first surprise"
)]

use std::cell::Cell;
use std::future::poll_fn;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidewire::app::{App, AppId, AppKey, Limits, LimitsScope, Resume};
use tidewire::auth::{Secret, Secrets};
use tidewire::hub::inbox::{Delivery, Inboxes, WorkerCommand, inboxes};
use tidewire::hub::{ClientInfo, Hub, HubSettings, Identity, Outlet, Peer, Slot};
use tidewire::metrics::{AppMetrics, Metrics};
use tidewire::net::Socket;
use tidewire::protocol::{ChannelName, Encoded, ServerFrame, SocketId, Transport};

/// Each has two files in this process, and a machine may allow no more than 1,024.
const CONNECTIONS: usize = 300;

/// The hub, what is posted to it, and its connections with their other ends.
pub(crate) struct Worker {
    hub: Rc<Hub>,
    inboxes: Inboxes,
    metrics: Metrics,
    app: Arc<App>,
    connections: Vec<(Rc<Peer>, TcpStream)>,
    number: Cell<u64>,
}

/// Subscriptions of one channel.
pub(crate) struct Audience {
    channel: ChannelName,
    slots: Vec<Slot>,
    frame: Encoded,
}

impl Worker {
    /// Serves a hub on this thread's runtime.
    pub(crate) async fn new() -> Self {
        let metrics = Metrics::default();
        let (inboxes, mut receiving) = inboxes(1, 1 << 20, metrics.clone());
        let settings = HubSettings {
            outbox_bytes: 1 << 20,
            activity_timeout: 120,
        };
        let hub = Hub::new(0, settings, metrics.clone());
        tokio::task::spawn_local(Rc::clone(&hub).serve(receiving.remove(0)));
        let mut worker = Self {
            hub,
            inboxes,
            metrics,
            app: Arc::new(app()),
            connections: Vec::new(),
            number: Cell::new(0),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..CONNECTIONS {
            let connection = worker.connect(&listener).await;
            worker.connections.push(connection);
        }
        worker
    }

    async fn connect(&self, listener: &TcpListener) -> (Rc<Peer>, TcpStream) {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.set_nonblocking(true).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        accepted.set_nonblocking(true).unwrap();
        let identity = Identity {
            socket_id: SocketId::random(),
            app: Arc::clone(&self.app),
            transport: Transport::WebSocket,
            protocol: 7,
            client_info: ClientInfo::default(),
            resume: None,
            address: None,
        };
        let socket = Socket::plain(
            actix_rt::net::TcpStream::from_std(accepted).unwrap(),
            false,
            None,
        );
        // As after a handshake: until the runtime has seen it writable, everything would go to its outbox.
        poll_fn(|cx| socket.poll_writable(cx)).await.unwrap();
        (self.hub.admit(identity, Outlet::WebSocket(socket)), client)
    }

    /// That many subscriptions, in turn over the connections.
    pub(crate) fn subscribe(&self, count: usize) -> Audience {
        let channel = ChannelName::parse("c", 200).unwrap();
        let peers = self.connections.iter().map(|(peer, _)| peer).cycle();
        let slots = peers.take(count).map(|peer| {
            let slot = self.hub.subscribe(&channel, peer);
            self.hub.activate(&slot, 0, &[]);
            slot
        });
        let event = ServerFrame::Event {
            channel: &channel,
            event: "e",
            data: &"x".repeat(100),
            user_id: None,
        };
        Audience {
            frame: event.encode(),
            slots: slots.collect(),
            channel,
        }
    }

    /// Posts an event and waits until the hub has sent it to everybody.
    pub(crate) async fn deliver(&self, audience: &Audience) {
        self.number.set(self.number.get() + 1);
        let delivery = Delivery {
            number: self.number.get(),
            log_id: None,
            frame: audience.frame.clone(),
            except: None,
            accepted: Some(Instant::now()),
        };
        let sent = self.metrics.deliveries.get() + audience.slots.len() as u64;
        self.inboxes.post(
            0,
            WorkerCommand::Deliver {
                app: self.app.id.clone(),
                channel: audience.channel.clone(),
                delivery,
            },
        );
        while self.metrics.deliveries.get() < sent {
            tokio::task::yield_now().await;
        }
    }

    /// Takes what has come from the other ends of the connections; everything that was sent must have.
    pub(crate) fn drain(&self) {
        let mut buffer = [0; 16 * 1024];
        for (peer, client) in &self.connections {
            assert_eq!(peer.outbox_bytes(), 0, "the system has taken everything");
            let mut client = client;
            while client.read(&mut buffer).is_ok_and(|count| count > 0) {}
        }
    }
}

/// An app with nothing special.
fn app() -> App {
    App {
        id: AppId::new("1"),
        key: AppKey::new("k"),
        secrets: Secrets::new(vec![Secret::new("s")]).unwrap(),
        name: None,
        enabled: true,
        client_events: false,
        subscription_count: false,
        watchlist: false,
        tls_only: false,
        allowed_origins: Vec::new(),
        authorize_within: None,
        resume: Resume {
            seconds: 120,
            ping_seconds: 5,
        },
        idempotency: std::time::Duration::from_secs(120),
        signin_wait: Duration::from_secs(10),
        api_tokens: Vec::new(),
        rules: Default::default(),
        tokens: None,
        webhooks: Vec::new(),
        sources: Vec::new(),
        limits: Limits::default(),
        limits_scope: LimitsScope::Node,
        metrics: AppMetrics::default(),
        dotted_id_logged: std::sync::Once::new(),
    }
}
