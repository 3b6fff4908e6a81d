//! What nodes ask each other, and which of them owns a session: the seam itself, of adapters within this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tidewire::adapter::redis::{Address, LogLimits, Login, OnOutage, Redis, Settings, Topology};
use tidewire::adapter::{AskError, Deps, Error, NodeId, Owner, Question};
use tidewire::app::{Apps, CurrentApps};
use tidewire::feed::Feed;
use tidewire::hub::inbox::inboxes;
use tidewire::metrics::Metrics;
use tidewire::registry::Registry;
use tidewire::webhook::{self, Webhooks};

use crate::harness::{Proxy, RedisServer};

/// How long these nodes wait for Redis.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What a question in this file is about.
const SESSION: &str = "key/1/abcdefgh";

/// A node under this prefix that reaches Redis there.
async fn node(redis: SocketAddr, prefix: &str) -> Arc<Redis> {
    let settings = Settings {
        topology: Topology::Standalone(
            Address {
                host: redis.ip().to_string(),
                port: redis.port(),
            },
            0,
        ),
        login: Login::default(),
        tls: None,
        prefix: prefix.to_owned(),
        lease: Duration::from_secs(15),
        publish_timeout: TIMEOUT,
        on_outage: OnOutage::Error,
        log: LogLimits {
            events: 10,
            bytes: 1024,
            seconds: 10,
        },
    };
    let metrics = Metrics::default();
    let feed = Feed::new("node", metrics.clone());
    let apps = Apps::new([]);
    let webhooks = webhook::Settings::default();
    let webhooks = Webhooks::start(&apps, &webhooks, &metrics, &feed).await;
    let deps = Deps {
        registry: Arc::new(Registry::new(0, 0)),
        inboxes: inboxes(1, 1024, metrics.clone()).0,
        webhooks: webhooks.unwrap(),
        metrics,
        linger: Duration::ZERO,
        feed,
        apps: Arc::new(CurrentApps::new(apps)),
    };
    Redis::start(settings, deps).await.unwrap()
}

/// Runs `test` as a worker of a server would.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    tokio::task::LocalSet::new().block_on(&runtime.unwrap(), test);
}

/// Of one test alone.
fn prefix() -> String {
    format!("peers-{:x}", rand::random::<u64>())
}

/// The node that asks, the one that is asked, and the id of the latter.
async fn two(redis: SocketAddr, redis_of_asked: SocketAddr) -> (Arc<Redis>, Arc<Redis>, NodeId) {
    let prefix = prefix();
    let (asks, asked) = (
        node(redis, &prefix).await,
        node(redis_of_asked, &prefix).await,
    );
    assert_eq!(asked.own(SESSION).await, Ok(Owner::ThisNode));
    let Ok(Owner::Other(id)) = asks.own(SESSION).await else {
        panic!("the session is the other node's");
    };
    (asks, asked, id)
}

fn question(node: NodeId, text: &'static [u8]) -> Question<'static> {
    Question {
        session: SESSION,
        node,
        text: Bytes::from_static(text),
        takes: Duration::ZERO,
    }
}

/// Answers with what was asked, and counts.
fn echo(node: &Redis) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    node.answer_with(Arc::new(move |text| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move { [b"re: ", &text[..]].concat().into() })
    }));
    count
}

