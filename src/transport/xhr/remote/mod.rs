//! Sessions across nodes: a request for a session comes to any node, and only the one on which it was opened has it.
//!
//! The node that got the request asks the owner (`asking`), which does what a receiver of its own would do (`answering`);
//! `wire` is what they say to each other. Lines stay with the owner until the other node's client has been written them,
//! so a question or an answer that gets lost loses and doubles nothing.
//!
//! Who has lost its session's node is sent `o`: the client takes its session for lost, closes, and comes back with another.

mod answering;
mod asking;
mod wire;

use std::time::Duration;

pub(in crate::transport) use answering::keep;
pub(super) use asking::Remote;

/// How long an owner waits for lines before it says that there are none yet. A node that stands still is noticed after it.
const WAIT: Duration = Duration::from_secs(10);

/// How often a receiver that asks for nothing, as its client reads slowly, says that it is there.
const HERE_EVERY: Duration = Duration::from_secs(8);

/// How long an owner believes in a receiver of another node that it does not hear of.
const SILENCE: Duration = Duration::from_secs(20);
