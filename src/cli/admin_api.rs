//! Calls of the admin port: which server, with which token, and its answers.

use actix_http::Method;
use actix_http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use clap::Args;
use serde_json::Value;

use super::Error;
use super::api::{Answer, Http};
use super::target::{Authorities, Configuration, local};
use crate::client::Address;

/// The token's variable, where `--admin` names a server that the configuration does not describe.
const TOKEN: &str = "TIDEWIRE_ADMIN__TOKEN";

const UNREACHABLE: &str = "Is the server running there? Check --admin, or host and port in [admin]: unless told otherwise the admin port listens \
     on loopback only.";

/// The flags of the commands that call the admin port.
#[derive(Debug, Args)]
pub(super) struct AdminArgs {
    /// The admin port [default: host and port of [admin]]; its token is then taken from `TIDEWIRE_ADMIN__TOKEN`
    #[arg(long, value_name = "URL", global = true)]
    admin: Option<String>,
    /// Print the server's answer as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
    #[command(flatten)]
    authorities: Authorities,
}

/// The admin port of one server.
pub(super) struct AdminApi {
    http: Http,
    token: Option<HeaderValue>,
}

impl AdminArgs {
    /// The port that is meant.
    pub(super) fn api(&self, configuration: &Configuration) -> Result<AdminApi, Error> {
        let (address, token) = match &self.admin {
            Some(url) => {
                let address = Address::parse(url);
                let address = address.map_err(|error| Error::Usage(format!("--admin: {error}")))?;
                (address, configuration.variable(TOKEN).map(bearer))
            }
            None => {
                let admin = configuration.admin()?;
                if admin.port == 0 {
                    let text = "port in [admin] is 0, any free one: name the server with --admin";
                    return Err(Error::Usage(text.to_owned()));
                }
                let token = admin.token.as_ref().map(|token| bearer(token.expose()));
                (local(&admin.host, admin.port, ""), token)
            }
        };
        let unusable = |()| {
            let text = format!("{TOKEN} or token in [admin] cannot be sent in a header");
            Error::Usage(text)
        };
        Ok(AdminApi {
            http: Http {
                base: address.http(),
                trust: self.authorities.trust()?,
                hint: UNREACHABLE,
            },
            token: token.transpose().map_err(unusable)?,
        })
    }
}

fn bearer(token: &str) -> Result<HeaderValue, ()> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| ())?;
    value.set_sensitive(true);
    Ok(value)
}

impl AdminApi {
    /// Calls and takes nothing but success.
    pub(super) fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Error> {
        let mut headers = HeaderMap::new();
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        if body.is_some() {
            let json = HeaderValue::from_static("application/json");
            headers.insert(CONTENT_TYPE, json);
        }
        let url = format!("{}{path}", self.http.base);
        let body = body.map(Value::to_string).unwrap_or_default();
        let sent = self.http.exchange(method, &url, headers, body.into());
        let answer = actix_rt::System::new().block_on(sent)?;
        match answer.status {
            200..300 => Ok(answer),
            status => Err(Error::Refused {
                status,
                text: refusal(&answer),
            }),
        }
    }
}

/// What the JSON of a refusal says, or all of it.
fn refusal(answer: &Answer) -> String {
    let error = serde_json::from_str::<Value>(&answer.text).ok();
    let error = error.as_ref().and_then(|json| json["error"].as_str());
    error.map_or_else(|| answer.refusal(), super::text::printable_lines)
}
