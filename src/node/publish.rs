//! Publish: an event of a backend to its channels.

use std::time::Instant;

use super::Node;
use crate::adapter::{self, DeliveryScope, Event, LastEvent};
use crate::app::App;
use crate::feed::{Entry, Kind};
use crate::protocol::{ChannelName, EventName, ServerFrame, SocketId};
use crate::registry::LAST_EVENT_TTL;

/// An event as a backend wants it published: typed, and within the app's limits.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The event's name.
    pub event: EventName,
    /// The string that subscribers get.
    pub data: String,
    /// Where, without doubles.
    pub channels: Vec<ChannelName>,
    /// The connection that gets nothing.
    pub except: Option<SocketId>,
}

/// That all channels of a publication have accepted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishOutcome {
    /// How far it got: as far as on the channel where it got least far.
    pub scope: DeliveryScope,
    /// How many subscriptions its channels had together; none where that is not known of each.
    pub subscriptions: Option<usize>,
}

impl Node {
    /// Publishes to each channel: encoded once, kept where the channel caches, posted to the workers concerned.
    ///
    /// # Errors
    /// The server cannot take it now; channels earlier in the list may have got it.
    pub async fn publish(
        &self,
        app: &App,
        publication: &Publication,
    ) -> Result<PublishOutcome, adapter::Error> {
        let Publication {
            event,
            data,
            channels,
            except,
        } = publication;
        let accepted = Instant::now();
        self.inboxes.wait_for_capacity().await?;
        let mut published = PublishOutcome {
            scope: DeliveryScope::Everywhere,
            subscriptions: Some(0),
        };
        for channel in channels {
            let frame = ServerFrame::Event {
                channel,
                event: event.as_str(),
                data,
                user_id: None,
            }
            .encode();
            let keep = channel.is_cache().then(|| LastEvent {
                event: event.as_str().into(),
                data: data.as_str().into(),
                expires: Instant::now() + LAST_EVENT_TTL,
            });
            let event = Event {
                channel,
                frame,
                except: *except,
                keep,
                accepted,
            };
            let adapter::Published {
                scope,
                subscriptions,
            } = self.adapter.publish(app, event).await?;
            published.scope = published.scope.min(scope);
            let sum = published.subscriptions.zip(subscriptions);
            published.subscriptions = sum.map(|(all, of_channel)| all + of_channel);
            app.metrics.events_published.inc();
            self.feed.record(Some(&app.id), Kind::Published, || Entry {
                socket_id: *except,
                event: Some(publication.event.as_str().into()),
                data: Some(data),
                subscriptions,
                ..Entry::on(channel.as_str())
            });
        }
        Ok(published)
    }
}
