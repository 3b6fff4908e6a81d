//! `POST /apps/{id}/sources/{name}`: what another system delivers, published by the routes of the source.

mod queue;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use actix_http::{Payload, StatusCode};
use actix_web::HttpResponse;
use tracing::{info, warn};

use super::error::ApiError;
use super::events::{channels, check_data};
use super::route::Route;
use super::signed::{app_of_path, check_encoding, content_length, read_body};
use super::{Api, Call, Refused};
use crate::app::App;
use crate::clock;
use crate::feed::{Entry, Kind};
use crate::node::{Node, Once, Publication, PublishOutcome};
use crate::protocol::EventName;
use crate::source::{
    self, Attempt, BODY_BYTES, Delivery, Message, Routed, RoutedEvent, Source, Verified,
};
use crate::webhook::DeadLetter;
pub use queue::SourceQueues;

/// A source that was found, as a place among those of its app.
pub(super) struct Sought {
    app: Arc<App>,
    at: usize,
}

impl Sought {
    fn source(&self) -> &Source {
        &self.app.sources[self.at]
    }
}

impl Call<'_> {
    /// Checks all that the head decides.
    pub(super) fn find_source(&self, route: Route<'_>) -> Result<Sought, ApiError> {
        let apps = self.api.node.apps();
        let app = app_of_path(&apps, route)?.ok_or_else(|| self.unknown_path())?;
        if !app.enabled {
            return Err(ApiError::AppDisabled);
        }
        let name = route.name();
        let at = app.sources.iter().position(|source| source.name == name);
        let at = at.ok_or_else(|| ApiError::UnknownSource(app.id.clone()))?;
        let client = self.client();
        let is_open = !self.api.tokens.may_come_from(client);
        if is_open && app.sources[at].sends_its_secret() {
            return Err(ApiError::PlainToken);
        }
        check_encoding(self.head)?;
        if content_length(self.head).is_some_and(|length| length > BODY_BYTES) {
            return Err(ApiError::BodyTooLarge(BODY_BYTES));
        }
        let app = Arc::clone(app);
        Ok(Sought { app, at })
    }

    /// Takes a delivery: 200 when its events are accepted, or when there are none.
    pub(super) async fn receive(
        &self,
        sought: Sought,
        payload: Payload,
    ) -> Result<HttpResponse, Refused> {
        let refused = |error| Refused {
            error,
            app: Some(Arc::clone(&sought.app)),
        };
        let body = read_body(payload, BODY_BYTES).await.map_err(refused)?;
        let now = SystemTime::now();
        let delivery = Delivery {
            headers: &self.head.headers,
            body: &body,
            time_ms: clock::epoch_ms(now),
        };
        let mut attempt = Attempt {
            time_ms: delivery.time_ms,
            ..Attempt::default()
        };
        let taken = self.take(&sought, delivery, &mut attempt).await;
        let (status, text) = match &taken {
            Ok(text) => (StatusCode::OK, (*text).to_owned()),
            Err(error) => (error.status(), error.to_string()),
        };
        attempt.status = status.as_u16();
        attempt.outcome = text;
        self.record_attempt(&sought, &body, &attempt);
        sought.source().history.push(attempt);
        let text = taken.map_err(refused)?;
        self.api.node.metrics().source_deliveries.inc();
        let answer = HttpResponse::Ok()
            .content_type("text/plain")
            .body(format!("{text}\n"));
        Ok(answer)
    }

    /// Does what a delivery asks for, and says what that was.
    async fn take(
        &self,
        sought: &Sought,
        delivery: Delivery<'_>,
        attempt: &mut Attempt,
    ) -> Result<&'static str, ApiError> {
        let (app, source) = (&sought.app, sought.source());
        let verified = source.verify(delivery, delivery.time_ms / 1000).await;
        let verified = verified.map_err(|refused| self.count_wrong_secret(refused))?;
        attempt.excerpt = Some(source::excerpt(delivery.body));
        match verified {
            Verified::Message(message) => self.publish_message(sought, &message, attempt).await,
            Verified::Confirmed => {
                info!(app.id = %app.id, source = source.name, "a subscription of Amazon SNS was confirmed");
                Ok("the subscription was confirmed")
            }
            Verified::Unsubscribed => {
                warn!(app.id = %app.id, source = source.name, "a subscription of Amazon SNS has ended");
                Ok("the subscription has ended")
            }
        }
    }

    /// Publishes an event for each route that fits.
    async fn publish_message(
        &self,
        sought: &Sought,
        message: &Message,
        attempt: &mut Attempt,
    ) -> Result<&'static str, ApiError> {
        let (app, source) = (&sought.app, sought.source());
        let node = &self.api.node;
        let routed = source.route(message)?;
        attempt.id.clone_from(&routed.id);
        if routed.events.is_empty() {
            node.metrics().source_ignored.inc();
            return Ok("no route is for it");
        }
        let publications = checked(app, &routed)?;
        attempt.events = publications.iter().flat_map(targets).collect();
        if source.store.is_some() {
            let queues = &self.api.queues;
            return match queues.keep(app, source, routed, attempt.time_ms).await {
                true => Ok("kept to be published"),
                false => Err(ApiError::SourceFull),
            };
        }
        let identity = Identity {
            source: &source.name,
            window: source.dedupe,
        };
        Ok(match publish(node, app, &identity, &routed).await? {
            true => "published",
            false => "a repeat of what was published",
        })
    }

    /// Those who guess are slowed down, as those who guess tokens of the API.
    fn count_wrong_secret(&self, refused: source::Refused) -> ApiError {
        if let source::Refused::Credentials {
            was_given: true, ..
        } = refused
            && let Err(wait) = self.api.tokens.record_wrong(self.client())
        {
            return ApiError::TooManyTokens(wait);
        }
        refused.into()
    }

    /// Tells those who watch the app.
    fn record_attempt(&self, sought: &Sought, body: &[u8], attempt: &Attempt) {
        let feed = self.api.node.feed();
        if !feed.is_watched() {
            return;
        }
        let shown = source::excerpt(body);
        feed.record(Some(&sought.app.id), Kind::Source, || Entry {
            event: Some(sought.source().name.as_str().into()),
            reason: Some(attempt.outcome.as_str().into()),
            status: Some(attempt.status),
            data: Some(&shown),
            address: self.client().address,
            ..Entry::default()
        });
    }
}

