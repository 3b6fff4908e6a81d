//! What proves a delivery, and that nothing else reaches a template.

use actix_http::header::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::auth::SigningKey;

/// The request of phoenixd's pull request 34.
const PHOENIXD_KEY: &str = "ef72d3b96324106dfbf83f2a4efeff7dddb4ce923e9664cb56baf34cc52936b6";
const PHOENIXD_BODY: &str = "{\n    \"type\": \"payment_received\",\n    \"timestamp\": 1712785550079,\n    \
    \"amountSat\": 8,\n    \"paymentHash\": \"e628f8a516e9d3ee5e212a675f8d0c9dc5e7a5d500c5f4f91c62e9e921492653\",\n    \
    \"externalId\": null\n}";
const PHOENIXD_DIGEST: &str = "77ffc40401024fb417e45fdd002de06bdbf3b48b90d09d05cccd06462920aed7";

const NOW: u64 = 1_712_785_550;

/// A source with one route: channel, event, data.
fn source(signature: Signature, [channel, event, data]: [&str; 3]) -> Source {
    let mut templates = Templates::default();
    let route = Route {
        when: None,
        channels: vec![templates.template(channel).unwrap()],
        event: templates.template(event).unwrap(),
        data: Some(templates.template(data).unwrap()),
    };
    Source {
        name: "s".to_owned(),
        kind: "hmac".to_owned(),
        proof: Proof::Signature(signature),
        id: None,
        routes: vec![route],
        templates,
        tolerance: Duration::from_secs(300),
        dedupe: Duration::from_secs(300),
        store: None,
        history: History::default(),
    }
}

fn signature(key: &str) -> Signature {
    Signature {
        header: HeaderName::from_static("x-phoenix-signature"),
        separator: None,
        prefix: String::new(),
        encoding: Encoding::Hex,
        signed: vec![Part::Body],
        timestamp: None,
        id_header: None,
        keys: vec![SigningKey::new(key.as_bytes())],
    }
}

fn headers(pairs: &[(HeaderName, String)]) -> HeaderMap {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
        .collect()
}

fn delivery<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Delivery<'a> {
    Delivery {
        headers,
        body,
        time_ms: NOW * 1000,
    }
}

