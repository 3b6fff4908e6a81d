//! Dead letters: requests and deliveries that were given up, kept so that operators can inspect and resend them. Bounded per endpoint.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

/// A webhook request or a delivery of a source that was given up.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Unique among all until the process ends.
    pub id: u64,
    /// The app's id.
    pub app: Arc<str>,
    /// The endpoint's URL without the query, which may hold a token; of a source its path.
    pub url: Arc<str>,
    /// The events, each a JSON object.
    pub events: Vec<Arc<str>>,
    /// When the first attempt began.
    pub first_attempt: SystemTime,
    /// When the last attempt ended.
    pub last_attempt: SystemTime,
    /// Why the last attempt failed.
    pub error: String,
}

/// The dead letters of one endpoint or one source, each with the queued events that it is made of.
#[derive(Debug)]
pub struct DeadLetters<E>(VecDeque<(DeadLetter, Vec<E>)>);

impl<E> Default for DeadLetters<E> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// What operators ask of the dead letters of one endpoint or one source.
pub enum LettersCommand {
    /// List them.
    List(oneshot::Sender<Vec<DeadLetter>>),
    /// Queue the events of one again, or of all. Answers with the number of letters.
    Redeliver(Option<u64>, oneshot::Sender<usize>),
}

/// Sends a command to a task and waits for its answer. None if the task has ended.
pub async fn ask<C, T>(
    task: &mpsc::Sender<C>,
    command: impl FnOnce(oneshot::Sender<T>) -> C,
) -> Option<T> {
    let (sender, answer) = oneshot::channel();
    task.send(command(sender)).await.ok()?;
    answer.await.ok()
}

impl<E> DeadLetters<E> {
    /// Carries out a command. Returns the events that are to be queued again.
    pub fn handle(&mut self, command: LettersCommand) -> Vec<E> {
        // Whoever asked may have gone.
        match command {
            LettersCommand::List(answer) => {
                let _ = answer.send(self.list());
                Vec::new()
            }
            LettersCommand::Redeliver(id, answer) => {
                let letters = self.take(id);
                let _ = answer.send(letters.len());
                letters.into_iter().flatten().collect()
            }
        }
    }

    /// Adds a letter. If there are more than `max`, removes the oldest and returns its events.
    pub fn push(&mut self, letter: DeadLetter, events: Vec<E>, max: usize) -> Option<Vec<E>> {
        self.0.push_back((letter, events));
        let dropped = self.0.len() > max;
        dropped
            .then(|| self.0.pop_front())
            .flatten()
            .map(|(_, events)| events)
    }

    /// Copies of all letters, the oldest first.
    fn list(&self) -> Vec<DeadLetter> {
        self.0.iter().map(|(letter, _)| letter.clone()).collect()
    }

    /// Removes one letter, or all. Returns their events, letter by letter.
    fn take(&mut self, id: Option<u64>) -> Vec<Vec<E>> {
        let all = std::mem::take(&mut self.0);
        let mut taken = Vec::new();
        for (letter, events) in all {
            if id.is_none_or(|id| id == letter.id) {
                taken.push(events);
            } else {
                self.0.push_back((letter, events));
            }
        }
        taken
    }

    /// The events of all letters, the oldest first.
    pub fn events(&self) -> impl Iterator<Item = &E> {
        self.0.iter().flat_map(|(_, events)| events)
    }
}
