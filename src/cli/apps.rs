//! `tidewire apps`: the apps of a running server, through the Apps API of its admin port.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use actix_http::Method;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::admin_api::{AdminApi, AdminArgs};
use super::request::encoded;
use super::target::Configuration;
use super::text::{printable, printable_json, printable_lines, table};
use super::{Error, read_file};

const AFTER_HELP: &str = "\
Examples:
  tidewire apps list
  tidewire apps create --name Shop
      prints id, key and secret; the secret is shown this once
  tidewire apps create --id 1001 --from shop.json
      with keys of [[apps]] from a file, as {\"client_events\": true}
  tidewire apps rotate 1001
      adds a secret and prints it; give it to the backends, then
  tidewire apps rotate 1001 --remove 0
      takes the old one away
  tidewire apps disable 1001
  tidewire apps delete 1001 --yes
  TIDEWIRE_ADMIN__TOKEN=... tidewire apps list --admin http://10.0.0.7:9601

The commands ask the admin port of a running server. Without --admin they take its address and
token from the configuration. Apps of the file are shown, but changed in the file; the others
live in the database of [app_store]: see docs/apps-api.md.

Exit codes: 0 done, 1 the server refused it or did not answer, 2 wrong usage, 78 wrong
configuration.

See also: tidewire check-config, tidewire health.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct AppsCommand {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List all apps, with their connections to the node that answers
    List {
        /// Only those with this text in their id, key or name
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        find: String,
    },
    /// Print all settings of an app as the file would say them, secrets masked
    Show {
        /// The app's id
        id: String,
    },
    /// Create an app and print its id, key and secret, which are made unless given
    Create(Create),
    /// Close the connections of an app with 4003 and take no others, until it is enabled
    Disable {
        /// The app's id
        id: String,
    },
    /// Take an app's connections again
    Enable {
        /// The app's id
        id: String,
    },
    /// Add a secret to an app and print it, or take one away
    Rotate {
        /// The app's id
        id: String,
        /// Take the secret with this number away: they count from 0, which signs
        #[arg(long, value_name = "NUMBER")]
        remove: Option<usize>,
    },
    /// Delete an app; its connections are closed with 4001
    Delete {
        /// The app's id
        id: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// What the new app is to be.
#[derive(Debug, Args)]
struct Create {
    /// Its id [default: some digits]
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Its key [default: a random one]
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Its name, for people
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A JSON file with further keys of [[apps]]; -: read it from stdin
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
}

impl AppsCommand {
    /// Does it, and returns what there is to print.
    pub(super) fn run(self, configuration: &Configuration) -> Result<String, Error> {
        let api = self.admin.api(configuration)?;
        let json = self.admin.json;
        match self.action {
            Action::List { find } => list(&api, &find, json),
            Action::Show { id } => {
                let app = api.ask(Method::GET, &path(&id)?, None)?.json()?;
                if json {
                    Ok(shown_json(&app))
                } else {
                    Ok(as_file(app))
                }
            }
            Action::Create(create) => {
                let body = Value::Object(create.body()?);
                let app = api.ask(Method::POST, "/apps", Some(&body))?.json()?;
                if json {
                    Ok(shown_json(&app))
                } else {
                    Ok(created(&app))
                }
            }
            Action::Disable { id } => enable(&api, &id, false, json),
            Action::Enable { id } => enable(&api, &id, true, json),
            Action::Rotate { id, remove } => match remove {
                Some(number) => remove_secret(&api, &id, number),
                None => add_secret(&api, &id, json),
            },
            Action::Delete { id, yes } => delete(&api, &id, yes),
        }
    }
}

impl Create {
    fn body(self) -> Result<Map<String, Value>, Error> {
        let mut body = match &self.from {
            Some(file) => {
                let shown = file.display();
                serde_json::from_slice(&read_file("--from", file)?)
                    .map_err(|error| usage(format!("--from: {shown} is no JSON object: {error}")))?
            }
            None => Map::new(),
        };
        let given = [("id", self.id), ("key", self.key), ("name", self.name)];
        for (key, value) in given {
            body.extend(value.map(|value| (key.to_owned(), value.into())));
        }
        Ok(body)
    }
}

/// Page by page, so that no answer is too long.
fn list(api: &AdminApi, find: &str, json: bool) -> Result<String, Error> {
    let mut apps = Vec::new();
    let mut after = String::new();
    loop {
        let path = format!(
            "/apps?limit=1000&find={}&after={}",
            encoded(find),
            encoded(&after)
        );
        let mut page = api.ask(Method::GET, &path, None)?.json()?;
        if let Value::Array(page) = page["apps"].take() {
            apps.extend(page);
        }
        match page["next"].as_str() {
            Some(next) if next > after.as_str() => next.clone_into(&mut after),
            _ => break,
        }
    }
    if json {
        return Ok(shown_json(&apps.into()));
    }
    if apps.is_empty() {
        return Ok("No app.".to_owned());
    }
    let rows: Vec<Vec<String>> = apps.iter().map(row).collect();
    Ok(table(
        &["ID", "KEY", "NAME", "STATE", "CONNECTIONS", "IN"],
        &rows,
    ))
}

fn row(app: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let status = &app["status"];
    let is_wrong = status["problems"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    let state = match app["enabled"].as_bool() {
        _ if is_wrong => "wrong",
        Some(false) => "disabled",
        _ => "enabled",
    };
    vec![
        text(&app["id"]),
        text(&app["key"]),
        text(&app["name"]),
        state.to_owned(),
        status["connections"].to_string(),
        place(status).to_owned(),
    ]
}

fn place(status: &Value) -> &'static str {
    match status["origin"].as_str() {
        Some("table") => "database",
        _ => "file",
    }
}

/// As `[[apps]]`, below what is known of it.
fn as_file(mut app: Value) -> String {
    let status = app.as_object_mut().and_then(|app| app.remove("status"));
    let status = status.unwrap_or_default();
    let connections = &status["connections"];
    let place = place(&status);
    let mut lines =
        format!("# in the {place}; connections to the node that answers: {connections}\n");
    for problem in status["problems"].as_array().into_iter().flatten() {
        let text = problem["error"].as_str().unwrap_or_default();
        lines += &format!("# wrong, so it is not served: {}\n", printable(text));
    }
    match toml::to_string(&json!({ "apps": [app] })) {
        Ok(toml) => lines + &printable_lines(&toml),
        // What no TOML can say, as null.
        Err(_) => lines + &shown_json(&app),
    }
}

fn created(app: &Value) -> String {
    let text = |key: &str| printable(app[key].as_str().unwrap_or("-"));
    let (id, key, secret) = (text("id"), text("key"), text("secret"));
    format!(
        "id      {id}\nkey     {key}\nsecret  {secret}\n\nKeep the secret: it is not shown again."
    )
}

fn enable(api: &AdminApi, id: &str, enabled: bool, json: bool) -> Result<String, Error> {
    let body = json!({ "enabled": enabled });
    let app = api.ask(Method::PATCH, &path(id)?, Some(&body))?;
    if json {
        return Ok(printable_json(&app.text));
    }
    let id = printable(id);
    Ok(match enabled {
        true => format!("App {id} is enabled."),
        false => format!("App {id} is disabled: its connections are being closed with 4003."),
    })
}

fn add_secret(api: &AdminApi, id: &str, json: bool) -> Result<String, Error> {
    let path = format!("{}/secrets", path(id)?);
    let answer = api.ask(Method::POST, &path, Some(&json!({})))?;
    if json {
        return Ok(printable_json(&answer.text));
    }
    let added = answer.json()?;
    let secret = printable(added["secret"].as_str().unwrap_or("-"));
    let (id, number) = (printable(id), &added["number"]);
    Ok(format!(
        "secret  {secret}\n\nKeep it: it is not shown again. It is number {number} of app {id} and holds from now on, as the \
         others do.\nWhen every backend has it: tidewire apps rotate {id} --remove 0"
    ))
}

fn remove_secret(api: &AdminApi, id: &str, number: usize) -> Result<String, Error> {
    let path = format!("{}/secrets/{number}", path(id)?);
    api.ask(Method::DELETE, &path, None)?;
    let id = printable(id);
    Ok(format!(
        "Secret {number} of app {id} is gone. Those behind it have moved up by one."
    ))
}

fn delete(api: &AdminApi, id: &str, is_sure: bool) -> Result<String, Error> {
    let path = path(id)?;
    let shown = printable(id);
    if !is_sure {
        let app = api.ask(Method::GET, &path, None)?.json()?;
        if !io::stdin().is_terminal() {
            let text = format!("deleting app {shown} cannot be undone: say --yes");
            return Err(usage(text));
        }
        let connections = &app["status"]["connections"];
        let question = format!(
            "Delete app {shown} with {connections} connections to this node? It cannot be undone. Type its id to go on: "
        );
        let asked = write!(io::stderr(), "{question}").and_then(|()| io::stderr().flush());
        asked.map_err(Error::Output)?;
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        if read.is_err() || answer.trim() != id {
            return Err(Error::Stopped(format!("app {shown} stays")));
        }
    }
    api.ask(Method::DELETE, &path, None)?;
    Ok(format!(
        "App {shown} is deleted: its connections are being closed with 4001."
    ))
}

fn path(id: &str) -> Result<String, Error> {
    if id.is_empty() {
        return Err(usage("the app's id is empty".to_owned()));
    }
    Ok(format!("/apps/{}", encoded(id)))
}

fn shown_json(value: &Value) -> String {
    printable_json(&value.to_string())
}

fn usage(text: String) -> Error {
    Error::Usage(text)
}
