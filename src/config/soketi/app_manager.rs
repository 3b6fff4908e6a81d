//! `SOKETI_APP_MANAGER_DRIVER` and what it needs: where Soketi finds its table of apps, as `[app_store]` says it.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::redis::{host_in_url, port};
use super::{Reading, Refused, expected};
use crate::config::app_store::URL;

const DRIVER: &str = "SOKETI_APP_MANAGER_DRIVER";

/// The names that say where a kind of database is, and what Soketi takes by default.
struct Database {
    driver: &'static str,
    /// Host, port, user, password and database.
    of_url: [&'static str; 5],
    port: &'static str,
    username: &'static str,
    table: &'static str,
}

macro_rules! database {
    ($driver:literal, $name:literal, $port:literal, $username:literal) => {
        Database {
            driver: $driver,
            of_url: [
                concat!("SOKETI_DB_", $name, "_HOST"),
                concat!("SOKETI_DB_", $name, "_PORT"),
                concat!("SOKETI_DB_", $name, "_USERNAME"),
                concat!("SOKETI_DB_", $name, "_PASSWORD"),
                concat!("SOKETI_DB_", $name, "_DATABASE"),
            ],
            port: $port,
            username: $username,
            table: concat!("SOKETI_APP_MANAGER_", $name, "_TABLE"),
        }
    };
}

const MYSQL: Database = database!("mysql", "MYSQL", "3306", "root");
const POSTGRES: Database = database!("postgres", "POSTGRES", "5432", "postgres");

impl Database {
    /// Says that it is not the one that is meant.
    fn idle(&self, reading: &mut Reading<'_>) {
        let because = format!("{DRIVER} is not {}", self.driver);
        reading.unused(&[&self.of_url[..], &[self.table]].concat(), &because);
    }
}

/// `[app_store]`, if Soketi's apps are in a table.
pub(super) fn translate(reading: &mut Reading<'_>) -> Result<String, Refused> {
    let driver = reading.take(DRIVER);
    let (database, other) = match driver.as_deref() {
        Some("mysql") => (MYSQL, POSTGRES),
        Some("postgres") => (POSTGRES, MYSQL),
        Some("array") | None => {
            if driver.is_some() {
                reading.notice(format!(
                    "{DRIVER}=array is so anyway: apps are in the file, without [app_store]"
                ));
            }
            MYSQL.idle(reading);
            POSTGRES.idle(reading);
            return Ok(String::new());
        }
        // A server without the apps that are meant would refuse their clients for good.
        Some(other) => {
            let what = "array, mysql or postgres, for apps are nowhere else here";
            return Err((DRIVER, expected(what, other)));
        }
    };
    other.idle(reading);
    reading.pass_on(database.table, "app_store.table");
    if let Some(ours) = reading.variable_set(&[URL]) {
        reading.is_outdone_by(DRIVER, &ours);
        return Ok(format!("{ours} is set"));
    }
    set_url(reading, &database)?;
    Ok(String::new())
}

fn set_url(reading: &mut Reading<'_>, of: &Database) -> Result<(), Refused> {
    let given = of.of_url.into_iter();
    let given = given.filter(|name| reading.given.contains_key(*name));
    let given: Vec<&str> = [DRIVER].into_iter().chain(given).collect();
    let [host, port_name, username, password, database] = of.of_url;
    let port = port(reading, port_name, of.port)?;
    let mut text = |name, usual: &str| reading.take(name).unwrap_or_else(|| usual.to_owned());
    let host = host_in_url(&text(host, "127.0.0.1"));
    let mut encoded =
        |name, usual| utf8_percent_encode(&text(name, usual), NON_ALPHANUMERIC).to_string();
    let username = encoded(username, of.username);
    let password = encoded(password, "password");
    let database = encoded(database, "main");
    let driver = of.driver;
    let url = format!("{driver}://{username}:{password}@{host}:{port}/{database}");
    reading.set(&given, URL, Some(url));
    Ok(())
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
