//! The way into an endpoint's queue, while its task does not get its turn.

use super::*;
use crate::app::{App, Webhook};

#[actix_web::test]
async fn more_than_so_many_events_on_their_way_are_dropped_each_class_by_itself() {
    const MOST: u64 = 64 * 1024;
    let metrics = Metrics::default();
    let feed = Feed::new("n", metrics.clone());
    let apps = Apps::new([App {
        webhooks: vec![Webhook {
            url: "http://127.0.0.1:9/".parse().unwrap(),
            events: Vec::new(),
            channels: Vec::new(),
            except: Vec::new(),
            headers: Vec::new(),
            batch: false,
        }],
        ..App::plain()
    }]);
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
    let webhooks = Webhooks::start(&apps, &settings, &metrics, &feed)
        .await
        .unwrap();
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
