//! What answers to pings confirm, and how a drain takes leave.

use super::*;

/// The payload of the next frame, which must be a ping.
async fn pinged(client: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; 2];
    client.read_exact(&mut header).await.unwrap();
    assert_eq!(header[0], 0x89, "not a ping");
    let mut payload = vec![0; usize::from(header[1])];
    client.read_exact(&mut payload).await.unwrap();
    payload
}

fn confirmed(channel: &str, log_id: u64) -> Confirmed {
    Confirmed {
        channel: name(channel),
        log_id: LogId(log_id),
        is_first: false,
    }
}

fn token() -> Option<ResumeToken> {
    ResumeToken::parse("0123456789abcdef").ok()
}

#[actix_web::test]
async fn the_answer_to_a_ping_confirms_what_was_written_before_it() {
    let fixture = Fixture::new().await;
    let channel = name("c");
    let (peer, mut client) = fixture.peer_with(token()).await;
    let slot = fixture.hub.subscribe(&channel, &peer);
    fixture.hub.activate(&slot, 0, &[]);
    peer.track(&slot, LogId(0), Some(LogId(0)));
    fixture.hub.tick(1);
    fixture.post(&channel, 1, None);
    fixture.post(&channel, 2, None);
    assert_eq!(events(&mut client, 2).await, ["1", "2"]);
    fixture.hub.tick(2);
    let first = pinged(&mut client).await;
    fixture.post(&channel, 3, None);
    assert_eq!(events(&mut client, 1).await, ["3"]);
    assert!(
        peer.confirm(Some(b"")).is_empty(),
        "the answer to another ping"
    );
    assert_eq!(peer.confirm(Some(&first)), [confirmed("c", 2)]);
    assert!(peer.confirm(Some(&first)).is_empty());
    // Not before `ping_seconds` are over and its turn has come, and not if nothing is new.
    fixture.hub.tick(9);
    fixture.hub.tick(10);
    let second = pinged(&mut client).await;
    assert_eq!(peer.confirm(Some(&second)), [confirmed("c", 3)]);
    fixture.hub.tick(30);
    fixture.post(&channel, 4, Some(peer.socket_id()));
    fixture.post(&channel, 5, None);
    assert_eq!(events(&mut client, 1).await, ["5"]);
    // So that its position is not forgotten, it is told again after half of the time.
    // Its heartbeat does not ping it for silence.
    peer.on_read(1);
    fixture.hub.tick(100);
    let third = pinged(&mut client).await;
    assert_eq!(peer.confirm(Some(&third)), [confirmed("c", 5)]);
    peer.on_read(1);
    fixture.hub.tick(161);
    let fourth = pinged(&mut client).await;
    assert_eq!(peer.confirm(Some(&fourth)), [confirmed("c", 5)]);
    peer.untrack(&slot);
    peer.on_read(1);
    fixture.hub.tick(240);
    peer.send(&frame(&channel, 6));
    assert_eq!(
        events(&mut client, 1).await,
        ["6"],
        "no ping without a subscription"
    );
}

/// A ping confirms nothing that was written after it, and a subscription that begins anew is pinged for at once.
#[actix_web::test]
async fn an_answer_does_not_confirm_a_subscription_that_was_made_after_the_ping() {
    let fixture = Fixture::new().await;
    let (peer, mut client) = fixture.peer_with(token()).await;
    for (channel, known) in [("a", None), ("b", None), ("c", Some(LogId(3)))] {
        let slot = fixture.hub.subscribe(&name(channel), &peer);
        fixture.hub.activate(&slot, 0, &[]);
        peer.track(&slot, LogId(7), known);
    }
    let first = |channel| Confirmed {
        is_first: true,
        ..confirmed(channel, 7)
    };
    let ping = pinged(&mut client).await;
    assert_eq!(peer.confirm(Some(&ping)), [first("a")]);
    let ping = pinged(&mut client).await;
    assert_eq!(peer.confirm(Some(&ping)), [first("b"), confirmed("c", 7)]);
}

