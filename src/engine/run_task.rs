//! One task per run: the only place that decides for it.
//!
//! Takes inputs in order; decides, appends, folds, then performs what is pending. The wake-up for time is one
//! timer at the state's next deadline. Effects run in tasks of their own and come back as inputs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::codec::{encode, fold, stream};
use super::effects;
use super::refresh;
use super::shared::{Envelope, Refusal, Shared};
use crate::clock;
use crate::domain::run::{Effect, EffectId, Event, Input, State, decide, kind_of, next_deadline, pending};
use crate::domain::{Hash, RunId, Timestamp};
use crate::store::{AppendError, Record};

pub(super) struct RunTask {
    shared: Arc<Shared>,
    run: RunId,
    state: Arc<State>,
    head: Hash,
    mailbox: mpsc::UnboundedReceiver<Envelope>,
    /// What is being performed. A token per flight ends its retries, or cancels the attempt.
    flights: HashMap<EffectId, CancellationToken>,
    finished: mpsc::UnboundedReceiver<EffectId>,
    finished_sender: mpsc::UnboundedSender<EffectId>,
    /// Messages that an earlier process of the bot may have posted: searched for before they are posted.
    maybe_posted: BTreeSet<String>,
    /// Wakes the task that keeps the live messages current.
    views: Arc<Notify>,
    /// Set when a write's outcome is unknown: the stream is read again before anything is decided.
    stale: bool,
}

impl RunTask {
    pub(super) fn new(
        shared: Arc<Shared>,
        state: State,
        head: Hash,
        mailbox: mpsc::UnboundedReceiver<Envelope>,
        booted: bool,
    ) -> Self {
        let (finished_sender, finished) = mpsc::unbounded_channel();
        let owed = state.owed.iter().filter(|owed| booted && owed.posted.is_none());
        let maybe_posted = owed.map(|owed| owed.key.to_string()).collect();
        Self {
            run: state.id().clone(),
            state: Arc::new(state),
            head,
            mailbox,
            flights: HashMap::new(),
            finished,
            finished_sender,
            maybe_posted,
            views: Arc::new(Notify::new()),
            stale: false,
            shared,
        }
    }