/// What waits for nobody: all kinds but those of SNS.
fn verified(source: &Source, delivery: Delivery<'_>) -> Result<Message, Refused> {
    let mut verifying = std::pin::pin!(source.verify(delivery, NOW));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match verifying.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Ok(Verified::Message(message))) => Ok(message),
        std::task::Poll::Ready(Err(refused)) => Err(refused),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_request_of_phoenixd() {
    let source = source(
        signature(PHOENIXD_KEY),
        [
            "pay.{{ body.amountSat }}",
            "{{ body.type }}",
            "{{ message | tojson }}",
        ],
    );
    let headers = headers(&[(
        HeaderName::from_static("x-phoenix-signature"),
        PHOENIXD_DIGEST.to_owned(),
    )]);
    let message = verified(&source, delivery(&headers, PHOENIXD_BODY.as_bytes())).unwrap();
    let routed = source.route(&message).unwrap();
    let [event] = &routed.events[..] else {
        panic!()
    };
    assert_eq!(
        (event.channels[0].as_str(), event.event.as_str()),
        ("pay.8", "payment_received")
    );
    // The keys keep their order.
    assert!(
        event
            .data
            .starts_with(r#"{"type": "payment_received", "timestamp": 1712785550079,"#),
        "{}",
        event.data
    );
    let changed = format!("{PHOENIXD_BODY}\n");
    let refused = verified(&source, delivery(&headers, changed.as_bytes())).unwrap_err();
    assert!(matches!(refused, Refused::Digest(_)), "{refused}");
    assert!(!refused.to_string().contains(PHOENIXD_DIGEST));
}

#[test]
fn what_can_be_signed() {
    let text = |text: &str| Part::Text(text.to_owned());
    assert_eq!(
        Part::parse_all("v0:{timestamp}:{body}").unwrap(),
        [text("v0:"), Part::Timestamp, text(":"), Part::Body]
    );
    for wrong in ["", "{timestamp}", "{body", "{body}.{url}"] {
        assert!(Part::parse_all(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn templates_are_bounded_and_strict() {
    let mut templates = Templates::default();
    let context = context! { n => 1_000_000_000, list => vec!["x"; 1000] };
    for (text, problem) in [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("{{ 'x' * n }}", ""),
        (
            "{% for a in list %}{% for b in list %}{{ a }}{% endfor %}{% endfor %}",
            "fuel",
        ),
        ("a\n{{ missing }}", "line 2: undefined value"),
        ("{{ list.missing.more }}", "undefined value"),
    ] {
        let template = templates.template(text).unwrap();
        let error = templates.render(&template, &context).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
    }
    for text in [
        "{% include 'x' %}",
        "{% extends 'x' %}",
        "{% import 'x' as y %}",
        "{{ a b }}",
        "{% if %}",
        "{{ x | nofilter }}",
    ] {
        let made = templates.template(text);
        let made = made.and_then(|template| templates.render(&template, &context));
        assert!(made.is_err(), "{text}");
    }
    assert!(templates.condition("a is").is_err());
    let condition = templates.condition("n > 5 and list is sequence").unwrap();
    assert!(templates.holds(&condition, &context).unwrap());
}

proptest! {
    /// Each route's template fails, so whatever reaches one is told by its error.
    #[test]
    fn no_unverified_byte_reaches_a_template(
        body in proptest::collection::vec(any::<u8>(), 0..64),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
        other_header in "[ -~]{0,80}",
    ) {
        let source = source(signature("key"), ["{{ missing }}", "{{ missing }}", "{{ missing }}"]);
        let signed = headers(&source.sign(&body, "", NOW).unwrap());
        let message = verified(&source, delivery(&signed, &body)).unwrap();
        let reached = matches!(source.route(&message), Err(Refused::Template { .. }));
        prop_assert!(reached);
        // Another body, another digest, none, and any text for one.
        if !body.is_empty() {
            let mut changed = body.clone();
            changed[at.index(body.len())] ^= 1 << bit;
            prop_assert!(verified(&source, delivery(&signed, &changed)).is_err());
        }
        let mut longer = body.clone();
        longer.push(bit);
        prop_assert!(verified(&source, delivery(&signed, &longer)).is_err());
        prop_assert!(verified(&source, delivery(&HeaderMap::new(), &body)).is_err());
        let forged = headers(&[(HeaderName::from_static("x-phoenix-signature"), other_header)]);
        prop_assert!(verified(&source, delivery(&forged, &body)).is_err());
        let other_key = signature("other");
        let forged = headers(&other_key.sign(&body, "", NOW));
        prop_assert!(verified(&source, delivery(&forged, &body)).is_err());
    }

    /// The same of a token: nothing but its own header proves anything.
    #[test]
    fn no_byte_reaches_a_template_without_the_token(body in ".{0,64}", given in "[ -~]{0,40}") {
        let token = Proof::Token {
            tokens: vec![Secret::new("right")],
            id_header: None,
        };
        let source = Source {
            proof: token,
            ..source(signature("key"), ["{{ missing }}", "{{ missing }}", "{{ missing }}"])
        };
        let body = body.as_bytes();
        let sent = |value: String| headers(&[(AUTHORIZATION, value)]);
        let right = sent("Bearer right".to_owned());
        let message = verified(&source, delivery(&right, body)).unwrap();
        let reached = matches!(source.route(&message), Err(Refused::Template { .. }));
        prop_assert!(reached);
        prop_assume!(given.trim() != "right");
        prop_assert!(verified(&source, delivery(&HeaderMap::new(), body)).is_err());
        for wrong in [given.clone(), format!("Bearer {given}"), format!("Basic {given}")] {
            prop_assert!(verified(&source, delivery(&sent(wrong), body)).is_err());
        }
    }
}
