//! The closed sets of reasons: what metrics are labelled with and log lines say. None of the texts holds anything that
//! a peer sent.

use crate::protocol::{CloseCode, Transport};

/// One of a closed set.
pub trait Reason: Copy + 'static {
    /// What is counted, in a log line's words.
    const WHAT: &'static str;
    /// How many lines may be logged for one reason within a window.
    const LINES: u64 = 10;
    /// All of them, each at its index.
    const ALL: &'static [Self];
    /// Its place in [`Reason::ALL`].
    fn index(self) -> usize;
    /// The label in metrics and log fields.
    fn label(self) -> &'static str;
    /// The reason in words.
    fn text(self) -> &'static str;
    /// Whether somebody could not prove to be who they said they are.
    fn is_authentication(self) -> bool {
        false
    }
}

macro_rules! reasons {
    (
        $(#[$about:meta])*
        $set:ident, $what:literal, $lines:literal {
            $($variant:ident $label:literal $text:literal $($authentication:ident)?,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $set {
            $(#[doc = concat!("`", $label, "`; [`Reason::text`] says it in words.")] $variant,)+
        }

        impl Reason for $set {
            const WHAT: &'static str = $what;
            const LINES: u64 = $lines;
            const ALL: &'static [Self] = &[$(Self::$variant,)+];

            fn index(self) -> usize {
                self as usize
            }

            fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)+
                }
            }

            fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }

            fn is_authentication(self) -> bool {
                match self {
                    $(Self::$variant => reasons!(@ $($authentication)?),)+
                }
            }
        }
    };
    (@ authentication) => { true };
    (@) => { false };
}

reasons! {
    /// Why a connection ends before HTTP.
    AcceptRefused, "connection refused", 10 {
        NoRoom "no_room" "the limit of open files is reached; raise it (ulimit -n, LimitNOFILE) or set max_connections",
        NotAProxy "not_a_proxy" "proxy_protocol is on, and it is in no network of trusted_proxies",
        ProxyHeader "proxy_header" "no header of the PROXY protocol, which proxy_protocol expects",
        NotTls "not_tls" "plain HTTP on the TLS port",
        Handshake "tls_handshake" "the TLS handshake failed",
        TooSlow "too_slow" "neither a proxy's header nor a TLS handshake in time",
        Gone "gone" "it ended before its first request",
    }
}

reasons! {
    /// Why a request for a connection is answered with an HTTP error.
    UpgradeRefused, "upgrade refused", 10 {
        Handshake "handshake" "it is not a WebSocket handshake (RFC 6455)",
        HeadTooLarge "head_too_large" "its path, its query or its header fields are too large",
        Method "method" "a stream is asked for with another method than GET",
        Query "query" "its query names no channels, one twice, or has another value that is none",
        ResumeToken "resume_token" "what follows /resume/ is not 16 to 64 characters of A-Za-z0-9_-",
        ShuttingDown "shutting_down" "this node is shutting down",
        MaxConnections "max_connections" "this node has max_connections connections",
        ConnectionsPerIp "connections_per_ip" "this node has connections_per_ip connections from the address",
        ConnectsPerIp "connects_per_ip" "connections come from the address faster than connects_per_ip_per_second",
        NoRoom "no_room" "what is left of the limit of open files is for backends; raise it (ulimit -n, LimitNOFILE) or set max_connections",
    }
}

reasons! {
    /// Why a request of a session over HTTP is refused.
    SessionRefused, "session request refused", 10 {
        NotServed "not_served" "it is for a transport that is not served; set enabledTransports of pusher-js",
        UnknownSession "unknown_session" "the session of xhr_send has ended, or was never opened here",
        Method "method" "the path takes POST and OPTIONS",
        Body "body" "its body is not a JSON array of strings, or it may not have one",
        BodyTooLarge "body_too_large" "its body is larger than the app's messages may be",
        Waiting "waiting" "more requests of the session wait than may",
        Unreachable "unreachable" "its session is another node's, which cannot be asked now",
    }
}

