//! What the adapter asks of Redis. Each operation posts requests to the links and awaits their answers.

mod membership;
mod once;
pub(super) mod peers;
mod publish;
mod queries;