#[test]
fn a_session_has_one_owner_until_that_gives_it_up() {
    run(async {
        let redis = RedisServer::shared().address();
        let (a, b, id) = two(redis, redis).await;
        for _ in 0..2 {
            assert_eq!(b.own(SESSION).await, Ok(Owner::ThisNode));
            assert_eq!(a.own(SESSION).await, Ok(Owner::Other(id)));
            assert_eq!(a.owner(SESSION).await, Ok(Some(Owner::Other(id))));
        }
        assert_eq!(a.owner("key/1/other").await, Ok(None));
        // It is not the owner, so this is nothing.
        a.give_up(SESSION, Owner::ThisNode);
        assert_eq!(a.owner(SESSION).await, Ok(Some(Owner::Other(id))));
        b.give_up(SESSION, Owner::ThisNode);
        let until = Instant::now() + TIMEOUT;
        while a.owner(SESSION).await != Ok(None) {
            assert!(Instant::now() < until, "it was given up");
        }
        assert_eq!(a.own(SESSION).await, Ok(Owner::ThisNode));
        // Renewing is for what this node owns, and for what Redis has forgotten.
        let new: Arc<str> = "key/2/new".into();
        b.renew(&[SESSION.into(), Arc::clone(&new)]).await.unwrap();
        assert_eq!(a.owner(SESSION).await, Ok(Some(Owner::ThisNode)));
        assert_eq!(a.owner(&new).await, Ok(Some(Owner::Other(id))));
    });
}

#[test]
fn questions_get_their_own_answers() {
    run(async {
        let redis = RedisServer::shared().address();
        let (a, b, id) = two(redis, redis).await;
        // Whoever does not answer yet says so.
        assert_eq!(a.ask(question(id, b"x")).await, Err(AskError::Busy));
        let count = echo(&b);
        let texts: Vec<Bytes> = (0..500).map(|n| format!("{n}").into()).collect();
        let asked = texts.iter().map(|text| {
            let (a, text) = (Arc::clone(&a), text.clone());
            tokio::task::spawn_local(async move {
                let text = Bytes::clone(&text);
                let question = Question {
                    text,
                    ..question(id, b"")
                };
                a.ask(question).await
            })
        });
        let asked: Vec<_> = asked.collect();
        for (text, answer) in texts.iter().zip(asked) {
            let expected = [b"re: ", &text[..]].concat();
            assert_eq!(answer.await.unwrap(), Ok(Bytes::from(expected)));
        }
        assert_eq!(count.load(Ordering::Relaxed), texts.len());
    });
}

#[test]
fn a_question_that_may_have_arrived_is_answered_once() {
    run(async {
        let redis = RedisServer::shared();
        let proxy = Proxy::start(redis.address());
        let (a, b, id) = two(proxy.address(), redis.address()).await;
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        b.answer_with(Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                Bytes::from_static(b"done")
            })
        }));
        let asks = {
            let a = Arc::clone(&a);
            tokio::task::spawn_local(async move { a.ask(question(id, b"do it")).await })
        };
        while count.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        proxy.reset();
        assert_eq!(asks.await.unwrap(), Ok(Bytes::from_static(b"done")));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_node_that_is_away_costs_a_bounded_time() {
    run(async {
        let redis = RedisServer::shared();
        let proxy = Proxy::start(redis.address());
        let (a, b, id) = two(redis.address(), proxy.address()).await;
        let _count = echo(&b);
        // Nobody of that id has ever been there.
        let begun = Instant::now();
        let nobody = question(NodeId::of(7), b"x");
        let takes = Duration::from_secs(10);
        let nobody = Question { takes, ..nobody };
        assert_eq!(a.ask(nobody).await, Err(AskError::Gone));
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{:?}",
            begun.elapsed()
        );
        // It stands still, so Redis thinks that it listens.
        proxy.stall();
        let begun = Instant::now();
        let stalled = a.ask(question(id, b"x")).await;
        assert!(
            matches!(stalled, Err(AskError::Unreachable(_))),
            "{stalled:?}"
        );
        assert!(begun.elapsed() < TIMEOUT * 3, "{:?}", begun.elapsed());
        proxy.pass();
        let begun = Instant::now();
        while a.ask(question(id, b"x")).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is back");
        }
    });
}

#[test]
fn without_redis_nothing_is_asked() {
    run(async {
        let redis = RedisServer::shared();
        let proxy = Proxy::start(redis.address());
        let (a, b, id) = two(proxy.address(), redis.address()).await;
        let _count = echo(&b);
        proxy.cut();
        let begun = Instant::now();
        let cut = a.ask(question(id, b"x")).await;
        assert!(matches!(cut, Err(AskError::Unreachable(_))), "{cut:?}");
        let owner = a.owner(SESSION).await;
        assert!(matches!(owner, Err(Error::Unreachable(_))), "{owner:?}");
        assert!(begun.elapsed() < TIMEOUT * 4, "{:?}", begun.elapsed());
        proxy.pass();
        let begun = Instant::now();
        while a.ask(question(id, b"x")).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(30), "it is back");
        }
    });
}

