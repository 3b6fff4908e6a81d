//! The call of `wire/scripts/register.lua`: what a node holds of one topic, or that a dead node holds nothing any more.

use std::num::NonZeroU32;

use super::LinkDeps;
use super::commands::{millis, publish_verb};
use super::request::MemberChange;
use super::topic::{MemberChanges, Topic};
use crate::adapter::redis::connection::Connection;
use crate::adapter::redis::wire::keys::Subject;
use crate::adapter::redis::wire::message::Position;
use crate::adapter::redis::wire::scripts::Script;
use crate::app::AppId;
use crate::channel_log::LogId;
use crate::protocol::WebhookKind;

/// The arguments that are not the same for each topic of a link. The head of the script explains each.
pub(super) struct RegisterCommand<'a> {
    /// Who holds it.
    node: &'a str,
    app: &'a AppId,
    subject: &'a Subject,
    mode: &'static str,
    count: usize,
    max_members: usize,
    flags: String,
    after: Option<&'a Position>,
    wants_log: bool,
    resume_seconds: u32,
    latest: u32,
    behind: Option<LogId>,
    /// Of a user's connections.
    signing_in: usize,
    changes: &'a [MemberChange],
}

impl<'a> RegisterCommand<'a> {
    /// A dead node holds nothing of a topic any more.
    pub(super) fn dropping(node: &'a str, app: &'a AppId, subject: &'a Subject) -> Self {
        Self {
            node,
            app,
            subject,
            mode: "drop",
            count: 0,
            max_members: 0,
            flags: flags(subject, &[]),
            after: None,
            wants_log: false,
            resume_seconds: 0,
            latest: 0,
            behind: None,
            signing_in: 0,
            changes: &[],
        }
    }

    /// What this node holds of a topic. `restores`: after a loss of memory; `after`: the last event that was seen.
    pub(super) fn of(
        topic: &'a Topic,
        node: &'a str,
        members: &'a MemberChanges,
        restores: bool,
        after: Option<&'a Position>,
    ) -> Self {
        let wants_last = topic.waiters.iter().any(|waiter| waiter.past.cache);
        // Others may have taken the places of this node's members.
        let wants_members =
            topic.subject.is_presence() && (members.whole || !topic.members_complete);
        let more = [
            ('c', topic.local.sends_count),
            ('k', wants_last),
            ('s', wants_members),
            ('r', restores),
            ('w', members.whole),
        ];
        let (latest, behind) = topic.past_wanted();
        let signing_in = topic.waiters.iter().filter(|waiter| waiter.signs_in);
        Self {
            mode: if topic.released { "release" } else { "set" },
            count: topic.local.count,
            max_members: topic.local.max_members,
            flags: flags(&topic.subject, &more),
            after,
            wants_log: topic.degraded_since.is_some(),
            resume_seconds: topic.resumable.map_or(0, NonZeroU32::get),
            latest,
            behind,
            signing_in: signing_in.count(),
            changes: &members.changes,
            ..Self::dropping(node, &topic.app, &topic.subject)
        }
    }

    pub(super) fn build(&self, link: &LinkDeps, connection: &Connection) -> redis::Cmd {
        let Self { app, subject, .. } = self;
        // The keys are built for each registration, so that an idle topic stays small.
        let topic_keys = link.bucket.topic_keys(subject.topic_id(app));
        let keys = link
            .bucket
            .register_keys(app, &topic_keys, self.node, &link.node);
        let channel = subject.channel();
        let webhooks = &link.delivery.webhooks;
        let are_told = |channel| webhooks.are_wanted(app, channel, WebhookKind::SubscriptionCount);
        let told = if channel.is_some_and(are_told) {
            "t"
        } else {
            ""
        };
        let mut command = connection.script(Script::Register, &keys);
        command
            .arg(self.node)
            .arg(&topic_keys.topic_id)
            .arg(channel.map_or("", |channel| channel.as_str()))
            .arg(&topic_keys.topic)
            .arg(publish_verb(&link.settings))
            .arg(self.mode)
            .arg(self.count)
            .arg(format!("{}{told}", self.flags))
            .arg(millis(link.linger))
            .arg(self.max_members)
            .arg(link.settings.log.seconds);
        match self.after {
            Some(Position { run, seq }) => command.arg(run).arg(seq).arg(0),
            None => command.arg("").arg(0).arg(u8::from(self.wants_log)),
        };
        let behind = self.behind.map(|place| place.0.to_string());
        command
            .arg(self.resume_seconds)
            .arg(self.latest)
            .arg(behind.unwrap_or_default())
            .arg(connection.number);
        if matches!(subject, Subject::User(_)) {
            command.arg(self.signing_in);
        }
        for change in self.changes {
            match change {
                MemberChange::Joined(member) => command
                    .arg(member.id.as_str())
                    .arg("+")
                    .arg(member.info.as_deref().unwrap_or_default()),
                MemberChange::Left(user) => command.arg(user.as_str()).arg("-").arg(""),
            };
        }
        command
    }
}

/// Those that follow from the subject, and more.
fn flags(subject: &Subject, more: &[(char, bool)]) -> String {
    let own = [
        ('l', subject.is_listed()),
        ('p', subject.is_presence()),
        ('u', matches!(subject, Subject::User(_))),
    ];
    let all = own.iter().chain(more);
    let set = all.filter(|(_, is_set)| *is_set);
    set.map(|(flag, _)| flag).collect()
}
