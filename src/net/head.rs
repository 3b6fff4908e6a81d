//! The limits of a request's head, checked before anything else reads it.
//!
//! The HTTP parser takes heads of 128 KiB and 96 fields. Later work is linear in the head, but its sum is more than an
//! unsigned request should cost.

use actix_http::{RequestHead, StatusCode};

/// Bytes of path and query.
const TARGET_BYTES: usize = 8 * 1024;

/// Bytes of all field names and values.
const FIELD_BYTES: usize = 32 * 1024;

/// Parameters of the query.
const PARAMETERS: usize = 100;

/// Why a head is too large. The texts are for the sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeadTooLarge {
    /// 414.
    #[error("The path and query have {0} bytes, allowed are {most}", most = TARGET_BYTES)]
    Target(usize),
    /// 431.
    #[error("The header fields have {0} bytes, allowed are {most}", most = FIELD_BYTES)]
    Fields(usize),
    /// 400.
    #[error("The query has {0} parameters, allowed are {most}", most = PARAMETERS)]
    Parameters(usize),
}

impl HeadTooLarge {
    /// The status of the answer.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::Target(_) => StatusCode::URI_TOO_LONG,
            Self::Fields(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Parameters(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Checks the size of a head.
///
/// # Errors
/// The head is too large.
pub fn check_head(head: &RequestHead) -> Result<(), HeadTooLarge> {
    let target = head
        .uri
        .path_and_query()
        .map_or("", |target| target.as_str());
    if target.len() > TARGET_BYTES {
        return Err(HeadTooLarge::Target(target.len()));
    }
    let fields = head.headers.iter();
    let bytes = fields
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if bytes > FIELD_BYTES {
        return Err(HeadTooLarge::Fields(bytes));
    }
    let query = head.uri.query().unwrap_or_default();
    let parameters = query.split('&').count();
    if parameters > PARAMETERS {
        return Err(HeadTooLarge::Parameters(parameters));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use actix_http::Uri;
    use actix_http::header::{COOKIE, HeaderValue};

    use super::*;

    fn head(target: &str, cookie: usize) -> RequestHead {
        let mut head = RequestHead::default();
        head.uri = target.parse::<Uri>().unwrap();
        let cookie = HeaderValue::from_str(&"x".repeat(cookie)).unwrap();
        head.headers.insert(COOKIE, cookie);
        head
    }

    #[test]
    fn up_to_the_limits_and_no_further() {
        let path = |bytes: usize| format!("/{}", "x".repeat(bytes - 1));
        let query = |count: usize| format!("/?{}", vec!["a=b"; count].join("&"));
        let fields = FIELD_BYTES - COOKIE.as_str().len();
        for (target, cookie, expected) in [
            (path(TARGET_BYTES), fields, Ok(())),
            (path(TARGET_BYTES + 1), 0, Err(HeadTooLarge::Target(8193))),
            (path(1), fields + 1, Err(HeadTooLarge::Fields(32769))),
            (query(PARAMETERS), 0, Ok(())),
            (query(PARAMETERS + 1), 0, Err(HeadTooLarge::Parameters(101))),
            ("*".to_owned(), 0, Ok(())),
        ] {
            assert_eq!(check_head(&head(&target, cookie)), expected);
        }
    }
}
