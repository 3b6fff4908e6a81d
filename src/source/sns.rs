//! Amazon SNS: what it signs (docs: `sns-verify-signature-of-message`), the certificates that it signs with, and the
//! confirmation of a subscription.
//!
//! Addresses in a message are asked only if they are of SNS itself, over TLS that a known authority vouches for, and the
//! topic is one that is expected. Nobody is followed to another address.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Uri;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use rustls::pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;
use tokio::time::timeout;
use webpki::EndEntityCert;

use super::{Refused, signature};
use crate::limits::ConcurrencyLimit;
use crate::{fetch, pem};

/// How long SNS may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read: a certificate has some 2 KiB.
const ANSWER_BYTES: usize = 64 * 1024;
/// How many certificates are kept; SNS has one for each region, and replaces it once in a while.
const CERTIFICATES: usize = 16;
/// How many requests to SNS may be under way for one source.
const REQUESTS: usize = 4;

/// Verifies messages of Amazon SNS, and confirms subscriptions to its topics.
pub struct Sns {
    topics: Vec<String>,
    /// Instead of SNS itself: who stands in for it in a test.
    stand_in: Option<String>,
    tls: Arc<ClientConfig>,
    /// By their address.
    certificates: watch::Sender<HashMap<String, CertificateDer<'static>>>,
    requests: Arc<ConcurrencyLimit>,
}

impl fmt::Debug for Sns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.topics)
    }
}

/// What SNS sends. Everything is as in the JSON, nothing is known to be true.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    #[serde(rename = "Type")]
    pub(super) kind: Kind,
    pub(super) message_id: String,
    pub(super) topic_arn: String,
    pub(super) message: String,
    subject: Option<String>,
    timestamp: String,
    signature_version: String,
    signature: String,
    #[serde(rename = "SigningCertURL")]
    signing_cert_url: String,
    #[serde(rename = "SubscribeURL")]
    subscribe_url: Option<String>,
    token: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum Kind {
    Notification,
    SubscriptionConfirmation,
    UnsubscribeConfirmation,
}

impl Envelope {
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refused> {
        serde_json::from_slice(body).map_err(|error| Refused::NotSns(error.to_string()))
    }

    /// The text that is signed: each key on a line, its value on the next.
    fn signed(&self) -> String {
        let confirms = self.kind != Kind::Notification;
        let kind = format!("{:?}", self.kind);
        let lines = [
            ("Message", Some(&self.message)),
            ("MessageId", Some(&self.message_id)),
            ("Subject", self.subject.as_ref().filter(|_| !confirms)),
            (
                "SubscribeURL",
                self.subscribe_url.as_ref().filter(|_| confirms),
            ),
            ("Timestamp", Some(&self.timestamp)),
            ("Token", self.token.as_ref().filter(|_| confirms)),
            ("TopicArn", Some(&self.topic_arn)),
            ("Type", Some(&kind)),
        ];
        let given = lines
            .iter()
            .filter_map(|(key, value)| Some((key, (*value)?)));
        given
            .map(|(key, value)| format!("{key}\n{value}\n"))
            .collect()
    }
}

impl Sns {
    /// Accepts messages of these topics, or of any if the list is empty. `authorities` vouch for SNS, or for
    /// `stand_in`: the host and port that are asked instead of SNS.
    ///
    /// # Errors
    /// The TLS library refuses its own defaults.
    pub fn new(
        topics: Vec<String>,
        authorities: RootCertStore,
        stand_in: Option<String>,
    ) -> Result<Self, rustls::Error> {
        Ok(Self {
            topics,
            stand_in,
            tls: Arc::new(fetch::tls(authorities)?),
            certificates: watch::Sender::default(),
            requests: Arc::new(ConcurrencyLimit::new(Some(REQUESTS))),
        })
    }

