//! A rolling restart: two nodes over Redis behind `HAProxy`, with the configuration of `docker/`, and 2,000 clients that
//! obey close codes as pusher-js does.

mod balancer;
mod fleet;

use std::time::Duration;

use tokio::task::LocalSet;

use crate::harness::{APP, Config, RedisServer, Server, free_port};

use balancer::Balancer;
use fleet::Fleet;

const CLIENTS: usize = 2000;
const DRAIN_SECONDS: usize = 4;

/// How long clients may take to be where they should be, all of them.
const LONG: Duration = Duration::from_secs(60);

/// One node, which can come back where it was.
struct Place {
    config: Config,
    server: Option<Server>,
}

impl Place {
    fn new(redis: &RedisServer, prefix: &str, ports: [u16; 2]) -> Self {
        let [public, admin] = ports;
        let config = Config::new()
            .server("port", &public.to_string())
            .admin("port", &admin.to_string())
            .server("drain_seconds", &DRAIN_SECONDS.to_string())
            .redis("url", &format!("{:?}", redis.url()))
            .redis("prefix", prefix);
        let server = Some(Server::start(&config));
        Self { config, server }
    }

    /// Stops it as an operator does and starts it again. Its clients are told in waves.
    async fn restart(&mut self, fleet: &Fleet) {
        let mut server = self.server.take().expect("it runs");
        let clients = usize::try_from(server.count("connections")).unwrap();
        assert!(
            clients > CLIENTS / 4,
            "the balancer spreads them: {clients}"
        );
        let closed_before = fleet.closes().len();
        server.terminate();
        fleet
            .until(LONG, "the node has gone", || server.has_ended())
            .await;
        // What it said last is on its way through the balancer.
        let told = || fleet.closes().len() - closed_before;
        fleet
            .until(LONG, "each is told", || told() >= clients)
            .await;
        let status = server.exit_status();
        assert_eq!(status.code(), Some(0), "{status}");
        drop(server);
        assert_waves(&fleet.closes()[closed_before..], clients);
        fleet.all_subscribed().await;
        self.server = Some(Server::start(&self.config));
    }
}

/// The closes are spread over the drain, so that the clients' return is.
fn assert_waves(closes: &[std::time::Instant], clients: usize) {
    assert_eq!(closes.len(), clients, "each is told 4200, once");
    let (first, last) = (closes[0], closes[closes.len() - 1]);
    let drain = Duration::from_secs(DRAIN_SECONDS as u64);
    assert!(last - first > drain / 2, "all within {:?}", last - first);
    // Thrice the even rate: a busy machine reads in bursts what was sent in waves.
    let bound = 3 * clients / DRAIN_SECONDS;
    for (at, begin) in closes.iter().enumerate() {
        let within = closes[at..]
            .iter()
            .take_while(|close| **close - *begin < Duration::from_secs(1))
            .count();
        assert!(within <= bound, "{within} of {clients} in one second");
    }
}

#[test]
fn all_clients_come_back_in_waves_and_those_that_stay_lose_nothing() {
    let redis = RedisServer::start();
    let ports = [0; 2].map(|_| [free_port(), free_port()]);
    let mut places = ports.map(|ports| Place::new(&redis, "\"rolling\"", ports));
    let balancer = Balancer::start(ports);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fleet = LocalSet::new().block_on(&runtime, async {
        let fleet = Fleet::start(balancer.address, CLIENTS);
        fleet.all_subscribed().await;
        fleet.start_publishing(APP);
        for place in &mut places {
            balancer.await_up(&fleet, 2).await;
            place.restart(&fleet).await;
        }
        balancer.await_up(&fleet, 2).await;
        fleet.finish().await;
        fleet
    });
    fleet.check();
    drop(fleet);
    for place in &places {
        let server = place.server.as_ref().unwrap();
        server.await_count("connections", 0);
    }
}
