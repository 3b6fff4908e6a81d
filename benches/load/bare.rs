//! The least that the HTTP framework takes: a server that reads a body and answers `{}`, without a route. It is this
//! bench again, in a process of its own.

use std::net::Ipv4Addr;

use actix_web::{App, HttpResponse, HttpServer, rt, web};

use crate::Result;

/// What this bench is started with to be that server, before the port.
pub(crate) const ARGUMENT: &str = "--serve-bare";

/// The port, if this process is to be the server.
pub(crate) fn port() -> Option<String> {
    let mut arguments = std::env::args().skip(1);
    let is_bare = arguments.next().is_some_and(|first| first == ARGUMENT);
    is_bare.then(|| arguments.next()).flatten()
}

/// Serves until somebody ends the process.
pub(crate) fn serve(port: &str) -> Result<()> {
    let address = (Ipv4Addr::LOCALHOST, port.parse()?);
    let server = HttpServer::new(|| App::new().default_service(web::to(answer)))
        .bind(address)?
        .run();
    Ok(rt::System::new().block_on(server)?)
}

async fn answer(_: web::Bytes) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body("{}")
}
