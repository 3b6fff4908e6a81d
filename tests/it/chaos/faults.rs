//! The scene of a run, and what happens to it: a schedule of faults that a seed makes.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::client::{Accepted, Life, Shared};
use super::hooks::Disturbances;
use crate::clocks::Clock;
use crate::cluster::{LEASE, impatient};
use crate::harness::{Config, Proxy, Receiver, RedisServer, Reply, Server};

/// How many faults there are, one after the other.
const FAULTS: usize = 6;

/// By when a node that was cut off is back, and has caught up.
const BACK: Duration = Duration::from_secs(8);

/// Two nodes, each with its own way to Redis, its own clock and its own way to the backend.
pub(super) struct Scene {
    random: StdRng,
    redis: RedisServer,
    proxies: [Proxy; 2],
    clocks: [Clock; 2],
    configs: [Config; 2],
    nodes: [Option<Server>; 2],
    shared: Arc<Shared>,
    /// Where their webhooks go.
    pub(super) receivers: [Receiver; 2],
    /// The faults so far, and when they began.
    pub(super) played: Vec<String>,
    pub(super) disturbances: Disturbances,
    pub(super) begun: Instant,
}

/// A moment in which Redis lost its memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Loss {
    at: Instant,
    /// Since when each node need not have been given what was accepted.
    behind: [Instant; 2],
}

impl Loss {
    pub(super) fn at(moment: Instant) -> Self {
        Self::of(moment, &Disturbances::default())
    }

    fn of(at: Instant, disturbances: &Disturbances) -> Self {
        let behind = |node| disturbances.since(node, at).min(at - BACK);
        Self {
            at,
            behind: [behind(0), behind(1)],
        }
    }

    /// Whether an event that was accepted before it need not have been delivered: to a node that was cut off then. One who
    /// resumed may have been on either.
    pub(super) fn excuses(&self, event: &Accepted, life: &Life) -> bool {
        let behind = match life.is_resumed {
            true => self.behind[0].min(self.behind[1]),
            false => self.behind[life.node],
        };
        event.begun <= self.at && event.done > behind
    }

    /// Whether an event was on its way at that moment. Redis does not know any more that it had taken it, so whoever had
    /// got it may get it again when its node sends it once more.
    pub(super) fn doubles(&self, number: u64, accepted: &[Accepted]) -> bool {
        let at = accepted.partition_point(|event| event.number < number);
        let (before, from) = accepted.split_at(at);
        // One that was refused was on its way between those that were accepted.
        let (begun, done) = match from.first() {
            Some(event) if event.number == number => (Some(event.begun), Some(event.done)),
            next => (
                before.last().map(|event| event.done),
                next.map(|event| event.begun),
            ),
        };
        begun.is_none_or(|begun| begun <= self.at) && done.is_none_or(|done| self.at <= done)
    }
}

#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    StandStill,
    StandStillForLong,
    Cut,
    CutForLong,
    Stall,
    Delay,
    Reset,
    RedisStandsStill,
    RedisForgets,
    RedisIsFull,
    ClockJumps,
    Reload,
}

const ALL: [Fault; 13] = [
    Fault::Kill,
    Fault::StandStill,
    Fault::StandStillForLong,
    Fault::Cut,
    Fault::CutForLong,
    Fault::Stall,
    Fault::Delay,
    Fault::Reset,
    Fault::RedisStandsStill,
    Fault::RedisForgets,
    Fault::RedisIsFull,
    Fault::ClockJumps,
    Fault::Reload,
];

impl Scene {
    pub(super) fn start(seed: u64, shared: &Arc<Shared>) -> Self {
        let redis = RedisServer::start();
        let proxies = [(); 2].map(|()| Proxy::start(redis.address()));
        let receivers = [(); 2].map(|()| Receiver::start(&[Reply::Status(200)]));
        let configs = [0, 1].map(|node| {
            let config = impatient().server("drain_seconds", "0");
            config
                .app("resume_ping_seconds", "1")
                .webhooks("linger_seconds", "0")
                .webhook(&receivers[node].webhook(""))
                .redis("url", &format!("{:?}", proxies[node].url()))
        });
        let mut scene = Self {
            random: StdRng::seed_from_u64(seed),
            redis,
            proxies,
            clocks: [Clock::at("+0"), Clock::at("+0")],
            configs,
            nodes: [None, None],
            shared: Arc::clone(shared),
            receivers,
            played: Vec::new(),
            disturbances: Disturbances::default(),
            begun: Instant::now(),
        };
        scene.start_node(0);
        scene.start_node(1);
        scene
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().flatten()
    }

    fn start_node(&mut self, node: usize) {
        let server = self.clocks[node].start(&self.configs[node]);
        self.shared.ports[node].store(server.public.port(), SeqCst);
        self.nodes[node] = Some(server);
    }

