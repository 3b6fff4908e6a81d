//! The Apps API: `/apps` on the operators' port. It reads all apps and changes those of the table of `[app_store]`.
//!
//! An app is JSON with the keys of `[[apps]]`, and `status`, which is only read. What is wrong with a change is found
//! by those who read the file. A secret is answered when it is made, and by no other answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use actix_web::http::StatusCode;
use actix_web::http::header::{ETAG, HeaderMap, IF_MATCH, LOCATION};
use actix_web::web::{self, Data, Path, Payload, Query, QueryConfig, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tracing::info;

use super::access::SameOrigin;
use super::console::{ApiResult, unknown};
use super::problem::{Problem, read, read_or_default};
use super::{Admin, with_allow, write_at};
use crate::app::{App, AppId, Apps};
use crate::app_store::{Change, Listed, Origin, Status, WriteError, made_text};
use crate::clock::epoch_ms;

/// How many apps are listed unless more are asked for.
const LIMIT: usize = 200;

/// How many are listed at most.
const MOST: usize = 1000;

/// The longest body that is read.
const BODY_BYTES: usize = 1024 * 1024;

/// What stands for secrets in answers.
const MASK: &str = "***";

/// Adds the routes.
pub(super) fn configure(config: &mut ServiceConfig) {
    let query = QueryConfig::default()
        .error_handler(|error, _| Problem::new(StatusCode::BAD_REQUEST, error.to_string()).into());
    let all = web::resource("")
        .route(web::get().to(list))
        .route(web::head().to(list))
        .route(web::post().to(create));
    let one = web::resource("/{app}")
        .route(web::get().to(show))
        .route(web::head().to(show))
        .route(web::patch().to(patch))
        .route(web::delete().to(delete));
    let secret = web::resource("/{app}/secrets/{number}").route(web::delete().to(remove_secret));
    let api = web::scope("/apps")
        .app_data(query)
        .service(with_allow(all, "GET, HEAD, POST, OPTIONS"))
        .service(with_allow(one, "GET, HEAD, PATCH, DELETE, OPTIONS"))
        .service(write_at("/{app}/secrets", add_secret))
        .service(with_allow(secret, "DELETE, OPTIONS"))
        .default_service(web::to(unknown));
    config.service(api);
}

/// Which apps are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listing {
    after: Option<String>,
    limit: Option<usize>,
    #[serde(default)]
    find: String,
}

/// `GET /apps?after=&limit=&find=`: `{"apps":[…],"next":"1200","store":{…}}`, in the order of ids. `next` is what
/// `after` must be for the next page, none on the last one; `find` is a part of an id, a key or a name.
async fn list(admin: Data<Admin>, _: SameOrigin, wanted: Query<Listing>) -> HttpResponse {
    let limit = wanted.limit.unwrap_or(LIMIT).min(MOST);
    let find = wanted.find.trim().to_lowercase();
    let now = Now::of(&admin);
    // One more, to know whether there is a next page.
    let fits = |id: &str| now.fits(id, &find);
    let mut found = admin.apps.list(wanted.after.as_deref(), limit + 1, fits);
    let has_next = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| has_next);
    let next = next.map(|listed| listed.id.clone());
    let apps: Vec<Value> = found.into_iter().map(|listed| now.json(listed)).collect();
    let store = admin.apps.status().as_ref().map(store_json);
    HttpResponse::Ok().json(json!({ "apps": apps, "next": next, "store": store }))
}

/// `GET /apps/{id}`, with an `ETag` if the app can be changed here.
async fn show(admin: Data<Admin>, _: SameOrigin, id: Path<String>) -> ApiResult {
    let id = decoded(&id);
    let listed = admin.apps.get(&id).ok_or(WriteError::NoApp(id))?;
    Ok(answer(HttpResponse::Ok(), &admin, listed))
}

/// `POST /apps` with keys of `[[apps]]`; what is missing of `id`, `key` and `secret` is made. 201 with the whole app,
/// its secret included.
async fn create(admin: Data<Admin>, _: SameOrigin, payload: Payload) -> ApiResult {
    let said = said(payload).await?;
    let listed = admin.apps.create(without_nulls(said)).await?;
    info!(app = listed.id, "the Apps API created this app");
    let id = utf8_percent_encode(&listed.id, NON_ALPHANUMERIC);
    let location = format!("/apps/{id}");
    let mut response = HttpResponse::Created();
    response.insert_header((LOCATION, location));
    Ok(answer(response, &admin, listed))
}

