//! Redis servers of the tests' own: alone, as a cluster, and watched by sentinels. Nothing is kept on the disk, and
//! nothing outlives the tests, however they end.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::daemon::Daemon;
use super::ports::free_port;
use super::resp::{Answer, Resp};
use super::{PATIENCE, eventually};

/// The name under which the sentinels watch their primary.
pub(crate) const WATCHED: &str = "watched";

/// One server.
pub(crate) struct RedisServer {
    address: SocketAddr,
    options: Vec<String>,
    tls_port: u16,
    daemon: Option<Daemon>,
}

impl RedisServer {
    pub(crate) fn start() -> Self {
        Self::with(|_, _| Vec::new())
    }

    /// One that speaks TLS on a second port, with these options for it.
    pub(crate) fn with_tls(tls: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut server = Self::with(|_, _| {
            let mut all = options(&[("tls-port", &port.to_string())]);
            all.extend(options(tls));
            all
        });
        server.tls_port = port;
        server
    }

    /// One that keeps its memory in this folder, also over [`RedisServer::restart`].
    pub(crate) fn persistent(memory: &Path) -> Self {
        let memory = memory.to_str().expect("a path of ours");
        Self::with(|_, _| options(&[("dir", memory), ("appendonly", "yes")]))
    }

    /// One for all tests that do it no harm. It ends with the tests' process.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<RedisServer> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// With further options, which may name its port and its folder. The port is the first free one that nobody takes
    /// at the last moment.
    fn with(options: impl Fn(u16, &Path) -> Vec<String>) -> Self {
        const ATTEMPTS: usize = 5;
        for _ in 0..ATTEMPTS {
            let port = free_port();
            let folder = new_folder();
            let server = Self::at(port, &folder, options(port, &folder));
            if server.is_up() {
                return server;
            }
        }
        panic!("no redis-server in {ATTEMPTS} attempts");
    }

    fn at(port: u16, folder: &Path, options: Vec<String>) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let own = format!("--port {port} --bind 127.0.0.1 --save  --appendonly no --dir");
        // A configuration file, if there is one, comes before all options.
        let is_file = options.first().is_some_and(|first| !first.starts_with('-'));
        let (file, others) = options.split_at(usize::from(is_file));
        let mut command = vec!["redis-server".to_owned()];
        command.extend_from_slice(file);
        command.extend(own.split(' ').map(str::to_owned));
        command.push(folder.display().to_string());
        command.extend_from_slice(others);
        let daemon = Some(Daemon::spawn(folder, &command));
        Self {
            address,
            options,
            tls_port: 0,
            daemon,
        }
    }

    /// Waits until this very process answers; false if it has ended instead.
    fn is_up(&self) -> bool {
        let daemon = self.daemon();
        let sign = format!("process_id:{}\r\n", daemon.pid());
        eventually(PATIENCE, "redis-server is up", || {
            let info = Resp::connect(self.address).and_then(|mut it| it.ask(&["INFO", "server"]));
            if info.is_ok_and(|info| info.text().contains(&sign)) {
                return Some(true);
            }
            daemon.ended().then_some(false)
        })
    }

    fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().expect("it is running")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// The same over TLS, for one that speaks it.
    pub(crate) fn tls_url(&self) -> String {
        format!("rediss://127.0.0.1:{}", self.tls_port)
    }

    /// A connection to it.
    pub(crate) fn connect(&self) -> Resp {
        Resp::connect(self.address).expect("redis-server accepts")
    }

    /// A command on a connection of its own.
    pub(crate) fn ask(&self, command: &[&str]) -> Answer {
        let answer = self.connect().ask(command).expect("redis-server answers");
        assert!(
            !matches!(answer, Answer::Error(_)),
            "{command:?}: {answer:?}"
        );
        answer
    }

    /// The same, its answer as text.
    pub(crate) fn cli(&self, command: &[&str]) -> String {
        self.ask(command).text()
    }

    /// All keys that match, a few at a time.
    pub(crate) fn keys(&self, pattern: &str) -> Vec<String> {
        let mut connection = self.connect();
        let mut keys = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let command = ["SCAN", &cursor, "MATCH", pattern, "COUNT", "1000"];
            let Ok(Answer::List(answer)) = connection.ask(&command) else {
                panic!("SCAN is not answered with a list");
            };
            let [next, Answer::List(found)] = &answer[..] else {
                panic!("not an answer to SCAN: {answer:?}");
            };
            keys.extend(found.iter().map(Answer::text));
            cursor = next.text();
            if cursor == "0" {
                keys.sort();
                keys.dedup();
                return keys;
            }
        }
    }

    /// Ends it at once (SIGKILL). Its port stays free.
    pub(crate) fn kill(&mut self) {
        drop(self.daemon.take());
    }

    /// Kills it if it still runs, and starts it again on its port, with nothing in it.
    pub(crate) fn restart_empty(&mut self) {
        self.restart();
    }

    /// The same, with what it keeps, if it keeps anything.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let port = self.address.port();
        // Until nobody else has the port, should somebody.
        eventually(PATIENCE, "redis-server is up again", || {
            let server = Self::at(port, &new_folder(), self.options.clone());
            let up = server.is_up();
            *self = server;
            up.then_some(())
        });
    }

    /// Stops the process (SIGSTOP): connections stay, nothing is answered.
    pub(crate) fn stop(&self) {
        self.daemon().signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn cont(&self) {
        self.daemon().signal("CONT");
    }
}

