//! `tidewire sign`: a request as a curl command line that a POSIX shell takes as it is.

use clap::Args;
use serde::de::IgnoredAny;

use super::Error;
use super::request::{Request, now};
use super::target::{Configuration, Identity, ServerTarget};

const AFTER_HELP: &str = "\
Examples:
  body='{\"name\":\"paid\",\"channel\":\"invoice.7\",\"data\":\"{}\"}'
  tidewire sign POST /apps/1001/events --body \"$body\"
  tidewire sign GET '/apps/1001/channels?filter_by_prefix=invoice.'
  tidewire sign GET /apps/1001/channels --url https://realtime.example.com
      print a curl command line; add | sh to run it

The app is the one of --app, else the one in PATH, else the only one. A path prefix is added
and not signed. A signature holds for ten minutes around the time it was made.

Exit codes: 0 done, 2 wrong usage, 78 wrong configuration.

See also: tidewire trigger.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Sign {
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    target: ServerTarget,
    /// GET or POST
    method: String,
    /// The path, with a query if the call takes one
    path: String,
    /// The request's body, as it will be sent
    #[arg(long, value_name = "JSON")]
    body: Option<String>,
}

impl Sign {
    /// The command line.
    pub(super) fn curl(self, configuration: &Configuration) -> Result<String, Error> {
        self.curl_at(configuration, now())
    }

    /// Signs nothing that the API would refuse in any case.
    fn check(&self) -> Result<(), Error> {
        let refuse = |text: String| Err(Error::Usage(text));
        let is = |method| self.method.eq_ignore_ascii_case(method);
        if !is("GET") && !is("POST") {
            return refuse(format!(
                "expected GET or POST, which the HTTP API takes, found {:?}",
                self.method
            ));
        }
        match &self.body {
            Some(_) if is("GET") => {
                refuse("a GET has no --body: the HTTP API reads none".to_owned())
            }
            Some(body) => serde_json::from_str::<IgnoredAny>(body)
                .map(|_| ())
                .or_else(|error| refuse(format!("--body is not JSON: {error}"))),
            None => Ok(()),
        }
    }

    fn curl_at(self, configuration: &Configuration, timestamp: u64) -> Result<String, Error> {
        self.check()?;
        let address = self.target.address(configuration)?;
        let request =
            Request::new(&self.method, &self.path, self.body)?.without_prefix(&address.prefix);
        let app = self.identity.credentials(configuration, request.app_id())?;
        let url = request.signed_url(&address.for_api().http(), &app, timestamp)?;
        let mut line = format!("curl -sS -g -X {} {}", request.method(), quoted(&url));
        if let Some(body) = request.body() {
            line += " -H 'Content-Type: application/json' --data-raw ";
            line += &quoted(body);
        }
        Ok(line)
    }
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    /// The request that Pusher's documentation signs (protocol §12).
    #[test]
    fn the_documented_request() {
        let environment = [
            ("TIDEWIRE_APP_ID", "3"),
            ("TIDEWIRE_APP_KEY", "278d425bdf160c739803"),
            ("TIDEWIRE_APP_SECRET", "7ad3773142a6692b25b8"),
        ];
        let sources = Sources {
            environment: environment.into_iter().collect(),
            ..Sources::default()
        };
        let configuration = Configuration::new(sources);
        let body = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
        let sign = Sign {
            identity: Identity::default(),
            target: ServerTarget::default(),
            method: "POST".to_owned(),
            path: "/apps/3/events".to_owned(),
            body: Some(body.to_owned()),
        };
        assert_eq!(
            sign.curl_at(&configuration, 1_353_088_179).unwrap(),
            format!(
                "curl -sS -g -X POST 'http://127.0.0.1:6001/apps/3/events?auth_key=278d425bdf160c739803\
                 &auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f\
                 &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c' \
                 -H 'Content-Type: application/json' --data-raw '{body}'"
            )
        );
    }

    #[test]
    fn a_quote_ends_no_word() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