/// `PATCH /apps/{id}` with a merge patch (RFC 7396): keys that are `null` have their default again.
async fn patch(
    admin: Data<Admin>,
    _: SameOrigin,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let id = decoded(&id);
    let change = Change::Patch(said(payload).await?);
    let listed = changed(&admin, &id, change, request.headers()).await?;
    info!(app = id, "the Apps API changed this app");
    Ok(answer(HttpResponse::Ok(), &admin, listed))
}

/// `DELETE /apps/{id}`: 204.
async fn delete(
    admin: Data<Admin>,
    _: SameOrigin,
    id: Path<String>,
    request: HttpRequest,
) -> ApiResult {
    let id = decoded(&id);
    let tag = wanted_tag(&admin, &id, request.headers());
    admin.apps.delete(&id, tag.as_deref()).await?;
    info!(app = id, "the Apps API deleted this app");
    Ok(HttpResponse::NoContent().finish())
}

/// A secret to add; without one it is made.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct NewSecret {
    secret: Option<String>,
}

/// `POST /apps/{id}/secrets`: 201 with `{"secret":"…","number":1}`. It verifies from now on; the first one signs.
async fn add_secret(
    admin: Data<Admin>,
    _: SameOrigin,
    id: Path<String>,
    request: HttpRequest,
    payload: Payload,
) -> ApiResult {
    let id = decoded(&id);
    let given: NewSecret = read_or_default(payload, BODY_BYTES).await?;
    let secret = given.secret.unwrap_or_else(made_text);
    refuse_masks(&json!(secret), "secret")?;
    let change = Change::AddSecret(secret.clone());
    let listed = changed(&admin, &id, change, request.headers()).await?;
    info!(app = id, "the Apps API added a secret to this app");
    let number = secrets(&listed).saturating_sub(1);
    let mut response = HttpResponse::Created();
    tagged(&mut response, &listed);
    Ok(response.json(json!({ "secret": secret, "number": number })))
}

/// `DELETE /apps/{id}/secrets/{number}`: 204. They count from 0, in the order of verification.
async fn remove_secret(
    admin: Data<Admin>,
    _: SameOrigin,
    path: Path<(String, String)>,
    request: HttpRequest,
) -> ApiResult {
    let (id, number) = path.into_inner();
    let id = decoded(&id);
    let number = number.parse().map_err(|_| {
        let text = "Secrets are numbered from 0: the path ends with a whole number";
        Problem::new(StatusCode::NOT_FOUND, text)
    })?;
    let change = Change::RemoveSecret(number);
    let listed = changed(&admin, &id, change, request.headers()).await?;
    info!(
        app = id,
        number, "the Apps API removed a secret of this app"
    );
    let mut response = HttpResponse::NoContent();
    tagged(&mut response, &listed);
    Ok(response.finish())
}

async fn changed(
    admin: &Admin,
    id: &str,
    change: Change,
    headers: &HeaderMap,
) -> Result<Listed, WriteError> {
    let tag = wanted_tag(admin, id, headers);
    admin.apps.change(id, change, tag.as_deref()).await
}

/// What `If-Match` says an app must be: of several tags the one that it has, or any of them, which it has not then.
fn wanted_tag(admin: &Admin, id: &str, headers: &HeaderMap) -> Option<String> {
    let given = headers.get_all(IF_MATCH);
    // What is no text is no tag of ours.
    let given = given.map(|value| value.to_str().unwrap_or("?"));
    let tags: Vec<&str> = given
        .flat_map(|value| value.split(','))
        .map(|tag| tag.trim().trim_matches('"'))
        .collect();
    if tags.contains(&"*") {
        return None;
    }
    let known = admin.apps.get(id).and_then(|listed| listed.tag);
    let has = known.filter(|known| tags.contains(&known.as_str()));
    has.or_else(|| tags.first().map(|&tag| tag.to_owned()))
}

/// A body with keys of an app.
async fn said(payload: Payload) -> Result<Map<String, Value>, Problem> {
    let mut said: Map<String, Value> = read(payload, BODY_BYTES).await?;
    for (key, value) in &mut said {
        refuse_masks(value, key)?;
        strip_lists(value);
    }
    Ok(said)
}

/// Refuses what answers have in the place of secrets: it would become the secret.
fn refuse_masks(value: &Value, field: &str) -> Result<(), Problem> {
    match value {
        Value::String(text) if text == MASK => {
            let text = format!(
                "{field}: \"{MASK}\" stands in answers for a secret that is not shown. Give the secret, or leave the \
                 key out and it stays as it is"
            );
            Err(Problem::of_fields([(field.to_owned(), text)]))
        }
        Value::Array(list) => list.iter().try_for_each(|value| refuse_masks(value, field)),
        Value::Object(entries) => entries
            .iter()
            .try_for_each(|(key, value)| refuse_masks(value, &format!("{field}.{key}"))),
        _ => Ok(()),
    }
}

