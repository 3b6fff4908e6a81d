//! `tidewire tail`: a client that subscribes, stays connected by the protocol's rules, and prints what arrives.

mod output;
mod plan;

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, timeout_at};

use super::target::{Authorities, Configuration, Identity, ServerTarget};
use super::text::{printable, printable_lines};
use super::{Error, advice, complain};
use crate::client::{self, Credentials, Dialer, Retry, ServerMessage};
use crate::protocol::error::{Comeback, comeback};
use output::Output;
use plan::Plan;

const AFTER_HELP: &str = "\
Examples:
  tidewire tail invoice.7
  tidewire tail a presence-b --user-id 7 --user-info '{\"name\":\"Ada\"}'
  tidewire tail cache-payment.1 --json --count 1 --timeout 30
  tidewire tail --user-data '{\"id\":\"7\"}'
      sign in and print what is sent to user 7
  TIDEWIRE_APP_SECRET=... tidewire tail x --cluster mt1 --key 278d425bdf

Events go to stdout, one a line; everything else (connections, members, counts) to stderr.
Times are UTC. Data of encrypted channels is printed as it comes, encrypted.

To join a presence channel is to be seen by its members, as the user of --user-id.

A connection that ends comes back as the protocol wants it: at once after 4200 to 4299, after
a pause that grows from one second after 4100 to 4199 and when it broke, never after 4000 to
4099. The first attempt must succeed.

Exit codes: 0 there were as many events as --count says, or --timeout is over and there is no
--count, or nobody reads stdout any more; 1 something ended it, or --timeout came before
--count; 2 wrong usage; 78 wrong configuration.

See also: tidewire doctor, tidewire trigger, tidewire channels.";

/// The arguments.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct Tail {
    /// Channels, of any kind
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
    #[command(flatten)]
    output: Output,
    /// End after that time
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// Sign in as a user: `{"id":"7","user_info":{…},"watchlist":["8"]}`
    #[arg(long, value_name = "JSON")]
    user_data: Option<String>,
    /// Who to be on presence channels [default: the signed-in user, or tidewire-tail]
    #[arg(long, value_name = "ID")]
    user_id: Option<String>,
    /// What the members of presence channels are told of that user
    #[arg(long, value_name = "JSON", requires = "user_id")]
    user_info: Option<String>,
    /// The page to claim to be, as `https://app.example.com`
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    origin: Option<String>,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    target: ServerTarget,
    #[command(flatten)]
    authorities: Authorities,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// A header's value: nothing that could end it.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let is_visible = |c: char| c.is_ascii_graphic();
    if text.is_empty() || !text.chars().all(is_visible) {
        return Err("expected an origin like https://app.example.com".to_owned());
    }
    Ok(text.to_owned())
}

/// How it ended, when nothing went wrong.
enum End {
    /// All that was wanted is printed, or nobody reads it any more.
    Enough,
    /// The time is over.
    Time,
}

/// One run.
struct Run {
    dialer: Dialer,
    credentials: Credentials,
    plan: Plan,
    output: Output,
    /// Whether there was a connection already.
    was_connected: bool,
}

impl Tail {
    /// Runs until something ends it.
    pub(super) fn run(self, configuration: &Configuration) -> Result<(), Error> {
        let plan = Plan::new(
            &self.channels,
            self.user_data,
            self.user_id.as_deref(),
            self.user_info.as_deref(),
        )?;
        let credentials = self.identity.credentials(configuration, None)?;
        let dialer = Dialer {
            address: self.target.address(configuration)?.for_sockets(),
            trust: self.authorities.trust()?,
            origin: self.origin,
        };
        let mut run = Run {
            dialer,
            credentials,
            plan,
            output: self.output,
            was_connected: false,
        };
        let end = self.timeout.map(|timeout| Instant::now() + timeout);
        actix_rt::System::new()
            .block_on(async {
                match end {
                    Some(end) => timeout_at(end, run.run()).await.unwrap_or(Ok(End::Time)),
                    None => run.run().await,
                }
            })
            .and_then(|end| match (end, run.output.count) {
                (End::Time, Some(count)) => Err(Error::Stopped(format!(
                    "only {} of {count} events came within the time",
                    run.output.events
                ))),
                _ => Ok(()),
            })
    }
}

