//! Tells the operator the credentials of an app that this process made up. It is the only place where a secret is
//! written out, once: nobody could publish otherwise.

use std::io::{self, Write};

use serde_json::json;

use crate::config::{GeneratedApp, LogFormat, PLACES};

/// Writes to stderr, past the log's filter: who logs only errors needs the secret all the same.
pub(super) fn tell(app: &GeneratedApp, format: LogFormat) {
    let text = match format {
        LogFormat::Human => for_people(app),
        LogFormat::Json => for_machines(app),
    };
    // Without stderr there is nobody to tell, and no one can use the app.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn advice() -> String {
    let [here, there] = PLACES;
    format!(
        "to keep one, set these three variables, or put [[apps]] into {here} in the working directory or into {there}"
    )
}

const WHAT: &str = "no app is configured, so this process serves a random one, which ends with it";

fn for_people(app: &GeneratedApp) -> String {
    let GeneratedApp { id, key, secret } = app;
    format!(
        "tidewire: {WHAT}; its secret is shown only here:\n\
         tidewire: TIDEWIRE_APP_ID={id} TIDEWIRE_APP_KEY={key} TIDEWIRE_APP_SECRET={secret}\n\
         tidewire: {}\n",
        advice()
    )
}

/// One object, shaped as the log's lines are.
fn for_machines(app: &GeneratedApp) -> String {
    let line = json!({
        "level": "WARN",
        "fields": {
            "message": format!("{WHAT}; {}", advice()),
            "TIDEWIRE_APP_ID": app.id,
            "TIDEWIRE_APP_KEY": app.key,
            "TIDEWIRE_APP_SECRET": app.secret,
        },
        "target": module_path!(),
    });
    format!("{line}\n")
}
