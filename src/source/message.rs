//! What a delivery says, as templates see it, and its excerpt for people.

use actix_http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HeaderName, HeaderValue};
use minijinja::{Value, context};
use serde_json::Value as Json;

use super::Delivery;

/// Bytes of a delivery that are shown to people.
const EXCERPT_BYTES: usize = 1024;

/// Keys whose values are shown to nobody, in lower case: a part of the key is enough.
const SECRET_KEYS: [&str; 8] = [
    "authorization",
    "client_secret",
    "password",
    "secret",
    "signature",
    "subscribeurl",
    "token",
    "unsubscribeurl",
];

/// What a delivery says. It exists only for deliveries that were verified, and for dry runs.
#[derive(Debug)]
pub struct Message {
    /// The delivery's id, if a header or an envelope has it.
    pub(super) id: Option<String>,
    /// What is published unless a template says otherwise; none if it is no text.
    pub(super) text: Option<String>,
    /// What templates see, but for the id.
    pub(super) context: Value,
}

impl Message {
    /// `inner` is what an envelope has in it.
    pub(super) fn new(
        source: &str,
        delivery: Delivery<'_>,
        inner: Option<&str>,
        id: Option<String>,
    ) -> Self {
        let Delivery {
            headers,
            body,
            time_ms,
        } = delivery;
        let is_form = headers.get(CONTENT_TYPE).is_some_and(|value| {
            value
                .as_bytes()
                .starts_with(b"application/x-www-form-urlencoded")
        });
        let whole = parsed(body, is_form);
        let message = inner.map_or_else(|| whole.clone(), |inner| parsed(inner.as_bytes(), false));
        let text = match inner {
            Some(inner) => Some(inner.to_owned()),
            None => String::from_utf8(body.to_vec()).ok(),
        };
        let hidden = [AUTHORIZATION, COOKIE];
        let headers = headers.iter().filter(|(name, _)| !hidden.contains(name));
        let headers = headers.map(|(name, value)| {
            (
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        });
        let headers = Value::from_pairs(headers);
        Self {
            id,
            text,
            context: context! { body => whole, message, headers, source, time_ms },
        }
    }
}

/// Reads `Name: value`, for a dry run.
///
/// # Errors
/// It is no header.
pub fn header_line(line: &str) -> Result<(HeaderName, HeaderValue), String> {
    let parsed = line.split_once(':').and_then(|(name, value)| {
        let value = HeaderValue::from_str(value.trim()).ok()?;
        Some((name.trim().parse().ok()?, value))
    });
    parsed.ok_or_else(|| "expected a header like \"X-GitHub-Event: push\"".to_owned())
}

/// JSON, the fields of a form, or a text. Some senders of JSON call it a form, as curl does.
fn parsed(bytes: &[u8], is_form: bool) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|_| match is_form {
        true => Value::from_pairs(form_urlencoded::parse(bytes)),
        false => Value::from(String::from_utf8_lossy(bytes)),
    })
}

/// The beginning of a body for people, with secrets masked. A body that is neither JSON nor text is not shown.
pub fn excerpt(body: &[u8]) -> String {
    let shown = match serde_json::from_slice::<Json>(body) {
        Ok(mut json) => {
            mask(&mut json);
            json.to_string()
        }
        Err(_) => match std::str::from_utf8(body) {
            Ok(text) => text
                .split('&')
                .map(masked_field)
                .collect::<Vec<_>>()
                .join("&"),
            Err(_) => String::new(),
        },
    };
    shown[..shown.floor_char_boundary(EXCERPT_BYTES)].to_owned()
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|secret| key.contains(secret))
}

fn mask(json: &mut Json) {
    match json {
        Json::Object(fields) => {
            for (key, value) in fields {
                match is_secret(key) {
                    true => *value = "***".into(),
                    false => mask(value),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(mask),
        Json::String(text) => {
            if let Some(inner) = masked_text(text) {
                *text = inner;
            }
        }
        _ => {}
    }
}

/// A text with JSON in it, as Amazon SNS has it, and Slack in a form.
fn masked_text(text: &str) -> Option<String> {
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut inner = serde_json::from_str(text).ok()?;
    mask(&mut inner);
    Some(inner.to_string())
}

fn masked_field(field: &str) -> String {
    let decoded = form_urlencoded::parse(field.as_bytes()).next();
    let (Some((key, _)), Some((name, value))) = (field.split_once('='), decoded) else {
        return field.to_owned();
    };
    if is_secret(&name) {
        return format!("{key}=***");
    }
    masked_text(&value).map_or_else(|| field.to_owned(), |value| format!("{key}={value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        for (body, shown) in [
            (r#"{"a":1,"apiToken":"t"}"#, r#"{"a":1,"apiToken":"***"}"#),
            (r#"[{"Password":{"x":1}}]"#, r#"[{"Password":"***"}]"#),
            (
                r#"{"Message":"{\"secret\":1,\"b\":2}"}"#,
                r#"{"Message":"{\"b\":2,\"secret\":\"***\"}"}"#,
            ),
            (
                r#"{"Message":" {\"secret\":1}"}"#,
                r#"{"Message":"{\"secret\":\"***\"}"}"#,
            ),
            ("a=1&token=x", "a=1&token=***"),
            ("a=%7B&%74oken=x", "a=%7B&%74oken=***"),
            (
                "payload=%7B%22token%22%3A%22x%22%2C+%22b%22%3A2%7D",
                r#"payload={"b":2,"token":"***"}"#,
            ),
            ("plain text", "plain text"),
        ] {
            assert_eq!(excerpt(body.as_bytes()), shown);
        }
        assert_eq!(excerpt(&[0xff, 0xfe]), "");
        assert_eq!(excerpt("€".repeat(1000).as_bytes()).len(), 1023);
    }
}
