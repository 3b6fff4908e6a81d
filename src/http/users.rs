//! `POST /apps/{id}/users/{user_id}/terminate_connections` (protocol §4.8).

use actix_web::HttpResponse;

use super::error::ApiError;
use super::events::bad;
use super::signed::Signed;
use crate::protocol::UserId;

/// `{}`, also when the user has no connection.
pub(super) async fn terminate(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let user = UserId::new(&signed.name()).ok_or_else(|| bad("The user id is empty".to_owned()))?;
    signed.node().terminate(&signed.app, &user).await?;
    Ok(HttpResponse::Ok()
        .content_type("application/json")
        .body("{}"))
}
