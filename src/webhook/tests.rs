//! The way into an endpoint's queue, while its task does not get its turn.

use super::*;
use crate::app::{App, Webhook};

/// An app with a webhook.
fn with_webhook(url: &str) -> App {
    App {
        webhooks: vec![Webhook {
            url: url.parse().unwrap(),
            events: Vec::new(),
            channels: Vec::new(),
            except: Vec::new(),
            headers: Vec::new(),
            batch: false,
        }],
        ..App::plain()
    }
}

async fn started(apps: &Apps) -> (Webhooks, Metrics) {
    let metrics = Metrics::default();
    let feed = Feed::new("n", metrics.clone());
    let seconds = Duration::from_secs;
    let settings = Settings {
        linger: seconds(3),
        timeout: seconds(10),
        retry: seconds(300),
        queue_events: 10_000,
        dead_letters: 1000,
        batch_size: 100,
        batch_window: seconds(1),
        spool: None,
    };
    let webhooks = Webhooks::start(apps, &settings, &metrics, &feed).await;
    (webhooks.unwrap(), metrics)
}

#[actix_web::test]
async fn more_than_so_many_events_on_their_way_are_dropped_each_class_by_itself() {
    const MOST: u64 = 64 * 1024;
    let (webhooks, metrics) = started(&Apps::new([with_webhook("http://127.0.0.1:9/")])).await;
    let post = |channel: &str| {
        let channel = ChannelName::parse(channel, 200).unwrap();
        webhooks.post(
            &AppId::new("1"),
            &channel,
            &WebhookEvent::ChannelOccupied,
            None,
        );
    };
    for _ in 0..MOST {
        post("x");
    }
    assert_eq!(metrics.webhook_dropped.get(), 0);
    post("x");
    assert_eq!(metrics.webhook_dropped.get(), 1);
    assert_eq!(metrics.webhook_dropped_public.get(), 1);
    post("private-x");
    assert_eq!(
        metrics.webhook_dropped.get(),
        1,
        "a flood of public channels leaves room for others"
    );
}

#[actix_web::test]
async fn of_endpoints_that_were_removed_so_many_are_kept_and_those_with_events() {
    let (webhooks, _) = started(&Apps::default()).await;
    let one = |number: usize| Apps::new([with_webhook(&format!("http://127.0.0.1:9/{number}"))]);
    webhooks.reload(&one(0)).await.unwrap();
    let channel = ChannelName::parse("x", 200).unwrap();
    let event = WebhookEvent::ChannelOccupied;
    webhooks.post(&AppId::new("1"), &channel, &event, None);
    for number in 1..=RETIRED + 10 {
        webhooks.reload(&one(number)).await.unwrap();
    }
    let all = webhooks.all();
    assert_eq!(all.len(), RETIRED + 1);
    let unfinished = all.iter().filter(|endpoint| endpoint.unfinished() > 0);
    assert_eq!(unfinished.count(), 1);
}
