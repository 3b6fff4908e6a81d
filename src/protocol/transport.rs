//! `Transport`: what carries a connection between a client and this server.

/// Everything above it is the same for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// A WebSocket that speaks Pusher's protocol.
    #[default]
    WebSocket,
    /// Pusher's protocol over HTTP: one long answer after another, and a request for each message of the client.
    XhrStreaming,
    /// Pusher's protocol over HTTP: an answer for each batch of events.
    XhrPolling,
    /// Server-Sent Events.
    Sse,
    /// A WebSocket with frames of plain JSON.
    Plain,
}

impl Transport {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 5] = [
        Self::WebSocket,
        Self::XhrStreaming,
        Self::XhrPolling,
        Self::Sse,
        Self::Plain,
    ];

    /// Whether it is pusher-js over HTTP.
    #[must_use]
    pub fn is_xhr(self) -> bool {
        matches!(self, Self::XhrStreaming | Self::XhrPolling)
    }

    /// Its name in metrics, logs and the console.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::XhrStreaming => "xhr_streaming",
            Self::XhrPolling => "xhr_polling",
            Self::Sse => "sse",
            Self::Plain => "plain",
        }
    }

    /// Whether its clients have no library: they listen, by tokens, and say nothing to a channel.
    #[must_use]
    pub fn is_listeners(self) -> bool {
        matches!(self, Self::Sse | Self::Plain)
    }
}