/// Positions are told again in time, however often others are.
#[actix_web::test]
async fn a_quiet_channel_is_not_forgotten_beside_a_busy_one() {
    let fixture = Fixture::new().await;
    let (peer, mut client) = fixture.peer_with(token()).await;
    for channel in ["busy", "quiet"] {
        let slot = fixture.hub.subscribe(&name(channel), &peer);
        fixture.hub.activate(&slot, 0, &[]);
        peer.track(&slot, LogId(0), Some(LogId(0)));
    }
    for number in 1..=6 {
        fixture.post(&name("busy"), number, None);
        assert_eq!(events(&mut client, 1).await, [number.to_string()]);
        fixture.hub.tick(10 * number as u32);
        let ping = pinged(&mut client).await;
        let mut expected = vec![confirmed("busy", number)];
        if number == 6 {
            expected.push(confirmed("quiet", 0));
        }
        assert_eq!(peer.confirm(Some(&ping)), expected);
    }
}

/// The walk of a delivery is cut into slices; who was served before the cut has it, who was not has not.
#[actix_web::test]
async fn a_slot_is_as_far_as_the_walk_has_come() {
    let fixture = Fixture::new().await;
    let (peer, _client) = fixture.peer().await;
    let channel = LocalChannel::new(&fixture.app, name("c"));
    for _ in 0..3 {
        channel.subscribe(Rc::clone(&peer));
    }
    let written = |channel: &LocalChannel| [0, 1, 2].map(|index| channel.written(index).0);
    for number in [7, 9] {
        channel.push_backlog(Delivery {
            number,
            log_id: Some(LogId(number)),
            frame: frame(channel.name(), number),
            except: None,
            accepted: None,
        });
    }
    assert_eq!(written(&channel), [0, 0, 0]);
    for (finished, expected) in [
        (false, [7, 7, 0]),
        (true, [7, 7, 7]),
        (false, [9, 9, 7]),
        (true, [9, 9, 9]),
    ] {
        let (delivery, _) = channel.current().unwrap();
        if channel.advance(2) {
            channel.record_delivered(&delivery);
            assert!(finished);
        }
        assert_eq!(written(&channel), expected);
    }
}

#[actix_web::test]
async fn of_so_many_earlier_connections_the_latest_are_known() {
    let fixture = Fixture::new().await;
    let (peer, _client) = fixture.peer_with(token()).await;
    let ids: Vec<SocketId> = (0..10).map(|_| SocketId::random()).collect();
    peer.continues(&ids[..2]);
    peer.continues(&[ids[1], peer.socket_id(), ids[2]]);
    assert_eq!(*peer.earlier_connections(), ids[..3]);
    peer.continues(&ids);
    assert_eq!(*peer.earlier_connections(), ids[..8]);
}

/// Who has a token is asked once more what it has got, and need not answer.
#[actix_web::test]
async fn a_drain_waits_a_while_for_the_last_answer() {
    let fixture = Fixture::new().await;
    let channel = name("c");
    let mut peers = Vec::new();
    for token in [token(), token(), None] {
        let (peer, client) = fixture.peer_with(token).await;
        let slot = fixture.hub.subscribe(&channel, &peer);
        fixture.hub.activate(&slot, 0, &[]);
        peer.track(&slot, LogId(0), Some(LogId(0)));
        peers.push((peer, client, slot));
    }
    fixture.post(&channel, 1, None);
    for (_, client, _) in &mut peers {
        assert_eq!(events(client, 1).await, ["1"]);
    }
    let ending =
        |peers: &[(Rc<Peer>, TcpStream, Slot)]| [0, 1, 2].map(|at| peers[at].0.is_ending());
    let drain = || fixture.hub.drain(CloseCode::ShuttingDown, 2);
    drain();
    assert_eq!(ending(&peers), [false, false, false]);
    let payload = pinged(&mut peers[0].1).await;
    assert_eq!(peers[0].0.confirm(Some(&payload)).len(), 1);
    drain();
    assert_eq!(ending(&peers), [true, false, true]);
    for _ in 0..30 {
        drain();
    }
    assert_eq!(ending(&peers), [true, true, true]);
}