    /// Checks the topic, the addresses, the age and the signature. A message that is older than repeats are remembered is
    /// refused: it could be one.
    pub(super) async fn verify(
        &self,
        envelope: &Envelope,
        now: u64,
        dedupe: Duration,
    ) -> Result<(), Refused> {
        self.check_topic(&envelope.topic_arn)?;
        let url = self.address(&envelope.signing_cert_url, "SigningCertURL")?;
        if !url.path().ends_with(".pem") || url.query().is_some() {
            return Err(Refused::Address {
                key: "SigningCertURL",
                expected: "a path that ends in .pem".to_owned(),
            });
        }
        if envelope.kind == Kind::SubscriptionConfirmation {
            self.subscribe_url(envelope)?;
        }
        check_age(&envelope.timestamp, now, dedupe)?;
        let signature = BASE64.decode(&envelope.signature);
        let signature =
            signature.map_err(|_| Refused::NotSns("Signature is no base64".to_owned()))?;
        let algorithm: &dyn SignatureVerificationAlgorithm = match &*envelope.signature_version {
            "1" => &RsaSha1,
            "2" => webpki::ring::RSA_PKCS1_2048_8192_SHA256,
            other => {
                let text = format!("SignatureVersion is {other:?}, and 1 and 2 are known");
                return Err(Refused::NotSns(text));
            }
        };
        let certificate = self.certificate(&url).await?;
        let verified = EndEntityCert::try_from(&certificate).and_then(|certificate| {
            certificate.verify_signature(algorithm, envelope.signed().as_bytes(), &signature)
        });
        verified.map_err(|_| Refused::SnsSignature)
    }

    /// The first of them; an empty text if any will do.
    pub(super) fn topic(&self) -> &str {
        self.topics.first().map_or("", String::as_str)
    }

    pub(super) fn check_topic(&self, topic: &str) -> Result<(), Refused> {
        match self.topics.is_empty() || self.topics.iter().any(|known| known == topic) {
            true => Ok(()),
            false => Err(Refused::Topic),
        }
    }

    /// Tells SNS that the subscription is wanted, by asking for the address that it names.
    pub(super) async fn confirm(&self, envelope: &Envelope) -> Result<(), Refused> {
        let url = self.subscribe_url(envelope)?;
        self.get(url).await.map(|_| ())
    }

    fn subscribe_url(&self, envelope: &Envelope) -> Result<Uri, Refused> {
        let url = envelope.subscribe_url.as_deref().unwrap_or_default();
        self.address(url, "SubscribeURL")
    }

    /// An address of SNS: `https://sns.{region}.amazonaws.com/…` or `….cn`, without user and port.
    fn address(&self, text: &str, key: &'static str) -> Result<Uri, Refused> {
        let expected = || Refused::Address {
            key,
            expected: match &self.stand_in {
                Some(stand_in) => format!("https://{stand_in}, which sns_test names"),
                None => "https://sns.{region}.amazonaws.com or ….cn".to_owned(),
            },
        };
        let url: Uri = text.parse().map_err(|_| expected())?;
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let is_sns = match &self.stand_in {
            Some(stand_in) => authority == stand_in,
            None => is_host_of_sns(authority),
        };
        match is_sns && url.scheme_str() == Some("https") {
            true => Ok(url),
            false => Err(expected()),
        }
    }

    async fn certificate(&self, url: &Uri) -> Result<CertificateDer<'static>, Refused> {
        let address = url.to_string();
        let known = self.certificates.borrow().get(&address).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let text = self.get(url.clone()).await?;
        let unusable = |problem: &str| Refused::Unreachable(format!("{address}: {problem}"));
        let text = std::str::from_utf8(&text).map_err(|_| unusable("it is no text"))?;
        let certificates = pem::certificates(text).map_err(unusable)?;
        let certificate = certificates.into_iter().next();
        let certificate = certificate.ok_or_else(|| unusable("there is no certificate in it"))?;
        EndEntityCert::try_from(&certificate)
            .map_err(|error| unusable(&format!("it is not an X.509 certificate: {error}")))?;
        self.keep(address, certificate.clone());
        Ok(certificate)
    }

    fn keep(&self, address: String, certificate: CertificateDer<'static>) {
        self.certificates.send_modify(|all| {
            if all.len() >= CERTIFICATES {
                all.clear();
            }
            all.insert(address, certificate);
        });
    }

    /// The body of a successful answer.
    async fn get(&self, url: Uri) -> Result<Bytes, Refused> {
        // The query of a confirmation is a capability.
        let shown = format!(
            "{}{}",
            url.authority().map_or("", |a| a.as_str()),
            url.path()
        );
        let failed = |problem: String| Refused::Unreachable(format!("{shown}: {problem}"));
        let _permit = self
            .requests
            .acquire()
            .ok_or_else(|| failed("too many requests to it are under way".to_owned()))?;
        let exchange = async {
            let server = fetch::Server::of(&url, &self.tls);
            let server = server.ok_or_else(|| failed("it is no address".to_owned()))?;
            let broken = |error: fetch::Error| failed(error.to_string());
            let answer = server.send(fetch::Request::get(url)).await;
            let answer = answer.map_err(broken)?;
            let status = answer.status;
            let body = answer.body(ANSWER_BYTES).await.map_err(broken)?;
            match status.is_success() {
                true => Ok(body),
                false => Err(failed(format!("it answers {status}"))),
            }
        };
        let exchange = timeout(TIMEOUT, exchange).await;
        exchange.unwrap_or_else(|_| Err(failed("it takes too long".to_owned())))
    }
}

