//! Starting the engine, and what others may ask of it.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::activity::Activity;
use super::codec::{encode, fold, run_of, stream};
use super::ports::{Hint, Planning, RunSummary, Runs, SendError, Snapshot, StartError, StartOrder};
use super::run_task::RunTask;
use super::shared::{Entry, Pace, Ports, Refusal, Shared};
use super::{lease, observe};
use crate::clock;
use crate::domain::run::{self, CorruptJournal, End, Event, Holder, Input, Rehearsal, StartRequest, State, pending};
use crate::domain::{ChannelId, Digest, Hash, RunId, Timestamp};
use crate::store::{self, AppendError, LeaseError, Record, StoreError};

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Somebody else acts, or the store cannot say.
    #[error("the right to act on this journal could not be had: {0}")]
    Lease(#[from] LeaseError),
    /// The journal could not be read.
    #[error("the journal could not be read: {0}")]
    Store(#[from] StoreError),
}

/// A run that was set aside because its records do not make sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub run: RunId,
    /// What is wrong.
    pub why: String,
}

/// The running engine. Dropping it stops it without ceremony, as a crash would.
pub struct Engine {
    handle: Handle,
    journal: store::SharedJournal,
    lease: store::Lease,
    stuck: Vec<Stuck>,
}

/// What others hold of the engine: cheap to clone.
#[derive(Clone)]
pub struct Handle {
    shared: Arc<Shared>,
    planning: Arc<dyn Planning>,
}

impl Engine {
    /// Takes the lease, folds the journal, and takes up every run that is not over.
    ///
    /// # Errors
    /// [`EngineError`]; nothing was changed and nothing is running.
    pub async fn start(
        ports: Ports,
        planning: Arc<dyn Planning>,
        pace: Pace,
        holder: &store::Holder,
    ) -> Result<Self, EngineError> {
        let asked = Instant::now();
        let lease = ports.journal.acquire_lease(holder, pace.lease_ttl).await?;
        let journal = Arc::clone(&ports.journal);
        let stop = CancellationToken::new();
        // Kept from now on: reading a long journal may take longer than the lease lives.
        tokio::spawn(lease::keep(Arc::clone(&journal), lease.clone(), pace.lease_ttl, asked, stop.clone()));
        let found = match read_journal(&journal).await {
            Ok(found) => found,
            Err(error) => {
                stop.cancel();
                if let Err(error) = journal.release_lease(&lease).await {
                    warn!(%error, "the lease could not be given back");
                }
                return Err(error.into());
            }
        };
        let shared = Arc::new(Shared {
            ports,
            pace,
            fence: lease.fence(),
            runs: RwLock::new(BTreeMap::new()),
            activity: Activity::default(),
            stop,
            starting: Arc::default(),
        });
        let stuck = found.stuck;
        for (state, head, why) in found.runs {
            match why {
                None => take_up(&shared, state, head, true),
                Some(why) => set_aside(&shared, state, head, why),
            }
        }
        tokio::spawn(observe::keep_looking(Arc::clone(&shared)));
        Ok(Self { handle: Handle { shared, planning }, journal, lease, stuck })
    }

    /// What others hold of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The runs that were set aside, those of this life of the engine included.
    #[must_use]
    pub fn stuck(&self) -> Vec<Stuck> {
        let runs = self.handle.shared.runs.read().expect("no code panics while it holds the index");
        let shown = runs.iter().filter_map(|(run, entry)| Some(Stuck { run: run.clone(), why: entry.stuck.clone()? }));
        let unreadable = self.stuck.iter().filter(|stuck| !runs.contains_key(&stuck.run)).cloned();
        shown.chain(unreadable).collect()
    }

    /// Returns when the engine has stopped acting, because it was told to or lost its lease.
    pub async fn stopped(&self) {
        self.handle.shared.stop.cancelled().await;
    }

