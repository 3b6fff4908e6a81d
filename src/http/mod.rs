//! The public HTTP API: `/apps/{id}/…` for backends, and plain answers for people who look.
//!
//! One path for every request: [`signed::Signed`] finds the app and proves who asks; a handler turns the body into
//! typed values, calls one verb of the node and answers. Metrics and the like live on the admin port.

mod channels;
mod error;
mod events;
mod explain;
mod reading;
mod refusal;
mod signed;
mod users;

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::web::{self, Data, ServiceConfig};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse};

pub use error::ApiError;
pub use events::{Outcome, Wish};
pub use explain::{Asked, Explained, Step};
pub use refusal::note_fault;

use crate::metrics::RequestRefused;
use crate::net::{Client, Secure, TrustedProxies};
use crate::node::Node;
use refusal::note;

/// What the handlers share.
#[derive(Clone)]
pub struct Api {
    node: Arc<Node>,
    path_prefix: Arc<str>,
    allow_plain_tokens: bool,
    proxies: Arc<TrustedProxies>,
}

impl Api {
    /// `path_prefix` is empty or begins with a slash and does not end with one.
    #[must_use]
    pub fn new(
        node: Arc<Node>,
        path_prefix: &str,
        allow_plain_tokens: bool,
        proxies: Arc<TrustedProxies>,
    ) -> Self {
        Self {
            node,
            path_prefix: path_prefix.into(),
            allow_plain_tokens,
            proxies,
        }
    }

    /// What the requests are for.
    #[must_use]
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    fn client(&self, request: &HttpRequest) -> Client {
        let secure = request.extensions().get::<Secure>().is_some();
        self.proxies
            .client(request.peer_addr(), secure, request.headers())
    }

    /// Adds the routes, with and without the path prefix.
    pub fn configure(self, config: &mut ServiceConfig) {
        let prefix = Arc::clone(&self.path_prefix);
        config.app_data(Data::new(self));
        if !prefix.is_empty() {
            config.service(web::scope(&prefix).configure(routes));
        }
        routes(config);
        config.default_service(web::to(unknown_path));
    }
}

fn routes(config: &mut ServiceConfig) {
    config
        .route("/", web::get().to(alive))
        .route("/app/{key}", web::to(not_upgraded))
        .service(resource(
            "/apps/{app_id}/events",
            Method::POST,
            web::post().to(events::publish),
        ))
        .service(resource(
            "/apps/{app_id}/batch_events",
            Method::POST,
            web::post().to(events::publish_batch),
        ))
        .service(resource(
            "/apps/{app_id}/channels",
            Method::GET,
            web::get().to(channels::list),
        ))
        .service(resource(
            "/apps/{app_id}/channels/{channel}",
            Method::GET,
            web::get().to(channels::one),
        ))
        .service(resource(
            "/apps/{app_id}/channels/{channel}/users",
            Method::GET,
            web::get().to(channels::users),
        ))
        .service(resource(
            "/apps/{app_id}/users/{user_id}/terminate_connections",
            Method::POST,
            web::post().to(users::terminate),
        ))
        // The Python SDK leaves `/apps/{id}` out; the app is the one of the auth_key (protocol §4.8).
        .service(resource(
            "/users/{user_id}/terminate_connections",
            Method::POST,
            web::post().to(users::terminate),
        ));
}

fn resource(path: &str, method: Method, route: actix_web::Route) -> actix_web::Resource {
    web::resource(path)
        .route(route)
        .default_service(web::to(move |request: HttpRequest| {
            note(&request, None, RequestRefused::Method);
            let text = format!("Method not allowed: this path takes {method}\n");
            let allow = method.to_string();
            async move {
                HttpResponse::MethodNotAllowed()
                    .insert_header(("Allow", allow))
                    .content_type("text/plain")
                    .body(text)
            }
        }))
}

/// Plain liveness: the process answers.
async fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("OK\n")
}

/// A request on the WebSocket path that asked for no upgrade, or whose proxy did not pass that on.
async fn not_upgraded(request: HttpRequest) -> HttpResponse {
    note(&request, None, RequestRefused::NotUpgraded);
    HttpResponse::UpgradeRequired().insert_header(("Upgrade", "websocket")).content_type("text/plain").body(
        "This is the WebSocket endpoint: it expects the headers `Upgrade: websocket` and `Connection: Upgrade`.\n\
         If a WebSocket client got here, a proxy in between did not forward the upgrade\n\
         (nginx: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection \"upgrade\";).\n",
    )
}

async fn unknown_path(request: HttpRequest) -> HttpResponse {
    note(&request, None, RequestRefused::UnknownPath);
    let text = format!(
        "Unknown path {}: the HTTP API is under /apps/{{app_id}}/ (events, batch_events, channels, users), WebSockets connect to /app/{{key}}\n",
        crate::protocol::excerpt(request.path())
    );
    HttpResponse::NotFound()
        .content_type("text/plain")
        .body(text)
}
