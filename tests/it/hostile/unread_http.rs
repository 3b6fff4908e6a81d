//! Clients that ask and do not read: reading stops while an answer waits, and the answer has a deadline.

use std::io::{ErrorKind, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::cost::Cost;
use crate::harness::{APP, Config, PATIENCE, Server, Ws, eventually, request};

const MANY: usize = 10;

/// The deadline of an answer of this size, and what a loaded machine adds.
const DEADLINE: Duration = Duration::from_secs(90);

/// A connection whose client takes next to nothing, with requests written until nothing more is taken.
fn flood(address: SocketAddr, requests: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&SockAddr::from(address)).unwrap();
    let mut stream = TcpStream::from(socket);
    let timeout = Duration::from_millis(300);
    stream.set_write_timeout(Some(timeout)).unwrap();
    match stream.write_all(requests.as_bytes()) {
        Ok(()) => {}
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            "{error}"
        ),
    }
    stream
}

fn assert_bounded(server: &Server, connect: impl Fn() -> TcpStream) {
    let mut bystander = Ws::subscribed(server, "bystander");
    let before = Cost::of(server);
    let unread: Vec<TcpStream> = (0..MANY).map(|_| connect()).collect();
    for number in 0..100 {
        server.trigger("bystander", "e", &number.to_string());
        assert!(bystander.text().contains(&format!(r#""data":"{number}""#)));
    }
    let taken = before.grown_kib(server);
    assert!(
        taken < 256 * MANY as u64,
        "{taken} KiB for {MANY} connections"
    );
    // How many requests it serves before a connection takes no more is up to the system's buffers; from then on it waits.
    let waiting = Cost::of(server);
    // Asking the server how it is would be the largest part of what it does.
    eventually(DEADLINE, "the server gives them up", || {
        (server.descriptors() <= before.descriptors).then_some(())
    });
    let cpu = waiting.cpu_since(server);
    assert!(cpu < Duration::from_secs(3), "{cpu:?}");
    drop(unread);
}

fn assert_given_up(server: &Server) {
    eventually(PATIENCE, "all are counted", || {
        let given_up = server.labelled("http_refused_total", &[("reason", "answer_timeout")]);
        (given_up == MANY as u64).then_some(())
    });
}

#[test]
fn a_pipeline_that_is_not_read_is_not_served() {
    let server = Server::start(&Config::new());
    let pipeline = request("GET", "/", &[], "").repeat(40_000);
    assert_bounded(&server, || flood(server.public, &pipeline));
    assert_given_up(&server);
}

#[test]
fn large_answers_that_are_not_read_are_given_up() {
    let server = Server::start(&Config::new());
    let mut ws = Ws::connect(&server);
    for number in 0..300 {
        ws.subscribe(&format!("{number}-{}", "x".repeat(80)), None);
    }
    let target = APP.target("GET", "/apps/app-id/channels", "");
    let pipeline = request("GET", &target, &[], "").repeat(600);
    assert_bounded(&server, || flood(server.public, &pipeline));
    assert_given_up(&server);
}

#[test]
fn the_admin_port_is_bounded_as_well() {
    let server = Server::start(&Config::new());
    let pipeline = request("GET", "/metrics", &[], "").repeat(2000);
    assert_bounded(&server, || flood(server.admin, &pipeline));
}
