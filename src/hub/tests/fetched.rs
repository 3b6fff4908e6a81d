//! Connections whose lines are fetched: what is lent stays until it is settled, an event's line is made once, and silence
//! is answered by a heartbeat.

use proptest::prelude::*;

use super::*;
use crate::protocol::Line;

fn texts(lines: &[Line]) -> Vec<String> {
    let text = |line: &Line| String::from_utf8(line.text().to_vec()).unwrap();
    lines.iter().map(text).collect()
}

#[actix_web::test]
async fn an_event_is_one_line_for_all_who_fetch_it_and_a_frame_for_the_others() {
    let fixture = Fixture::new().await;
    let channel = name("c");
    let (socket, mut client) = fixture.peer().await;
    let fetching = [fixture.fetched(), fixture.fetched()];
    for peer in fetching.iter().chain([&socket]) {
        let slot = fixture.hub.subscribe(&channel, peer);
        fixture.hub.activate(&slot, 0, &[]);
    }
    for number in [1, 2] {
        fixture.post(&channel, number, None);
    }
    assert_eq!(events(&mut client, 2).await, ["1", "2"]);
    let [first, second] = fetching.map(|peer| peer.lend(usize::MAX));
    assert_eq!(texts(&first).len(), 2);
    assert!(texts(&first)[1].contains("\\\"event\\\":\\\"2\\\""));
    for (first, second) in first.iter().zip(&second) {
        assert_eq!(first.chunk().as_ptr(), second.chunk().as_ptr(), "shared");
    }
}

#[actix_web::test]
async fn an_outbox_that_nobody_fetches_is_full_some_time() {
    let fixture = Fixture::new().await;
    let peer = fixture.fetched();
    let line = Line::message(&"x".repeat(1000));
    for _ in 0..SETTINGS.outbox_bytes {
        peer.send_line(line.clone());
    }
    assert!(peer.is_ending());
    assert!(peer.outbox_bytes() <= SETTINGS.outbox_bytes);
    assert_eq!(fixture.hub.metrics.slow_consumers.get(), 1);
}

#[actix_web::test]
async fn silence_is_answered_by_a_heartbeat_and_then_by_the_end() {
    let fixture = Fixture::new().await;
    let peer = fixture.fetched();
    let fetch = || {
        let lines = peer.lend(usize::MAX);
        peer.settle(lines.len());
        texts(&lines)
    };
    fixture.hub.tick(24);
    assert!(fetch().is_empty());
    fixture.hub.tick(25);
    assert_eq!(fetch(), ["h\n"]);
    peer.on_read(0);
    fixture.hub.tick(40);
    peer.send_line(Line::pong());
    assert_eq!(fetch(), ["a[]\n"]);
    fixture.hub.tick(64);
    assert!(fetch().is_empty(), "something else was sent");
    fixture.hub.tick(65);
    assert_eq!(fetch(), ["h\n"]);
    fixture.hub.tick(94);
    assert!(!peer.is_ending());
    fixture.hub.tick(95);
    assert!(peer.is_ending());
}

/// What may happen to the lines of a session.
#[derive(Debug, Clone)]
enum Step {
    Send(usize),
    /// With so much room; so many of the lines are written.
    Fetch(usize, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (1..300_usize).prop_map(Step::Send),
        (0..1000_usize, 0..12_usize).prop_map(|(room, written)| Step::Fetch(room, written)),
    ];
    proptest::collection::vec(step, 0..100)
}

proptest! {
    /// However many of the lent lines are written each time: every line is written once, and in order; and each loan
    /// ends with the line that crosses its room.
    #[test]
    fn nothing_is_lost_and_nothing_doubled(steps in steps()) {
        let system = actix_rt::System::new();
        let (sent, written) = system.block_on(async {
            let fixture = Fixture::new().await;
            let peer = fixture.fetched();
            let (mut sent, mut written) = (Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Send(length) => {
                        let line = Line::message(&format!("{}{}", sent.len(), "é".repeat(length)));
                        sent.extend(texts(std::slice::from_ref(&line)));
                        peer.send_line(line);
                    }
                    Step::Fetch(room, count) => {
                        let lines = peer.lend(room);
                        let again = peer.lend(usize::MAX);
                        assert_eq!(texts(&lines), texts(&again), "lent already");
                        if let Some((_, before)) = lines.split_last() {
                            assert!(before.iter().map(Line::units).sum::<usize>() <= room);
                        }
                        written.extend(texts(&lines[..count.min(lines.len())]));
                        peer.settle(count.min(lines.len()));
                    }
                }
            }
            written.extend(texts(&peer.lend(usize::MAX)));
            (sent, written)
        });
        prop_assert_eq!(sent, written);
    }
}
