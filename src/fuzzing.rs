//! Readers of outside input that the fuzz targets in `fuzz/` call and that nobody else needs from outside the crate.
//! No interface: anything here may change at any time.

pub use crate::adapter::redis::fuzzing::{logged_again, survives_readers, values_of};
pub use crate::net::proxy_header::{Proxied, read as read_proxy_header};
pub use crate::transport::ws::header::Fault as FrameFault;
pub use crate::transport::ws::messages::{Messages, Received};
