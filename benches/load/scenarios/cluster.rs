//! One channel whose subscribers are on two nodes over Redis, and the same on one node: what the cluster adds to a
//! delivery.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Command, Stdio};

use serde::Serialize;

use super::{Bench, Fanout, Load, need_connections, needs_channels};
use crate::Result;
use crate::figures::Figures;
use crate::process::{Cpus, Usage};
use crate::target::{Program, Source, Target, await_port, free_port};

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Cluster {
    #[command(flatten)]
    #[serde(flatten)]
    fanout: Fanout,
    /// Nodes
    #[arg(long, default_value_t = 2)]
    nodes: usize,
}

impl Load for Cluster {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        if let Source::Running { .. } = target.source {
            return Err("a cluster is started here: name its binary with --server".into());
        }
        need_connections(self.fanout.subscribers)?;
        let alone = self.fanout.run(bench, target)?;

        let redis = Redis::start(&bench.cpus)?;
        let nodes = (0..self.nodes)
            .map(|_| bench.start(target, Bench::config().more(&redis.section())))
            .collect::<Result<Vec<_>>>()?;
        let nodes: Vec<_> = nodes.iter().collect();
        let before = redis.usage()?;
        let mut figures = Figures::default();
        let together = self.fanout.over(&nodes)?;
        let spent = redis.usage()?.since(before);
        let cost = "cpu_us_per_delivery";
        let (one, all) = (alone.get(cost), together.get(cost));
        figures.push(
            "over_one_node",
            all.unwrap_or(0.0) / one.unwrap_or(f64::NAN),
        );
        for (name, value) in together.iter() {
            figures.push(name, value);
        }
        figures.push("redis_cpu_ms", spent.micros() / 1000.0);
        for (name, value) in alone.iter() {
            figures.push(format!("one_node_{name}"), value);
        }
        Ok(figures)
    }
}

/// A Redis that ends with the run.
pub(super) struct Redis {
    port: u16,
    program: Program,
}

impl Redis {
    pub(super) fn start(cpus: &Cpus) -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let program = Program::spawn(&mut command, cpus)?;
        await_port(port)?;
        Ok(Self { port, program })
    }

    /// What a node is told.
    pub(super) fn section(&self) -> String {
        let port = self.port;
        format!("[redis]\nurl = \"redis://127.0.0.1:{port}\"\nprefix = \"bench\"\n")
    }

    /// How many of its keys do not expire by themselves.
    pub(super) fn lasting_keys(&self) -> Result<u64> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.write_all(b"INFO keyspace\r\nQUIT\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        // db0:keys=44,expires=41,avg_ttl=…; no line while there are none.
        let number = |name: &str| {
            let from = text.find(name).map_or(text.len(), |at| at + name.len());
            let digits = text[from..].chars().take_while(char::is_ascii_digit);
            digits.collect::<String>().parse::<u64>().unwrap_or(0)
        };
        Ok(number("keys=").saturating_sub(number("expires=")))
    }

    fn usage(&self) -> Result<Usage> {
        Usage::of(&[self.program.id()])
    }
}
