//! One task per aggregate: the only place that decides for it.
//!
//! Takes inputs in order; decides, appends, folds, then performs what is pending. The wake-up for time is one
//! timer at the state's next deadline. Effects run in tasks of their own and come back as inputs, and an effect
//! counts as being performed until what it reported has been taken in: nothing is performed twice in between.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::activity::Active;
use super::aggregate::{Aggregate, Manner};
use super::codec::{encode, fold, stream};
use super::flight::Flight;
use super::index::{Envelope, Letter, Refusal};
use super::refresh;
use super::shared::Shared;
use crate::clock;
use crate::domain::run::EffectId;
use crate::domain::{Hash, MessageKey, Timestamp};
use crate::store::{AppendError, NewRecord, Record};

pub(super) struct Task<A: Aggregate> {
    shared: Arc<Shared>,
    id: A::Id,
    state: Arc<A::State>,
    head: Hash,
    mailbox: mpsc::UnboundedReceiver<Letter<A>>,
    /// The mailbox's other end, for the flights.
    letters: mpsc::UnboundedSender<Letter<A>>,
    /// What came while the store was away, in order.
    backlog: VecDeque<Letter<A>>,
    /// What is being performed.
    flights: HashMap<EffectId, Aloft>,
    /// Cancelled when this aggregate is acted for no more; every flight's token descends from it.
    halt: CancellationToken,
    /// Messages that an earlier process of the bot may have posted: searched for before they are posted.
    maybe_posted: BTreeSet<MessageKey>,
    /// Messages that chat refuses until a person has mended something. Each is tried again seldom, and holds up no other.
    refused: BTreeMap<EffectId, Refused>,
    /// Wakes the task that keeps the live messages current.
    views: Arc<Notify>,
    /// The input before all others. An attempt that a former process left behind must be journalled as cut off
    /// before the state is asked what it owes, or it would be performed again.
    first: Option<(A::Input, Active)>,
    /// The instant of the last look at the state: a deadline that passes while something else is being decided or
    /// written is still to come.
    looked_at: Timestamp,
    /// Set when a write's outcome is unknown: the stream is read again before anything else is decided.
    stale: bool,
    /// Why it can go on no more, once that is so.
    defect: Option<String>,
}

/// What the task remembers of a flight.
struct Aloft {
    /// Ends its retries, or cancels the attempt.
    cancel: CancellationToken,
    manner: Manner,
    /// Whether it is a message that chat has refused before.
    again: bool,
}

/// What the task remembers of a message that chat has refused.
struct Refused {
    /// When it was refused last.
    at: Timestamp,
    /// Whether another message was taken since: what stands in the way of this one is its own.
    alone: bool,
}

/// A mailbox: both its ends.
pub(super) type Mailbox<A> = (mpsc::UnboundedSender<Letter<A>>, mpsc::UnboundedReceiver<Letter<A>>);

impl<A: Aggregate> Task<A> {
    pub(super) fn new(shared: Arc<Shared>, state: A::State, head: Hash, mailbox: Mailbox<A>, booted: bool) -> Self {
        let owed = A::pending(&state).into_iter().filter(|_| booted);
        let maybe_posted = owed.filter_map(|effect| match A::manner(&effect) {
            Manner::Message(key) => Some(key),
            Manner::Errand | Manner::Attempt | Manner::Cancel(_) => None,
        });
        let maybe_posted = maybe_posted.collect();
        let (letters, mailbox) = mailbox;
        let first = if booted { A::REBOOTED } else { A::TICK };
        Self {
            id: A::id(&state).clone(),
            looked_at: A::changed_at(&state),
            state: Arc::new(state),
            head,
            mailbox,
            letters,
            backlog: VecDeque::new(),
            flights: HashMap::new(),
            halt: shared.stop.child_token(),
            maybe_posted,
            refused: BTreeMap::new(),
            views: Arc::new(Notify::new()),
            first: Some((first, shared.activity.begin())),
            stale: false,
            defect: None,
            shared,
        }
    }