reasons! {
    /// Why a subscription or an unsubscription is refused.
    SubscriptionRefused, "subscription refused", 10 {
        ChannelName "channel_name" "that is not a channel name, or longer than channel_name_length",
        Existing "existing" "the connection is subscribed to the channel already",
        NotSubscribed "not_subscribed" "the connection is not subscribed to the channel",
        AuthMissing "auth_missing" "auth is missing" authentication,
        AuthFormat "auth_format" "auth is not of the form key:signature, nor a token where there is [apps.jwt]" authentication,
        AuthKey "auth_key" "auth names another key than the app's" authentication,
        Signature "signature" "the signature is not of any of the app's secrets over this socket id, channel and data; or not of a key of [apps.jwt]" authentication,
        TokenAlgorithm "token_algorithm" "the token's algorithm is not one of [apps.jwt]" authentication,
        TokenKey "token_key" "no key of [apps.jwt] has the key id and the algorithm of the token" authentication,
        TokenKeysUnread "token_keys_unread" "the keys of jwks_url cannot be read",
        TokenTime "token_time" "the token has expired, or is not valid yet" authentication,
        TokenClaim "token_claim" "a claim of the token is missing, or not what [apps.jwt] or the data beside it says" authentication,
        TokenChannel "token_channel" "the token does not name the channel" authentication,
        TokenEnded "token_ended" "the token of the subscription has ended",
        NoMember "no_member" "a presence channel needs channel_data, and the connection is not signed in",
        Member "member" "channel_data is not a member",
        MemberTooLarge "member_too_large" "channel_data is over presence_member_bytes, or its user id too long",
        NotSignedIn "not_signed_in" "a rule lets only those in who have signed in, and the connection has not in time",
        NeedsToken "needs_token" "a rule lets only those in who have a token",
        Nobody "nobody" "a rule lets nobody in",
        RulesChanged "rules_changed" "the channel's rules changed more than once in a moment",
        OtherUser "other_user" "the channel is another user's",
        PresenceFull "presence_full" "the channel has presence_members members",
        TooFast "too_fast" "the connection subscribes faster than subscribes_per_second",
        TooManyChannels "too_many_channels" "the connection has channels_per_connection subscriptions",
        Overloaded "overloaded" "a worker's inbox stayed full",
        Unreachable "unreachable" "Redis did not take it",
    }
}

reasons! {
    /// Why a sign-in is refused.
    SigninRefused, "sign-in refused", 10 {
        AuthFormat "auth_format" "auth is not of the form key:signature, nor a token where there is [apps.jwt]" authentication,
        AuthKey "auth_key" "auth names another key than the app's" authentication,
        Signature "signature" "the signature is not of any of the app's secrets over this socket id and user_data; or not of a key of [apps.jwt]" authentication,
        TokenAlgorithm "token_algorithm" "the token's algorithm is not one of [apps.jwt]" authentication,
        TokenKey "token_key" "no key of [apps.jwt] has the key id and the algorithm of the token" authentication,
        TokenKeysUnread "token_keys_unread" "the keys of jwks_url cannot be read",
        TokenTime "token_time" "the token has expired, or is not valid yet" authentication,
        TokenClaim "token_claim" "a claim of the token is missing, or not what [apps.jwt] or the data beside it says" authentication,
        User "user" "user_data is not a user",
        AlreadySignedIn "already_signed_in" "the connection is signed in as another user",
        TooManyConnections "too_many_connections" "the user has connections_per_user connections",
        Overloaded "overloaded" "a worker's inbox stayed full",
    }
}

reasons! {
    /// Why a client event is dropped.
    ClientEventRefused, "client event refused", 10 {
        Disabled "disabled" "client_events is off for the app, or for the channel by a rule",
        NotSubscribed "not_subscribed" "the sender is not subscribed to the channel",
        ChannelKind "channel_kind" "only private and presence channels take client events",
        NameTooLong "name_too_long" "the event's name is longer than event_name_length",
        TooLarge "too_large" "the event's data is over event_bytes",
        TooFast "too_fast" "the connection sends more than client_events_per_second",
        Overloaded "overloaded" "a worker's inbox stayed full",
        Unreachable "unreachable" "Redis did not take it",
    }
}

reasons! {
    /// Why a message is not carried out.
    MessageRefused, "message refused", 10 {
        Malformed "malformed" "it is not a JSON object with a string event",
        UnsupportedEvent "unsupported_event" "clients may not send that event",
        MissingParameter "missing_parameter" "a parameter of data is missing",
        Data "data" "data is of the wrong shape",
        ClientEvent "client_event" "a client event needs a channel and data",
        TooFast "too_fast" "the connection sends more than messages_per_second",
    }
}

