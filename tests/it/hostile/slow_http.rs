//! Connections that hold a place without traffic: every state of an HTTP connection has a deadline.

use std::time::Duration;

use super::cost::Cost;
use crate::harness::{Config, PATIENCE, Server, Wire, Ws, eventually};

const MANY: usize = 200;

#[test]
fn connections_that_say_nothing_end_and_cost_nothing() {
    let server = Server::start(&Config::new());
    let mut bystander = Ws::subscribed(&server, "x");
    let before = Cost::of(&server);
    let silent: Vec<Wire> = (0..MANY).map(|_| Wire::connect(server.public)).collect();
    eventually(PATIENCE, "they are accepted", || {
        (server.descriptors() >= before.descriptors + MANY).then_some(())
    });
    server.trigger("x", "e", "1");
    assert!(bystander.text().contains(r#""event":"e""#));
    before.await_descriptors(&server);
    assert!(before.cpu_since(&server) < Duration::from_secs(1));
    assert!(before.grown_kib(&server) < 8 * 1024);
    drop(silent);
}
