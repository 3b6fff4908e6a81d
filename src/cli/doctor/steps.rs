//! The steps themselves: each is taken only after the one before went well.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, timeout};

use super::report::{Report, Step};
use crate::cli::advice;
use crate::cli::api::{Api, DELIVERY};
use crate::client::{
    self, Address, Answer, Connection, Credentials, Dialer, ServerMessage, Socket, TlsFacts,
};

/// How long the answer to a subscription, and the event, may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The event that is published.
const EVENT: &str = "tidewire-doctor";

/// What is examined.
pub(super) struct Diagnosis {
    pub(super) dialer: Dialer,
    pub(super) api: Address,
    pub(super) credentials: Credentials,
}

/// A step that failed is in the report; nothing comes after it.
struct Ended;

impl Diagnosis {
    /// Takes all steps, as far as they go.
    pub(super) async fn examine(&self, report: &mut Report) {
        // What it says is in the report.
        let _: Result<(), Ended> = self.steps(report).await;
    }

    async fn steps(&self, report: &mut Report) -> Result<(), Ended> {
        let (socket, answer) = self.socket(report).await?;
        let mut connection = self.established(socket, &answer, report).await?;
        let channel = self.subscribed(&mut connection, report).await?;
        if self.credentials.secrets.is_none() {
            let why = "without the app's secret nothing can be published: give --secret-file or TIDEWIRE_APP_SECRET";
            report.skipped(Step::Publish, why);
            report.skipped(Step::Event, "nothing was published");
        } else {
            self.published(&mut connection, &channel, report).await?;
        }
        connection.close().await;
        Ok(())
    }

    fn fail(
        &self,
        report: &mut Report,
        step: Step,
        begun: Instant,
        error: &client::Error,
    ) -> Ended {
        let advice = advice::of(error, &self.dialer.address);
        report.failed(step, begun.elapsed(), &error.to_string(), advice);
        Ended
    }

    /// Takes a step. Returns what came of it and how long it took, unless it failed.
    async fn step<T>(
        &self,
        report: &mut Report,
        step: Step,
        work: impl Future<Output = Result<T, client::Error>>,
    ) -> Result<(T, Duration), Ended> {
        let begun = Instant::now();
        let done = work.await;
        let done = done.map_err(|error| self.fail(report, step, begun, &error))?;
        Ok((done, begun.elapsed()))
    }

    /// From the name to a WebSocket.
    async fn socket(&self, report: &mut Report) -> Result<(Socket, Answer), Ended> {
        let dialer = &self.dialer;
        let (addresses, took) = self.step(report, Step::Resolve, dialer.resolve()).await?;
        let shown: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
        let found = format!("{} is {}", dialer.address.host, shown.join(", "));
        report.ok(Step::Resolve, took, &found, None);

        let reach = dialer.reach(&addresses);
        let ((stream, address), took) = self.step(report, Step::Tcp, reach).await?;
        report.ok(Step::Tcp, took, &format!("connected to {address}"), None);

        let secure = dialer.secure(stream);
        let (stream, took) = self.step(report, Step::Tls, secure).await?;
        match &stream.tls {
            Some(facts) => {
                let (found, advice) = about_tls(facts);
                report.ok(Step::Tls, took, &found, advice);
            }
            None => report.skipped(Step::Tls, "the URL asks for none"),
        }

        let upgrade = dialer.upgrade(stream, self.credentials.key.as_str());
        let ((socket, answer), took) = self.step(report, Step::Upgrade, upgrade).await?;
        report.ok(Step::Upgrade, took, &answer.to_string(), None);
        Ok((socket, answer))
    }

    async fn established(
        &self,
        socket: Socket,
        answer: &Answer,
        report: &mut Report,
    ) -> Result<Connection, Ended> {
        let establish = Connection::establish(socket, &self.credentials);
        let (connection, took) = self.step(report, Step::Protocol, establish).await?;
        let silence = connection.activity_timeout();
        let found = format!(
            "socket id {}, activity_timeout {} s",
            connection.socket_id(),
            silence.as_secs()
        );
        let idle = advice::idle(answer, silence);
        report.ok(Step::Protocol, took, &found, idle);
        Ok(connection)
    }