    /// Runs until nothing is owed any more or the engine stops. A defect sets this one aggregate aside.
    pub(super) async fn run(mut self) {
        let stop = self.shared.stop.clone();
        let views = tokio::spawn(refresh::keep_current::<A>(Arc::clone(&self.shared), self.id.clone(), Arc::clone(&self.views)));
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
            error!(id = %self.id, why, "set aside");
        }
        let stuck = self.defect.clone();
        A::index(&self.shared).update(&self.id, |entry| {
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
            if idle && A::ended(&self.state).is_some() && A::pending(&self.state).is_empty() {
                info!(id = %self.id, "nothing is owed any more");
                return;
            }
            if self.stale {
                // Nobody may ever ask again: what the journal holds must be known all the same.
                self.tick().await;
            } else if let Some(letter) = self.backlog.pop_front() {
                self.open(letter).await;
            } else {
                let deadlines = [A::next_deadline(&self.state, self.looked_at), self.next_post()];
                let deadline = deadlines.into_iter().flatten().min();
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
        self.decide_and_append(A::TICK, true, &mut active).await.ok();
        self.perform_pending();
    }

    async fn open(&mut self, letter: Letter<A>) {
        match letter {
            Letter::FlightOver { id, refused, active: _active } => {
                if let Some(Aloft { manner: Manner::Message(key), again, .. }) = self.flights.remove(&id) {
                    if refused {
                        // An earlier try of unknown outcome may have posted it.
                        self.maybe_posted.insert(key);
                        self.refused.insert(id, Refused { at: self.shared.now(), alone: false });
                    } else if again {
                        // What stood in its way is mended: the others need not wait for their time.
                        self.refused.clear();
                    } else {
                        self.refused.values_mut().for_each(|refused| refused.alone = true);
                    }
                }
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
    async fn decide_and_append(
        &mut self,
        input: A::Input,
        insist: bool,
        active: &mut Option<Active>,
    ) -> Result<(), Refusal<A::Rejection>> {
        let mut wait = self.shared.pace.retry_first;
        let mut tries = 0;
        let mut doubt = None;
        loop {
            match self.try_append(&input, &mut doubt).await {
                Ok(()) => return Ok(()),
                Err(Trouble::Rejected(rejection)) => return Err(Refusal::Rejected(rejection)),
                Err(Trouble::Stop(why)) => {
                    error!(id = %self.id, why, "the engine must stop acting");
                    self.shared.forced.stop(&why);
                    return Err(Refusal::Unavailable(why));
                }
                Err(Trouble::Defect(why)) => {
                    self.defect = Some(why.clone());
                    return Err(Refusal::Unavailable(why));
                }
                Err(Trouble::Retry(why)) => {
                    tries += 1;
                    warn!(id = %self.id, why, tries, "the journal did not take the events");
                    if !insist && tries >= TRIES_FOR_PEOPLE {
                        let why = if doubt.is_some() { NOT_KNOWN_YET.to_owned() } else { why };
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
                Letter::FlightOver { id, refused, .. } => {
                    self.backlog.push_back(Letter::FlightOver { id, refused, active: None });
                }
            }
        }
    }

    /// `doubt` is the former try to write what the same input led to, if nobody knows what became of it: it must be
    /// found out before the input is decided again, or what a person asks for once would be done twice.
    async fn try_append(&mut self, input: &A::Input, doubt: &mut Option<Doubt<A>>) -> Result<(), Trouble<A::Rejection>> {
        if self.stale {
            let stream = self.reload().await?;
            if let Some(written) = doubt.take_if(|doubt| doubt.stands_in(&stream)) {
                self.looked_at = written.at;
                self.announce(&written.events);
                return Ok(());
            }
        }
        let now = self.shared.now().max(A::changed_at(&self.state));
        let events = A::decide(&self.state, now, input.clone()).map_err(Trouble::Rejected)?;
        if events.is_empty() {
            self.looked_at = now;
            return Ok(());
        }
        let records: Vec<_> = events.iter().map(|event| encode::<A>(now, event)).collect();
        let journal = &self.shared.ports.journal;
        match journal.append(self.shared.fence, &stream::<A>(&self.id), A::seq(&self.state), &records).await {
            Ok(stored) => {
                self.fold(&stored, &events)?;
                self.looked_at = now;
                Ok(())
            }
            Err(AppendError::Conflict { .. }) => {
                self.stale = true;
                Err(Trouble::Retry("another writer was first; the stream is read again".to_owned()))
            }
            Err(error @ AppendError::OutcomeUnknown { .. }) => {
                self.stale = true;
                *doubt = Some(Doubt { at: now, after: A::seq(&self.state), records, events });
                Err(Trouble::Retry(error.to_string()))
            }
            Err(AppendError::Unavailable(error)) => Err(Trouble::Retry(error.to_string())),
            Err(error @ (AppendError::Fenced { .. } | AppendError::Failed(_))) => Err(Trouble::Stop(error.to_string())),
            Err(error @ (AppendError::TooLarge { .. } | AppendError::Invalid { .. })) => Err(Trouble::Defect(error.to_string())),
        }
    }

    fn fold(&mut self, stored: &[Record], events: &[A::Event]) -> Result<(), Trouble<A::Rejection>> {
        let mut state = A::State::clone(&self.state);
        for record in stored {
            state = fold::<A>(Some(state), record).map_err(|corrupt| Trouble::Defect(corrupt.to_string()))?;
            self.head = record.hash;
        }
        self.publish(state);
        self.announce(events);
        Ok(())
    }

    /// Tells of events that are durable and folded.
    fn announce(&self, events: &[A::Event]) {
        for event in events {
            info!(id = %self.id, event = A::kind_of(event), "journalled");
        }
        A::folded(&self.shared, &self.id, events);
    }

    /// Reads the stream again, after a write of unknown outcome, and returns what is in it.
    async fn reload(&mut self) -> Result<Vec<Record>, Trouble<A::Rejection>> {
        let records = self.shared.ports.journal.load(&stream::<A>(&self.id)).await;
        let records = records.map_err(|error| Trouble::Retry(error.to_string()))?;
        let mut state = None;
        for record in &records {
            state = Some(fold::<A>(state, record).map_err(|corrupt| Trouble::Defect(corrupt.to_string()))?);
            self.head = record.hash;
        }
        let Some(state) = state else { return Err(Trouble::Defect("its records are gone".to_owned())) };
        self.publish(state);
        self.stale = false;
        Ok(records)
    }

    fn publish(&mut self, state: A::State) {
        self.state = Arc::new(state);
        let (state, head) = (Arc::clone(&self.state), self.head);
        A::index(&self.shared).update(&self.id, |entry| {
            A::drop_settled(&state, &mut entry.progress);
            entry.state = state;
            entry.head = head;
        });
    }

    /// Starts what the state owes and is not being performed; ends the retries of what it no longer owes.
    fn perform_pending(&mut self) {
        let owed: Vec<_> = A::pending(&self.state).into_iter().map(|effect| (A::effect_id(&effect), effect)).collect();
        for (id, flight) in &self.flights {
            let outlives = matches!(flight.manner, Manner::Attempt);
            if !outlives && !owed.iter().any(|(owed, _)| owed == id) {
                flight.cancel.cancel();
            }
        }
        self.refused.retain(|id, _| owed.iter().any(|(owed, _)| owed == id));
        let next_message = self.next_message(&owed);
        for (id, effect) in owed {
            if self.flights.contains_key(&id) {
                continue;
            }
            let manner = A::manner(&effect);
            match &manner {
                Manner::Message(_) if next_message.as_ref() != Some(&id) => continue,
                Manner::Message(_) => {}
                Manner::Cancel(attempt) => {
                    if let Some(flight) = self.flights.get(attempt) {
                        flight.cancel.cancel();
                        continue;
                    }
                }
                Manner::Errand | Manner::Attempt => {}
            }
            self.launch(id, effect, manner);
        }
    }

    /// The message that is posted next, if none is being posted: the first whose time has come. One before it that chat
    /// has refused, as it has everything since, is tried once more first: if people have mended meanwhile what stood in the
    /// way, the channel still reads in the order of events.
    fn next_message(&self, owed: &[(EffectId, A::Effect)]) -> Option<EffectId> {
        if self.is_posting() {
            return None;
        }
        let (now, pace) = (self.shared.now(), &self.shared.pace);
        let waited = |refused: &Refused, least: Duration| (now - refused.at).to_std().is_ok_and(|since| since >= least);
        let mut messages = owed.iter().filter(|(_, effect)| matches!(A::manner(effect), Manner::Message(_))).map(|(id, _)| id);
        let mut earlier = None;
        let next = messages.find(|id| {
            let Some(refused) = self.refused.get(*id) else { return true };
            if !refused.alone && waited(refused, pace.retry_first) {
                earlier.get_or_insert(*id);
            }
            waited(refused, pace.retry_max)
        })?;
        Some(earlier.unwrap_or(next).clone())
    }

    fn is_posting(&self) -> bool {
        self.flights.values().any(|flight| matches!(flight.manner, Manner::Message(_)))
    }

    /// When a refused message is tried again; while another is being posted, its end decides.
    fn next_post(&self) -> Option<Timestamp> {
        let earliest = self.refused.values().map(|refused| refused.at).min();
        earliest.map(|at| at + self.shared.pace.retry_max).filter(|_| !self.is_posting())
    }

    fn launch(&mut self, id: EffectId, effect: A::Effect, manner: Manner) {
        let cancel = self.halt.child_token();
        let search = match &manner {
            Manner::Message(key) => self.maybe_posted.remove(key),
            Manner::Errand | Manner::Attempt | Manner::Cancel(_) => false,
        };
        let again = self.refused.remove(&id).is_some();
        self.flights.insert(id.clone(), Aloft { cancel: cancel.clone(), manner, again });
        let (shared, views) = (Arc::clone(&self.shared), Arc::clone(&self.views));
        let flight = Flight::<A> { shared, id: self.id.clone(), effect, cancel, search, views, refused: AtomicBool::new(false) };
        let (letters, mut active) = (self.letters.clone(), Some(self.shared.activity.begin()));
        let activity = self.shared.activity.clone();
        tokio::spawn(async move {
            if AssertUnwindSafe(A::perform(&flight, &mut active)).catch_unwind().await.is_err() {
                flight.panicked(&mut active).await;
            }
            let active = active.unwrap_or_else(|| activity.begin());
            let refused = flight.refused.load(Ordering::Acquire);
            let _ = letters.send(Letter::FlightOver { id, refused, active: Some(active) });
        });
    }
}

/// A write of unknown outcome.
struct Doubt<A: Aggregate> {
    /// When it was decided.
    at: Timestamp,
    /// How many records the stream held before it.
    after: u64,
    /// What was to be written.
    records: Vec<NewRecord>,
    /// The same as events.
    events: Vec<A::Event>,
}

impl<A: Aggregate> Doubt<A> {
    /// Whether it was written after all. `stream` is the whole stream as it is now.
    fn stands_in(&self, stream: &[Record]) -> bool {
        let mut behind = stream.iter().filter(|record| record.seq > self.after);
        self.records.iter().all(|new| behind.next().is_some_and(|record| record.kind == new.kind && record.body == new.body))
    }
}

/// How often a person's request is tried again while the store is away, before they are told.
const TRIES_FOR_PEOPLE: u32 = 3;

/// What a person is told then if it may have been journalled all the same.
const NOT_KNOWN_YET: &str = "the journal stopped answering while it was written, so whether this was journalled is not known yet";

enum Trouble<R> {
    Rejected(R),
    Retry(String),
    /// The engine may not act any more.
    Stop(String),
    /// This one can go on no more; the others live on.
    Defect(String),
}

async fn wait_until(clock: crate::clock::SharedClock, deadline: Option<Timestamp>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
