//! `HAProxy` with the configuration that `docker/` ships, for nodes on this machine.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::LONG;
use super::fleet::Fleet;
use crate::harness::{PATIENCE, eventually, free_port, new_folder};

pub(super) struct Balancer {
    pub(super) address: SocketAddr,
    statistics: SocketAddr,
    process: Child,
    folder: PathBuf,
}

impl Balancer {
    /// In front of nodes with a public and an admin port each.
    pub(super) fn start(nodes: [[u16; 2]; 2]) -> Self {
        let [address, statistics] =
            [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let folder = new_folder();
        let file = folder.join("haproxy.cfg");
        fs::write(&file, configuration(address, statistics, nodes)).unwrap();
        let process = Command::new("haproxy")
            .args(["-db", "-f"])
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("haproxy exists");
        let balancer = Self {
            address,
            statistics,
            process,
            folder,
        };
        eventually(PATIENCE, "haproxy listens", || {
            TcpStream::connect(statistics).ok()
        });
        balancer
    }

    /// A line for each node, among others.
    fn page(&self) -> String {
        let mut stream = TcpStream::connect(self.statistics).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(b"GET /;csv HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    /// Waits until so many nodes pass their check.
    pub(super) async fn await_up(&self, fleet: &Fleet, nodes: usize) {
        let up = || {
            let page = self.page();
            let lines = page.lines().filter(|line| line.starts_with("nodes,node"));
            lines.filter(|line| line.contains(",UP,")).count() == nodes
        };
        fleet.until(LONG, "the nodes are up for haproxy", up).await;
    }
}

/// The shipped file with other addresses, and a page that tells which nodes are up.
fn configuration(address: SocketAddr, statistics: SocketAddr, nodes: [[u16; 2]; 2]) -> String {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/haproxy.cfg");
    let mut text = fs::read_to_string(shipped).unwrap();
    let mut replace = |from: &str, to: &str| {
        assert!(text.contains(from), "no {from:?} in {shipped}");
        text = text.replace(from, to);
    };
    replace("bind :6001", &format!("bind {address}"));
    replace("check port 9601 inter 1s", "check inter 200ms");
    replace(" resolvers docker\n", "\n");
    for (name, [public, admin]) in ["node1", "node2"].into_iter().zip(nodes) {
        replace(
            &format!("server {name} {name}:6001"),
            &format!("server {name} 127.0.0.1:{public} port {admin}"),
        );
    }
    let known = text
        .find("\n# Docker's own")
        .expect("the resolvers are last");
    text.truncate(known);
    text + &format!(
        "\nfrontend statistics\n    bind {statistics}\n    stats enable\n    stats uri /\n"
    )
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Already ended is fine: then there is nothing to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