/// What is to be published for a delivery, checked as events of the HTTP API.
fn checked(app: &App, routed: &Routed) -> Result<Vec<Publication>, ApiError> {
    let publication = |event: &RoutedEvent| {
        let name = EventName::parse(&event.event, app.limits.event_name_length)?;
        check_data(app, &event.data)?;
        Ok(Publication {
            event: name,
            data: event.data.clone(),
            channels: channels(app, event.channels.clone())?,
            except: None,
            once: None,
        })
    };
    routed.events.iter().map(publication).collect()
}

/// What would be published for a delivery if it were verified.
///
/// # Errors
/// Says which template fails, or what of its event is wrong.
pub fn dry_run(app: &App, source: &Source, delivery: Delivery<'_>) -> Result<Routed, String> {
    let routed = source
        .dry_run(delivery)
        .map_err(|refused| refused.to_string())?;
    checked(app, &routed).map_err(|error| error.to_string())?;
    Ok(routed)
}

/// Where an event goes to, for people.
fn targets(publication: &Publication) -> impl Iterator<Item = String> {
    let event = publication.event.as_str();
    let channels = publication.channels.iter();
    channels.map(move |channel| format!("{event} → {channel}"))
}

/// Publishes those events of a delivery that no earlier delivery with the same id has published. Says whether there were
/// any.
async fn publish(
    node: &Node,
    app: &App,
    identity: &Identity<'_>,
    routed: &Routed,
) -> Result<bool, ApiError> {
    let mut publications = checked(app, routed)?;
    for (publication, event) in publications.iter_mut().zip(&routed.events) {
        publication.once = routed
            .id
            .as_deref()
            .map(|id| identity.once(id, event.route));
    }
    node.admit_events(app, publications.len())?;
    let publications: Vec<_> = publications.iter().collect();
    let outcomes = node.publish_all(app, &publications).await?;
    let is_repeat = !outcomes.is_empty() && outcomes.iter().all(PublishOutcome::is_repeat);
    if is_repeat {
        node.metrics().source_repeated.inc();
    }
    Ok(!is_repeat)
}

/// What the ids of deliveries belong to.
struct Identity<'a> {
    source: &'a str,
    /// For how long they are remembered.
    window: Duration,
}

impl Identity<'_> {
    /// Each route counts for itself, so that a repeat publishes what is missing. The content is not compared: some
    /// providers change what does not matter when they try again.
    fn once(&self, id: &str, route: usize) -> Once {
        Once {
            // An id may have any length.
            key: format!("source {} {}", self.source, source::digest(id)).into(),
            part: u16::try_from(route).unwrap_or(u16::MAX),
            content: None,
            window: self.window,
            note: 0,
        }
    }
}

impl Api {
    /// The deliveries of sources that wait to be published.
    pub fn sources(&self) -> &SourceQueues {
        &self.queues
    }

    /// The dead letters of webhooks and of sources, in the order of their ids.
    pub async fn dead_letters(&self) -> Vec<DeadLetter> {
        let mut letters = self.node.webhooks().dead_letters().await;
        letters.extend(self.queues.dead_letters().await);
        letters.sort_by_key(|letter| letter.id);
        letters
    }

    /// Queues one dead letter again, or all. Returns how many there were.
    pub async fn redeliver(&self, id: Option<u64>) -> usize {
        self.node.webhooks().redeliver(id).await + self.queues.redeliver(id).await
    }
}
