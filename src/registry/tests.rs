//! The registry against a naive model under random operations, and the rules that a model would only repeat.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::app::LimitsScope;
use crate::channel_log::LAST_EVENT_TTL;

const LIMIT: usize = 3;

fn app() -> AppId {
    AppId::new("1")
}

fn channel(text: &str) -> ChannelName {
    ChannelName::parse(text, 200).unwrap()
}

fn member(id: &str, info: Option<&str>) -> Member {
    Member {
        id: UserId::new(id).unwrap(),
        info: info.map(Into::into),
    }
}

fn new_subscription<'a>(
    app: &'a AppId,
    channel: &'a ChannelName,
    worker: u16,
    member: Option<&'a Member>,
) -> NewSubscription<'a> {
    NewSubscription {
        app,
        channel,
        worker,
        member,
        max_members: LIMIT,
        tell_count: true,
        past: PastWanted {
            cache: channel.is_cache(),
            ..PastWanted::default()
        },
        resumable: None,
    }
}

fn ended_subscription<'a>(
    app: &'a AppId,
    channel: &'a ChannelName,
    worker: u16,
    user: Option<&'a UserId>,
) -> EndedSubscription<'a> {
    EndedSubscription {
        app,
        channel,
        worker,
        user,
        tell_count: true,
        lingers: Some(SocketId::random()),
        resumable: None,
    }
}

/// One subscription of the model: (user, worker).
type Model = Vec<(String, u16)>;

fn users(model: &Model) -> Vec<String> {
    let mut users: Vec<String> = model.iter().map(|(user, _)| user.clone()).collect();
    users.sort();
    users.dedup();
    users
}

proptest! {
    #[test]
    fn agrees_with_a_naive_model(operations in proptest::collection::vec((any::<bool>(), 0..5u8, 0..3u16, any::<prop::sample::Index>()), 0..60)) {
        let (registry, app, room) = (Registry::new(0, 0), app(), channel("presence-room"));
        let now = Instant::now();
        let mut model = Model::new();
        let there: RefCell<HashMap<String, bool>> = RefCell::default();
        for (joins, user, worker, index) in operations {
            let before = users(&model);
            if joins {
                let user = user.to_string();
                let member = member(&user, None);
                let outcome = registry.subscribe(&new_subscription(&app, &room, worker, Some(&member)), now, |outcome, audience| {
                    assert!(audience.workers().any(|w| w == worker));
                    if outcome.member_added {
                        assert_ne!(there.borrow_mut().insert(user.clone(), true), Some(true), "added twice");
                    }
                });
                if before.len() >= LIMIT && !before.contains(&user) {
                    prop_assert!(outcome.is_err());
                    continue;
                }
                model.push((user.clone(), worker));
                let outcome = outcome.unwrap();
                prop_assert_eq!(outcome.member_added, !before.contains(&user));
                prop_assert_eq!(outcome.subscriptions, model.len());
                let ids: Vec<String> = outcome.members.iter().map(|m| m.id.to_string()).collect();
                prop_assert_eq!(ids, users(&model));
            } else if !model.is_empty() {
                let (user, worker) = model.swap_remove(index.index(model.len()));
                let user = UserId::new(&user).unwrap();
                registry.unsubscribe(&ended_subscription(&app, &room, worker, Some(&user)), now, |outcome, audience| {
                    assert_eq!(outcome.subscriptions, model.len());
                    assert_eq!(audience.is_empty(), model.is_empty());
                    if outcome.member_removed {
                        assert_eq!(there.borrow_mut().insert(user.to_string(), false), Some(true), "removed twice");
                    }
                });
            }
            let counts = registry.counts(&app, &room);
            prop_assert_eq!(counts, Counts { subscriptions: model.len(), users: users(&model).len() });
            prop_assert_eq!(registry.totals().channels, usize::from(!model.is_empty()), "no empty channel survives");
        }
    }
}