    /// Stops acting and gives the lease back. Attempts under way are cut off and found so by the next start.
    pub async fn shut_down(self) {
        self.handle.shared.stop.cancel();
        self.handle.shared.activity.idle().await;
        if let Err(error) = self.journal.release_lease(&self.lease).await {
            error!(%error, "the lease could not be given back; the next start may have to wait for its end");
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.handle.shared.stop.cancel();
    }
}

/// What the journal holds.
#[derive(Default)]
struct Found {
    /// Every run as far as it could be folded, with why it could not be folded further.
    runs: Vec<(State, Hash, Option<String>)>,
    /// Every run that could not be folded to its end.
    stuck: Vec<Stuck>,
}

/// A run in the making. One that cannot be folded further keeps what was folded before, and with it its lock.
#[derive(Default)]
struct Fold {
    state: Option<State>,
    head: Option<Hash>,
    corrupt: Option<CorruptJournal>,
}

/// Folds the whole journal, in its order. A run that cannot be folded is set aside, and the others live on.
async fn read_journal(journal: &store::SharedJournal) -> Result<Found, StoreError> {
    let mut folds: BTreeMap<RunId, Fold> = BTreeMap::new();
    let mut position = 0;
    loop {
        let page = journal.read(position, READ_PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for record in &page {
            if let Some(run) = run_of(&record.stream) {
                fold_record(folds.entry(run).or_default(), record);
            }
        }
    }
    let mut found = Found::default();
    for (run, fold) in folds {
        let why = fold.corrupt.map(|corrupt| corrupt.to_string());
        if let Some(why) = &why {
            error!(%run, why, "the run is set aside");
            found.stuck.push(Stuck { run, why: why.clone() });
        }
        if let (Some(state), Some(head)) = (fold.state, fold.head) {
            found.runs.push((state, head, why));
        }
    }
    Ok(found)
}

/// How many records are read at once.
const READ_PAGE: u32 = 1_000;

fn fold_record(so_far: &mut Fold, record: &Record) {
    if so_far.corrupt.is_some() {
        return;
    }
    match fold(so_far.state.clone(), record) {
        Ok(state) => {
            so_far.state = Some(state);
            so_far.head = Some(record.hash);
        }
        Err(corrupt) => so_far.corrupt = Some(corrupt),
    }
}

/// Puts a run into the index that nothing is done for: it is shown, and holds its lock until a person has seen to it.
fn set_aside(shared: &Arc<Shared>, state: State, head: Hash, why: String) {
    let run = state.id().clone();
    let entry = Entry { state: Arc::new(state), head, progress: Vec::new(), mailbox: None, stuck: Some(why) };
    shared.runs.write().expect("no code panics while it holds the index").insert(run, entry);
}

/// Puts a run into the index, and gives it a task if it still owes anything.
fn take_up(shared: &Arc<Shared>, state: State, head: Hash, booted: bool) {
    let run = state.id().clone();
    let active = state.end.is_none() || !pending(&state).is_empty();
    let (sender, mailbox) = mpsc::unbounded_channel();
    let entry = Entry {
        state: Arc::new(state.clone()),
        head,
        progress: Vec::new(),
        mailbox: active.then(|| sender.clone()),
        stuck: None,
    };
    let mut runs = shared.runs.write().expect("no code panics while it holds the index");
    runs.insert(run.clone(), entry);
    drop(runs);
    if active {
        info!(%run, booted, "taken up");
        tokio::spawn(RunTask::new(Arc::clone(shared), state, head, (sender, mailbox), booted).run());
    }
}

/// Makes a new run durable and takes it up.
async fn begin(shared: &Arc<Shared>, run: &RunId, now: Timestamp, events: &[Event]) -> Result<(), StartError> {
    let unavailable = |error: &dyn std::fmt::Display| StartError::Unavailable(error.to_string());
    let records: Vec<_> = events.iter().map(|event| encode(now, event)).collect();
    let stored = match shared.ports.journal.append(shared.fence, &stream(run), 0, &records).await {
        Ok(stored) => stored,
        Err(error @ AppendError::OutcomeUnknown { .. }) => {
            // The id is fresh: whatever is in the stream is this start. Until that is known the lock is neither
            // free nor held, so no other start is let in.
            let stored = settle(shared, run).await.ok_or_else(|| unavailable(&error))?;
            if stored.is_empty() {
                return Err(unavailable(&error));
            }
            stored
        }
        Err(error) => {
            if let AppendError::Fenced { .. } = error {
                shared.stop.cancel();
            }
            return Err(unavailable(&error));
        }
    };
    let (mut state, mut head) = (None, Hash::GENESIS);
    for record in &stored {
        state = Some(fold(state, record).map_err(|corrupt| unavailable(&corrupt))?);
        head = record.hash;
    }
    let state = state.ok_or_else(|| StartError::Unavailable("the journal returned nothing".to_owned()))?;
    take_up(shared, state, head, false);
    Ok(())
}

/// Reads a stream until the store answers. `None` if the engine stops first.
async fn settle(shared: &Shared, run: &RunId) -> Option<Vec<Record>> {
    let mut pause = shared.pace.retry_first;
    loop {
        match shared.ports.journal.load(&stream(run)).await {
            Ok(stored) => return Some(stored),
            Err(error) => warn!(%run, %error, "whether the run was started is not known yet"),
        }
        tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = clock::sleep(&*shared.ports.clock, pause) => {}
        }
        pause = (pause * 2).min(shared.pace.retry_max);
    }
}

impl Handle {
    /// Returns when nothing is queued and nothing is being performed at that moment; what waits for time or for
    /// another try does not count.
    pub async fn idle(&self) {
        self.shared.activity.idle().await;
    }

    /// Whether the engine still acts.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !self.shared.stop.is_cancelled()
    }

    fn each_state<T>(&self, mut of: impl FnMut(&Arc<State>) -> Option<T>) -> Option<T> {
        let runs = self.shared.runs.read().expect("no code panics while it holds the index");
        runs.values().find_map(|entry| of(&entry.state))
    }

