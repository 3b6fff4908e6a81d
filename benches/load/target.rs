//! What is measured: a binary that is started for each run, or a server that runs already.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::process::{Cpus, Usage, entries, resident_kib};
use crate::{Result, bare};

/// How long a server may take to start.
const TIMEOUT: Duration = Duration::from_secs(20);

/// An app of a Pusher-compatible server.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) secret: String,
}

/// What a server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The Pusher protocol.
    Pusher,
    /// The same, with a token in the path of each connection.
    Resumable,
    /// The first, over TLS.
    Tls,
    /// Nothing: every WebSocket gets the body of every `POST /publish`.
    Floor,
}

/// One of those that a run compares.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Its name in the results.
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    pub(crate) source: Source,
}

#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A program of ours, or of this kind.
    Binary(PathBuf),
    /// The HTTP framework, which answers every request with `{}`.
    Bare,
    /// A server that somebody else started, and its processes.
    Running {
        address: SocketAddr,
        host: String,
        app: App,
        pids: Vec<u32>,
    },
}

/// The configuration of a server that is started here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    server: Vec<String>,
    app: Vec<String>,
    more: String,
}

impl Config {
    /// A line of `[server]`.
    pub(crate) fn server(mut self, line: &str) -> Self {
        set(&mut self.server, line);
        self
    }

    /// A line of the app.
    pub(crate) fn app(mut self, line: &str) -> Self {
        set(&mut self.app, line);
        self
    }

    /// Any TOML, at the end.
    pub(crate) fn more(mut self, toml: &str) -> Self {
        self.more.push_str(toml);
        self
    }

    fn toml(&self, app: &App) -> String {
        let (server, app_lines) = (self.server.join("\n"), self.app.join("\n"));
        let more = &self.more;
        let App { id, key, secret } = app;
        format!(
            "[admin]\nhost = \"127.0.0.1\"\nport = 0\n\n[server]\n{server}\n\n\
             [[apps]]\nid = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n{app_lines}\n\n{more}"
        )
    }
}

/// The last one counts: what the command line says comes behind what a scenario wants.
fn set(lines: &mut Vec<String>, line: &str) {
    let key = |line: &str| line.split('=').next().unwrap_or(line).trim().to_owned();
    lines.retain(|known| key(known) != key(line));
    lines.push(line.to_owned());
}

/// Where a server speaks TLS, and how its certificate is known.
#[derive(Debug, Clone)]
pub(crate) struct Tls {
    pub(crate) address: SocketAddr,
    pub(crate) config: Arc<ClientConfig>,
}

/// A server under measurement. One that was started here ends with it.
pub(crate) struct Server {
    pub(crate) dialect: Dialect,
    pub(crate) address: SocketAddr,
    /// Where WebSockets go, if they are to be over TLS.
    pub(crate) tls: Option<Tls>,
    /// What goes into `Host:`.
    pub(crate) host: String,
    pub(crate) app: App,
    admin: Option<SocketAddr>,
    pids: Vec<u32>,
    // Only to be dropped with it.
    _program: Option<Program>,
}

impl Server {
    /// Starts a target or takes it as it runs.
    pub(crate) fn start(target: &Target, config: &Config, log: &str, cpus: &Cpus) -> Result<Self> {
        match (&target.source, target.dialect) {
            (
                Source::Running {
                    address,
                    host,
                    app,
                    pids,
                },
                dialect,
            ) => {
                cpus.note_foreign(pids);
                Ok(Self {
                    dialect,
                    address: *address,
                    tls: None,
                    host: host.clone(),
                    app: app.clone(),
                    admin: None,
                    pids: pids.clone(),
                    _program: None,
                })
            }
            (Source::Binary(path), Dialect::Floor) => {
                Self::without_apps(Dialect::Floor, &mut Command::new(path), cpus)
            }
            (Source::Binary(path), dialect) => {
                let certificate = match dialect {
                    Dialect::Tls => Some(Certificate::make()?),
                    _ => None,
                };
                Ok(Self {
                    dialect,
                    ..Self::tidewire(path, config, certificate, log, cpus)?
                })
            }
            (Source::Bare, dialect) => {
                let mut command = Command::new(std::env::current_exe()?);
                Self::without_apps(dialect, command.arg(bare::ARGUMENT), cpus)
            }
        }
    }

