//! A network that fails on demand: a TCP proxy in front of an address that passes, cuts, stalls, delays and resets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use super::ports::free_listener;

/// Ends with its test.
pub(crate) struct Proxy {
    address: SocketAddr,
    weather: Arc<Weather>,
    commands: Sender<(Command, Sender<()>)>,
}

/// What all pumps look at.
#[derive(Default)]
struct Weather {
    stalled: AtomicBool,
    delay_ms: AtomicU64,
    held: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command {
    Pass,
    Cut,
    Reset,
}

impl Proxy {
    /// In front of an address, passing everything.
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = free_listener();
        let address = listener.local_addr().unwrap();
        let weather = Arc::new(Weather::default());
        let (commands, received) = mpsc::channel();
        let line = Line {
            target,
            weather: Arc::clone(&weather),
            connections: Vec::new(),
        };
        thread::spawn(move || line.serve(listener, &received));
        Self {
            address,
            weather,
            commands,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Everything goes through again, what a stall has held first.
    pub(crate) fn pass(&self) {
        self.weather.stalled.store(false, Ordering::SeqCst);
        self.command(Command::Pass);
    }

    /// Ends all connections and refuses new ones.
    pub(crate) fn cut(&self) {
        self.command(Command::Cut);
    }

    /// Resets all connections and accepts new ones.
    pub(crate) fn reset(&self) {
        self.command(Command::Reset);
    }

    /// Forwards nothing more, neither bytes nor ends; connections stay open and new ones are accepted.
    pub(crate) fn stall(&self) {
        self.weather.stalled.store(true, Ordering::SeqCst);
    }

    /// What is read from now on arrives that much later, each way.
    pub(crate) fn delay(&self, time: Duration) {
        let ms = u64::try_from(time.as_millis()).unwrap();
        self.weather.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// The bytes that have come here and are not passed on yet.
    pub(crate) fn held(&self) -> u64 {
        self.weather.held.load(Ordering::SeqCst)
    }

    /// Returns when it is done.
    fn command(&self, command: Command) {
        let (done, when_done) = mpsc::channel();
        self.commands.send((command, done)).expect("the proxy runs");
        when_done.recv().expect("the proxy runs");
    }
}

/// The thread that accepts.
struct Line {
    target: SocketAddr,
    weather: Arc<Weather>,
    connections: Vec<Connection>,
}

/// The two ends of a connection.
struct Connection {
    client: Arc<TcpStream>,
    server: Arc<TcpStream>,
}

impl Line {
    fn serve(mut self, listener: TcpListener, commands: &Receiver<(Command, Sender<()>)>) {
        const TURN: Duration = Duration::from_millis(2);
        let address = listener.local_addr().unwrap();
        let mut listener = Some(listener);
        loop {
            match commands.recv_timeout(TURN) {
                Ok((command, done)) => {
                    listener = match command {
                        Command::Pass | Command::Reset => {
                            Some(listener.unwrap_or_else(|| listen(address)))
                        }
                        Command::Cut => None,
                    };
                    if command != Command::Pass {
                        self.end_all(command == Command::Reset);
                    }
                    // Who sent it waits.
                    let _ = done.send(());
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    self.weather.stalled.store(false, Ordering::SeqCst);
                    return self.end_all(false);
                }
            }
            if let Some(listener) = &listener {
                listener.set_nonblocking(true).unwrap();
                while let Ok((client, _)) = listener.accept() {
                    self.connect(client);
                }
            }
        }
    }

    fn connect(&mut self, client: TcpStream) {
        // Nobody there: what the client gets is the end, at once.
        let Ok(server) = TcpStream::connect(self.target) else {
            return;
        };
        client.set_nonblocking(false).unwrap();
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
        }
        let (client, server) = (Arc::new(client), Arc::new(server));
        self.pump(&client, &server);
        self.pump(&server, &client);
        self.connections.retain(Connection::is_open);
        self.connections.push(Connection { client, server });
    }

    /// One direction: a thread that reads, and one that writes what is due.
    fn pump(&self, from: &Arc<TcpStream>, to: &Arc<TcpStream>) {
        /// Chunks on their way; beyond it the sender waits.
        const MOST: usize = 256;
        let (chunks, due) = mpsc::sync_channel(MOST);
        let (from, to) = (Arc::clone(from), Arc::clone(to));
        let (reading, writing) = (Arc::clone(&self.weather), Arc::clone(&self.weather));
        thread::spawn(move || reading.read(&from, &chunks));
        thread::spawn(move || writing.write(&to, &due));
    }

    fn end_all(&mut self, hard: bool) {
        for Connection { client, server } in self.connections.drain(..) {
            for stream in [client, server] {
                if hard {
                    // Reset when the last pump lets go of it, which the end of its reading makes it do.
                    let _ = SockRef::from(&*stream).set_linger(Some(Duration::ZERO));
                }
                let which = if hard { Shutdown::Read } else { Shutdown::Both };
                let _ = stream.shutdown(which);
            }
        }
    }
}

impl Connection {
    /// Whether pumps still hold it.
    fn is_open(&self) -> bool {
        Arc::strong_count(&self.client) > 1 || Arc::strong_count(&self.server) > 1
    }
}

fn listen(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).expect("the port is still free")
}

impl Weather {
    fn read(&self, mut from: &TcpStream, chunks: &SyncSender<(Instant, Vec<u8>)>) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let delay = Duration::from_millis(self.delay_ms.load(Ordering::SeqCst));
            let chunk = (Instant::now() + delay, buffer[..length].to_vec());
            self.held.fetch_add(length as u64, Ordering::SeqCst);
            if chunks.send(chunk).is_err() {
                return;
            }
        }
    }

    fn write(&self, mut to: &TcpStream, chunks: &Receiver<(Instant, Vec<u8>)>) {
        for (due, chunk) in chunks {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.wait_out_the_stall();
            if to.write_all(&chunk).is_err() {
                break;
            }
            self.held.fetch_sub(chunk.len() as u64, Ordering::SeqCst);
        }
        self.wait_out_the_stall();
        // A reset has been announced to the system and comes with the last reference instead.
        if SockRef::from(to)
            .linger()
            .is_ok_and(|linger| linger.is_none())
        {
            let _ = to.shutdown(Shutdown::Both);
        }
    }

    fn wait_out_the_stall(&self) {
        const TURN: Duration = Duration::from_millis(2);
        while self.stalled.load(Ordering::SeqCst) {
            thread::sleep(TURN);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::harness::{PATIENCE, eventually};

    /// A server that says everything back, behind a proxy.
    fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        Proxy::start(address)
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// How long the echo takes.
    fn echoed(stream: &mut TcpStream) -> Duration {
        let begin = Instant::now();
        stream.write_all(b"hello").unwrap();
        let mut buffer = [0; 5];
        stream.read_exact(&mut buffer).unwrap();
        assert_eq!(&buffer, b"hello");
        begin.elapsed()
    }

    #[test]
    fn a_cut_ends_and_refuses() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        echoed(&mut stream);
        proxy.cut();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        let refused = TcpStream::connect(proxy.address()).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        proxy.pass();
        echoed(&mut connect(&proxy));
    }

    #[test]
    fn a_reset_resets_and_accepts() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        echoed(&mut stream);
        proxy.reset();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        echoed(&mut connect(&proxy));
    }

    #[test]
    fn a_stall_holds_bytes_and_ends() {
        let proxy = echo();
        let mut streams = [connect(&proxy), connect(&proxy)];
        for stream in &mut streams {
            echoed(stream);
        }
        proxy.stall();
        let mut late = connect(&proxy);
        let [first, second] = &mut streams;
        for stream in [&mut *first, &mut late] {
            stream.write_all(b"late!").unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(100)))
                .unwrap();
            assert_eq!(
                stream.read(&mut [0]).unwrap_err().kind(),
                ErrorKind::WouldBlock
            );
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        second.shutdown(Shutdown::Write).unwrap();
        proxy.pass();
        for stream in [first, &mut late] {
            let mut buffer = [0; 5];
            stream.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"late!");
        }
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_delay_counts_each_way_and_holds_up_no_bytes_behind_it() {
        let proxy = echo();
        let mut stream = connect(&proxy);
        proxy.delay(Duration::from_millis(50));
        let began = Instant::now();
        for _ in 0..20 {
            stream.write_all(b"hello").unwrap();
        }
        stream.read_exact(&mut [0; 100]).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(100));
        assert!(echoed(&mut stream) >= Duration::from_millis(100));
        proxy.delay(Duration::ZERO);
        eventually(PATIENCE, "the delay is over", || {
            (echoed(&mut stream) < Duration::from_millis(50)).then_some(())
        });
    }
}
