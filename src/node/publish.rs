//! Publish: an event of a backend to its channels.

use std::collections::HashMap;
use std::time::Instant;

use smallvec::SmallVec;

use super::Node;
use crate::adapter::{self, Claims, Counts, DeliveryScope, Event, KeyRefused, Once, Published};
use crate::app::App;
use crate::channel_log::{LAST_EVENT_TTL, LastEvent};
use crate::feed::{Entry, Kind};
use crate::protocol::{ChannelName, EventName, ServerFrame, SocketId};

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
    /// What makes a repeat recognisable, which is not published again.
    pub once: Option<Once>,
}

/// That all channels of a publication have accepted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOutcome {
    /// How far it got: as far as on the channel where it got least far.
    pub scope: DeliveryScope,
    /// How many subscriptions its channels had together; none where that is not known of each.
    pub subscriptions: Option<usize>,
    /// What came of a publication with a key, in the first attempt that got anywhere.
    pub first: Option<First>,
}

impl PublishOutcome {
    /// Whether an earlier publication with the same key had been published, and this one was not.
    #[must_use]
    pub fn is_repeat(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.is_repeat)
    }

    /// Notes what came of the event on one of its channels.
    fn add(&mut self, published: Published, at: usize, channels: usize) {
        self.scope = self.scope.min(published.scope);
        let sum = self.subscriptions.zip(published.subscriptions);
        self.subscriptions = sum.map(|(all, of_channel)| all + of_channel);
        let Some(taken) = published.taken else { return };
        let first = self.first.get_or_insert_with(|| First {
            is_repeat: taken.is_repeat,
            note: taken.note,
            counts: vec![Counts::default(); channels],
        });
        first.counts[at] = taken.counts;
    }
}

/// What the first of several publications with one key led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct First {
    /// Whether that was an earlier one than this.
    pub is_repeat: bool,
    /// Its [`Once::note`].
    pub note: u8,
    /// The counts that it found, in the order of this one's channels.
    pub counts: Vec<Counts>,
}

impl Node {
    /// Publishes to each channel: encoded once, kept where the channel caches, posted to the workers concerned.
    ///
    /// # Errors
    /// The server cannot take it now; channels earlier in the list may have got it. Or its key is refused, and nothing
    /// was published.
    pub async fn publish(
        &self,
        app: &App,
        publication: &Publication,
    ) -> Result<PublishOutcome, adapter::Error> {
        let mut outcomes = self.publish_all(app, &[publication]).await?;
        Ok(outcomes.swap_remove(0))
    }

    /// Publishes one after the other.
    ///
    /// # Errors
    /// The server cannot take one of them now; those before it are published. Or a key is refused, and nothing was
    /// published.
    pub async fn publish_all(
        &self,
        app: &App,
        publications: &[&Publication],
    ) -> Result<Vec<PublishOutcome>, adapter::Error> {
        let accepted = Instant::now();
        let mut claims = claims(publications)?;
        if !claims.keys.is_empty() {
            // What has a claim is published without waiting for anybody here.
            self.inboxes.wait_for_capacity().await?;
            self.adapter.claim(app, &claims).await?;
        }
        let mut outcomes = Vec::with_capacity(publications.len());
        for (index, publication) in publications.iter().enumerate() {
            if claims.keys.is_empty() {
                self.inboxes.wait_for_capacity().await?;
            }
            let mut outcome = PublishOutcome {
                scope: DeliveryScope::Everywhere,
                subscriptions: Some(0),
                first: None,
            };
            let published = self.publish_one(app, publication, accepted, &mut outcome);
            if let Err(error) = published.await {
                let got_somewhere = outcome.first.is_some();
                claims
                    .keys
                    .retain(|(first, _)| *first > index || (*first == index && !got_somewhere));
                if !claims.keys.is_empty() {
                    self.adapter.release(app, &claims);
                }
                return Err(match error {
                    adapter::Error::Key(_, why) => adapter::Error::Key(index, why),
                    other => other,
                });
            }
            outcomes.push(outcome);
        }
        Ok(outcomes)
    }

    /// Publishes to each channel, and notes in `outcome` how far that got.
    async fn publish_one(
        &self,
        app: &App,
        publication: &Publication,
        accepted: Instant,
        outcome: &mut PublishOutcome,
    ) -> Result<(), adapter::Error> {
        let Publication {
            event,
            data,
            channels,
            except,
            once,
        } = publication;
        let mut places: SmallVec<[usize; 8]> = (0..channels.len()).collect();
        if once.is_some() {
            // Whoever delivers to the first channel is the first: all attempts have to agree which channel that is.
            places.sort_by_key(|&at| channels[at].as_str());
        }
        for at in places {
            let channel = &channels[at];
            let frame = ServerFrame::Event {
                channel,
                event: event.as_str(),
                data,
                user_id: None,
            }
            .encode();
            let policy = app.policy(channel);
            let keep = policy.cache.then(|| LastEvent {
                event: event.as_str().into(),
                data: data.as_str().into(),
                expires: Instant::now() + LAST_EVENT_TTL,
            });
            let event = Event {
                channel,
                frame,
                except: *except,
                keep,
                kept: policy.kept(),
                accepted,
                once: once.as_ref(),
            };
            let published = self.adapter.publish(app, event).await?;
            outcome.add(published, at, channels.len());
            if published.taken.is_some_and(|taken| taken.is_repeat) {
                continue;
            }
            app.metrics.events_published.inc();
            self.feed.record(Some(&app.id), Kind::Published, || Entry {
                socket_id: *except,
                event: Some(publication.event.as_str().into()),
                data: Some(data),
                subscriptions: published.subscriptions,
                ..Entry::on(channel.as_str())
            });
        }
        Ok(())
    }
}

/// The keys of publications, those whose contents are compared.
///
/// # Errors
/// Two of them use one key for different contents.
fn claims<'a>(publications: &[&'a Publication]) -> Result<Claims<'a>, adapter::Error> {
    let mut known = HashMap::new();
    let mut keys = Vec::new();
    for (index, publication) in publications.iter().enumerate() {
        let compared = publication
            .once
            .as_ref()
            .filter(|once| once.content.is_some());
        let Some(once) = compared else { continue };
        match known.insert(&once.key, once.content) {
            None => keys.push((index, once)),
            Some(content) if content == once.content => {}
            Some(_) => return Err(adapter::Error::Key(index, KeyRefused::Reused)),
        }
    }
    Ok(Claims {
        attempt: rand::random(),
        keys,
    })
}