impl Run {
    async fn run(&mut self) -> Result<End, Error> {
        let mut retry = Retry::default();
        loop {
            let begun = Instant::now();
            let ended = match self.connected().await {
                Ok(Some(end)) => return end,
                Ok(None) => continue,
                Err(error) => error,
            };
            let what_to_do = printable_lines(&advice::of(&ended, &self.dialer.address));
            let text = printable_lines(&ended.to_string());
            let pause = retry.after(&ended, begun.elapsed(), rand::random());
            // Where the server itself said when to come back, the first attempt counts as any other.
            let is_told = matches!(ended, client::Error::Closed { .. });
            match pause.filter(|_| self.was_connected || is_told) {
                Some(pause) => {
                    let when = if pause.is_zero() {
                        "at once".to_owned()
                    } else {
                        format!("in {:.1} s", pause.as_secs_f64())
                    };
                    complain(&format!("{text}; trying again {when}"));
                    sleep(pause).await;
                }
                None => {
                    let url = self.dialer.address.ws();
                    return Err(Error::Stopped(format!(
                        "{text}.\n{what_to_do}\n`tidewire doctor {url}` looks at each step."
                    )));
                }
            }
        }
    }

    /// One connection: how the run ended in it, or how it ended.
    async fn connected(&mut self) -> Result<Option<Result<End, Error>>, client::Error> {
        let mut connection = self.dialer.connect(&self.credentials).await?;
        self.was_connected = true;
        self.output.note(&format!(
            "connected to {} as {}",
            self.dialer.address,
            connection.socket_id()
        ));
        self.plan.begin();
        if let Some(user_data) = &self.plan.user_data {
            connection.sign_in(user_data).await?;
        }
        for wanted in &self.plan.wanted {
            connection
                .subscribe(
                    &wanted.channel,
                    wanted.is_signed,
                    wanted.channel_data.as_deref(),
                )
                .await?;
        }
        loop {
            let said = connection.next().await?;
            if let (ServerMessage::SignedIn, Some(channel)) = (&said, &self.plan.user_channel) {
                connection.subscribe(channel, false, None).await?;
            }
            if let Some(end) = self.take(said) {
                connection.close().await;
                return Ok(Some(end));
            }
        }
    }

    /// What to make of something said; an end, if it is one.
    fn take(&mut self, said: ServerMessage) -> Option<Result<End, Error>> {
        let goes_on = match said {
            ServerMessage::Event(frame) => self.output.event(&frame),
            ServerMessage::Notice(frame) => self.output.notice(&frame),
            ServerMessage::Subscribed { channel, members } => {
                let who = members.map(|members| {
                    let count = members.len();
                    let some: Vec<String> = members.into_iter().take(20).collect();
                    format!(", {count} on it: {}", some.join(", "))
                });
                let who = who.unwrap_or_default();
                self.output.note(&format!("subscribed to {channel}{who}"));
                Ok(true)
            }
            ServerMessage::SignedIn => {
                self.output.note("signed in");
                Ok(true)
            }
            ServerMessage::Refused {
                channel,
                code,
                message,
            } => return self.refused(channel, code, &message),
            ServerMessage::Nothing => Ok(true),
        };
        match goes_on {
            Ok(true) => None,
            Ok(false) => Some(Ok(End::Enough)),
            Err(error) => Some(Err(error)),
        }
    }

    fn refused(
        &mut self,
        channel: Option<String>,
        code: Option<u16>,
        message: &str,
    ) -> Option<Result<End, Error>> {
        // The server tells a refused subscription twice, for clients that hear only one of the two.
        if self.plan.is_news(message) {
            let message = printable(message);
            match code.map(comeback) {
                // The close that follows says what to do.
                Some(Comeback::Never | Comeback::AtOnce) if channel.is_none() => {
                    self.output.note(&format!("the server says: {message}"));
                }
                _ => {
                    let code = code.map_or_else(String::new, |code| format!(" ({code})"));
                    let advice = advice::refused_subscription(&message);
                    complain(&format!("refused{code}: {message}\n{advice}"));
                }
            }
        }
        self.plan.refuse(&channel?);
        let text = "no subscription is left, so nothing can arrive";
        (!self.plan.is_waiting()).then(|| Err(Error::Stopped(text.to_owned())))
    }
}
