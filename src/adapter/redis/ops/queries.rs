//! Queries to Redis. The cost of each grows with the length of its answer, not with the number of nodes.

use std::future::{Future, poll_fn};
use std::task::Poll;
use std::time::{Duration, Instant};

use redis::Value;
use tokio::sync::oneshot;

use crate::adapter::redis::connection::ValueExt as _;
use crate::adapter::redis::link::positions::read_position;
use crate::adapter::redis::link::register_reply::{read_logged, read_members};
use crate::adapter::redis::link::request::{Query, Request};
use crate::adapter::redis::wire::scripts::READ_LOG;
use crate::adapter::redis::wire::{keys, last_event_codec};
use crate::adapter::redis::{Handle, Redis};
use crate::adapter::{Counts, Error, Position, PositionChange};
use crate::app::AppId;
use crate::channel_log::{HistoryPage, HistoryQuery, LastEvent, LogBounds, LogEvent, LogId, Order};
use crate::protocol::{ChannelName, Member, PositionKey, ResumeToken, UserId};
use crate::supervise;

/// Channels that one command lists.
const PAGE: usize = 1000;

impl Redis {
    /// Sends a command that may be sent twice over the link of a topic, and returns its reply.
    pub(super) async fn query(&self, topic_id: &str, command: redis::Cmd) -> Result<Value, Error> {
        let link = self.link(topic_id);
        let mut replies = self.query_link(link, topic_id, vec![command]).await?;
        Ok(replies.pop().unwrap_or(Value::Nil))
    }

    /// Sends a command whose reply nobody needs.
    pub(super) fn send(&self, topic_id: &str, command: redis::Cmd) {
        let (answer, answered) = oneshot::channel();
        self.link(topic_id).post(Request::Query(Query {
            commands: vec![command],
            replies: Vec::new(),
            answer,
        }));
        // The link keeps it while somebody waits: at most as long as it keeps a publish.
        supervise::spawn(tokio::time::timeout(
            self.settings.publish_timeout,
            answered,
        ));
    }

    pub(super) async fn query_link(
        &self,
        link: &Handle,
        topic_id: &str,
        commands: Vec<redis::Cmd>,
    ) -> Result<Vec<Value>, Error> {
        let expected = commands.len();
        let (answer, answered) = oneshot::channel();
        let replies = Vec::new();
        link.post(Request::Query(Query {
            commands,
            replies,
            answer,
        }));
        match tokio::time::timeout(self.settings.publish_timeout, answered).await {
            Ok(Ok(Ok(mut replies))) => {
                // Callers rely on one reply for each command.
                replies.resize(expected, Value::Nil);
                Ok(replies)
            }
            Ok(Ok(Err(why))) => Err(Error::Unreachable(
                format!("Redis refused to answer: {why}").into(),
            )),
            Ok(Err(_)) | Err(_) => Err(Error::Unreachable(self.outage(topic_id).into())),
        }
    }

    pub(in crate::adapter) async fn counts(
        &self,
        app: &AppId,
        channel: &ChannelName,
    ) -> Result<Counts, Error> {
        let topic_id = keys::topic_id_of(app, channel.as_str());
        let command = counts_command(&self.link(&topic_id).bucket.state(&topic_id));
        read_counts(self.query(&topic_id, command).await?)
    }

    pub(in crate::adapter) async fn channels(
        &self,
        app: &AppId,
        prefix: &str,
    ) -> Result<Vec<(ChannelName, Counts)>, Error> {
        let buckets = self.links.iter();
        let lists = buckets.map(|link| self.list_bucket(link, app, prefix));
        Ok(try_all(lists).await?.concat())
    }