    fn tidewire(
        path: &Path,
        config: &Config,
        certificate: Option<Certificate>,
        log: &str,
        cpus: &Cpus,
    ) -> Result<Self> {
        let app = App {
            id: "bench-id".to_owned(),
            key: "bench-key".to_owned(),
            secret: "bench-secret".to_owned(),
        };
        let tls = certificate
            .as_ref()
            .map_or_else(String::new, Certificate::toml);
        let file = Scratch::write("toml", &(config.toml(&app) + &tls))?;
        let errors = Scratch::write("log", "")?;
        let mut command = Command::new(path);
        command
            .args(["serve", "--config"])
            .arg(&file.0)
            // The machine's own TIDEWIRE_ settings must not reach the measurement.
            .env_clear()
            .env("TIDEWIRE_LOG", log)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors.0)?);
        let mut program = Program::spawn(&mut command, cpus)?;
        let line = program.first_line().unwrap_or_default();
        let addresses = |scheme| -> Vec<SocketAddr> {
            let rests = line.split(scheme).skip(1);
            rests
                .filter_map(|rest| rest.split([',', ' ', '/']).next()?.trim().parse().ok())
                .collect()
        };
        let [public, admin] = addresses("http://")[..] else {
            // It ends by itself when its configuration is wrong, and says so before.
            let said = fs::read_to_string(&errors.0).unwrap_or_default();
            return Err(format!("{} did not start:\n{said}{line}", path.display()).into());
        };
        program.files = vec![file, errors];
        let tls = match (certificate, addresses("https://").first()) {
            (Some(certificate), Some(address)) => {
                let config = certificate.client_config()?;
                program.files.extend([certificate.cert, certificate.key]);
                Some(Tls {
                    address: *address,
                    config: Arc::new(config),
                })
            }
            _ => None,
        };
        Ok(Self {
            dialect: Dialect::Pusher,
            address: (Ipv4Addr::LOCALHOST, public.port()).into(),
            tls,
            host: format!("127.0.0.1:{}", public.port()),
            app,
            admin: Some(admin),
            pids: vec![program.child.id()],
            _program: Some(program),
        })
    }

    /// One that is told its port and nothing else.
    fn without_apps(dialect: Dialect, command: &mut Command, cpus: &Cpus) -> Result<Self> {
        let port = free_port()?;
        command.arg(port.to_string()).stdin(Stdio::null());
        let program = Program::spawn(command, cpus)?;
        let address = await_port(port)?;
        Ok(Self {
            dialect,
            address,
            tls: None,
            host: address.to_string(),
            app: App::none(),
            admin: None,
            pids: vec![program.child.id()],
            _program: Some(program),
        })
    }

    /// The CPU time that it has spent.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(&self.pids)
    }

    /// Its resident memory.
    pub(crate) fn resident_kib(&self) -> Result<f64> {
        resident_kib(&self.pids)
    }

    /// Its open files.
    pub(crate) fn descriptors(&self) -> Result<u64> {
        entries(&self.pids, "fd")
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> Result<u64> {
        entries(&self.pids, "task")
    }

    /// One of its counters, if it has an admin port that this client knows.
    pub(crate) fn counter(&self, name: &str) -> Option<u64> {
        self.metric(&format!("{name}_total"))
    }

    /// One of its metrics, whatever its labels, likewise.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let mut stream = TcpStream::connect(self.admin?).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let name = format!("tidewire_{name}");
        let values = text
            .lines()
            .filter_map(|line| line.strip_prefix(&name))
            .filter(|rest| rest.starts_with(['{', ' ']))
            .filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<u64>().ok());
        values.reduce(|sum, value| sum + value)
    }
}

