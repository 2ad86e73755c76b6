//! One task per run: the only place that decides for it.
//!
//! Takes inputs in order; decides, appends, folds, then performs what is pending. The wake-up for time is one
//! timer at the state's next deadline. Effects run in tasks of their own and come back as inputs, and an effect
//! counts as being performed until what it reported has been taken in: nothing is performed twice in between.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::activity::Active;
use super::codec::{encode, fold, stream};
use super::effects;
use super::observe;
use super::refresh;
use super::shared::{Envelope, Letter, Refusal, Shared};
use crate::clock;
use crate::domain::run::{Effect, EffectId, Event, Input, MessageKey, State, decide, kind_of, next_deadline, pending};
use crate::domain::{Hash, RunId, Timestamp};
use crate::store::{AppendError, Record};

pub(super) struct RunTask {
    shared: Arc<Shared>,
    run: RunId,
    state: Arc<State>,
    head: Hash,
    mailbox: mpsc::UnboundedReceiver<Letter>,
    /// The mailbox's other end, for the flights.
    letters: mpsc::UnboundedSender<Letter>,
    /// What came while the store was away, in order.
    backlog: VecDeque<Letter>,
    /// What is being performed. A token per flight ends its retries, or cancels the attempt.
    flights: HashMap<EffectId, CancellationToken>,
    /// Cancelled when this run is acted for no more; every flight's token descends from it.
    halt: CancellationToken,
    /// Messages that an earlier process of the bot may have posted: searched for before they are posted.
    maybe_posted: BTreeSet<String>,
    /// Wakes the task that keeps the live messages current.
    views: Arc<Notify>,
    /// The input before all others. An attempt that a former process left behind must be journalled as cut off
    /// before the state is asked what it owes, or it would be performed again.
    first: Option<(Input, Active)>,
    /// The instant of the last look at the state: a deadline that passes while something else is being decided or
    /// written is still to come.
    looked_at: Timestamp,
    /// Set when a write's outcome is unknown: the stream is read again before anything is decided.
    stale: bool,
    /// Why this run can go on no more, once that is so.
    defect: Option<String>,
}

/// A run's mailbox: both its ends.
pub(super) type Mailbox = (mpsc::UnboundedSender<Letter>, mpsc::UnboundedReceiver<Letter>);

impl RunTask {
    pub(super) fn new(shared: Arc<Shared>, state: State, head: Hash, mailbox: Mailbox, booted: bool) -> Self {
        let owed = state.owed.iter().filter(|owed| booted && owed.posted.is_none());
        let maybe_posted = owed.map(|owed| owed.key.to_string()).collect();
        let (letters, mailbox) = mailbox;
        let first = if booted { Input::Rebooted } else { Input::Tick };
        Self {
            run: state.id().clone(),
            looked_at: state.changed_at,
            state: Arc::new(state),
            head,
            mailbox,
            letters,
            backlog: VecDeque::new(),
            flights: HashMap::new(),
            halt: shared.stop.child_token(),
            maybe_posted,
            views: Arc::new(Notify::new()),
            first: Some((first, shared.activity.begin())),
            stale: false,
            defect: None,
            shared,
        }
    }

