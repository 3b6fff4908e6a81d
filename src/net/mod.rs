//! A connection before it is HTTP or a WebSocket: the listener, the room for open files, the header of a proxy, TLS;
//! and who is at the other end when proxies are in between.
//!
//! Knows no HTTP beyond the header fields that proxies add, and no app.

mod certificates;
mod listen;
mod proxies;
mod proxy_header;
mod reception;
mod socket;

pub use certificates::Certificates;
pub use listen::{ADMIN_CONNECTIONS, Error, FileRoom, Needs, TooFewFiles, file_room, listen};
pub use proxies::{Client, TrustedProxies};
pub use reception::{Arrival, Reception};
pub use socket::{Socket, SpokeTls};