    fn kill(&mut self, node: usize) {
        self.shared.deaths[node].fetch_add(1, SeqCst);
        self.shared.ports[node].store(0, SeqCst);
        if let Some(server) = self.nodes[node].take() {
            server.kill();
        }
    }

    /// Plays the whole schedule; each fault is over before the next one begins, though not what follows from it.
    pub(super) fn play(&mut self) -> Vec<Loss> {
        let mut losses = Vec::new();
        for _ in 0..FAULTS {
            let fault = ALL[self.random.random_range(0..ALL.len())];
            let node = self.random.random_range(0..2);
            let time = Duration::from_millis(self.random.random_range(50..900));
            let pause = Duration::from_millis(self.random.random_range(0..400));
            let at = self.begun.elapsed();
            self.played
                .push(format!("{at:.1?}: {fault:?} of node {node}, {time:?}"));
            let begin = Instant::now();
            losses.extend(self.happen(fault, node, time));
            self.note_delay(fault, node, begin);
            thread::sleep(pause);
        }
        losses
    }

    fn happen(&mut self, fault: Fault, node: usize, time: Duration) -> Option<Loss> {
        let long = LEASE + time;
        match fault {
            Fault::Kill => {
                self.kill(node);
                self.excuse(node..node + 1, Duration::from_secs(1));
                thread::sleep(time);
                self.start_node(node);
            }
            Fault::StandStill => self.stand_still(node, time),
            Fault::StandStillForLong => self.stand_still(node, long),
            Fault::Cut => self.on_the_way(node, time, Proxy::cut),
            Fault::CutForLong => self.on_the_way(node, long, Proxy::cut),
            Fault::Stall => self.on_the_way(node, time, Proxy::stall),
            Fault::Delay => {
                self.on_the_way(node, time, |proxy| proxy.delay(Duration::from_millis(150)));
                self.proxies[node].delay(Duration::ZERO);
            }
            Fault::Reset => self.proxies[node].reset(),
            Fault::RedisStandsStill => {
                self.redis.stop();
                thread::sleep(time);
                self.redis.cont();
            }
            Fault::RedisForgets => {
                self.redis.kill();
                let loss = Loss::of(Instant::now(), &self.disturbances);
                self.excuse(0..2, BACK);
                self.redis.restart_empty();
                return Some(loss);
            }
            Fault::RedisIsFull => {
                self.redis.cli(&["CONFIG", "SET", "maxmemory", "1"]);
                thread::sleep(time);
                self.redis.cli(&["CONFIG", "SET", "maxmemory", "0"]);
            }
            Fault::ClockJumps => {
                // Within what a signature's timestamp may be off.
                let to = ["+0", "-300", "+300"][self.random.random_range(0..3)];
                self.clocks[node].set(to);
            }
            Fault::Reload => {
                let members = self.random.random_range(50..100);
                let config = self.configs[node].clone();
                self.configs[node] = config.limit("presence_members", &format!("{members}"));
                if let Some(server) = &self.nodes[node] {
                    server.rewrite(&self.configs[node].toml());
                    server.hang_up();
                }
            }
        }
        None
    }

    /// What these nodes were to tell by now, or for so long, may not be told: who was cut off or stood still has it yet.
    fn excuse(&mut self, nodes: Range<usize>, time: Duration) {
        let now = Instant::now();
        let since = nodes.map(|node| self.disturbances.since(node, now));
        let from = since.min().unwrap_or(now).min(now - BACK);
        self.disturbances.losses.push((from, now + time));
    }

    /// Of whom webhooks may come late. A killed node tells nothing more, and a loss of memory excuses all.
    fn note_delay(&mut self, fault: Fault, node: usize, begin: Instant) {
        let nodes = match fault {
            Fault::RedisStandsStill => 0..2,
            Fault::StandStill
            | Fault::StandStillForLong
            | Fault::Cut
            | Fault::CutForLong
            | Fault::Stall
            | Fault::Delay
            | Fault::Reset => node..node + 1,
            Fault::Kill
            | Fault::RedisForgets
            | Fault::RedisIsFull
            | Fault::ClockJumps
            | Fault::Reload => 0..0,
        };
        for delays in &mut self.disturbances.delays[nodes] {
            delays.push((begin, Instant::now() + BACK));
        }
    }

    fn stand_still(&self, node: usize, time: Duration) {
        if let Some(server) = &self.nodes[node] {
            server.signal("STOP");
            thread::sleep(time);
            server.signal("CONT");
        }
    }

    fn on_the_way(&self, node: usize, time: Duration, fault: impl FnOnce(&Proxy)) {
        fault(&self.proxies[node]);
        thread::sleep(time);
        self.proxies[node].pass();
    }

    /// Sets the clocks right. All else has been mended.
    pub(super) fn heal(&mut self) {
        for clock in &self.clocks {
            clock.set("+0");
        }
    }
}