fn is_host_of_sns(authority: &str) -> bool {
    let host = authority.to_ascii_lowercase();
    let host = host.strip_suffix(".cn").unwrap_or(&host);
    let region = host
        .strip_prefix("sns.")
        .and_then(|rest| rest.strip_suffix(".amazonaws.com"));
    region.is_some_and(|region| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
        region.len() >= 3 && region.chars().all(is_plain)
    })
}

fn check_age(timestamp: &str, now: u64, most: Duration) -> Result<(), Refused> {
    let time = OffsetDateTime::parse(timestamp, &Rfc3339);
    let time = time.map_err(|_| Refused::NoTimestamp)?.unix_timestamp();
    signature::check_age(u64::try_from(time).unwrap_or_default(), now, most)
}

/// RSA with SHA-1, in which SNS signs by default. The TLS library has no name for it any more.
#[derive(Debug)]
struct RsaSha1;

impl SignatureVerificationAlgorithm for RsaSha1 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let algorithm = &ring::signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY;
        ring::signature::UnparsedPublicKey::new(algorithm, public_key)
            .verify(message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        // Only what is signed by a certificate's key is verified, never a certificate, which alone names it.
        alg_id::RSA_PKCS1_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sns_is_asked() {
        for (authority, is_sns) in [
            ("sns.us-east-1.amazonaws.com", true),
            ("SNS.eu-central-1.amazonaws.com", true),
            ("sns.cn-north-1.amazonaws.com.cn", true),
            ("sns.us-east-1.amazonaws.com:443", false),
            ("user@sns.us-east-1.amazonaws.com", false),
            ("sns.us-east-1.amazonaws.com@evil.com", false),
            ("sns.evil.com", false),
            ("sns.us-east-1.amazonaws.com.evil.com", false),
            ("evil-sns.us-east-1.amazonaws.com", false),
            ("sns.a.b.amazonaws.com", false),
            ("sns.us.amazonaws.com", false),
            ("sns.us-east-1.amazonaws.com.cn.cn", false),
            ("127.0.0.1", false),
            ("localhost", false),
            ("", false),
        ] {
            assert_eq!(is_host_of_sns(authority), is_sns, "{authority}");
        }
    }

    #[test]
    fn certificates_are_bounded() {
        let sns = Sns::new(Vec::new(), RootCertStore::empty(), None).unwrap();
        for number in 0..100 {
            sns.keep(number.to_string(), Vec::new().into());
            assert!(sns.certificates.borrow().len() <= CERTIFICATES);
        }
        let permits: Vec<_> = (0..REQUESTS)
            .map(|_| sns.requests.acquire().unwrap())
            .collect();
        assert!(sns.requests.acquire().is_none());
        drop(permits);
    }

    #[test]
    fn what_is_signed() {
        let envelope = |kind: &str| {
            let text = format!(
                r#"{{"Type":"{kind}","MessageId":"m","TopicArn":"t","Subject":"s","Message":"x\ny",
                "Timestamp":"1","SignatureVersion":"1","Signature":"","SigningCertURL":"","SubscribeURL":"u","Token":"k"}}"#
            );
            Envelope::parse(text.as_bytes())
                .unwrap_or_else(|e| panic!("{e}"))
                .signed()
        };
        assert_eq!(
            envelope("Notification"),
            "Message\nx\ny\nMessageId\nm\nSubject\ns\nTimestamp\n1\nTopicArn\nt\nType\nNotification\n"
        );
        let confirmation = envelope("UnsubscribeConfirmation");
        assert_eq!(
            confirmation,
            "Message\nx\ny\nMessageId\nm\nSubscribeURL\nu\nTimestamp\n1\nToken\nk\nTopicArn\nt\nType\nUnsubscribeConfirmation\n"
        );
    }
}
