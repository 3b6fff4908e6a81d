//! `Transport`: what carries a connection between a client and this server.

use super::named::named;

named! {
    /// Everything above it is the same for each.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
    pub enum Transport {
        /// A WebSocket that speaks Pusher's protocol.
        #[default]
        WebSocket = "websocket",
        /// Pusher's protocol over HTTP: one long answer after another, and a request for each message of the client.
        XhrStreaming = "xhr_streaming",
        /// Pusher's protocol over HTTP: an answer for each batch of events.
        XhrPolling = "xhr_polling",
        /// Server-Sent Events.
        Sse = "sse",
        /// A WebSocket with frames of plain JSON.
        Plain = "plain",
    }
}

impl Transport {
    /// Whether it is pusher-js over HTTP.
    pub fn is_xhr(self) -> bool {
        matches!(self, Self::XhrStreaming | Self::XhrPolling)
    }

    /// Whether its clients have no library: they listen, by tokens, and say nothing to a channel.
    pub fn is_listeners(self) -> bool {
        matches!(self, Self::Sse | Self::Plain)
    }
}
