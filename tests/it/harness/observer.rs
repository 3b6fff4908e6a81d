//! A member of a presence channel that believes what it is told, and insists that it makes sense.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::{Message, PATIENCE, Server, Ws, eventually};

pub(crate) type Members = BTreeSet<String>;

/// One connection with what it believes about [`Observer::CHANNEL`].
pub(crate) struct Observer {
    pub(crate) ws: Ws,
    /// Who this connection is, while it is subscribed.
    pub(crate) user: Option<String>,
    pub(crate) view: Members,
    /// Every change that it was told of since it joined: `+user` and `-user`.
    pub(crate) changes: Vec<String>,
    pongs: usize,
}

impl Observer {
    pub(crate) const CHANNEL: &str = "presence-x";

    pub(crate) fn connect(server: &Server) -> Self {
        Self {
            ws: Ws::connect(server),
            user: None,
            view: Members::new(),
            changes: Vec::new(),
            pongs: 0,
        }
    }

    /// Connected, and joined.
    pub(crate) fn joined(server: &Server, user: &str) -> Self {
        let mut observer = Self::connect(server);
        observer.join(user);
        observer
    }

    pub(crate) fn join(&mut self, user: &str) {
        self.send_join(user);
        self.await_snapshot();
    }

    /// The first half of [`Self::join`].
    pub(crate) fn send_join(&mut self, user: &str) {
        self.user = Some(user.to_owned());
        let channel_data = format!(r#"{{"user_id":"{user}"}}"#);
        self.ws.send_subscribe(Self::CHANNEL, Some(&channel_data));
    }

    /// The second half of [`Self::join`].
    pub(crate) fn await_snapshot(&mut self) {
        while self.view.is_empty() {
            let message = self.ws.next();
            self.note(message);
        }
        let user = self.user.as_ref().expect("it joins");
        assert!(self.view.contains(user), "the joiner is a member");
    }

    /// Unsubscribing is not answered; the pong behind it is.
    pub(crate) fn leave(&mut self) {
        self.ws.unsubscribe(Self::CHANNEL);
        self.is_alive();
        self.user = None;
        self.view.clear();
        self.changes.clear();
    }

    /// A ping is answered, whatever comes before it.
    pub(crate) fn is_alive(&mut self) {
        self.ws.send(r#"{"event":"pusher:ping"}"#);
        let pongs = self.pongs;
        while self.pongs == pongs {
            let message = self.ws.next();
            self.note(message);
        }
    }

    /// Reads until it believes this.
    pub(crate) fn sees(&mut self, members: &Members) {
        self.sees_within(PATIENCE, members);
    }

    /// The same, in time.
    pub(crate) fn sees_within(&mut self, time: Duration, members: &Members) {
        let mut view = None;
        eventually(time, &format!("a view is {members:?}"), || {
            self.read_for(Duration::from_millis(5));
            if view.as_ref() != Some(&self.view) {
                eprintln!("{:?} sees {:?}", self.user, self.view);
                view = Some(self.view.clone());
            }
            (self.view == *members).then_some(())
        });
    }

    fn read_for(&mut self, patience: Duration) {
        while let Some(message) = self.ws.try_next(patience) {
            self.note(message);
        }
    }

    fn note(&mut self, message: Message) {
        let Message::Text(text) = message else {
            panic!("unexpected {message:?}");
        };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let data = frame["data"].as_str().expect("data is a string");
        let data: Value = serde_json::from_str(data).unwrap();
        let user = data["user_id"].as_str().unwrap_or_default().to_owned();
        // Added and removed alternate: nothing is told twice, and nothing before the snapshot.
        match frame["event"].as_str().unwrap() {
            "pusher:pong" => self.pongs += 1,
            "pusher_internal:subscription_succeeded" => self.begin(&data["presence"]),
            "pusher_internal:member_added" => {
                self.changes.push(format!("+{user}"));
                assert!(self.view.insert(user), "{text}");
            }
            "pusher_internal:member_removed" => {
                self.changes.push(format!("-{user}"));
                assert!(self.view.remove(&user), "{text}");
            }
            _ => panic!("unexpected {text}"),
        }
    }

    fn begin(&mut self, presence: &Value) {
        assert!(self.view.is_empty(), "a second snapshot");
        let ids = presence["ids"].as_array().unwrap().iter();
        self.view = ids.map(|id| id.as_str().unwrap().to_owned()).collect();
        assert_eq!(presence["count"], self.view.len());
        assert_eq!(presence["hash"].as_object().unwrap().len(), self.view.len());
    }
}

/// The members that the HTTP API tells.
pub(crate) fn listed(server: &Server) -> Members {
    let target = format!("/apps/app-id/channels/{}/users", Observer::CHANNEL);
    let response = server.get(&target).json();
    let users = response["users"].as_array().unwrap().iter();
    users
        .map(|user| user["id"].as_str().unwrap().to_owned())
        .collect()
}

/// These members.
pub(crate) fn members<const N: usize>(users: [&str; N]) -> Members {
    users.map(ToOwned::to_owned).into()
}