/// Three masters, each with a third of the slots, without replicas.
pub(crate) struct RedisCluster {
    pub(crate) masters: Vec<RedisServer>,
}

impl RedisCluster {
    pub(crate) fn start() -> Self {
        const RANGES: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        let start = |range: &[&str; 2]| {
            let bus = free_port();
            let master = RedisServer::with(|_, _| {
                options(&[
                    ("cluster-enabled", "yes"),
                    ("cluster-port", &bus.to_string()),
                    ("cluster-node-timeout", "2000"),
                    ("cluster-require-full-coverage", "no"),
                ])
            });
            master.cli(&["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]]);
            (master, bus)
        };
        let (masters, buses): (Vec<_>, Vec<_>) = RANGES.iter().map(start).unzip();
        for (number, (master, bus)) in masters.iter().zip(&buses).enumerate() {
            let epoch = (number + 1).to_string();
            master.cli(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]);
            let port = master.address.port().to_string();
            masters[0].cli(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus.to_string()]);
        }
        let cluster = Self { masters };
        eventually(PATIENCE, "all masters know all slots", || {
            cluster.masters.iter().all(Self::is_whole).then_some(())
        });
        cluster
    }

    fn is_whole(master: &RedisServer) -> bool {
        let info = master.cli(&["CLUSTER", "INFO"]);
        [
            "cluster_state:ok",
            "cluster_slots_ok:16384",
            "cluster_known_nodes:3",
        ]
        .iter()
        .all(|line| info.contains(line))
    }

    /// The addresses for `[redis] cluster`.
    pub(crate) fn toml(&self) -> String {
        addresses(&self.masters)
    }
}

/// A primary, its replica, and three sentinels that watch them.
pub(crate) struct RedisSentinel {
    pub(crate) primary: RedisServer,
    pub(crate) replica: RedisServer,
    sentinels: Vec<RedisServer>,
}

impl RedisSentinel {
    pub(crate) fn start() -> Self {
        let primary = RedisServer::with(|_, _| options(&[("repl-diskless-sync-delay", "0")]));
        let port = primary.address.port();
        let of = format!("127.0.0.1 {port}");
        let replica = RedisServer::with(|_, _| options(&[("replicaof", &of)]));
        let sentinels = (0..3).map(|_| {
            RedisServer::with(|_, folder| {
                let file = folder.join("sentinel.conf");
                let watch = format!(
                    "sentinel monitor {WATCHED} 127.0.0.1 {port} 2\n\
                     sentinel down-after-milliseconds {WATCHED} 1000\n\
                     sentinel failover-timeout {WATCHED} 5000\n"
                );
                std::fs::write(&file, watch).unwrap();
                vec![file.to_string_lossy().into_owned(), "--sentinel".to_owned()]
            })
        });
        let group = Self {
            sentinels: sentinels.collect(),
            primary,
            replica,
        };
        eventually(PATIENCE, "the sentinels agree", || {
            group
                .sentinels
                .iter()
                .all(Self::knows_everybody)
                .then_some(())
        });
        group
    }

    fn knows_everybody(sentinel: &RedisServer) -> bool {
        let state = sentinel.cli(&["SENTINEL", "MASTER", WATCHED]);
        let lines: Vec<&str> = state.lines().collect();
        let has = |name, value| lines.windows(2).any(|pair| pair == [name, value]);
        has("flags", "master") && has("num-slaves", "1") && has("num-other-sentinels", "2")
    }

    /// The address that the sentinels name as the primary's.
    pub(crate) fn named(&self) -> SocketAddr {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", WATCHED];
        let address = self.sentinels[0].cli(&command).replace('\n', ":");
        address.parse().expect("an address")
    }

    /// The addresses for `[redis] sentinel`.
    pub(crate) fn toml(&self) -> String {
        addresses(&self.sentinels)
    }
}

fn options(list: &[(&str, &str)]) -> Vec<String> {
    let option = |(name, value): &(&str, &str)| [format!("--{name}"), (*value).to_owned()];
    list.iter().flat_map(option).collect()
}

fn addresses(servers: &[RedisServer]) -> String {
    let list: Vec<String> = servers.iter().map(|it| it.address.to_string()).collect();
    format!("{list:?}")
}

pub(crate) fn new_folder() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("redis-{}-{number}", std::process::id());
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_comes_back_empty_on_its_port() {
        let mut redis = RedisServer::start();
        for number in 0..5 {
            redis.cli(&["SET", &format!("tests:{number}"), "it's \"é\""]);
        }
        assert_eq!(redis.cli(&["GET", "tests:0"]), "it's \"é\"");
        assert_eq!(redis.keys("tests:*").len(), 5);
        let folder = redis.cli(&["CONFIG", "GET", "dir"]).replace("dir\n", "");
        redis.restart_empty();
        assert_eq!(redis.cli(&["DBSIZE"]), "0");
        assert!(!Path::new(&folder).exists(), "{folder} is left");
        redis.kill();
        let refused = Resp::connect(redis.address()).err();
        assert_eq!(
            refused.unwrap().kind(),
            std::io::ErrorKind::ConnectionRefused
        );
    }
}
