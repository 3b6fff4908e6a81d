//! `SOKETI_APP_MANAGER_DRIVER` and what it needs: where Soketi finds its table of apps, as `[app_store]` says it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::redis::{in_url, put};
use super::{Reading, expected, whole};
use crate::config::app_store::URL;
use crate::config::error::variable;

const DRIVER: &str = "APP_MANAGER_DRIVER";

/// What says where a kind of database is, and what Soketi takes by default.
struct Names {
    driver: &'static str,
    host: &'static str,
    port: (&'static str, &'static str),
    username: (&'static str, &'static str),
    password: &'static str,
    database: &'static str,
    table: &'static str,
}

const MYSQL: Names = Names {
    driver: "mysql",
    host: "DB_MYSQL_HOST",
    port: ("DB_MYSQL_PORT", "3306"),
    username: ("DB_MYSQL_USERNAME", "root"),
    password: "DB_MYSQL_PASSWORD",
    database: "DB_MYSQL_DATABASE",
    table: "APP_MANAGER_MYSQL_TABLE",
};

const POSTGRES: Names = Names {
    driver: "postgres",
    host: "DB_POSTGRES_HOST",
    port: ("DB_POSTGRES_PORT", "5432"),
    username: ("DB_POSTGRES_USERNAME", "postgres"),
    password: "DB_POSTGRES_PASSWORD",
    database: "DB_POSTGRES_DATABASE",
    table: "APP_MANAGER_POSTGRES_TABLE",
};

impl Names {
    /// What the URL is made of.
    fn of_url(&self) -> [&'static str; 5] {
        [
            self.host,
            self.port.0,
            self.username.0,
            self.password,
            self.database,
        ]
    }

    fn idle(&self, reading: &mut Reading<'_>) {
        let because = format!("{} is not {}", whole(DRIVER), self.driver);
        reading.idle(&self.of_url(), &because);
        reading.idle(&[self.table], &because);
    }
}

/// Adds `[app_store]`, if Soketi's apps are in a table.
pub(super) fn add(reading: &mut Reading<'_>) {
    let driver = reading.text(DRIVER);
    let (names, other) = match driver.as_deref() {
        Some("mysql") => (MYSQL, POSTGRES),
        Some("postgres") => (POSTGRES, MYSQL),
        Some("array") | None => {
            if driver.is_some() {
                let name = whole(DRIVER);
                reading.notice(format!(
                    "{name}=array is so anyway: apps are in the file, without [app_store]"
                ));
            }
            MYSQL.idle(reading);
            return POSTGRES.idle(reading);
        }
        // A server without the apps that are meant would refuse their clients for good.
        Some(other) => {
            let text = expected(
                "array, mysql or postgres, for apps are nowhere else here",
                other,
            );
            return reading.refuse(DRIVER, text);
        }
    };
    other.idle(reading);
    if let Some(table) = reading.text(names.table) {
        reading.set(names.table, "app_store.table", Some(table));
    }
    if reading.is_set(URL) {
        reading.outdone(DRIVER, URL);
        let ours = variable(URL.split('.'));
        return reading.idle(&names.of_url(), &format!("{ours} is set"));
    }
    url(reading, &names);
}

fn url(reading: &mut Reading<'_>, names: &Names) {
    let text = |name, default: &str| reading.text(name).unwrap_or_else(|| default.to_owned());
    let encoded = |text: String| utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
    let port = text(names.port.0, names.port.1);
    if !port.parse::<u16>().is_ok_and(|port| port > 0) {
        let text = expected("a port from 1 to 65535", &port);
        return reading.refuse(names.port.0, text);
    }
    let host = in_url(&text(names.host, "127.0.0.1"));
    let username = encoded(text(names.username.0, names.username.1));
    let password = encoded(text(names.password, "password"));
    let database = encoded(text(names.database, "main"));
    let url = format!(
        "{}://{username}:{password}@{host}:{port}/{database}",
        names.driver
    );
    let mut given = vec![DRIVER];
    let parts = names.of_url().into_iter();
    given.extend(parts.filter(|name| reading.given.contains_key(*name)));
    put(reading, DRIVER, &given, URL, url);
}
