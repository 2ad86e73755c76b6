//! Starting the engine, and what others may ask of it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::activity::Activity;
use super::incident::Incident;
use super::incidents::incident_in;
use super::index::{Index, Refusal};
use super::load::{self, Folds, read_journal};
use super::ports::{Hint, Planning, RunSummary, Runs, SendError, Snapshot, StartError, StartOrder, Stuck};
use super::run::Run;
use super::shared::{Forced, Pace, Ports, Shared};
use super::{lease, observe};
use crate::domain::run::{self, End, Holder, Input, Rehearsal, StartRequest, State};
use crate::domain::{ChannelId, Digest, RunId};
use crate::store::{self, LeaseError, Record, StoreError};

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

/// The running engine. Dropping it stops it without ceremony, as a crash would.
pub struct Engine {
    handle: Handle,
    journal: store::SharedJournal,
    lease: store::Lease,
}

/// What others hold of the engine: cheap to clone.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
    planning: Arc<dyn Planning>,
}

impl Engine {
    /// Takes the lease, folds the journal, and takes up every run and incident that is not over.
    ///
    /// # Errors
    /// [`EngineError`]; nothing was changed and nothing is running.
    pub async fn start(
        ports: Ports,
        planning: Arc<dyn Planning>,
        pace: Pace,
        holder: &store::Holder,
    ) -> Result<Self, EngineError> {
        Self::begin(ports, planning, pace, holder, None).await
    }

    /// As [`Self::start`], for a process that lives for one run: the others are known and left as they are, since what it
    /// began for them it would cut off at its end. An incident that the run calls for is opened and waits for the bot.
    ///
    /// # Errors
    /// [`EngineError`]; nothing was changed and nothing is running.
    pub async fn start_for(
        run: &RunId,
        ports: Ports,
        planning: Arc<dyn Planning>,
        pace: Pace,
        holder: &store::Holder,
    ) -> Result<Self, EngineError> {
        Self::begin(ports, planning, pace, holder, Some(run)).await
    }

    async fn begin(
        ports: Ports,
        planning: Arc<dyn Planning>,
        pace: Pace,
        holder: &store::Holder,
        only: Option<&RunId>,
    ) -> Result<Self, EngineError> {
        let asked = Instant::now();
        let lease = ports.journal.acquire_lease(holder, pace.lease_ttl).await?;
        let journal = Arc::clone(&ports.journal);
        let stop = CancellationToken::new();
        let forced = Forced::new(&stop);
        // Kept from now on: reading a long journal may take longer than the lease lives.
        let keeping = lease::keep(Arc::clone(&journal), lease.clone(), pace.lease_ttl, asked, stop.clone(), forced.clone());
        tokio::spawn(keeping);
        let (mut runs, mut incidents) = (Folds::<Run>::new(), Folds::<Incident>::new());
        let take = |record: &Record| {
            runs.take(record);
            incidents.take(record);
        };
        if let Err(error) = read_journal(&journal, take).await {
            stop.cancel();
            if let Err(error) = journal.release_lease(&lease).await {
                warn!(%error, "the lease could not be given back");
            }
            return Err(error.into());
        }
        let activity = Activity::default();
        let shared = Arc::new(Shared {
            runs: Index::new(activity.clone(), Arc::clone(&ports.clock)),
            incidents: Index::new(activity.clone(), Arc::clone(&ports.clock)),
            ports,
            pace,
            fence: lease.fence(),
            activity,
            under_measurement: observe::UnderMeasurement::default(),
            stop,
            forced,
            starting: Arc::default(),
            opening: Arc::default(),
        });
        // Both before the first effect of either is performed: a run looks for the incident that it has called for.
        runs.take_up(&shared, |run| only.is_none_or(|only| only == run));
        incidents.take_up(&shared, |_| only.is_none());
        tokio::spawn(observe::keep_looking(Arc::clone(&shared)));
        Ok(Self { handle: Handle { shared, planning }, journal, lease })
    }

    /// What others hold of it.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Returns when the engine has stopped acting, and why, for people: it was told to, lost its lease, or the journal
    /// refused for good.
    pub async fn stopped(&self) -> String {
        let shared = &self.handle.shared;
        shared.stop.cancelled().await;
        shared.forced.why().unwrap_or("it was told to").to_owned()
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
        let runs = self.shared.runs.read();
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
        let runs = self.shared.runs.read();
        let green = runs.values().map(|entry| &entry.state).filter(|state| state.is_dry_run() && state.started.digest == *digest);
        let ended = green.filter_map(|state| {
            let ending = state.end.as_ref().filter(|ending| ending.end == End::Succeeded)?;
            Some(Rehearsal { run: state.id().clone(), ended_at: ending.at, digest: *digest })
        });
        ended.max_by_key(|rehearsal| rehearsal.ended_at)
    }

    fn fresh_id(&self) -> RunId {
        let runs = self.shared.runs.read();
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
            unreadable: shared.runs.unreadable_and_open(),
            rehearsal: self.rehearsal(&digest),
            plan: plan.clone(),
            at: order.at,
            beat: shared.ports.policies.runs.beat,
            opens_incident: shared.ports.policies.runs.incident,
            incident: incident_in(shared, order.channel),
        };
        let now = shared.now();
        let events = run::start(now, request)?;
        self.planning.pin(&run, &plan).await?;
        info!(%run, runbook = %order.runbook, mode = %order.mode, %digest, "starting");
        // A task of its own: a caller who goes away must not leave a run in the journal that nobody has taken up.
        let (shared, id) = (Arc::clone(shared), run.clone());
        let begun = tokio::spawn(async move {
            let _held = (starting, active);
            load::begin::<Run>(&shared, &id, now, &events).await
        });
        let begun = begun.await.unwrap_or_else(|_| Err("the engine is stopping".to_owned()));
        begun.map_err(StartError::Unavailable)?;
        Ok(run)
    }

    async fn send(&self, run: &RunId, input: Input) -> Result<(), SendError> {
        self.shared.runs.send(run, input).await.map_err(SendError::from)
    }

    fn runs(&self) -> Vec<RunSummary> {
        let runs = self.shared.runs.read();
        let mut summaries: Vec<RunSummary> = runs
            .values()
            .map(|entry| {
                let state = &entry.state;
                let snapshot = self.shared.runs.snapshot_of(entry);
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
                    stuck: entry.stuck.clone(),
                    snapshot: Arc::new(snapshot),
                }
            })
            .collect();
        summaries.sort_by_key(|run| std::cmp::Reverse(run.started_at));
        summaries
    }

    fn snapshot(&self, run: &RunId) -> Option<Snapshot> {
        self.shared.runs.snapshot(run)
    }

    fn stuck(&self) -> Vec<Stuck> {
        self.shared.runs.stuck().into_iter().map(|(run, why)| Stuck { run, why }).collect()
    }

    fn run_in_thread(&self, thread: ChannelId) -> Option<RunId> {
        self.each_state(|state| (state.thread == Some(thread)).then(|| state.id().clone()))
    }

    fn hint(&self, hint: Hint) {
        observe::take(&self.shared, hint);
    }
}

impl From<Refusal<run::Rejection>> for SendError {
    fn from(refusal: Refusal<run::Rejection>) -> Self {
        match refusal {
            Refusal::Unknown => Self::UnknownRun,
            Refusal::Rejected(rejection) => Self::Rejected(rejection),
            Refusal::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