    /// A channel of its own; private, if there is a secret to sign with.
    async fn subscribed(
        &self,
        connection: &mut Connection,
        report: &mut Report,
    ) -> Result<String, Ended> {
        let is_signed = self.credentials.secrets.is_some();
        let prefix = if is_signed { "private-" } else { "" };
        let channel = format!("{prefix}tidewire-doctor-{:016x}", rand::random::<u64>());
        let subscribe = async {
            connection.subscribe(&channel, is_signed, None).await?;
            let answer = heard(connection, |said| match said {
                ServerMessage::Subscribed { channel: told, .. } => {
                    (told == channel).then_some(Ok(()))
                }
                ServerMessage::Refused { message, .. } => Some(Err(message)),
                _ => None,
            });
            let late = client::Error::Timeout {
                doing: "the subscription was to be answered",
                within: TIMEOUT,
            };
            timeout(TIMEOUT, answer).await.unwrap_or(Err(late))
        };
        let (answer, took) = self.step(report, Step::Subscribe, subscribe).await?;
        match answer {
            Ok(()) => {
                let found = format!("{channel} is accepted");
                report.ok(Step::Subscribe, took, &found, None);
                Ok(channel)
            }
            Err(message) => {
                let advice = advice::refused_subscription(&message);
                report.failed(Step::Subscribe, took, &message, advice);
                Err(Ended)
            }
        }
    }

    /// Publishes, and waits for what was published.
    async fn published(
        &self,
        connection: &mut Connection,
        channel: &str,
        report: &mut Report,
    ) -> Result<(), Ended> {
        let mark = format!("{:016x}", rand::random::<u64>());
        let data = json!({ "mark": mark }).to_string();
        let body = json!({"name": EVENT, "channels": [channel], "data": data}).to_string();
        let trust = self.dialer.trust.clone();
        let api = Api::new(&self.api, self.credentials.clone(), trust);
        let begun = Instant::now();
        let answer = match api.call("POST", "events", Some(body)).await {
            Ok(answer) => answer,
            Err(error) => {
                let advice = "Backends use this URL too: is it reachable from here, and from them? With --api-url it \
                              can be another one than clients use.";
                let text = error.to_string();
                report.failed(Step::Publish, begun.elapsed(), &text, advice.to_owned());
                return Err(Ended);
            }
        };
        let server = answer.header("server");
        let server = server.map_or_else(String::new, |server| format!(", Server: {server}"));
        if !(200..300).contains(&answer.status) {
            let advice = advice::refused_publish(&answer, api.base());
            // A server says it in a sentence, a proxy in a page.
            let said = match answer.text.starts_with('<') {
                true => client::first_words(&answer.text),
                false => answer.text.chars().take(400).collect(),
            };
            let found = format!("{}{server}: {said}", answer.status);
            report.failed(Step::Publish, begun.elapsed(), &found, advice);
            return Err(Ended);
        }
        let found = format!("{}{server} from {}", answer.status, api.base());
        let note = answer.header(DELIVERY).map(|_| {
            "Redis is away: only clients of the answering node got it (on_outage = \"local\")."
                .to_owned()
        });
        report.ok(Step::Publish, begun.elapsed(), &found, note);
        self.arrived(connection, &mark, begun, report).await
    }

    async fn arrived(
        &self,
        connection: &mut Connection,
        mark: &str,
        begun: Instant,
        report: &mut Report,
    ) -> Result<(), Ended> {
        let event = heard(connection, |said| match said {
            ServerMessage::Event(frame) => {
                (frame.event == EVENT && frame.text().contains(mark)).then_some(())
            }
            _ => None,
        });
        match timeout(TIMEOUT, event).await {
            Ok(Ok(())) => {
                let found = "the event came back, counted from the publish";
                report.ok(Step::Event, begun.elapsed(), found, None);
                Ok(())
            }
            Ok(Err(error)) => Err(self.fail(report, Step::Event, begun, &error)),
            Err(_) => {
                let found = format!("no event within {} s", TIMEOUT.as_secs());
                let advice = advice::LOST.to_owned();
                report.failed(Step::Event, begun.elapsed(), &found, advice);
                Err(Ended)
            }
        }
    }
}

/// The first message that means something, as told by `meaning`.
async fn heard<T>(
    connection: &mut Connection,
    meaning: impl Fn(ServerMessage) -> Option<T>,
) -> Result<T, client::Error> {
    loop {
        if let Some(meant) = meaning(connection.next().await?) {
            return Ok(meant);
        }
    }
}

fn about_tls(facts: &TlsFacts) -> (String, Option<String>) {
    let end = facts.end.map(advice::days_until);
    let until = end.map_or_else(String::new, |(days, date)| {
        format!(", until {date} ({days} days left)")
    });
    let found = format!(
        "{}, the certificate is good for {}{until}",
        facts.version, facts.name
    );
    let advice = facts.ends_soon.then(|| {
        "The certificate, or one above it, ends within two weeks: see that it is renewed, and loaded (certbot renew; \
         nginx -s reload)."
            .to_owned()
    });
    (found, advice)
}
