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

#[cfg(test)]
mod tests {
    use super::super::tests::{loaded, refused};

    /// The url of `[app_store]` that names lead to, and what is told about them.
    #[track_caller]
    fn app_store(variables: &[(&str, &str)]) -> (String, String, String) {
        let loaded = loaded(variables).unwrap();
        let store = loaded.settings.app_store.as_ref().expect("a store");
        let told = [loaded.notices.clone(), loaded.warnings.clone()].concat();
        (store.url.clone(), store.table.clone(), told.join("\n"))
    }

    #[test]
    fn soketis_table_of_apps_is_found() {
        let (url, table, told) = app_store(&[
            ("SOKETI_APP_MANAGER_DRIVER", "mysql"),
            ("SOKETI_DB_MYSQL_HOST", "db"),
            ("SOKETI_DB_MYSQL_USERNAME", "me"),
            ("SOKETI_DB_MYSQL_PASSWORD", "p@ss/word"),
            ("SOKETI_DB_MYSQL_DATABASE", "soketi"),
            ("SOKETI_APP_MANAGER_MYSQL_TABLE", "applications"),
            ("SOKETI_APP_MANAGER_CACHE_ENABLED", "1"),
        ]);
        assert_eq!(url, "mysql://me:p%40ss%2Fword@db:3306/soketi");
        assert_eq!(table, "applications");
        assert!(!told.contains("p@ss"), "{told}");
        let expected = "SOKETI_APP_MANAGER_DRIVER, SOKETI_DB_MYSQL_HOST, SOKETI_DB_MYSQL_USERNAME, SOKETI_DB_MYSQL_PASSWORD, \
                        SOKETI_DB_MYSQL_DATABASE are understood as url in [app_store]; the name here is \
                        TIDEWIRE_APP_STORE__URL";
        assert!(told.contains(expected), "{told}");

        let (url, _, told) = app_store(&[
            ("SOKETI_APP_MANAGER_DRIVER", "postgres"),
            ("SOKETI_DB_POSTGRES_HOST", "::1"),
            ("SOKETI_DB_MYSQL_HOST", "db"),
        ]);
        assert_eq!(url, "postgres://postgres:password@[::1]:5432/main");
        assert!(
            told.contains("APP_MANAGER_DRIVER is not mysql: SOKETI_DB_MYSQL_HOST"),
            "{told}"
        );

        // Ours wins.
        let (url, _, told) = app_store(&[
            ("SOKETI_APP_MANAGER_DRIVER", "mysql"),
            ("TIDEWIRE_APP_STORE__URL", "sqlite:///apps.db"),
        ]);
        assert_eq!(url, "sqlite:/apps.db");
        assert!(
            told.contains("TIDEWIRE_APP_STORE__URL is set and wins"),
            "{told}"
        );

        for (name, text, expected) in [
            (
                "SOKETI_APP_MANAGER_DRIVER",
                "dynamodb",
                "expected array, mysql or postgres, for apps are nowhere else here",
            ),
            (
                "SOKETI_DB_MYSQL_PORT",
                "x",
                "expected a port from 1 to 65535, found the text \"x\"",
            ),
        ] {
            let error = refused(&[("SOKETI_APP_MANAGER_DRIVER", "mysql"), (name, text)]);
            assert!(error.contains(expected), "{error}");
        }
    }
}