impl App {
    /// For a server that knows no apps.
    pub(crate) fn none() -> Self {
        Self {
            id: String::new(),
            key: String::new(),
            secret: String::new(),
        }
    }
}

/// A child process with its files.
pub(crate) struct Program {
    child: Child,
    files: Vec<Scratch>,
}

impl Program {
    pub(crate) fn spawn(command: &mut Command, cpus: &Cpus) -> Result<Self> {
        let spawned = cpus.on_servers(|| command.spawn())?;
        let name = command.get_program().to_string_lossy();
        let child = spawned.map_err(|error| format!("cannot start {name}: {error}"))?;
        Ok(Self {
            child,
            files: Vec::new(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line of its output, unless it ends or takes too long.
    fn first_line(&mut self) -> Option<String> {
        let stdout = self.child.stdout.take()?;
        let (sender, receiver) = mpsc::channel();
        // Reads to the end, so that the server never waits for a full pipe; nobody listens after the first line.
        thread::spawn(move || {
            for line in BufReader::new(stdout)
                .lines()
                .map_while(std::io::Result::ok)
            {
                let _ = sender.send(line);
            }
        });
        receiver.recv_timeout(TIMEOUT).ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Already ended is fine: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A certificate for this machine, and its key.
struct Certificate {
    cert: Scratch,
    key: Scratch,
}

impl Certificate {
    fn make() -> Result<Self> {
        let (cert, key) = (Scratch::write("crt", "")?, Scratch::write("key", "")?);
        let made = Command::new("openssl")
            .args(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
                    .split(' '),
            )
            .args("-subj /CN=localhost -addext basicConstraints=CA:FALSE".split(' '))
            .args(["-addext", "subjectAltName=IP:127.0.0.1"])
            .arg("-out")
            .arg(&cert.0)
            .arg("-keyout")
            .arg(&key.0)
            .stderr(Stdio::null())
            .status();
        match made {
            Ok(status) if status.success() => Ok(Self { cert, key }),
            made => Err(format!("openssl makes no certificate: {made:?}").into()),
        }
    }

    /// The settings of a server that has it.
    fn toml(&self) -> String {
        let (cert, key) = (&self.cert.0, &self.key.0);
        format!("\n[server.tls]\ncert = {cert:?}\nkey = {key:?}\nplain_port = 0\n")
    }

    /// A client that knows it.
    fn client_config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.cert.0)?)?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(builder.with_root_certificates(roots).with_no_client_auth())
    }
}

/// A file that goes with whoever needs it.
struct Scratch(PathBuf);

impl Scratch {
    fn write(extension: &str, text: &str) -> Result<Self> {
        let name = format!("load-{}-{}.{extension}", std::process::id(), free_port()?);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// A port of which the system says that it is free, for programs that cannot say which one they took.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

/// Waits until somebody listens on a port of this machine.
pub(crate) fn await_port(port: u16) -> Result<SocketAddr> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let end = Instant::now() + TIMEOUT;
    while TcpStream::connect(address).is_err() {
        if Instant::now() > end {
            return Err(format!("nobody listens on {address}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(address)
}

/// `ws://host:port` or `floor://host:port`.
pub(crate) fn parse_url(url: &str) -> Result<(Dialect, SocketAddr, String)> {
    let (scheme, host) = url.split_once("://").unwrap_or(("", url));
    let dialect = match scheme {
        "ws" | "http" => Dialect::Pusher,
        "floor" => Dialect::Floor,
        _ => return Err(format!("{url}: expected ws://host:port or floor://host:port").into()),
    };
    let host = host.trim_end_matches('/');
    let mut addresses = host
        .to_socket_addrs()
        .map_err(|error| format!("{url}: {error}"))?;
    let first = addresses.next();
    let address = first.ok_or_else(|| format!("{url}: no address of that name"))?;
    Ok((dialect, address, host.to_owned()))
}
