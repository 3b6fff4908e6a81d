//! Publishes with a key: each event once to its channel, however often it is sent and to whichever node.
//!
//! A key has a *record* for as long as its window. `publish_once.lua` reads and writes it in the step that takes the
//! event: it binds the key to a hash of the content, and notes for each channel that the event was taken, with what the
//! publisher is told of it. Either both happened or neither, so it does not matter where an attempt was cut off:
//!
//! - An answer that was lost is in the record. An event that a link sends again finds its own id there.
//! - A repeat does what the first attempt does, channel by channel in the same order. Where the event was taken it gets
//!   the note, elsewhere the event is taken now: it finishes what a dead node began, and never waits for one that is
//!   alive, except that Redis answers one after the other.
//! - Of several attempts at once the one whose event the first channel took is the first; the others are repeats.
//! - What Redis did not take left nothing.
//!
//! One script suffices for all events of one key while Redis is one server: it has the record and all channels, and the
//! first event decides whether the content is the same. Two cases need a decision before the first event, a *claim*:
//!
//! - Several keys in one batch, of which one may be refused. They are claimed in one step, all or none.
//! - A Redis Cluster, where the record of the key and the channels are in different slots. There the key's own record has
//!   the claim, and each channel's bucket has a record for the key with this content, which has the notes.
//!
//! A claim has its holder's name, because others may rely on it: who gives it back removes the record only if nobody else
//! holds it and nothing was published under it. What a dead node claimed stays bound to its content for the window; a
//! repeat of that content is published all the same.
//!
//! With a key nothing is delivered without Redis, whatever `on_outage` says. What Redis forgets is forgotten: after a loss
//! of its memory a repeat is taken as new.

use std::collections::BTreeMap;

use crate::adapter::redis::Redis;
use crate::adapter::redis::connection::ValueExt as _;
use crate::adapter::redis::link::commands::millis;
use crate::adapter::redis::link::request::OnceRecord;
use crate::adapter::redis::wire::keys::Bucket;
use crate::adapter::{Claims, Error, KeyRefused, Once};
use crate::app::AppId;
use crate::protocol::ChannelName;

/// Decides over the keys of one bucket.
const CLAIM: &str = include_str!("../wire/scripts/claim_keys.lua");

impl Redis {
    /// The record of an event's key in the bucket of its topic.
    pub(in crate::adapter::redis) fn once_record(
        &self,
        app: &AppId,
        channel: &ChannelName,
        topic_id: &str,
        once: &Once,
    ) -> OnceRecord {
        let bucket = &self.link(topic_id).bucket;
        let content = content(once);
        let mut key = bucket.once(app, &once.key);
        if self.links.len() > 1 {
            key = format!("{key} {content}");
        }
        OnceRecord {
            key,
            field: format!("{}:{channel}", once.part),
            content,
            window: once.window,
            note: once.note,
        }
    }

    pub(in crate::adapter) async fn claim(
        &self,
        app: &AppId,
        claims: &Claims<'_>,
    ) -> Result<(), Error> {
        // The script that publishes decides it.
        if self.links.len() == 1 && claims.keys.len() == 1 {
            return Ok(());
        }
        for keys in self.by_bucket(app, claims) {
            let (id, command) = self.claim_command(app, claims, "claim", &keys);
            let refused = match self.query(&id, command).await {
                Ok(refused) => refused.number()?,
                Err(error) => {
                    self.release(app, claims);
                    return Err(error);
                }
            };
            let refused = usize::try_from(refused).unwrap_or_default();
            if let Some((index, _)) = refused.checked_sub(1).and_then(|at| keys.get(at)) {
                self.release(app, claims);
                return Err(Error::Key(*index, KeyRefused::Reused));
            }
        }
        Ok(())
    }

    /// Gives claims back. An answer is not awaited here: nobody could do anything with it.
    pub(in crate::adapter) fn release(&self, app: &AppId, claims: &Claims<'_>) {
        for keys in self.by_bucket(app, claims) {
            let (id, command) = self.claim_command(app, claims, "release", &keys);
            self.send(&id, command);
        }
    }

    /// The claims of each bucket.
    fn by_bucket<'a>(&self, app: &AppId, claims: &Claims<'a>) -> Vec<Vec<(usize, &'a Once)>> {
        let mut buckets: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for claim in &claims.keys {
            let at = Bucket::index(&key_id(app, claim.1), self.links.len());
            buckets.entry(at).or_default().push(*claim);
        }
        buckets.into_values().collect()
    }

    /// The command for the claims of one bucket, and the id of one of its keys.
    fn claim_command(
        &self,
        app: &AppId,
        claims: &Claims<'_>,
        verb: &str,
        keys: &[(usize, &Once)],
    ) -> (String, redis::Cmd) {
        let id = keys.first().map(|(_, once)| key_id(app, once));
        let id = id.unwrap_or_default();
        let bucket = &self.link(&id).bucket;
        let mut command = redis::cmd("EVAL");
        command.arg(CLAIM).arg(keys.len());
        for (_, once) in keys {
            command.arg(bucket.once(app, &once.key));
        }
        command.arg(format!("{:016x}", claims.attempt)).arg(verb);
        for (_, once) in keys {
            command.arg(content(once)).arg(millis(once.window));
        }
        (id, command)
    }
}

/// What decides in which bucket the record of a key is.
fn key_id(app: &AppId, once: &Once) -> String {
    format!("{app}:{}", once.key)
}

/// The hash of the content, empty if it is not compared.
fn content(once: &Once) -> String {
    once.content.as_ref().map(hex::encode).unwrap_or_default()
}
