//! `POST /apps/{id}/users/{user_id}/terminate_connections` (protocol §4.8).

use actix_web::{HttpRequest, HttpResponse};
use percent_encoding::percent_decode_str;

use super::error::{ApiError, Failure};
use super::events::bad;
use super::signed::Signed;
use crate::protocol::UserId;

/// `{}`, also when the user has no connection.
pub(super) async fn terminate(
    signed: Signed,
    request: HttpRequest,
) -> Result<HttpResponse, Failure> {
    signed.answer(end_all(&signed, &request).await)
}

async fn end_all(signed: &Signed, request: &HttpRequest) -> Result<HttpResponse, ApiError> {
    let text = percent_decode_str(request.match_info().query("user_id")).decode_utf8_lossy();
    let user = UserId::new(&text).ok_or_else(|| bad("The user id is empty".to_owned()))?;
    signed.node.terminate(&signed.app, &user).await?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body("{}"))
}
