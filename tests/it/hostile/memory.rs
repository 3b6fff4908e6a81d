//! What a burst took comes back: neither the server's own maps nor the allocator keep it.

use std::time::Duration;

use super::cost::Cost;
use crate::harness::{Config, Message, Opcode, Server, Ws, eventually, frame, subscribe_frame};

const CONNECTIONS: usize = 60;
const CHANNELS: usize = 1000;

/// Those who left linger for three seconds, and the memory is looked after every five.
const SOON: Duration = Duration::from_secs(60);

fn channel(connection: usize, number: usize) -> String {
    format!("a-channel-of-{connection}-and-its-number-{number}")
}

/// A connection with as many subscriptions as it may have.
fn subscribed_to_all(server: &Server, connection: usize) -> Ws {
    let mut ws = Ws::connect(server);
    let names = (0..CHANNELS).map(|number| channel(connection, number));
    let frames: Vec<u8> = names
        .flat_map(|name| {
            frame(
                true,
                Opcode::Text,
                subscribe_frame("", &name, None).as_bytes(),
            )
        })
        .collect();
    ws.write(&frames).expect("the server reads");
    for _ in 0..CHANNELS {
        assert!(ws.text().contains("subscription_succeeded"));
    }
    ws
}

#[test]
fn sixty_thousand_channels_that_were_left_leave_no_memory_behind() {
    let server = Server::start(&Config::new());
    // Somebody stays, so nothing is forgotten as a whole.
    let mut bystander = Ws::connect(&server);
    for number in 0..10 {
        bystander.subscribe(&format!("stays-{number}"), None);
    }
    let before = Cost::of(&server);
    for round in 0..2 {
        let mut burst: Vec<Ws> = (0..CONNECTIONS)
            .map(|connection| subscribed_to_all(&server, connection))
            .collect();
        let peak_kib = before.grown_kib(&server);
        assert!(peak_kib > 24 * 1024, "a burst of {peak_kib} KiB only");
        // One half leaves command by command, the other with its connections.
        for (connection, ws) in burst.iter_mut().enumerate().take(CONNECTIONS / 2) {
            for number in 0..CHANNELS {
                ws.unsubscribe(&channel(connection, number));
            }
            ws.silent();
        }
        drop(burst);
        server.await_count("subscriptions", 10);
        let what = format!("round {round}: what {peak_kib} KiB were needed for comes back");
        eventually(SOON, &what, || {
            (before.grown_kib(&server) < peak_kib / 3).then_some(())
        });
    }
    before.await_descriptors(&server);
    for number in 0..10 {
        server.trigger(&format!("stays-{number}"), "e", "1");
        assert!(matches!(bystander.next(), Message::Text(text) if text.contains(r#""event":"e""#)));
    }
}