    /// Runs until the run owes nothing any more or the engine stops. A defect sets this one run aside.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let views = tokio::spawn(refresh::keep_current(Arc::clone(&self.shared), self.run.clone(), Arc::clone(&self.views)));
        let served = AssertUnwindSafe(async {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = self.serve() => {}
            }
        });
        if served.catch_unwind().await.is_err() {
            self.defect = Some("a defect in the program".to_owned());
        }
        self.halt.cancel();
        if let Some(why) = &self.defect {
            error!(run = %self.run, why, "the run is set aside");
        }
        let stuck = self.defect.clone();
        self.shared.update(&self.run, |entry| {
            entry.mailbox = None;
            entry.stuck = stuck;
        });
        if stop.is_cancelled() {
            views.abort();
        } else {
            // One last round shows the end on the cards; then the keeper ends by itself.
            self.views.notify_one();
        }
    }

    async fn serve(&mut self) {
        if let Some((input, active)) = self.first.take() {
            let mut active = Some(active);
            self.decide_and_append(input, true, &mut active).await.ok();
            self.perform_pending();
        }
        while self.defect.is_none() {
            self.perform_pending();
            self.views.notify_one();
            let idle = self.flights.is_empty() && self.backlog.is_empty();
            if self.state.end.is_some() && idle && pending(&self.state).is_empty() {
                info!(run = %self.run, "the run owes nothing any more");
                return;
            }
            if self.stale {
                // Nobody may ever ask again: what the journal holds must be known all the same.
                self.tick().await;
            } else if let Some(letter) = self.backlog.pop_front() {
                self.open(letter).await;
            } else {
                let deadline = next_deadline(&self.state, self.looked_at);
                let clock = Arc::clone(&self.shared.ports.clock);
                tokio::select! {
                    Some(letter) = self.mailbox.recv() => self.open(letter).await,
                    () = wait_until(clock, deadline) => self.tick().await,
                }
            }
        }
    }

    async fn tick(&mut self) {
        let mut active = Some(self.shared.activity.begin());
        self.decide_and_append(Input::Tick, true, &mut active).await.ok();
        self.perform_pending();
    }

    async fn open(&mut self, letter: Letter) {
        match letter {
            Letter::FlightOver(id, _active) => {
                self.flights.remove(&id);
                self.perform_pending();
            }
            Letter::Input(Envelope { input, reply, active }) => {
                // What was kept while the store was away did not count meanwhile; now it is work again.
                let mut active = active.or_else(|| Some(self.shared.activity.begin()));
                let result = self.decide_and_append(input, reply.is_none(), &mut active).await;
                // Effects begin before the input stops counting as activity, so that the engine never looks idle in between.
                self.perform_pending();
                if let Some(reply) = reply {
                    let _ = reply.send(result);
                }
            }
        }
    }

    /// Decides on one input and makes the events durable. `insist` waits for an absent store however long it
    /// takes: an outcome must not be lost; a person is told to try again instead.
    async fn decide_and_append(&mut self, input: Input, insist: bool, active: &mut Option<Active>) -> Result<(), Refusal> {
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
                Err(Trouble::Defect(why)) => {
                    self.defect = Some(why.clone());
                    return Err(Refusal::Unavailable(why));
                }
                Err(Trouble::Retry(why)) => {
                    tries += 1;
                    warn!(run = %self.run, why, tries, "the journal did not take the events");
                    if !insist && tries >= TRIES_FOR_PEOPLE {
                        return Err(Refusal::Unavailable(why));
                    }
                    *active = None;
                    self.wait_for_the_store(wait).await;
                    *active = Some(self.shared.activity.begin());
                    wait = (wait * 2).min(self.shared.pace.retry_max);
                }
            }
        }
    }

    /// Waits for the next try at the journal. People who ask meanwhile are told at once; everything else is kept.
    async fn wait_for_the_store(&mut self, duration: Duration) {
        let clock = Arc::clone(&self.shared.ports.clock);
        let over = clock::sleep(&*clock, duration);
        tokio::pin!(over);
        loop {
            let letter = tokio::select! {
                () = &mut over => return,
                Some(letter) = self.mailbox.recv() => letter,
            };
            match letter {
                Letter::Input(Envelope { reply: Some(reply), .. }) => {
                    let _ = reply.send(Err(Refusal::Unavailable("the journal cannot be written at present".to_owned())));
                }
                Letter::Input(Envelope { input, reply: None, .. }) => {
                    self.backlog.push_back(Letter::Input(Envelope { input, reply: None, active: None }));
                }
                Letter::FlightOver(id, _) => self.backlog.push_back(Letter::FlightOver(id, None)),
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
            self.looked_at = now;
            return Ok(());
        }
        let records: Vec<_> = events.iter().map(|event| encode(now, event)).collect();
        let journal = &self.shared.ports.journal;
        match journal.append(self.shared.fence, &stream(&self.run), self.state.seq, &records).await {
            Ok(stored) => {
                self.fold(&stored, &events)?;
                self.looked_at = now;
                Ok(())
            }
            Err(AppendError::Conflict { .. }) => {
                self.stale = true;
                Err(Trouble::Retry("another writer was first; the run is read again".to_owned()))
            }
            Err(error @ AppendError::OutcomeUnknown { .. }) => {
                self.stale = true;
                Err(Trouble::Retry(error.to_string()))
            }
            Err(AppendError::Unavailable(error)) => Err(Trouble::Retry(error.to_string())),
            Err(error @ (AppendError::Fenced { .. } | AppendError::Failed(_))) => Err(Trouble::Stop(error.to_string())),
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Invalid { .. })) => Err(Trouble::Defect(error.to_string())),
        }
    }

    fn fold(&mut self, stored: &[Record], events: &[Event]) -> Result<(), Trouble> {
        let mut state = State::clone(&self.state);
        for record in stored {
            state = fold(Some(state), record).map_err(|corrupt| Trouble::Defect(corrupt.to_string()))?;
            self.head = record.hash;
        }
        for event in events {
            info!(run = %self.run, event = kind_of(event), "journalled");
        }
        self.publish(state);
        for event in events {
            if let Event::MessagePosted { key, .. } = event {
                self.read_first_votes(key);
            }
        }
        Ok(())
    }

    /// Whoever voted on a card before its place was journalled gave a hint that nobody could follow.
    fn read_first_votes(&self, key: &MessageKey) {
        if let (Some((gate, card)), Some(snapshot)) = (observe::gate_of(&self.state, key), self.shared.snapshot(&self.run)) {
            observe::read_votes(&self.shared, snapshot, gate, card);
        }
    }

    /// Reads the run again from the journal, after a write of unknown outcome.
    async fn reload(&mut self) -> Result<(), Trouble> {
        let records = self.shared.ports.journal.load(&stream(&self.run)).await;
        let records = records.map_err(|error| Trouble::Retry(error.to_string()))?;
        let mut state = None;
        for record in &records {
            state = Some(fold(state, record).map_err(|corrupt| Trouble::Defect(corrupt.to_string()))?);
            self.head = record.hash;
        }
        let Some(state) = state else { return Err(Trouble::Defect("the run's records are gone".to_owned())) };
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
        let cancel = self.halt.child_token();
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
        let (letters, mut active) = (self.letters.clone(), Some(self.shared.activity.begin()));
        let activity = self.shared.activity.clone();
        tokio::spawn(async move {
            if AssertUnwindSafe(flight.perform(&mut active)).catch_unwind().await.is_err() {
                flight.panicked(&mut active).await;
            }
            let active = active.unwrap_or_else(|| activity.begin());
            let _ = letters.send(Letter::FlightOver(id, Some(active)));
        });
    }
}

/// How often a person's request is tried again while the store is away, before they are told.
const TRIES_FOR_PEOPLE: u32 = 3;

enum Trouble {
    Rejected(crate::domain::run::Rejection),
    Retry(String),
    /// The engine may not act any more.
    Stop(String),
    /// This run can go on no more; the others live on.
    Defect(String),
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
