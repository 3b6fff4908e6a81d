//! Logins to the console: sessions that stand for the token, so that a browser need not keep it.
//!
//! They are this worker's alone and in memory only: a restart ends them, and with it every change of the token. What is
//! kept of a session's id is a fingerprint.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::{COOKIE, SET_COOKIE};
use actix_web::web::{Data, Payload};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;

use super::Admin;
use super::problem::{Problem, read};
use crate::auth::Fingerprint;

const NAME: &str = "tidewire_session";

/// Where a login is sent to.
pub(super) const LOGIN: &str = "/console/login";

/// How long a session lasts.
const LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// How many there may be; beyond it the oldest goes.
const SESSIONS: usize = 64;

/// How many cookies of our name are looked at.
const COOKIES: usize = 8;

/// The longest body of a login that is read.
const BODY_BYTES: usize = 8 * 1024;

/// The sessions there are.
#[derive(Default)]
pub(super) struct Sessions {
    open: RefCell<VecDeque<Session>>,
    serial: Cell<u64>,
}

struct Session {
    ticket: Ticket,
    id: Fingerprint,
    until: Instant,
}

/// Which session somebody belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket(u64);

#[derive(Deserialize)]
struct Login {
    token: String,
}

impl Sessions {
    /// The session of a request, if it has one that still is.
    pub(super) fn ticket(&self, request: &HttpRequest) -> Option<Ticket> {
        let now = Instant::now();
        let given: Vec<Fingerprint> = cookies(request).map(Fingerprint::of).collect();
        let open = self.open.borrow();
        // All are compared, so that the time does not tell which one came close.
        let known = open.iter().filter(|session| {
            let fits = given.iter().filter(|given| session.id.equals(given));
            fits.count() > 0 && now < session.until
        });
        known.fold(None, |_, session| Some(session.ticket))
    }

    /// Whether a session still is.
    pub(super) fn is_open(&self, ticket: Ticket) -> bool {
        let now = Instant::now();
        let open = self.open.borrow();
        open.iter()
            .any(|session| session.ticket == ticket && now < session.until)
    }

    /// Begins one; its id.
    fn begin(&self) -> String {
        let id = hex::encode(rand::random::<[u8; 32]>());
        let now = Instant::now();
        self.serial.set(self.serial.get() + 1);
        let mut open = self.open.borrow_mut();
        open.retain(|session| now < session.until);
        if open.len() >= SESSIONS {
            open.pop_front();
        }
        open.push_back(Session {
            ticket: Ticket(self.serial.get()),
            id: Fingerprint::of(&id),
            until: now + LIFE,
        });
        id
    }

    fn end(&self, ticket: Ticket) {
        self.open
            .borrow_mut()
            .retain(|session| session.ticket != ticket);
    }
}

/// The values of the cookie. A browser sends one, but another path's or domain's may come along.
fn cookies(request: &HttpRequest) -> impl Iterator<Item = &str> {
    let headers = request.headers().get_all(COOKIE);
    let pairs = headers
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == NAME)
        .map(|(_, value)| value)
        .take(COOKIES)
}

fn cookie(id: &str, life: Duration) -> (actix_web::http::header::HeaderName, String) {
    let seconds = life.as_secs();
    let text = format!("{NAME}={id}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    (SET_COOKIE, text)
}

/// `POST /console/login` with `{"token":"…"}`: 204 with a cookie, or 401; 429 where too many were wrong.
pub(super) async fn login(
    admin: Data<Admin>,
    sessions: Data<Sessions>,
    payload: Payload,
) -> Result<HttpResponse, Problem> {
    let Login { token } = read(payload, BODY_BYTES).await?;
    let Some(known) = &admin.token else {
        // There is nothing to prove.
        return Ok(HttpResponse::NoContent().finish());
    };
    // Whoever fails too often is told to wait by the guard around all requests, which counts them.
    if !known.equals(&token) {
        return Err(Problem::new(
            StatusCode::UNAUTHORIZED,
            "That is not the token of [admin]",
        ));
    }
    Ok(HttpResponse::NoContent()
        .insert_header(cookie(&sessions.begin(), LIFE))
        .finish())
}

/// `POST /console/logout`: 204, whether there was a session or not.
pub(super) async fn logout(sessions: Data<Sessions>, request: HttpRequest) -> HttpResponse {
    if let Some(ticket) = sessions.ticket(&request) {
        sessions.end(ticket);
    }
    HttpResponse::NoContent()
        .insert_header(cookie("", Duration::ZERO))
        .finish()
}