    /// Who holds a lock, by the fold of the journal.
    fn holder(&self, lock: &str) -> Option<Holder> {
        self.each_state(|state| {
            (state.holds_lock() && state.plan().lock == lock).then(|| Holder {
                run: state.id().clone(),
                requester: state.started.requester.name.clone(),
                since: state.started_at,
            })
        })
    }

    /// The newest green dry run of a digest.
    fn rehearsal(&self, digest: &Digest) -> Option<Rehearsal> {
        let runs = self.shared.runs.read().expect("no code panics while it holds the index");
        let green = runs.values().map(|entry| &entry.state).filter(|state| state.is_dry_run() && state.started.digest == *digest);
        let ended = green.filter_map(|state| {
            let ending = state.end.as_ref().filter(|ending| ending.end == End::Succeeded)?;
            Some(Rehearsal { run: state.id().clone(), ended_at: ending.at, digest: *digest })
        });
        ended.max_by_key(|rehearsal| rehearsal.ended_at)
    }

    /// Why a run takes no input.
    fn not_taken(&self, run: &RunId) -> SendError {
        let runs = self.shared.runs.read().expect("no code panics while it holds the index");
        let Some(entry) = runs.get(run) else { return SendError::UnknownRun };
        match (&entry.stuck, &entry.state.end) {
            (Some(why), _) => SendError::Unavailable(format!("the run is set aside: {why}")),
            (None, Some(ending)) => SendError::Rejected(run::Rejection::AlreadyEnded { end: ending.end }),
            (None, None) => SendError::Unavailable("the engine is stopping".to_owned()),
        }
    }

    fn fresh_id(&self) -> RunId {
        let runs = self.shared.runs.read().expect("no code panics while it holds the index");
        loop {
            let id = RunId::from_random(self.shared.ports.ids.next());
            if !runs.contains_key(&id) {
                return id;
            }
        }
    }
}

#[async_trait]
impl Runs for Handle {
    async fn start(&self, order: StartOrder) -> Result<RunId, StartError> {
        let shared = &self.shared;
        let active = shared.activity.begin();
        let plan = self.planning.plan(&order.runbook, &order.parameters).await?;
        let starting = Arc::clone(&shared.starting).lock_owned().await;
        let run = self.fresh_id();
        let digest = plan.digest();
        let request = StartRequest {
            run: run.clone(),
            mode: order.mode,
            requester: order.requester,
            channel: order.channel,
            held_by: self.holder(&plan.lock),
            rehearsal: self.rehearsal(&digest),
            plan: plan.clone(),
            at: order.at,
        };
        let now = shared.now();
        let events = run::start(now, request)?;
        self.planning.pin(&run, &plan).await?;
        info!(%run, runbook = %order.runbook, mode = %order.mode, %digest, "starting");
        // A task of its own: a caller who goes away must not leave a run in the journal that nobody has taken up.
        let (shared, id) = (Arc::clone(shared), run.clone());
        let begun = tokio::spawn(async move {
            let _held = (starting, active);
            begin(&shared, &id, now, &events).await
        });
        begun.await.map_err(|_| StartError::Unavailable("the engine is stopping".to_owned()))??;
        Ok(run)
    }

    async fn send(&self, run: &RunId, input: Input) -> Result<(), SendError> {
        let (sender, receiver) = oneshot::channel();
        if !self.shared.post(run, input, Some(sender)) {
            return Err(self.not_taken(run));
        }
        match receiver.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refusal::Rejected(rejection))) => Err(SendError::Rejected(rejection)),
            Ok(Err(Refusal::Unavailable(why))) => Err(SendError::Unavailable(why)),
            // The run ended, was set aside or the engine stopped before the input's turn came.
            Err(_) => Err(self.not_taken(run)),
        }
    }

    fn runs(&self) -> Vec<RunSummary> {
        let runs = self.shared.runs.read().expect("no code panics while it holds the index");
        let mut summaries: Vec<RunSummary> = runs
            .values()
            .map(|entry| {
                let state = &entry.state;
                let snapshot = self.shared.snapshot_of(entry);
                RunSummary {
                    id: state.id().clone(),
                    runbook: state.runbook().runbook.clone(),
                    title: state.runbook().title.clone(),
                    mode: state.started.mode,
                    status: state.status(snapshot.now),
                    requester: state.started.requester.clone(),
                    thread: state.thread,
                    started_at: state.started_at,
                    ended: state.end.is_some(),
                    snapshot: Arc::new(snapshot),
                }
            })
            .collect();
        summaries.sort_by_key(|run| std::cmp::Reverse(run.started_at));
        summaries
    }

    fn snapshot(&self, run: &RunId) -> Option<Snapshot> {
        self.shared.snapshot(run)
    }

    fn run_in_thread(&self, thread: ChannelId) -> Option<RunId> {
        self.each_state(|state| (state.thread == Some(thread)).then(|| state.id().clone()))
    }

    fn hint(&self, hint: Hint) {
        observe::take(&self.shared, hint);
    }
}
