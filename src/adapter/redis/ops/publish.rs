//! Publishes events. An event is accepted once Redis has taken it, and refused after `publish_timeout`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::adapter::redis::link::request::{OnceRecord, Publish, PublishReply, Request};
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::last_event_codec;
use crate::adapter::redis::wire::message::{Content, EventId, ID_BYTES};
use crate::adapter::redis::{BUDGET_KIB, Redis};
use crate::app::AppId;
use crate::channel_log::LastEvent;
use crate::rules::Retention;

/// An event that Redis did not take, as far as this node knows.
pub(in crate::adapter::redis) struct Unsent {
    pub(in crate::adapter::redis) id: EventId,
    pub(in crate::adapter::redis) why: String,
}

/// What Redis keeps of an event, beside what nodes need to close a gap.
#[derive(Default)]
pub(in crate::adapter::redis) struct Extras<'a> {
    /// What a cache channel keeps.
    pub(in crate::adapter::redis) keep: Option<&'a LastEvent>,
    /// What a rule keeps of the channel.
    pub(in crate::adapter::redis) kept: Option<Retention>,
    /// The record of the event's key.
    pub(in crate::adapter::redis) once: Option<OnceRecord>,
}

impl Redis {
    fn next_id(&self) -> EventId {
        let mut id = [0; ID_BYTES];
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        id[..8].copy_from_slice(&self.node.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        id
    }

    /// Publishes to all nodes. Returns what came of it.
    pub(in crate::adapter::redis) async fn publish_to_link(
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
