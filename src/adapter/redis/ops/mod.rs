//! What the rest of the server asks of the cluster, as methods of [`super::Redis`]: each posts requests to the links and
//! awaits their answers.

mod membership;
pub(super) mod publish;
mod queries;