/// Takes keys that are null out of the tables in lists, which a change replaces as a whole: they have their default.
fn strip_lists(value: &mut Value) {
    match value {
        Value::Array(list) => {
            for element in list {
                if let Value::Object(entries) = element {
                    *entries = without_nulls(std::mem::take(entries));
                }
            }
        }
        Value::Object(entries) => entries.values_mut().for_each(strip_lists),
        _ => {}
    }
}

/// Without the keys that are null, on any level.
fn without_nulls(mut entries: Map<String, Value>) -> Map<String, Value> {
    entries.retain(|_, value| !value.is_null());
    for value in entries.values_mut() {
        match value {
            Value::Object(inner) => *inner = without_nulls(std::mem::take(inner)),
            list => strip_lists(list),
        }
    }
    entries
}

/// How many secrets it has.
fn secrets(listed: &Listed) -> usize {
    let is_there = |key: &&str| listed.shown.get(*key).is_some_and(|value| !value.is_null());
    let further = listed.shown.get("secrets").and_then(Value::as_array);
    ["secret", "secret_file"]
        .iter()
        .filter(|key| is_there(key))
        .count()
        + further.map_or(0, Vec::len)
}

fn answer(mut response: HttpResponseBuilder, admin: &Admin, listed: Listed) -> HttpResponse {
    tagged(&mut response, &listed);
    response.json(Now::of(admin).json(listed))
}

fn tagged(response: &mut HttpResponseBuilder, listed: &Listed) {
    if let Some(tag) = &listed.tag {
        response.insert_header((ETAG, format!("\"{tag}\"")));
    }
}

/// What happens to apps on this node.
struct Now {
    apps: Arc<Apps>,
    connections: HashMap<AppId, usize>,
}

impl Now {
    fn of(admin: &Admin) -> Self {
        Self {
            apps: admin.node.apps(),
            connections: admin.node.connections(),
        }
    }

    /// Whether an app's id, key or name has this text in it, in lower case. Of a row that is wrong the id is known.
    fn fits(&self, id: &str, find: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(find);
        let is_app = |app: &Arc<App>| {
            let name = app.name.as_deref();
            has(app.key.as_str()) || name.is_some_and(has)
        };
        has(id) || self.apps.by_id(id).is_some_and(is_app)
    }

    /// The app's keys and `"status":{"origin":"table","problems":[],"connections":3,"messages_received":7,
    /// "messages_sent":9}`; the numbers are this node's.
    fn json(&self, listed: Listed) -> Value {
        let app = self.apps.by_id(&listed.id);
        let problems = listed.problems.iter();
        let problems =
            problems.map(|problem| json!({ "field": problem.field, "error": problem.text }));
        let status = json!({
            "origin": match listed.origin {
                Origin::File => "file",
                Origin::Table => "table",
            },
            "problems": problems.collect::<Vec<_>>(),
            "connections": self.connections.get(listed.id.as_str()).copied().unwrap_or(0),
            "messages_received": app.map_or(0, |app: &Arc<App>| app.metrics.messages_received.get()),
            "messages_sent": app.map_or(0, |app| app.metrics.messages_sent.get()),
        });
        let mut shown = without_nulls(listed.shown);
        shown.insert("status".to_owned(), status);
        Value::Object(shown)
    }
}

/// `{"rows":3,"broken":[{"id":"7","error":"…"}],"read_ms":…,"away":{"since_ms":…,"error":"…"}}`, times in milliseconds
/// since 1970.
fn store_json(status: &Status) -> Value {
    let broken = status.broken.iter();
    let away = status.away.as_ref();
    json!({
        "rows": status.rows,
        "broken": broken.map(|(id, error)| json!({ "id": id, "error": error })).collect::<Vec<_>>(),
        "read_ms": status.read_at.map(|at: SystemTime| epoch_ms(at)),
        "away": away.map(|(since, error)| json!({ "since_ms": epoch_ms(*since), "error": error })),
    })
}

fn decoded(id: &str) -> String {
    percent_decode_str(id).decode_utf8_lossy().into_owned()
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let status = match &error {
            WriteError::Invalid(fields) => {
                let fields = fields.iter();
                return Self::of_fields(fields.map(|one| (one.field.clone(), one.text.clone())));
            }
            WriteError::NoApp(_) | WriteError::NoSecret(_) => StatusCode::NOT_FOUND,
            WriteError::ReadOnly(_) | WriteError::Taken(_) | WriteError::LastSecret => {
                StatusCode::CONFLICT
            }
            WriteError::Changed => StatusCode::PRECONDITION_FAILED,
            WriteError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}
