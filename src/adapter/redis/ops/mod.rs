//! The operations behind the methods of the adapter. Each posts requests to the links and awaits their answers.

mod membership;
mod once;
pub(super) mod peers;
pub(super) mod publish;
pub(super) mod queries;
