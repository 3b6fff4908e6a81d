//! Several nodes as one, over Redis.

mod settings;

pub use settings::{Address, Login, LogLimits, OnOutage, Place, Settings, Tls};
