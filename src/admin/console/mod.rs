//! The debug console: pages for operators (`assets`), their JSON API (`api`), and the feed that they watch (`feed`).
//!
//! The pages hold nothing secret and are for everybody who reaches this port; everything they ask is for an
//! [`SameOrigin`](super::access::SameOrigin).

mod api;
mod assets;
mod feed;
mod series;
mod sources;

use actix_web::http::StatusCode;
use actix_web::web::{self, QueryConfig, ServiceConfig};

use super::problem::Problem;
use super::{read_at, sessions, write_at};
/// What handlers of JSON answer, and what is answered where none is.
pub(super) use api::{ApiResult, unknown};
/// Where the pages are.
pub(super) use assets::begin;
pub(super) use series::Series;

/// Adds the routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    let query = QueryConfig::default()
        .error_handler(|error, _| Problem::new(StatusCode::BAD_REQUEST, error.to_string()).into());
    let api = web::scope("/console/api")
        .app_data(query)
        .service(read_at("/session", api::session))
        .service(read_at("/series", api::series))
        .service(read_at("/apps/{app}/channels", api::channels))
        .service(read_at("/apps/{app}/channels/{channel}", api::channel))
        .service(read_at("/apps/{app}/connections", api::connections))
        .service(write_at(
            "/apps/{app}/connections/{socket_id}/close",
            api::close,
        ))
        .service(write_at("/apps/{app}/events", api::publish))
        .service(write_at("/signature", api::signature))
        .service(read_at("/apps/{app}/sources", sources::list))
        .service(write_at("/apps/{app}/sources/{source}/test", sources::test))
        .service(read_at("/feed", feed::watch))
        .default_service(web::to(api::unknown));
    config
        .service(api)
        .service(read_at("/console", assets::begin))
        .service(read_at("/console/", assets::index))
        .service(write_at(sessions::LOGIN, sessions::login))
        .service(write_at("/console/logout", sessions::logout))
        .service(read_at("/console/{file}", assets::file));
}
