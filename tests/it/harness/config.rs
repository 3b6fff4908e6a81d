//! The configuration file of one test server, as a list of overrides.

use super::credentials::{APP, Credentials};

/// Settings by section. What a test does not set has the server's default, except for free ports on loopback, two
/// workers (so that every test crosses threads) and `subscription_count = false` (so that it does not have to read
/// the counts).
#[derive(Clone)]
pub(crate) struct Config {
    server: Vec<(String, String)>,
    admin: Vec<(String, String)>,
    app: Vec<(String, String)>,
    limits: Vec<(String, String)>,
    redis: Vec<(String, String)>,
    webhook_settings: Vec<(String, String)>,
    webhooks: Vec<String>,
    others: Vec<Credentials>,
    more: String,
}

impl Config {
    /// The app of [`APP`] and nothing special.
    pub(crate) fn new() -> Self {
        Self {
            server: Vec::new(),
            admin: Vec::new(),
            app: Vec::new(),
            limits: Vec::new(),
            redis: Vec::new(),
            webhook_settings: Vec::new(),
            webhooks: Vec::new(),
            others: Vec::new(),
            more: String::new(),
        }
        .admin("host", "\"127.0.0.1\"")
        .admin("port", "0")
        .server("host", "\"127.0.0.1\"")
        .server("port", "0")
        .server("workers", "2")
        .app("subscription_count", "false")
    }

    /// A key of `[server]`, its value in TOML.
    pub(crate) fn server(mut self, key: &str, value: &str) -> Self {
        set(&mut self.server, key, value);
        self
    }

    /// A key of `[admin]`.
    pub(crate) fn admin(mut self, key: &str, value: &str) -> Self {
        set(&mut self.admin, key, value);
        self
    }

    /// A key of the app.
    pub(crate) fn app(mut self, key: &str, value: &str) -> Self {
        set(&mut self.app, key, value);
        self
    }

    /// A key of the app's limits.
    pub(crate) fn limit(mut self, key: &str, value: &str) -> Self {
        set(&mut self.limits, key, value);
        self
    }

    /// A key of `[redis]`, which is there if any of its keys is.
    pub(crate) fn redis(mut self, key: &str, value: &str) -> Self {
        set(&mut self.redis, key, value);
        self
    }

    /// A key of `[webhooks]`.
    pub(crate) fn webhooks(mut self, key: &str, value: &str) -> Self {
        set(&mut self.webhook_settings, key, value);
        self
    }

    /// A webhook of the app: the lines of its table.
    pub(crate) fn webhook(mut self, lines: &str) -> Self {
        self.webhooks.push(lines.to_owned());
        self
    }

    /// One more app, with defaults.
    pub(crate) fn other_app(mut self, app: Credentials) -> Self {
        self.others.push(app);
        self
    }

    /// Any TOML, at the end of the file.
    pub(crate) fn more(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self
    }

    /// The file's text.
    pub(crate) fn toml(&self) -> String {
        let mut out = String::from("[admin]\n");
        push_lines(&mut out, &self.admin);
        out.push_str("[server]\n");
        push_lines(&mut out, &self.server);
        if !self.redis.is_empty() {
            out.push_str("[redis]\n");
            push_lines(&mut out, &self.redis);
        }
        out.push_str("[webhooks]\n");
        push_lines(&mut out, &self.webhook_settings);
        push_credentials(&mut out, &APP);
        push_lines(&mut out, &self.app);
        out.push_str("[apps.limits]\n");
        push_lines(&mut out, &self.limits);
        for lines in &self.webhooks {
            out.push_str(&format!("[[apps.webhooks]]\n{lines}\n"));
        }
        for app in &self.others {
            push_credentials(&mut out, app);
        }
        out + &self.more
    }
}

fn set(section: &mut Vec<(String, String)>, key: &str, value: &str) {
    section.retain(|(known, _)| known != key);
    section.push((key.to_owned(), value.to_owned()));
}

fn push_lines(out: &mut String, section: &[(String, String)]) {
    for (key, value) in section {
        out.push_str(&format!("{key} = {value}\n"));
    }
}

fn push_credentials(out: &mut String, app: &Credentials) {
    out.push_str(&format!(
        "\n[[apps]]\nid = \"{}\"\nkey = \"{}\"\nsecret = \"{}\"\n",
        app.id, app.key, app.secret
    ));
}