#[test]
fn later_connections_replace_the_members_info_and_tell_nobody() {
    let (registry, app, room) = (Registry::new(0, 0), app(), channel("presence-room"));
    let (old, new) = (
        member("7", Some(r#"{"v":1}"#)),
        member("7", Some(r#"{"v":2}"#)),
    );
    assert!(
        registry
            .subscribe(
                &new_subscription(&app, &room, 0, Some(&old)),
                Instant::now(),
                |_, _| ()
            )
            .unwrap()
            .member_added
    );
    let second = registry
        .subscribe(
            &new_subscription(&app, &room, 1, Some(&new)),
            Instant::now(),
            |_, _| (),
        )
        .unwrap();
    assert!(!second.member_added);
    assert_eq!(second.members, [new]);
}

#[test]
fn numbers_rise_so_that_a_subscription_gets_exactly_what_comes_after_it() {
    let (registry, app, room) = (Registry::new(0, 0), app(), channel("a"));
    let number = |registry: &Registry| {
        let number = RefCell::new(0);
        registry.with_audience(&app, &room, |audience| {
            *number.borrow_mut() = audience.next_sequence()
        });
        number.into_inner()
    };
    let before = number(&registry);
    let outcome = registry
        .subscribe(
            &new_subscription(&app, &room, 0, None),
            Instant::now(),
            |_, _| (),
        )
        .unwrap();
    let after = number(&registry);
    assert!(before <= outcome.since && outcome.since < after);
}

#[test]
fn counts_above_a_hundred_are_told_every_five_seconds_and_the_last_one_always() {
    let (registry, app, room, start) = (Registry::new(0, 0), app(), channel("a"), Instant::now());
    let told = |at: u64| {
        let now = start + Duration::from_secs(at);
        registry
            .subscribe(&new_subscription(&app, &room, 0, None), now, |_, _| ())
            .unwrap()
            .tell_count
    };
    assert_eq!((0..100).filter(|_| told(0)).count(), 100);
    assert_eq!((0..50).filter(|_| told(1)).count(), 0);
    let due = |at: u64| {
        let counts = RefCell::new(Vec::new());
        registry.due_counts(start + Duration::from_secs(at), |_, _, count, _| {
            counts.borrow_mut().push(count)
        });
        counts.into_inner()
    };
    assert!(due(3).is_empty());
    assert_eq!(due(6), [150]);
    assert!(due(60).is_empty(), "told once");
    assert!(told(61), "after a quiet time at once");
}

#[test]
fn only_presence_channels_and_applications_channels_are_listed() {
    let (registry, app) = (Registry::new(0, 0), app());
    for name in ["a", "presence-b", "#server-to-user-7"] {
        let name = channel(name);
        registry
            .subscribe(
                &new_subscription(&app, &name, 0, None),
                Instant::now(),
                |_, _| (),
            )
            .unwrap();
    }
    let list = |prefix: &str| {
        let mut names: Vec<String> = registry
            .channels(&app, prefix)
            .iter()
            .map(|(n, _)| n.to_string())
            .collect();
        names.sort();
        names
    };
    assert_eq!(list(""), ["a", "presence-b"]);
    assert_eq!(list("presence-"), ["presence-b"]);
    assert!(registry.channels(&AppId::new("2"), "").is_empty());
}

#[test]
fn users_are_online_from_their_first_connection_to_their_last() {
    let (registry, app, ada) = (Registry::new(0, 0), app(), UserId::new("ada").unwrap());
    registry.watch(&app, &ada, 3, |user| assert_eq!(user.connections, 0));
    let told = RefCell::new(Vec::new());
    let tell = |word: &'static str| {
        let told = &told;
        move |state: &UserState<'_>| {
            let workers = |audience: &Audience<'_>| audience.workers().collect::<Vec<_>>();
            let (signed_in, watchers) = (workers(&state.signed_in), workers(&state.watchers));
            told.borrow_mut()
                .push((word, state.connections, signed_in, watchers));
        }
    };
    let most = std::num::NonZeroU32::new(2);
    assert!(registry.sign_in(&app, &ada, (0, None), tell("in")));
    assert!(registry.sign_in(&app, &ada, (1, most), tell("in")));
    assert!(!registry.sign_in(&app, &ada, (1, most), tell("never")));
    registry.with_user_state(&app, &ada, tell("reach"));
    registry.sign_out(&app, &ada, 0, tell("out"));
    registry.sign_out(&app, &ada, 1, tell("out"));
    registry.unwatch(&app, &ada, 3, tell("unwatched"));
    let told = told.into_inner();
    assert_eq!(
        told,
        [
            ("in", 1, vec![0], vec![3]),
            ("in", 2, vec![0, 1], vec![3]),
            ("reach", 2, vec![0, 1], vec![3]),
            ("out", 1, vec![1], vec![3]),
            ("out", 0, vec![], vec![3]),
            ("unwatched", 0, vec![], vec![]),
        ]
    );
    assert_eq!(registry.totals(), Totals::default());
}

#[test]
fn the_connection_limit_is_exact() {
    let (registry, app, limit) = (Registry::new(0, 0), app(), NonZeroU32::new(2));
    for scope in [LimitsScope::Node, LimitsScope::Cluster] {
        let connect = |app: &AppId| registry.connect(app, limit, scope);
        assert!(connect(&app).is_ok() && connect(&app).is_ok());
        assert_eq!(connect(&app), Err(ConnectRefused::Limit));
        assert!(connect(&AppId::new("2")).is_ok(), "each app has its own");
        registry.disconnect(&app);
        assert!(connect(&app).is_ok());
        for app in [&app, &app, &AppId::new("2")] {
            registry.disconnect(app);
        }
    }
}

const DELAY: Duration = Duration::from_secs(3);

/// What webhooks were told of a channel or one of its members: the last thing told of each.
#[derive(Default)]
struct Told(HashMap<Option<String>, bool>);

impl Told {
    fn tell(&mut self, who: Option<String>, there: bool) {
        let before = self.0.insert(who.clone(), there).unwrap_or(false);
        assert_ne!(before, there, "{who:?} told twice");
    }

    fn vacated(&mut self, vacated: Vacated<'_>) {
        let user = match vacated {
            Vacated::Channel => None,
            Vacated::Member(user) => Some(user.to_string()),
        };
        self.tell(user, false);
    }
}

proptest! {
    /// Random joins, leaves and ticks of a clock: what is told of one channel or member alternates strictly, and in
    /// the end it is what is so.
    #[test]
    fn webhooks_are_told_of_comings_and_goings_in_turns(operations in proptest::collection::vec((0..3u8, 0..3u8, 0..4000u64, any::<prop::sample::Index>()), 0..80)) {
        let (registry, app, room) = (Registry::new(0, 0), app(), channel("presence-room"));
        let mut now = Instant::now();
        let told = RefCell::new(Told::default());
        let mut model = Model::new();
        for (operation, user, wait_ms, index) in operations {
            match operation {
                0 => {
                    let member = member(&user.to_string(), None);
                    registry.subscribe(&new_subscription(&app, &room, 0, Some(&member)), now, |outcome, _| {
                        if outcome.occupied {
                            told.borrow_mut().tell(None, true);
                        }
                        if outcome.member_appeared {
                            told.borrow_mut().tell(Some(user.to_string()), true);
                        }
                    }).unwrap();
                    model.push((user.to_string(), 0));
                }
                1 if !model.is_empty() => {
                    let (user, _) = model.swap_remove(index.index(model.len()));
                    let user = UserId::new(&user).unwrap();
                    registry.unsubscribe(&ended_subscription(&app, &room, 0, Some(&user)), now, |_, _| ());
                }
                _ => {
                    now += Duration::from_millis(wait_ms);
                    registry.due_vacated(DELAY, now, |_, _, vacated, _| told.borrow_mut().vacated(vacated));
                }
            }
        }
        registry.due_vacated(DELAY, now + DELAY, |_, _, vacated, _| told.borrow_mut().vacated(vacated));
        let there = |who: &Option<String>| match who {
            None => !model.is_empty(),
            Some(user) => users(&model).contains(user),
        };
        let told = told.into_inner().0;
        for (who, last) in &told {
            prop_assert_eq!(*last, there(who), "{:?}", who);
        }
        prop_assert_eq!(told.values().filter(|there| **there).count(), users(&model).len() + usize::from(!model.is_empty()));
        registry.due_vacated(Duration::ZERO, now + 2 * DELAY, |_, _, _, _| panic!("told already"));
    }
}

#[test]
fn one_miss_is_told_for_each_gap() {
    let (registry, app, name, now) = (
        Registry::new(10_000_000, 0),
        app(),
        channel("cache-x"),
        Instant::now(),
    );
    let joins = |at| {
        let outcome = registry.subscribe(&new_subscription(&app, &name, 0, None), at, |_, _| ());
        outcome.unwrap().cache_miss
    };
    let leaves =
        |at| registry.unsubscribe(&ended_subscription(&app, &name, 0, None), at, |_, _| ());
    let publishes = |at| {
        let event = LastEvent {
            event: "e".into(),
            data: "1".into(),
            expires: at + LAST_EVENT_TTL,
        };
        registry.publish(&ToKeep::last_event(&app, &name, &event), |_| ());
    };
    assert!(joins(now) && !joins(now));
    leaves(now);
    leaves(now);
    assert!(!joins(now), "a short absence changes nothing");
    publishes(now);
    assert!(!joins(now));
    let later = now + LAST_EVENT_TTL;
    assert!(joins(later) && !joins(later));
}
