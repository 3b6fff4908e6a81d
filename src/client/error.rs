//! `Error`: why there is no connection, or no longer one, by the step that failed. What to do about it depends on who
//! asks and is said elsewhere.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustls::CertificateError;

use super::answer::Answer;

/// Why there is no connection, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be resolved.
    #[error("the name {host} cannot be resolved: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// No address accepts a connection; this is the failure of the last one.
    #[error("cannot connect to {address}: {source}")]
    Tcp {
        /// The address that was tried last.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// TLS failed, or the certificate is not trusted.
    #[error("TLS with {name}: {fault}")]
    Tls {
        /// The name that the certificate must be for.
        name: String,
        /// What is wrong.
        fault: TlsFault,
    },
    /// The answer to the upgrade is not 101.
    #[error("the upgrade to a WebSocket was answered with {0}")]
    NotUpgraded(Box<Answer>),
    /// The answer to the upgrade is 101, but not a valid one.
    #[error("the upgrade to a WebSocket was answered with {answer}, but {reason}")]
    BadUpgrade {
        /// The answer.
        answer: Box<Answer>,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The answer to the upgrade is not HTTP.
    #[error("the upgrade to a WebSocket was not answered in HTTP, but with {0:?}")]
    NotHttp(String),
    /// The connection ended before the upgrade was answered.
    #[error("the connection was ended without an answer to the upgrade")]
    NoAnswer,
    /// A step took too long.
    #[error("no answer within {} s while {doing}", within.as_secs())]
    Timeout {
        /// Which step.
        doing: &'static str,
        /// How long it was waited for.
        within: Duration,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The server closed the connection with a close frame, or with an error before it cut it.
    #[error("the server closed the connection with {}{}", code.map_or_else(|| "no code".to_owned(), |code| code.to_string()), told(reason))]
    Closed {
        /// The close code, or that of the error told before the connection was cut.
        code: Option<u16>,
        /// Why.
        reason: String,
    },
    /// The server sent nothing, not even an answer to a ping.
    #[error("nothing was heard from the server for {} s", .0.as_secs())]
    Silent(Duration),
    /// The server sent something that is not of the protocol.
    #[error("the server sent what is not of the Pusher protocol: {0}")]
    ProtocolViolation(String),
    /// A private channel or a sign-in needs a signature, and the secret is not known.
    #[error("{0} must be signed for, and the app's secret is not known")]
    NoSecret(String),
}

fn told(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

/// Why TLS failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TlsFault {
    /// The name cannot be that of a certificate.
    #[error("this is not a name that a certificate can have")]
    Name,
    /// The server does not speak TLS.
    #[error("what answers there does not speak TLS")]
    NotTls,
    /// The certificate was refused.
    #[error("{0}")]
    Certificate(CertificateError),
    /// The server ended the handshake with an alert.
    #[error("the server refused: {0}")]
    Refused(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl TlsFault {
    /// Reads what the library says.
    pub(super) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match inner {
            Some(rustls::Error::InvalidCertificate(fault)) => Self::Certificate(fault.clone()),
            Some(rustls::Error::InvalidMessage(_)) => Self::NotTls,
            Some(rustls::Error::AlertReceived(alert)) => Self::Refused(format!("{alert:?}")),
            Some(other) => Self::Other(other.to_string()),
            None => Self::Other(error.to_string()),
        }
    }
}
