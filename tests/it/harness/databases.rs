//! Databases of the tests' own: MariaDB and PostgreSQL servers as Debian packages them, and files of SQLite.

use std::os::unix::fs::chown;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use sqlx::{AnyConnection, AssertSqlSafe, Connection as _, Row as _};

use super::daemon::Daemon;
use super::ports::free_port;
use super::{TestCertificates, eventually};

/// How long a server may take to begin with an empty folder on a loaded machine.
const START_PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseKind {
    MariaDb,
    Postgres,
    Sqlite,
}

impl DatabaseKind {
    pub(crate) const ALL: [Self; 3] = [Self::MariaDb, Self::Postgres, Self::Sqlite];
}

/// A server that everybody on this machine may do everything on as `all`; `known` needs the password `right`, and
/// `safe` needs TLS.
pub(crate) struct DatabaseServer {
    kind: DatabaseKind,
    port: u16,
    daemon: Daemon,
    certificates: TestCertificates,
}

impl DatabaseServer {
    /// One for all tests that do it no harm. It ends with the tests' process.
    pub(crate) fn shared(kind: DatabaseKind) -> &'static Self {
        static MARIADB: OnceLock<DatabaseServer> = OnceLock::new();
        static POSTGRES: OnceLock<DatabaseServer> = OnceLock::new();
        let shared = match kind {
            DatabaseKind::MariaDb => &MARIADB,
            DatabaseKind::Postgres => &POSTGRES,
            DatabaseKind::Sqlite => panic!("SQLite has no server"),
        };
        shared.get_or_init(|| Self::start(kind))
    }

    pub(crate) fn start(kind: DatabaseKind) -> Self {
        let (port, folder) = (free_port(), new_folder());
        let certificates = TestCertificates::new();
        certificates.sign_server("server");
        let command = match kind {
            DatabaseKind::MariaDb => mariadb(&folder, port, &certificates),
            DatabaseKind::Postgres => postgres(&folder, port, &certificates),
            DatabaseKind::Sqlite => panic!("SQLite has no server"),
        };
        let server = Self {
            kind,
            port,
            daemon: Daemon::spawn(&folder, &command),
            certificates,
        };
        server.await_up();
        server
    }

    fn await_up(&self) {
        eventually(START_PATIENCE, "the database is up", || {
            assert!(!self.daemon.ended(), "the database has ended");
            connected(&self.url("all", self.first_database()))
                .map(drop)
                .ok()
        });
    }

    /// Stops it in good order; what it holds stays.
    pub(crate) fn stop(&self) {
        // PostgreSQL waits for its clients after TERM.
        self.daemon.signal(match self.kind {
            DatabaseKind::Postgres => "INT",
            _ => "TERM",
        });
        eventually(START_PATIENCE, "the database has ended", || {
            self.daemon.ended().then_some(())
        });
    }

    /// Starts it again, on the same port.
    pub(crate) fn restart(&mut self) {
        self.daemon.again();
        self.await_up();
    }

    fn first_database(&self) -> &'static str {
        match self.kind {
            DatabaseKind::Postgres => "postgres",
            _ => "mysql",
        }
    }

    pub(crate) fn signal(&self, name: &str) {
        self.daemon.signal(name);
    }

    /// The authority that has signed its certificate.
    pub(crate) fn authority(&self) -> String {
        self.certificates.path("ca.crt")
    }

    /// `login` is a user, with or without a password.
    pub(crate) fn url(&self, login: &str, database: &str) -> String {
        let scheme = match self.kind {
            DatabaseKind::Postgres => "postgres",
            _ => "mysql",
        };
        format!("{scheme}://{login}@127.0.0.1:{}/{database}", self.port)
    }

    /// An empty database.
    pub(crate) fn new_database(&self) -> Database {
        let name = new_name();
        let first = self.url("all", self.first_database());
        run(&first, &format!("CREATE DATABASE {name}"));
        Database {
            kind: self.kind,
            url: self.url("all", &name),
            name,
            folder: None,
        }
    }
}

/// One database, which nobody else has.
pub(crate) struct Database {
    pub(crate) kind: DatabaseKind,
    pub(crate) url: String,
    pub(crate) name: String,
    folder: Option<PathBuf>,
}

impl Database {
    /// An empty one, on the shared server.
    pub(crate) fn new(kind: DatabaseKind) -> Self {
        if kind != DatabaseKind::Sqlite {
            return DatabaseServer::shared(kind).new_database();
        }
        let folder = new_folder();
        Self {
            kind,
            url: format!("sqlite:{}", folder.join("apps.db").display()),
            name: "apps.db".to_owned(),
            folder: Some(folder),
        }
    }

    /// Runs statements.
    pub(crate) fn run(&self, sql: &str) {
        run(&self.url, sql);
    }

    /// What stands in a column of a table's row; none: null.
    pub(crate) fn value(&self, table: &str, column: &str, id: &str) -> Option<String> {
        let text = match self.kind {
            DatabaseKind::MariaDb => "char",
            _ => "text",
        };
        self.text(&format!(
            "SELECT CAST({column} AS {text}) FROM {table} WHERE id = '{id}'"
        ))
    }

    fn text(&self, sql: &str) -> Option<String> {
        block_on(async {
            let mut connection = connect(&self.url).await.expect("the database answers");
            let row = sqlx::query(AssertSqlSafe(sql.to_owned()));
            let row = row.fetch_one(&mut connection).await;
            row.unwrap_or_else(|error| panic!("{sql}: {error}")).get(0)
        })
    }