    /// Runs until the run owes nothing any more or the engine stops.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let views = tokio::spawn(refresh::keep_current(Arc::clone(&self.shared), self.run.clone(), Arc::clone(&self.views)));
        tokio::select! {
            () = stop.cancelled() => self.end_flights(),
            () = self.serve() => {}
        }
        self.shared.update(&self.run, |entry| entry.mailbox = None);
        if stop.is_cancelled() {
            views.abort();
        } else {
            // One last round shows the end on the cards; then the keeper ends by itself.
            self.views.notify_one();
        }
    }

    async fn serve(&mut self) {
        loop {
            self.perform_pending();
            self.views.notify_one();
            if self.state.end.is_some() && self.flights.is_empty() && pending(&self.state).is_empty() {
                info!(run = %self.run, "the run owes nothing any more");
                return;
            }
            let deadline = next_deadline(&self.state, self.shared.now());
            let clock = Arc::clone(&self.shared.ports.clock);
            tokio::select! {
                envelope = self.mailbox.recv() => match envelope {
                    Some(envelope) => self.take(envelope).await,
                    None => return,
                },
                Some(id) = self.finished.recv() => {
                    self.flights.remove(&id);
                }
                () = wait_until(clock, deadline) => {
                    let _active = self.shared.activity.begin();
                    self.decide_and_append(Input::Tick, true).await.ok();
                }
            }
        }
    }

    async fn take(&mut self, envelope: Envelope) {
        let Envelope { input, reply, _active } = envelope;
        let result = self.decide_and_append(input, reply.is_none()).await;
        // Effects begin before the input stops counting as activity, so that the engine never looks idle in between.
        self.perform_pending();
        if let Some(reply) = reply {
            let _ = reply.send(result);
        }
    }

    /// Decides on one input and makes the events durable. `insist` waits for an absent store however long it
    /// takes: an outcome must not be lost; a person is told to try again instead.
    async fn decide_and_append(&mut self, input: Input, insist: bool) -> Result<(), Refusal> {
        let mut wait = self.shared.pace.retry_first;
        let mut tries = 0;
        loop {
            match self.try_append(&input).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Rejected(rejection)) => return Err(Refusal::Rejected(rejection)),
                Err(Trouble::Stop(why)) => {
                    error!(run = %self.run, why, "the engine must stop acting");
                    self.shared.stop.cancel();
                    return Err(Refusal::Unavailable(why));
                }
                Err(Trouble::Retry(why)) => {
                    tries += 1;
                    warn!(run = %self.run, why, tries, "the journal did not take the events");
                    if !insist && tries >= TRIES_FOR_PEOPLE {
                        return Err(Refusal::Unavailable(why));
                    }
                    clock::sleep(&*self.shared.ports.clock, wait).await;
                    wait = (wait * 2).min(self.shared.pace.retry_max);
                }
            }
        }
    }

    async fn try_append(&mut self, input: &Input) -> Result<(), Trouble> {
        if self.stale {
            self.reload().await?;
        }
        let now = self.shared.now().max(self.state.changed_at);
        let events = decide(&self.state, now, input.clone()).map_err(Trouble::Rejected)?;
        if events.is_empty() {
            return Ok(());
        }
        let records: Vec<_> = events.iter().map(|event| encode(now, event)).collect();
        let journal = &self.shared.ports.journal;
        match journal.append(self.shared.fence, &stream(&self.run), self.state.seq, &records).await {
            Ok(stored) => self.fold(&stored, &events),
            Err(AppendError::Conflict { .. }) => {
                self.stale = true;
                Err(Trouble::Retry("another writer was first; the run is read again".to_owned()))
            }
            Err(error @ AppendError::OutcomeUnknown { .. }) => {
                self.stale = true;
                Err(Trouble::Retry(error.to_string()))
            }
            Err(error) if error.is_retryable() => Err(Trouble::Retry(error.to_string())),
            Err(error) => Err(Trouble::Stop(error.to_string())),
        }
    }

    fn fold(&mut self, stored: &[Record], events: &[Event]) -> Result<(), Trouble> {
        let mut state = State::clone(&self.state);
        for record in stored {
            state = fold(Some(state), record).map_err(|corrupt| Trouble::Stop(corrupt.to_string()))?;
            self.head = record.hash;
        }
        for event in events {
            info!(run = %self.run, event = kind_of(event), "journalled");
        }
        self.publish(state);
        Ok(())
    }

    /// Reads the run again from the journal, after a write of unknown outcome.
    async fn reload(&mut self) -> Result<(), Trouble> {
        let records = self.shared.ports.journal.load(&stream(&self.run)).await;
        let records = records.map_err(|error| Trouble::Retry(error.to_string()))?;
        let mut state = None;
        for record in &records {
            state = Some(fold(state, record).map_err(|corrupt| Trouble::Stop(corrupt.to_string()))?);
            self.head = record.hash;
        }
        let Some(state) = state else { return Err(Trouble::Stop("the run's records are gone".to_owned())) };
        self.publish(state);
        self.stale = false;
        Ok(())
    }

    fn publish(&mut self, state: State) {
        self.state = Arc::new(state);
        let (state, head) = (Arc::clone(&self.state), self.head);
        self.shared.update(&self.run, |entry| {
            entry.progress.retain(|progress| state.steps.get(&progress.step).is_some_and(|step| !step.is_settled()));
            entry.state = state;
            entry.head = head;
        });
    }

    /// Starts what the state owes and is not being performed; ends the retries of what it no longer owes.
    fn perform_pending(&mut self) {
        let owed = pending(&self.state);
        let ids: BTreeSet<EffectId> = owed.iter().map(Effect::id).collect();
        for (id, token) in &self.flights {
            // An attempt under way is cancelled by its own effect, not by the state having moved on.
            if !ids.contains(id) && !id.starts_with("perform/") {
                token.cancel();
            }
        }
        let mut posting = self.flights.keys().any(|id| id.starts_with("message/"));
        for effect in owed {
            let id = effect.id();
            if self.flights.contains_key(&id) {
                continue;
            }
            if let Effect::PostMessage { .. } = effect {
                // One at a time, so that the thread reads in the order of events.
                if posting {
                    continue;
                }
                posting = true;
            }
            if let Effect::CancelStep { step, attempt, .. } = &effect
                && let Some(token) = self.flights.get(&format!("perform/{step}/{attempt}"))
            {
                token.cancel();
                continue;
            }
            self.launch(id, effect);
        }
    }

    fn launch(&mut self, id: EffectId, effect: Effect) {
        let cancel = self.shared.stop.child_token();
        self.flights.insert(id.clone(), cancel.clone());
        let search = match &effect {
            Effect::PostMessage { key, .. } => self.maybe_posted.remove(key.as_str()),
            _ => false,
        };
        let flight = effects::Flight {
            shared: Arc::clone(&self.shared),
            run: self.run.clone(),
            effect,
            cancel,
            search,
            views: Arc::clone(&self.views),
        };
        let (finished, active) = (self.finished_sender.clone(), self.shared.activity.begin());
        tokio::spawn(async move {
            flight.perform(active).await;
            let _ = finished.send(id);
        });
    }

    fn end_flights(&self) {
        for token in self.flights.values() {
            token.cancel();
        }
    }
}

/// How often a person's request is tried again while the store is away, before they are told.
const TRIES_FOR_PEOPLE: u32 = 3;

enum Trouble {
    Rejected(crate::domain::run::Rejection),
    Retry(String),
    Stop(String),
}

async fn wait_until(clock: crate::clock::SharedClock, deadline: Option<Timestamp>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Waits, or returns early with `false` if the flight is cancelled.
pub(super) async fn wait(shared: &Shared, cancel: &CancellationToken, duration: Duration) -> bool {
    tokio::select! {
        () = cancel.cancelled() => false,
        () = clock::sleep(&*shared.ports.clock, duration) => true,
    }
}
