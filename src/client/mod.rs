//! A client of the protocol: what pusher-js does, as far as the command line needs it, against any server that speaks
//! it.
//!
//! A connection is made in steps that can be taken one by one (`dial`, `upgrade`, `connection`), so that whoever asks
//! why there is none is told which step failed. Knows no command line and no server of ours.

mod address;
mod answer;
mod connection;
mod credentials;
mod dial;
mod error;
mod frame;
mod retry;
mod socket;
mod tls;
mod upgrade;

pub use address::{Address, InvalidAddress};
pub use answer::{Answer, first_words};
pub use connection::Connection;
pub use credentials::Credentials;
pub use dial::{Dialer, Stream, TlsFacts};
pub use error::{Error, TlsFault};
pub use frame::{Frame, ServerMessage};
pub use retry::Retry;
pub use socket::Socket;
pub use tls::{InvalidAuthorities, Trust};
pub use upgrade::ESCAPED;
