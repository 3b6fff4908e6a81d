//! Servers that are one: on one prefix of one Redis.

use std::ops::Deref;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use super::{Config, RedisServer, Server};

/// Each of them is checked and stopped at the end of the test, as every [`Server`] is.
pub(crate) struct Nodes {
    servers: Vec<Server>,
    prefix: String,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Nodes {
    /// One, on its own.
    pub(crate) fn without_redis(config: &Config) -> Self {
        Self::started(String::new(), vec![Server::start(config)])
    }

    /// So many over one Redis.
    pub(crate) fn over(redis: &RedisServer, many: usize, config: &Config) -> Self {
        Self::linked(config, &vec![redis.url(); many])
    }

    /// One for each of these URLs of the same Redis.
    pub(crate) fn linked(config: &Config, urls: &[String]) -> Self {
        let of = |url: &String| config.clone().redis("url", &format!("{url:?}"));
        Self::of(urls.iter().map(of).collect())
    }

    /// So many with a configuration that says where Redis is.
    pub(crate) fn same(config: &Config, many: usize) -> Self {
        Self::of(vec![config.clone(); many])
    }

    /// One for each configuration, over one Redis.
    pub(crate) fn of_each(redis: &RedisServer, configs: Vec<Config>) -> Self {
        let url = format!("{:?}", redis.url());
        let with_url = |config: Config| config.redis("url", &url);
        Self::of(configs.into_iter().map(with_url).collect())
    }

    /// One for each configuration, all on a prefix that nobody has had before.
    fn of(configs: Vec<Config>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("tests-{}-{number}", std::process::id());
        let with_prefix = |config: Config| config.redis("prefix", &format!("{prefix:?}"));
        let configs = configs.into_iter().map(with_prefix);
        let servers = configs.map(|config| Server::start(&config)).collect();
        Self::started(prefix, servers)
    }

    fn started(prefix: String, servers: Vec<Server>) -> Self {
        Self {
            servers,
            prefix,
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        }
    }

    /// What the names of their keys begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Each in turn, as a load balancer spreads connections of clients.
    pub(crate) fn for_connection(&self) -> &Server {
        self.turn(&self.connections)
    }

    /// Each in turn, as a load balancer spreads requests of backends.
    pub(crate) fn for_request(&self) -> &Server {
        self.turn(&self.requests)
    }

    fn turn(&self, count: &AtomicUsize) -> &Server {
        &self.servers[count.fetch_add(1, Ordering::Relaxed) % self.servers.len()]
    }

    /// Ends the last one without any warning (SIGKILL).
    pub(crate) fn kill_last(&mut self) {
        self.servers.pop().expect("one is left").kill();
    }

    /// Asks the last one to go, and waits until it has.
    pub(crate) fn stop_last(&mut self) {
        self.servers.pop().expect("one is left").terminate();
    }

    /// A number of `/health`, of all together.
    pub(crate) fn count(&self, name: &str) -> u64 {
        self.iter().map(|server| server.count(name)).sum()
    }

    /// A counter of `/metrics`, of all together.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.iter().map(|server| server.counter(name)).sum()
    }
}

impl Deref for Nodes {
    type Target = [Server];

    fn deref(&self) -> &[Server] {
        &self.servers
    }
}
