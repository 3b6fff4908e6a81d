//! The public HTTP API: `/apps/{id}/…` for backends, and plain answers for people who look.
//!
//! One way for every request: [`route`] says which endpoint it is, [`signed::Signed`] finds the app and proves who asks,
//! a handler turns the body into typed values, calls one verb of the node and answers; what is refused on the way is
//! noted and answered in one place. Metrics and the like live on the admin port.

mod channels;
mod error;
mod events;
mod explain;
mod history;
mod idempotency;
mod query_string;
mod refusal;
mod route;
mod signed;
mod sources;
mod users;

use std::sync::Arc;

use actix_http::body::BoxBody;
use actix_http::header::ALLOW;
use actix_http::{HttpMessage as _, Method, Payload, Request, RequestHead, Response};
use actix_web::HttpResponse;

pub use error::ApiError;
pub use events::{OperatorPublish, Outcome};
pub use explain::{ExplainRequest, Explanation, Step};
pub use history::PastEvent;
pub use refusal::record_fault;

use crate::app::App;
use crate::net::{Client, Secure, TrustedProxies, check_head};
use crate::node::{ApiTokens, Node};
use route::{Endpoint, Route};
use signed::{Admitted, Signed};
use sources::Sought;
pub use sources::{SourceQueues, dry_run};

/// The public HTTP API, as all workers share it. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    node: Arc<Node>,
    path_prefix: Arc<str>,
    tokens: ApiTokens,
    proxies: Arc<TrustedProxies>,
    queues: SourceQueues,
}

impl Api {
    /// An API for this node. `path_prefix` is empty, or begins with a slash and does not end with one.
    pub fn new(
        node: Arc<Node>,
        path_prefix: &str,
        tokens: ApiTokens,
        proxies: Arc<TrustedProxies>,
    ) -> Self {
        Self {
            queues: SourceQueues::new(Arc::clone(&node)),
            node,
            path_prefix: path_prefix.into(),
            tokens,
            proxies,
        }
    }

    /// The check of API tokens.
    pub fn tokens(&self) -> &ApiTokens {
        &self.tokens
    }

    /// The node that the API publishes to.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Answers a request.
    pub async fn serve(&self, mut request: Request) -> Response<BoxBody> {
        let payload = request.take_payload();
        let call = Call::new(self, &request);
        call.count();
        match call.answer(payload).await {
            Ok(response) => response.into(),
            Err(refused) => call.refuse(&refused).into(),
        }
    }
}

/// A request that is refused, and for which app, if that is known for sure.
struct Refused {
    error: ApiError,
    app: Option<Arc<App>>,
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self { error, app: None }
    }
}

/// One request without its body.
struct Call<'a> {
    api: &'a Api,
    head: &'a RequestHead,
    route: Option<Route<'a>>,
    /// Whether the connection is TLS.
    secure: bool,
}

impl<'a> Call<'a> {
    fn new(api: &'a Api, request: &'a Request) -> Self {
        Self {
            api,
            head: request.head(),
            route: Route::of(request.path(), &api.path_prefix),
            secure: request.extensions().get::<Secure>().is_some(),
        }
    }

    /// Who sent it, as far as it can be told.
    fn client(&self) -> Client {
        let proxies = &self.api.proxies;
        proxies.client(self.head.peer_addr, self.secure, &self.head.headers)
    }

    fn is_publish(&self) -> bool {
        let endpoint = self.route.map(|route| route.endpoint);
        self.head.method == Method::POST && endpoint.is_some_and(Endpoint::is_publish)
    }

    fn count(&self) {
        if self.route.is_some_and(|route| route.endpoint.is_api()) {
            self.api.node.metrics().http_requests.inc();
        }
    }

    /// Checks all that can be checked before the body comes.
    fn check(&self) -> Result<Checked<'a>, ApiError> {
        check_head(self.head)?;
        let route = self.route.ok_or_else(|| self.unknown_path())?;
        let allow = route.endpoint.allow();
        match route.endpoint {
            _ if self.head.method == Method::OPTIONS => Ok(Checked::Answer(options(allow))),
            endpoint if !endpoint.takes(&self.head.method) => Err(ApiError::Method(allow)),
            Endpoint::Alive => Ok(Checked::Answer(alive())),
            Endpoint::WebSocket => Err(ApiError::NotUpgraded),
            Endpoint::Source => self.find_source(route).map(Checked::Source),
            _ => self.admit(route).map(Checked::Admitted),
        }
    }

    async fn answer(&self, payload: Payload) -> Result<HttpResponse, Refused> {
        let signed = match self.check()? {
            Checked::Answer(answer) => return Ok(answer),
            Checked::Source(sought) => return self.receive(sought, payload).await,
            Checked::Admitted(admitted) => Signed::read(self, admitted, payload).await?,
        };
        match handle(&signed).await {
            Ok(response) => Ok(signed.accepted(response)),
            Err(error) => Err(Refused {
                error,
                app: Some(signed.app),
            }),
        }
    }

    fn unknown_path(&self) -> ApiError {
        ApiError::UnknownPath(self.shown_path())
    }
}

/// A request that is all right as far as its head.
enum Checked<'a> {
    /// There is nothing else to look at.
    Answer(HttpResponse),
    Source(Sought),
    Admitted(Admitted<'a>),
}

/// Carries out a request that is proved.
async fn handle(signed: &Signed<'_>) -> Result<HttpResponse, ApiError> {
    let endpoint = signed.route.endpoint;
    if !endpoint.takes(&Method::POST) {
        signed.node().admit_read(&signed.app)?;
    }
    match endpoint {
        Endpoint::Events => events::publish(signed).await,
        Endpoint::BatchEvents => events::publish_batch(signed).await,
        Endpoint::Channels => channels::list(signed).await,
        Endpoint::Channel => channels::one(signed).await,
        Endpoint::Users => channels::users(signed).await,
        Endpoint::History => history::page(signed).await,
        Endpoint::Terminate => users::terminate(signed).await,
        // Nobody signs these.
        Endpoint::Alive | Endpoint::WebSocket | Endpoint::Stream | Endpoint::Source => {
            Err(signed.call.unknown_path())
        }
    }
}

/// Plain liveness: the process answers.
fn alive() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain").body("OK\n")
}

/// What may be sent to a path.
fn options(allow: &'static str) -> HttpResponse {
    HttpResponse::NoContent()
        .insert_header((ALLOW, allow))
        .finish()
}
