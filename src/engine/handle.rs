//! Starting the engine, and what others may ask of it.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::activity::Activity;
use super::codec::{encode, fold, run_of, stream};
use super::ports::{Hint, Planning, RunSummary, Runs, SendError, Snapshot, StartError, StartOrder};
use super::run_task::RunTask;
use super::shared::{Entry, Pace, Ports, Refusal, Shared};
use super::{lease, observe};
use crate::domain::run::{self, CorruptJournal, End, Holder, Input, Rehearsal, StartRequest, State, pending};
use crate::domain::{ChannelId, Digest, Hash, RunId};
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
        let lease = ports.journal.acquire_lease(holder, lease::LEASE_TTL).await?;
        let (found, stuck) = read_journal(&ports.journal).await?;
        let journal = Arc::clone(&ports.journal);
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared {
            ports,
            pace,
            fence: lease.fence(),
            runs: RwLock::new(BTreeMap::new()),
            activity: Activity::default(),
            stop: stop.clone(),
            starting: tokio::sync::Mutex::new(()),
        });
        tokio::spawn(lease::keep(Arc::clone(&journal), lease.clone(), stop));
        for (state, head) in found {
            take_up(&shared, state, head, true);
        }
        tokio::spawn(observe::keep_looking(Arc::clone(&shared)));
        Ok(Self { handle: Handle { shared, planning }, journal, lease, stuck })
    }

    /// What others hold of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The runs that were set aside.
    #[must_use]
    pub fn stuck(&self) -> &[Stuck] {
        &self.stuck
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

type Found = Vec<(State, Hash)>;

/// Folds the whole journal, in its order. A run that cannot be folded is set aside, and the others live on.
async fn read_journal(journal: &store::SharedJournal) -> Result<(Found, Vec<Stuck>), StoreError> {
    let mut folds: BTreeMap<RunId, Result<(State, Hash), CorruptJournal>> = BTreeMap::new();
    let mut position = 0;
    loop {
        let page = journal.read(position, READ_PAGE).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        for record in &page {
            fold_record(&mut folds, record);
        }
    }
    let mut found = Vec::new();
    let mut stuck = Vec::new();
    for (run, folded) in folds {
        match folded {
            Ok(fold) => found.push(fold),
            Err(corrupt) => {
                error!(%run, %corrupt, "the run is set aside");
                stuck.push(Stuck { run, why: corrupt.to_string() });
            }
        }
    }
    Ok((found, stuck))
}

/// How many records are read at once.
const READ_PAGE: u32 = 1_000;

fn fold_record(folds: &mut BTreeMap<RunId, Result<(State, Hash), CorruptJournal>>, record: &Record) {
    let Some(run) = run_of(&record.stream) else { return };
    let before = match folds.remove(&run) {
        Some(Err(corrupt)) => {
            folds.insert(run, Err(corrupt));
            return;
        }
        Some(Ok((state, _))) => Some(state),
        None => None,
    };
    folds.insert(run, fold(before, record).map(|state| (state, record.hash)));
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
        let _starting = shared.starting.lock().await;
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
        let records: Vec<_> = events.iter().map(|event| encode(now, event)).collect();
        let unavailable = |error: &dyn std::fmt::Display| StartError::Unavailable(error.to_string());
        let stored = match shared.ports.journal.append(shared.fence, &stream(&run), 0, &records).await {
            Ok(stored) => stored,
            Err(error @ AppendError::OutcomeUnknown { .. }) => {
                // The id is fresh: whatever is in the stream is this start.
                let stored = shared.ports.journal.load(&stream(&run)).await.map_err(|_| unavailable(&error))?;
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
        info!(%run, runbook = %order.runbook, mode = %order.mode, %digest, "started");
        take_up(shared, state, head, false);
        drop(active);
        Ok(run)
    }

    async fn send(&self, run: &RunId, input: Input) -> Result<(), SendError> {
        let (sender, receiver) = oneshot::channel();
        if !self.shared.post(run, input, Some(sender)) {
            let runs = self.shared.runs.read().expect("no code panics while it holds the index");
            let Some(entry) = runs.get(run) else { return Err(SendError::UnknownRun) };
            return Err(match (&entry.stuck, &entry.state.end) {
                (Some(why), _) => SendError::Unavailable(why.clone()),
                (None, Some(ending)) => SendError::Rejected(run::Rejection::AlreadyEnded { end: ending.end }),
                (None, None) => SendError::Unavailable("the engine is stopping".to_owned()),
            });
        }
        match receiver.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(Refusal::Rejected(rejection))) => Err(SendError::Rejected(rejection)),
            Ok(Err(Refusal::Unavailable(why))) => Err(SendError::Unavailable(why)),
            Err(_) => Err(SendError::Unavailable("the engine is stopping".to_owned())),
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
