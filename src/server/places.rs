//! How a listener's connections come to workers: each worker has a place at each listener, which is a socket of its own,
//! and the system gives a connection to one of them by its addresses. That is fair for many connections only, so a
//! worker that has more than another hands the next one over.
//!
//! Knows nothing of what is done with a connection.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use actix_rt::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tracing::debug;

use crate::limits::{ConcurrencyLimit, Permit};
use crate::net::accept;

/// A worker keeps a connection unless another has fewer than it by more than one in so many.
const SLACK: usize = 16;

/// One worker's place at a listener.
pub(super) struct Place {
    socket: TcpListener,
    worker: Arc<Worker>,
    handed: mpsc::UnboundedReceiver<Handed>,
    others: Vec<Arc<Worker>>,
}

/// What the others at a listener know of a worker.
struct Worker {
    connections: Arc<ConcurrencyLimit>,
    hand: mpsc::UnboundedSender<Handed>,
}

/// A connection for another worker.
struct Handed {
    stream: std::net::TcpStream,
    peer: SocketAddr,
    permit: Permit,
}

/// The places at a listener that has these sockets, and room for so many connections.
pub(super) fn places(sockets: Vec<TcpListener>, room: &Arc<ConcurrencyLimit>) -> Vec<Place> {
    let mut places: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            #[expect(
                clippy::disallowed_methods,
                reason = "whatever is in it has a permit, and who has more than others is handed nothing"
            )]
            let (hand, handed) = mpsc::unbounded_channel();
            let connections = Arc::new(ConcurrencyLimit::part_of(Arc::clone(room)));
            Place {
                socket,
                worker: Arc::new(Worker { connections, hand }),
                handed,
                others: Vec::new(),
            }
        })
        .collect();
    let workers: Vec<_> = places.iter().map(|p| Arc::clone(&p.worker)).collect();
    for (index, place) in places.iter_mut().enumerate() {
        // Each asks the others beginning with the next, so that not all ask the same one first.
        place.others.extend_from_slice(&workers[index + 1..]);
        place.others.extend_from_slice(&workers[..index]);
    }
    places
}

impl Place {
    /// Gives `begin` the connections of this worker until it is to stop, and `refuse` the addresses of those for which
    /// there is no room.
    ///
    /// # Errors
    /// The system cannot wait for connections.
    pub(super) async fn serve(
        mut self,
        mut stop: watch::Receiver<bool>,
        begin: impl Fn(TcpStream, SocketAddr, Permit),
        refuse: impl Fn(SocketAddr),
    ) -> io::Result<()> {
        let listener = tokio::net::TcpListener::from_std(self.socket)?;
        let mut others = self.others.iter().cycle();
        loop {
            tokio::select! {
                (stream, peer) = accept(&listener) => {
                    let mine = self.worker.connections.in_use();
                    let other = others.next().filter(|other| {
                        other.connections.in_use() < mine - mine / SLACK
                    });
                    let worker = other.unwrap_or(&self.worker);
                    match (worker.connections.acquire(), other) {
                        (None, _) => refuse(peer),
                        (Some(permit), None) => begin(stream, peer, permit),
                        (Some(permit), Some(other)) => other.hand_over(stream, peer, permit),
                    }
                }
                Some(Handed { stream, peer, permit }) = self.handed.recv() => {
                    match TcpStream::from_std(stream) {
                        Ok(stream) => begin(stream, peer, permit),
                        Err(error) => debug!("a connection was lost: {error}"),
                    }
                }
                _ = stop.changed() => return Ok(()),
            }
        }
    }
}

impl Worker {
    fn hand_over(&self, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        match stream.into_std() {
            // A worker that is gone has stopped, and its connections end.
            Ok(stream) => drop(self.hand.send(Handed {
                stream,
                peer,
                permit,
            })),
            Err(error) => debug!("a connection was lost: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::io::Write as _;
    use std::net::TcpStream as Client;
    use std::rc::Rc;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::*;
    use crate::net::listen;

    const WORKERS: usize = 4;
    const ROOM: usize = 40;

    /// One thread stands for all workers, and all clients come to the socket of one.
    #[tokio::test]
    async fn connections_are_shared_out_and_there_are_no_more_than_allowed() {
        let listening = [(); WORKERS].map(|()| listen("port", "127.0.0.1", 0, 1).unwrap());
        let address = listening[0].address;
        let sockets = listening.into_iter().flat_map(|l| l.sockets).collect();
        let places = places(sockets, &Arc::new(ConcurrencyLimit::new(Some(ROOM))));
        let (stop, stopped) = watch::channel(false);
        let begun = Rc::new(RefCell::new([const { Vec::new() }; WORKERS]));
        let refused = Rc::new(Cell::new(0));
        LocalSet::new()
            .run_until(async {
                let serve = |(worker, place): (usize, Place)| {
                    let (begun, refused) = (Rc::clone(&begun), Rc::clone(&refused));
                    let begin = move |stream, _, permit| {
                        begun.borrow_mut()[worker].push((stream, permit));
                    };
                    let refuse = move |_| refused.set(refused.get() + 1);
                    spawn_local(place.serve(stopped.clone(), begin, refuse))
                };
                let serving: Vec<_> = places.into_iter().enumerate().map(serve).collect();
                let connect = || {
                    let mut client = Client::connect(address).unwrap();
                    client.write_all(b"x").unwrap();
                    client
                };
                let _clients: Vec<_> = (0..ROOM).map(|_| connect()).collect();
                let counts = || begun.borrow().each_ref().map(Vec::len);
                let total = || counts().iter().sum::<usize>();
                while total() < ROOM {
                    yield_now().await;
                }
                assert_eq!(counts(), [ROOM / WORKERS; WORKERS]);

                let _one_more = connect();
                while refused.get() == 0 {
                    yield_now().await;
                }
                begun.borrow_mut()[1].clear();
                let _another = connect();
                while total() <= ROOM - ROOM / WORKERS {
                    yield_now().await;
                }
                stop.send_replace(true);
                for served in serving {
                    served.await.unwrap().unwrap();
                }
            })
            .await;
    }
}
