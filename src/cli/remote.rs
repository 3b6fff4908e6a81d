//! The commands that speak to a server, this one or any other that speaks the protocol.

use clap::Subcommand;

use super::target::Configuration;
use super::{
    Error, apps, channels, doctor, history, members, print, sign, source, tail, terminate, trigger,
};
use crate::config::Sources;

/// What can be asked of a server.
#[derive(Debug, Subcommand)]
pub(super) enum Remote {
    /// Sign an HTTP API request and print it as a curl command, good for ten minutes
    Sign(sign::Sign),
    /// Publish an event through the HTTP API and print the answer
    Trigger(trigger::Trigger),
    /// Subscribe as a client and print what arrives
    Tail(tail::Tail),
    /// List the occupied channels
    Channels(channels::Channels),
    /// Print what is kept of a channel, and go on with --follow
    History(history::History),
    /// List who is on a presence channel
    Members(members::Members),
    /// Close all connections of a signed-in user
    Terminate(terminate::Terminate),
    /// Try what a source of the configuration makes of a delivery, or send it one
    Source(source::SourceCommand),
    /// List, create and change the apps of a running server
    Apps(apps::AppsCommand),
    /// Try every step from the name to an event, and say what to change
    Doctor(doctor::Doctor),
}

impl Remote {
    pub(super) fn run(self, sources: Sources) -> Result<(), Error> {
        let configuration = Configuration::new(sources);
        match self {
            Self::Sign(sign) => print(&sign.curl(&configuration)?),
            Self::Trigger(trigger) => print(&trigger.send(&configuration)?),
            Self::Tail(tail) => tail.run(&configuration),
            Self::Channels(channels) => print(&channels.list(&configuration)?),
            Self::History(history) => history.run(&configuration),
            Self::Members(members) => print(&members.list(&configuration)?),
            Self::Terminate(terminate) => print(&terminate.send(&configuration)?),
            Self::Source(source) => print(&source.run(&configuration)?),
            Self::Apps(apps) => print(&apps.run(&configuration)?),
            Self::Doctor(doctor) => doctor.run(&configuration),
        }
    }
}
