//! Publishes events. An event is accepted once Redis has taken it, and refused after `publish_timeout`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::adapter::redis::link::request::{
    LocalOnlyEvent, OnceRecord, Publish, PublishReply, Request,
};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::last_event_codec;
use crate::adapter::redis::wire::message::{Content, EventId, ID_BYTES};
use crate::adapter::redis::{BUDGET_KIB, OnOutage, Redis};
use crate::adapter::{DeliveryScope, Error, Event, KeyRefused, Published};
use crate::app::{App, AppId};
use crate::channel_log::LastEvent;
use crate::protocol::UserId;
use crate::rules::Retention;

/// An event that Redis did not take, as far as this node knows.
struct Unsent {
    id: EventId,
    why: String,
}

/// What Redis keeps of an event, beside what nodes need to close a gap.
#[derive(Default)]
struct Extras<'a> {
    /// What a cache channel keeps.
    keep: Option<&'a LastEvent>,
    /// What a rule keeps of the channel.
    kept: Option<Retention>,
    /// The record of the event's key.
    once: Option<OnceRecord>,
}

impl Redis {
    pub(in crate::adapter) async fn publish(
        &self,
        app: &App,
        event: Event<'_>,
    ) -> Result<Published, Error> {
        let Event {
            channel,
            frame,
            except,
            keep,
            kept,
            // The delivery is measured from the moment when the event has come back from Redis.
            accepted: _,
            once,
        } = event;
        let subject = Subject::Channel(channel.clone());
        let topic_id = subject.topic_id(&app.id);
        let content = Content::Event {
            except,
            frame: frame.clone(),
        };
        let once = once.map(|once| self.once_record(&app.id, channel, &topic_id, once));
        let has_key = once.is_some();
        let keep = keep.as_ref();
        let sent = self
            .publish_to_link(&app.id, &subject, content, Extras { keep, kept, once })
            .await;
        let published = |subscriptions, taken| Published {
            scope: DeliveryScope::Everywhere,
            subscriptions,
            taken,
        };
        let Unsent { id, why } = match sent {
            Ok(PublishReply::Taken(subscriptions)) => return Ok(published(subscriptions, None)),
            Ok(PublishReply::Once(taken)) => {
                return Ok(published(Some(taken.counts.subscriptions), Some(taken)));
            }
            Ok(PublishReply::OtherContent) => return Err(Error::Key(0, KeyRefused::Reused)),
            Err(unsent) => unsent,
        };
        // Nobody would know of a repeat that it is one.
        if has_key || self.settings.on_outage == OnOutage::Error {
            self.metrics.cluster_publish_refused.inc();
            return Err(Error::Unreachable(why.into()));
        }
        let local_only = LocalOnlyEvent {
            app: app.id.clone(),
            channel: channel.clone(),
            frame,
            except,
            id,
        };
        let link = self.link(&topic_id);
        link.post(Request::LocalOnlyEvent(local_only));
        Ok(Published {
            scope: DeliveryScope::ThisNode,
            subscriptions: None,
            taken: None,
        })
    }

    pub(in crate::adapter) async fn terminate(
        &self,
        app: &AppId,
        user: &UserId,
    ) -> Result<(), Error> {
        let subject = Subject::User(user.clone());
        let sent = self
            .publish_to_link(app, &subject, Content::Terminate, Extras::default())
            .await;
        sent.map(drop).map_err(|Unsent { why, .. }| {
            self.metrics.cluster_publish_refused.inc();
            Error::Unreachable(why.into())
        })
    }

    fn next_id(&self) -> EventId {
        let mut id = [0; ID_BYTES];
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        id[..8].copy_from_slice(&self.node.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        id
    }

    /// Publishes to all nodes. Returns what came of it.
    async fn publish_to_link(
        &self,
        app: &AppId,
        subject: &Subject,
        content: Content,
        extras: Extras<'_>,
    ) -> Result<PublishReply, Unsent> {
        let id = self.next_id();
        let (answer, answered) = oneshot::channel();
        let bytes = match &content {
            Content::Event { frame, .. } => frame.bytes().len(),
            Content::Terminate => 0,
        };
        let sending = async {
            let permit = self.acquire_budget(bytes).await;
            let topic_id = subject.topic_id(app);
            let link = self.link(&topic_id);
            link.post(Request::Publish(Publish {
                topic_keys: link.bucket.topic_keys(topic_id),
                id,
                content,
                keep: extras.keep.map(last_event_codec::write),
                kept: extras.kept,
                again: false,
                once: extras.once,
                answer,
                _permit: permit,
            }));
            answered.await
        };
        match tokio::time::timeout(self.settings.publish_timeout, sending).await {
            Ok(Ok(Ok(reply))) => Ok(reply),
            Ok(Ok(Err(why))) => Err(Unsent {
                id,
                why: format!("Redis refused the event: {why}"),
            }),
            Ok(Err(_)) | Err(_) => Err(Unsent {
                id,
                why: self.outage(&subject.topic_id(app)),
            }),
        }
    }

    /// Waits for a share of [`BUDGET_KIB`]. `None` comes only at the end of the process.
    pub(super) async fn acquire_budget(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let kib = u32::try_from(bytes / 1024).unwrap_or(BUDGET_KIB);
        let budget = Arc::clone(&self.budget);
        budget
            .acquire_many_owned((kib + 1).min(BUDGET_KIB))
            .await
            .ok()
    }
}