    /// A name as this database quotes it.
    pub(crate) fn quoted(&self, name: &str) -> String {
        match self.kind {
            DatabaseKind::MariaDb => format!("`{name}`"),
            _ => format!("\"{name}\""),
        }
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            // What is left behind in the temporary directory does not change what the test found.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// On a thread of its own, for who is in a runtime.
fn block_on<T: Send>(work: impl Future<Output = T> + Send) -> T {
    thread::scope(|scope| {
        let done = scope.spawn(|| {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = runtime.enable_all().build().unwrap();
            runtime.block_on(work)
        });
        done.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

async fn connect(url: &str) -> sqlx::Result<AnyConnection> {
    sqlx::any::install_default_drivers();
    if !url.starts_with("sqlite:") {
        return AnyConnection::connect(url).await;
    }
    let mut connection = AnyConnection::connect(&format!("{url}?mode=rwc")).await?;
    // Whoever writes waits for the server, which may be reading 100,000 rows.
    let patient = sqlx::raw_sql("PRAGMA busy_timeout = 60000");
    patient.execute(&mut connection).await?;
    Ok(connection)
}

fn connected(url: &str) -> sqlx::Result<()> {
    block_on(async { connect(url).await.map(drop) })
}

fn run(url: &str, sql: &str) {
    block_on(async {
        let mut connection = connect(url).await.expect("the database answers");
        let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
        let done = done.execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
        connection.close().await.expect("it can be left");
    });
}

fn new_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("apps_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Where the users of the databases get to as well.
fn new_folder() -> PathBuf {
    let name = format!("tidewire-db-{}-{}", std::process::id(), new_name());
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir(&folder).unwrap();
    folder
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn done(command: &[String]) {
    let output = Command::new(&command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; make deps installs it"));
    assert!(output.status.success(), "{command:?}: {output:?}");
}

fn mariadb(folder: &Path, port: u16, certificates: &TestCertificates) -> Vec<String> {
    let shown = folder.display();
    done(&words(&format!(
        "mariadb-install-db --no-defaults --user=root --datadir={shown}/data --skip-test-db --skip-name-resolve \
         --innodb-log-file-size=4M"
    )));
    let users = "CREATE USER IF NOT EXISTS 'all'@'%';\nGRANT ALL ON *.* TO 'all'@'%';\n\
        CREATE USER IF NOT EXISTS known@'%' IDENTIFIED BY 'right';\nGRANT SELECT ON *.* TO known@'%';\n\
        CREATE USER IF NOT EXISTS safe@'%' REQUIRE SSL;\nGRANT SELECT ON *.* TO safe@'%';\n";
    std::fs::write(folder.join("users.sql"), users).unwrap();
    words(&format!(
        "/usr/sbin/mariadbd --no-defaults --user=root --datadir={shown}/data --socket={shown}/socket --port={port} \
         --bind-address=127.0.0.1 --skip-name-resolve --init-file={shown}/users.sql --innodb-log-file-size=4M \
         --innodb-buffer-pool-size=8M --ssl-cert={} --ssl-key={}",
        certificates.path("server.crt"),
        certificates.path("server.key"),
    ))
}

/// It refuses to run as root.
fn postgres(folder: &Path, port: u16, certificates: &TestCertificates) -> Vec<String> {
    let binaries =
        std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL is installed: make deps");
    let version = binaries
        .map(|entry| entry.unwrap().path())
        .max()
        .expect("a version");
    let (shown, binaries) = (folder.display(), version.join("bin"));
    let (binaries, data) = (binaries.display(), folder.join("data"));
    let user = match rustix::process::getuid().is_root() {
        true => "setpriv --reuid=postgres --regid=postgres --clear-groups ",
        false => "",
    };
    let key = folder.join("server.key");
    std::fs::copy(certificates.path("server.key"), &key).unwrap();
    if !user.is_empty() {
        let id = Command::new("id")
            .args(["-u", "postgres"])
            .output()
            .unwrap();
        let id: u32 = String::from_utf8(id.stdout)
            .unwrap()
            .trim()
            .parse()
            .expect("a user postgres");
        for path in [folder, &key] {
            chown(path, Some(id), None).unwrap();
        }
    }
    done(&words(&format!(
        "{user}{binaries}/initdb --no-sync --username=all --auth=trust --encoding=UTF8 --locale=C {shown}/data"
    )));
    std::fs::copy(certificates.path("server.crt"), folder.join("server.crt")).unwrap();
    let who = "hostnossl all safe all reject\nhostssl all safe all trust\nhost all known all scram-sha-256\n\
        host all all all trust\n";
    std::fs::write(data.join("pg_hba.conf"), who).unwrap();
    let users = "CREATE ROLE safe LOGIN; CREATE ROLE known LOGIN PASSWORD 'right'; \
        GRANT pg_read_all_data TO known, safe;";
    let single = format!(
        "echo \"{users}\" | {user}{binaries}/postgres --single -j -D {shown}/data postgres"
    );
    done(&["sh".to_owned(), "-c".to_owned(), single]);
    words(&format!(
        "{user}{binaries}/postgres -D {shown}/data -p {port} -c listen_addresses=127.0.0.1 \
         -c unix_socket_directories= -c fsync=off -c ssl=on -c ssl_cert_file={shown}/server.crt -c ssl_key_file={}",
        key.display(),
    ))
}
