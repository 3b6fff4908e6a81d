//! A connection below requests and WebSockets: the listener, the budget of open files, the header of a proxy, TLS,
//! HTTP/1.1 itself, and the address of a client behind proxies.
//!
//! Knows no path and no app.

mod acceptor;
mod certificates;
mod head;
mod http1;
mod listen;
mod proxies;
pub(crate) mod proxy_header;
mod socket;
mod tls;

pub use acceptor::{Accepted, Acceptor};
pub use certificates::Certificates;
pub use head::{HeadTooLarge, check_head};
pub use http1::{Fault, Http, Loan, Secure, TakeOver, Taken, last_answer};
pub use listen::{
    ADMIN_CONNECTIONS, Error, FileBudget, Listening, Needs, TooFewFiles, accept, file_budget,
    listen,
};
pub use proxies::{Client, TrustedProxies};
pub use socket::Socket;
