//! The same with one channel and with very many: subscribing, publishing and asking for a channel cost the same.

use std::time::Duration;

use serde::Serialize;

use super::{AT_A_TIME, Bench, Load, measure, needs_channels, ring};
use crate::Result;
use crate::client::{Client, Cycle, Spec};
use crate::figures::Figures;
use crate::requests::{Requests, Signer};
use crate::target::{Server, Target};

/// Subscriptions of one connection: the default limit.
const PER_CONNECTION: u32 = 1000;

const LONGEST: Duration = Duration::from_secs(60);

/// See the module's head.
#[derive(Debug, Clone, clap::Args, Serialize)]
pub(crate) struct Channels {
    /// How many channels there are, step by step
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1000, 50_000])]
    sizes: Vec<u32>,
    /// Publishes, questions and further subscriptions that are measured at each step
    #[arg(long, default_value_t = 10_000)]
    requests: u32,
}

impl Load for Channels {
    fn run(&self, bench: &Bench, target: &Target) -> Result<Figures> {
        needs_channels(target)?;
        let server = bench.start(target, Bench::config())?;
        let most = self.sizes.iter().copied().max().unwrap_or(0);
        let room = most + self.requests * u32::try_from(self.sizes.len())?;
        let mut client = Client::new(&[&server], room as usize, 1)?;
        client.add_publishers(0, 4)?;
        let mut figures = Figures::default();
        let (mut there, mut further) = (0, most);
        for size in &self.sizes {
            client.open_all(connections(there, *size), AT_A_TIME)?;
            there = there.max(*size);
            self.requests(&mut figures, &mut client, &server, there)?;

            // Others are added to those that are there, to see what that costs.
            let spent = measure(&mut client, &[&server], |client| {
                client.open_all(connections(further, further + self.requests), 4)
            })?;
            further += self.requests;
            let what = format!("subscribe_at_{size}");
            figures.cpu_each(&what, spent.server, u64::from(self.requests));
        }
        Ok(figures)
    }
}

impl Channels {
    /// Publishes to channels all over, and questions for them.
    fn requests(
        &self,
        figures: &mut Figures,
        client: &mut Client,
        server: &Server,
        there: u32,
    ) -> Result<()> {
        let signer = Signer::new(server);
        // A step that meets all of them, far from one another.
        let step = there / 7 * 3 + 1;
        let channels = (0..self.requests).map(|n| n.wrapping_mul(step) % there.max(1));
        let (publishes, to) = ring(client, &signer, channels.clone(), 100);
        let mut questions = Requests::default();
        for channel in channels {
            questions.push(&signer.channel(&client.channel_name(channel)));
        }
        for (name, requests, to) in [
            ("publish", publishes, Some(to)),
            ("question", questions, None),
        ] {
            let count = u64::from(self.requests);
            let mut refused = 0;
            let spent = measure(client, &[server], |client| {
                let mut cycle = Cycle::new(client, requests, count, LONGEST);
                if let Some(to) = to {
                    cycle = cycle.to(to);
                }
                client.publish_on_answer(cycle)?;
                client.settle()?;
                refused = client.counts.refused;
                Ok(())
            })?;
            figures.cpu_each(&format!("{name}_at_{there}"), spent.server, count);
            if refused > 0 {
                figures.count(format!("{name}_refused_at_{there}"), refused);
            }
        }
        Ok(())
    }
}

/// Connections that are subscribed to the channels of a range.
fn connections(from: u32, to: u32) -> impl Iterator<Item = Spec> {
    (from..to)
        .step_by(PER_CONNECTION as usize)
        .map(move |start| Spec {
            channels: start..to.min(start + PER_CONNECTION),
            ..Spec::of(0, 0)
        })
}
