//! What each operation costs Redis: as many commands and messages as docs/sizing.md says.

use crate::harness::{Config, Nodes, RedisServer, Resp, Server, Ws};

use super::publish;

/// A connection that is told of everything that Redis is asked for.
struct Monitor<'a> {
    redis: &'a RedisServer,
    lines: Resp,
    marks: usize,
}

const COUNT: &str = "pusher_internal:subscription_count";

/// As it stands in the frame.
const COUNT_OF_THREE: &str = r#"{\"subscription_count\":3}"#;

/// What an operation has cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Cost {
    /// That a node sent.
    commands: usize,
    /// That scripts published; each goes to every node that listens.
    messages: usize,
}

impl<'a> Monitor<'a> {
    fn of(redis: &'a RedisServer) -> Self {
        let mut lines = redis.connect();
        lines.ask(&["MONITOR"]).expect("redis-server answers");
        Self {
            redis,
            lines,
            marks: 0,
        }
    }

    /// What was asked about a name since the last call, by now.
    fn so_far(&mut self, name: &str) -> Cost {
        self.marks += 1;
        let mark = format!("mark-{}", self.marks);
        self.redis.ask(&["ECHO", &mark]);
        self.until(name, |line| line.contains(&mark))
    }

    /// The same up to a line, and with it.
    fn until(&mut self, name: &str, is_end: impl Fn(&str) -> bool) -> Cost {
        let mut cost = Cost {
            commands: 0,
            messages: 0,
        };
        loop {
            let line = self.lines.read().expect("a line").text();
            if line.contains(name) {
                let is_of_script = line.contains(" lua]");
                cost.commands += usize::from(!is_of_script);
                cost.messages += usize::from(is_of_script && line.contains("\"PUBLISH\""));
            }
            if is_end(&line) {
                return cost;
            }
        }
    }
}

/// The rows of the document's table: operation, commands, messages.
fn documented(operation: &str) -> Cost {
    let document = include_str!("../../../docs/sizing.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| "));
    let mut rows = rows.map(|row| row.trim_end_matches(" |").split(" | ").collect::<Vec<_>>());
    let row = rows.find(|row| row[0] == operation);
    let Some([_, commands, messages]) = row.as_deref() else {
        panic!("no row for {operation:?}");
    };
    Cost {
        commands: commands.parse().expect(commands),
        messages: messages.parse().expect(messages),
    }
}

#[test]
fn operations_cost_redis_what_the_document_says() {
    const ROOM: &str = "private-room";
    let redis = RedisServer::start();
    let config = Config::new()
        .app("subscription_count", "true")
        .app("client_events", "true");
    let nodes = Nodes::over(&redis, 2, &config);
    let mut monitor = Monitor::of(&redis);
    let mut costs = |name: &str, operation: &str| {
        assert_eq!(monitor.so_far(name), documented(operation), "{operation}");
    };

    let mut one = subscribed(&nodes[0], ROOM);
    costs(ROOM, "the first subscription of a channel on a node");
    let mut two = subscribed(&nodes[0], ROOM);
    costs(ROOM, "a further one on the same node");
    let three = subscribed(&nodes[1], ROOM);
    costs(ROOM, "the first subscription of a channel on a node");

    assert_eq!(publish(&nodes[0], ROOM, "1").status(), 200);
    costs(ROOM, "an event, from a backend or a client");
    one.send(r#"{"event":"client-e","channel":"private-room","data":"{}"}"#);
    hears(&mut two, "client-e");
    costs(ROOM, "an event, from a backend or a client");
    let keyed = r#"{"name":"e","channel":"private-room","data":"1","idempotency_key":"k"}"#;
    assert_eq!(nodes[1].post(super::EVENTS, keyed).status(), 200);
    costs(ROOM, "an event with an idempotency key");
    super::subscriptions(&nodes[1], ROOM);
    costs(ROOM, "a question for a channel");

    hears(&mut one, COUNT_OF_THREE);
    drop(two);
    hears(&mut one, COUNT);
    costs(
        ROOM,
        "a subscription that ends, and is not the last of its node",
    );
    drop(three);
    hears(&mut one, COUNT);
    let last = monitor.until(ROOM, |line| {
        line.contains("UNSUBSCRIBE") && line.contains(ROOM)
    });
    assert_eq!(
        last,
        documented("the last one of its node, with what follows")
    );
}

/// Subscribed, and told how many there are.
fn subscribed(server: &Server, channel: &str) -> Ws {
    let mut ws = Ws::subscribed(server, channel);
    hears(&mut ws, COUNT);
    ws
}

/// Reads until a frame has this in it.
fn hears(ws: &mut Ws, part: &str) {
    while !ws.text().contains(part) {}
}