    /// Lists the occupied channels of one bucket, page by page, so that no command holds up Redis.
    async fn list_bucket(
        &self,
        link: &Handle,
        app: &AppId,
        prefix: &str,
    ) -> Result<Vec<(ChannelName, Counts)>, Error> {
        let mut found = Vec::new();
        let index = link.bucket.channel_index(app);
        let (mut from, to) = (
            format!("[{prefix}"),
            [b"[", prefix.as_bytes(), b"\xff"].concat(),
        );
        loop {
            let mut command = redis::cmd("ZRANGEBYLEX");
            command
                .arg(&index)
                .arg(&from)
                .arg(&to[..])
                .arg("LIMIT")
                .arg(0)
                .arg(PAGE);
            let mut reply = self.query_link(link, &index, vec![command]).await?;
            let names = reply.swap_remove(0).texts()?;
            let Some(last) = names.last() else {
                return Ok(found);
            };
            from = format!("({last}");
            let topic_ids = names.iter().map(|name| keys::topic_id_of(app, name));
            let commands: Vec<_> = topic_ids
                .map(|topic_id| counts_command(&link.bucket.state(&topic_id)))
                .collect();
            let is_last = names.len() < PAGE;
            let answers = self.query_link(link, &index, commands).await?;
            for (name, answer) in names.iter().zip(answers) {
                let counts = read_counts(answer)?;
                // The channel may have been vacated between the two commands.
                if counts.subscriptions > 0
                    && let Ok(name) = ChannelName::parse(name, usize::MAX)
                {
                    found.push((name, counts));
                }
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// Returns the members of a presence channel. Their `user_info` may be long, so it is read only if `with_info` is
    /// set.
    pub(in crate::adapter) async fn members(
        &self,
        app: &AppId,
        channel: &ChannelName,
        with_info: bool,
    ) -> Result<Vec<Member>, Error> {
        let topic_id = keys::topic_id_of(app, channel.as_str());
        let mut command = redis::cmd(if with_info { "HGETALL" } else { "HKEYS" });
        command.arg(self.link(&topic_id).bucket.members(&topic_id));
        let reply = self.query(&topic_id, command).await?;
        if with_info {
            let members = read_members(reply.pairs()?)?.into_iter();
            return Ok(members.map(|(id, info)| Member { id, info }).collect());
        }
        let users = reply.texts()?;
        let users = users.iter().filter_map(|user| UserId::new(user));
        Ok(users.map(|id| Member { id, info: None }).collect())
    }

    /// Returns a cache channel's last event, with the rest of its lifetime.
    pub(in crate::adapter) async fn last_event(
        &self,
        app: &AppId,
        channel: &ChannelName,
    ) -> Result<Option<LastEvent>, Error> {
        let topic_id = keys::topic_id_of(app, channel.as_str());
        let link = self.link(&topic_id);
        let key = link.bucket.topic_keys(topic_id.clone()).event;
        let commands = ["GET", "PTTL"].map(|name| redis::cmd(name).arg(&key).clone());
        let reply = self.query_link(link, &topic_id, commands.into()).await?;
        let mut reply = reply.into_iter();
        let mut next = || reply.next().unwrap_or(Value::Nil);
        let event = next()
            .bytes()?
            .and_then(|bytes| last_event_codec::read(&bytes));
        let left = Duration::from_millis(u64::try_from(next().number()?).unwrap_or_default());
        Ok(event.map(|event| LastEvent {
            expires: Instant::now() + left,
            ..event
        }))
    }

    /// Returns what a token has confirmed. If Redis has been away for longer than it is waited for, nobody waits again.
    pub(in crate::adapter) async fn recall(
        &self,
        app: &AppId,
        channel: &ChannelName,
        token: ResumeToken,
    ) -> Result<Option<Position>, Error> {
        let topic_id = keys::topic_id_of(app, channel.as_str());
        self.check_here(&topic_id)?;
        let key = token.position_key(app.as_str(), channel);
        let mut command = redis::cmd("GET");
        command.arg(self.link(&topic_id).bucket.position(&key));
        Ok(read_position(self.query(&topic_id, command).await?))
    }

    pub(in crate::adapter) fn remember(
        &self,
        app: &AppId,
        channel: &ChannelName,
        key: PositionKey,
        change: PositionChange,
    ) {
        let topic_id = keys::topic_id_of(app, channel.as_str());
        self.link(&topic_id).post(Request::Remember(key, change));
    }

    /// Returns a page of a channel's log.
    pub(in crate::adapter) async fn history(
        &self,
        app: &AppId,
        channel: &ChannelName,
        query: HistoryQuery,
    ) -> Result<Option<HistoryPage>, Error> {
        let topic_id = keys::topic_id_of(app, channel.as_str());
        let topic_keys = self.link(&topic_id).bucket.topic_keys(topic_id);
        let order = match query.order {
            Order::Ascending => "asc",
            Order::Descending => "desc",
        };
        let after = query.after.map(|place| place.0.to_string());
        let mut command = redis::cmd("EVAL");
        command
            .arg(READ_LOG)
            .arg(2)
            .arg(&topic_keys.state)
            .arg(&topic_keys.log)
            .arg(query.kept.map_or(0, |kept| kept.events.get()))
            .arg(query.kept.map_or(0, |kept| kept.seconds.get()))
            .arg(order)
            .arg(query.limit)
            .arg(after.unwrap_or_default());
        let reply = self.query(&topic_keys.topic_id, command).await?;
        let mut page = reply.list()?.into_iter();
        let Some(end) = page.next() else {
            return Ok(None);
        };
        let mut next = || page.next().unwrap_or(Value::Nil);
        let end = end.text()?.parse().unwrap_or_default();
        let begins = next().text()?.parse().unwrap_or_default();
        let entries = next().list()?;
        let (now, now_ms) = (Instant::now(), next().text()?.parse().unwrap_or_default());
        let entries = entries.into_iter().filter_map(read_logged);
        let mut events: Vec<LogEvent> = entries
            .filter_map(|logged| logged.event(now, now_ms))
            .collect();
        if query.order == Order::Descending {
            events.reverse();
        }
        let bounds = LogBounds {
            begins: LogId(begins),
            end: LogId(end),
        };
        let is_complete = query.after.is_none_or(|after| bounds.reaches(after));
        Ok(Some(HistoryPage {
            events,
            is_complete,
        }))
    }
}

/// Asks at once and returns the answers in their order, or the first refusal that comes.
async fn try_all<T, E>(
    futures: impl Iterator<Item = impl Future<Output = Result<T, E>>>,
) -> Result<Vec<T>, E> {
    let mut pending: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    poll_fn(|cx| {
        for (future, answer) in &mut pending {
            if answer.is_none()
                && let Poll::Ready(ready) = future.as_mut().poll(cx)
            {
                *answer = Some(ready?);
            }
        }
        match pending.iter().all(|(_, answer)| answer.is_some()) {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await?;
    Ok(pending
        .into_iter()
        .filter_map(|(_, answer)| answer)
        .collect())
}

fn counts_command(state: &str) -> redis::Cmd {
    let mut command = redis::cmd("HMGET");
    command.arg(state).arg("total").arg("users");
    command
}

fn read_counts(reply: Value) -> Result<Counts, Error> {
    let mut numbers = reply.list()?.into_iter();
    let mut next = || numbers.next().unwrap_or(Value::Nil).number();
    Ok(Counts {
        subscriptions: usize::try_from(next()?).unwrap_or_default(),
        users: usize::try_from(next()?).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::sync::Barrier;

    use super::*;

    #[tokio::test]
    async fn all_are_asked_before_any_has_answered() {
        let barrier = Rc::new(Barrier::new(16));
        let ask = |number: u32| {
            let barrier = Rc::clone(&barrier);
            async move {
                barrier.wait().await;
                Ok::<_, ()>(number)
            }
        };
        let answers = tokio::time::timeout(Duration::from_secs(5), try_all((0..16).map(ask)));
        assert_eq!(answers.await, Ok(Ok((0..16).collect())));
    }

    #[tokio::test]
    async fn a_refusal_is_not_waited_for() {
        let ask = |number: u32| async move {
            match number {
                7 => Err("away"),
                _ => std::future::pending::<Result<u32, _>>().await,
            }
        };
        assert_eq!(try_all((0..16).map(ask)).await, Err("away"));
    }
}