reasons! {
    /// Why an HTTP request is refused.
    RequestRefused, "request refused", 10 {
        UnknownApp "unknown_app" "no app has the id of the path" authentication,
        AppDisabled "app_disabled" "the app is disabled",
        NoHistory "no_history" "nothing is kept of the channel",
        Secret "secret" "it holds an app's secret where its id, its key, its signature or a token belongs; replace the secret" authentication,
        AuthKeyMissing "auth_key_missing" "auth_key is missing" authentication,
        AuthKey "auth_key" "auth_key is not the key of the app, or of any app" authentication,
        AuthVersion "auth_version" "auth_version is not 1.0" authentication,
        Timestamp "timestamp" "auth_timestamp is missing or too far from this machine's clock" authentication,
        Signature "signature" "auth_signature is missing or not of any of the app's secrets over this request" authentication,
        BodyMd5 "body_md5" "body_md5 is missing or not of this body" authentication,
        Token "token" "the API token is not one of the app's, or the path takes none" authentication,
        TooManyTokens "too_many_tokens" "too many wrong API tokens came from the address" authentication,
        PlainToken "plain_token" "API tokens over plain HTTP are taken from loopback only" authentication,
        BadRequest "bad_request" "the request is not as the API expects it",
        ChannelName "channel_name" "that is not a channel name, or longer than channel_name_length",
        EventName "event_name" "that is not the name of an event, or longer than event_name_length",
        Encoding "encoding" "the body has a Content-Encoding",
        BodyTooLarge "body_too_large" "the body is larger than the app's limits allow",
        DataTooLarge "data_too_large" "an event's data is over event_bytes",
        BodyTimeout "body_timeout" "the body did not arrive in time",
        TooFast "too_fast" "the app publishes more than events_per_second",
        KeyReused "idempotency_key_reused" "its idempotency key was used a moment ago for another content",
        TooManyKeys "too_many_idempotency_keys" "the app uses more idempotency keys than this node remembers",
        TooManyReads "too_many_reads" "the app asks for channels and users more often than reads_per_second",
        Overloaded "overloaded" "a worker's inbox stayed full",
        Unreachable "unreachable" "Redis did not take it or answer",
        Malformed "malformed" "it is not HTTP/1.1",
        Tls "tls" "it is TLS, and this port is in the clear: clients use ws:// (forceTLS: false), backends http:// (useTLS: false), or set cert and key in [server.tls]",
        HeadTooLarge "head_too_large" "its path, its query or its header fields are too large",
        HeadTimeout "head_timeout" "its head did not arrive in time",
        AnswerTimeout "answer_timeout" "its answer was not read in time",
        UnknownPath "unknown_path" "nothing is under that path",
        Method "method" "the path takes another method",
        UnknownSource "unknown_source" "the app has no source of that name",
        SourceUnsigned "source_unsigned" "a delivery to a source bears no signature" authentication,
        SourceTimestamp "source_timestamp" "a delivery to a source is too old, or has no timestamp" authentication,
        SourceSignature "source_signature" "the signature of a delivery is not of any of the source's secrets over this body" authentication,
        SourceCredentials "source_credentials" "a delivery bears none of the source's tokens or passwords" authentication,
        SourceMessage "source_message" "a delivery is no message of Amazon SNS",
        SourceTopic "source_topic" "a delivery is of a topic that is not in topics" authentication,
        SourceAddress "source_address" "a delivery names an address that is not of Amazon SNS" authentication,
        SourceUnreachable "source_unreachable" "Amazon SNS could not be asked for its certificate or for a confirmation",
        SourceFull "source_full" "as many deliveries of the source as may wait are kept already",
        SourceTemplate "source_template" "a template or a condition of the source fails for the delivery",
        NotUpgraded "not_upgraded" "the WebSocket path was asked without an upgrade: a proxy may not forward it",
    }
}

reasons! {
    /// Why somebody is no operator.
    OperatorRefused, "operator refused", 10 {
        Token "token" "the token is not that of [admin]" authentication,
        Login "login" "the token of a login to the console is not that of [admin]" authentication,
        TooMany "too_many" "too many wrong tokens came from the address" authentication,
    }
}

reasons! {
    /// What a connection's log line is about. The bound is for floods: an ordinary day's lines are all there.
    Lifecycle, "connections", 1000 {
        Connected "connected" "a connection was established",
        Disconnected "disconnected" "a connection ended",
    }
}

impl Reason for CloseCode {
    const WHAT: &'static str = "connection refused";
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        self.name()
    }

    fn text(self) -> &'static str {
        // Qualified: the code's own text, not this one again.
        Self::text(self)
    }
}

impl Reason for Transport {
    const WHAT: &'static str = "connections";
    const ALL: &'static [Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        self.name()
    }

    fn text(self) -> &'static str {
        self.name()
    }
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// It broke, or the other side ended it without a close frame.
    Gone,
    /// The other side sent a close frame.
    Client,
    /// This side closed it.
    Server(CloseCode),
}

impl Reason for Closed {
    const WHAT: &'static str = "connection closed";
    const ALL: &'static [Self] = &{
        let mut all = [Self::Gone; CloseCode::ALL.len() + 2];
        all[1] = Self::Client;
        let mut at = 0;
        while at < CloseCode::ALL.len() {
            all[at + 2] = Self::Server(CloseCode::ALL[at]);
            at += 1;
        }
        all
    };

    fn index(self) -> usize {
        match self {
            Self::Gone => 0,
            Self::Client => 1,
            Self::Server(code) => code as usize + 2,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Client => "client",
            Self::Server(code) => code.name(),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Gone => "it broke or was left without a close frame",
            Self::Client => "the client closed it",
            Self::Server(code) => code.text(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn check<R: Reason + std::fmt::Debug>() {
        let mut labels = BTreeSet::new();
        for (at, reason) in R::ALL.iter().enumerate() {
            assert_eq!(reason.index(), at, "{reason:?}");
            assert!(
                labels.insert(reason.label()),
                "{reason:?} has a label of its own"
            );
            let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            assert!(reason.label().chars().all(is_label), "{reason:?}");
            assert!(!reason.text().is_empty());
        }
    }

    #[test]
    fn every_reason_has_its_own_place_and_label() {
        check::<AcceptRefused>();
        check::<UpgradeRefused>();
        check::<SessionRefused>();
        check::<SubscriptionRefused>();
        check::<SigninRefused>();
        check::<ClientEventRefused>();
        check::<MessageRefused>();
        check::<RequestRefused>();
        check::<OperatorRefused>();
        check::<Lifecycle>();
        check::<CloseCode>();
        check::<Transport>();
        check::<Closed>();
    }
}