#[test]
fn a_question_that_nobody_waits_for_is_withdrawn() {
    struct Gone(Arc<AtomicUsize>);
    impl Drop for Gone {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    run(async {
        let redis = RedisServer::shared().address();
        let (a, b, id) = two(redis, redis).await;
        let (begun, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (counted, ended) = (Arc::clone(&begun), Arc::clone(&gone));
        b.answer_with(Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let gone = Gone(Arc::clone(&ended));
            Box::pin(async move {
                std::future::pending::<()>().await;
                drop(gone);
                Bytes::new()
            })
        }));
        let takes = Duration::from_secs(60);
        let asks = tokio::task::spawn_local(async move {
            let question = Question {
                takes,
                ..question(id, b"x")
            };
            a.ask(question).await
        });
        while begun.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        asks.abort();
        let until = Instant::now() + Duration::from_secs(10);
        while gone.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < until, "its answer is given up");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
}

/// So many that a node asks, or answers, at once.
const MOST: usize = 10_000;

/// Asks so many questions, none of which is answered, and returns when all have arrived.
async fn ask_in_vain(
    asks: &Arc<Redis>,
    id: NodeId,
    many: usize,
    arrived: &AtomicUsize,
) -> Vec<tokio::task::JoinHandle<Result<Bytes, AskError>>> {
    let takes = Duration::from_secs(600);
    let ask = |_| {
        let asks = Arc::clone(asks);
        tokio::task::spawn_local(async move {
            let question = Question {
                takes,
                ..question(id, b"x")
            };
            asks.ask(question).await
        })
    };
    let before = arrived.load(Ordering::Relaxed);
    let asked: Vec<_> = (0..many).map(ask).collect();
    let until = Instant::now() + Duration::from_secs(60);
    while arrived.load(Ordering::Relaxed) < before + many {
        assert!(Instant::now() < until, "they arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    asked
}

/// Answers nothing, and counts the questions.
fn never(node: &Redis) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    node.answer_with(Arc::new(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::pending())
    }));
    count
}

#[test]
fn so_many_questions_are_under_way_and_the_next_is_refused() {
    run(async {
        let redis = RedisServer::shared().address();
        let (a, b, id) = two(redis, redis).await;
        let arrived = never(&b);
        let asked = ask_in_vain(&a, id, MOST, &arrived).await;
        assert_eq!(a.ask(question(id, b"x")).await, Err(AskError::Busy));
        // Those that nobody waits for make room.
        asked.iter().for_each(tokio::task::JoinHandle::abort);
        let next = loop {
            match a.ask(question(id, b"x")).await {
                Err(AskError::Busy) => tokio::task::yield_now().await,
                next => break next,
            }
        };
        assert!(matches!(next, Err(AskError::Unreachable(_))), "{next:?}");
    });
}

#[test]
fn so_many_questions_are_answered_at_once_and_the_next_is_refused() {
    run(async {
        let redis = RedisServer::shared().address();
        let prefix = prefix();
        let b = node(redis, &prefix).await;
        assert_eq!(b.own(SESSION).await, Ok(Owner::ThisNode));
        let (a, c) = (node(redis, &prefix).await, node(redis, &prefix).await);
        let Ok(Owner::Other(id)) = a.own(SESSION).await else {
            panic!("the session is the other node's");
        };
        let arrived = never(&b);
        let asked = ask_in_vain(&a, id, MOST, &arrived).await;
        assert_eq!(c.ask(question(id, b"x")).await, Err(AskError::Busy));
        asked.iter().for_each(tokio::task::JoinHandle::abort);
    });
}
