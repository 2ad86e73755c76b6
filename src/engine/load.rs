//! From the journal into memory: folding what is there when the engine starts, and what is begun later.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::aggregate::Aggregate;
use super::codec::{encode, fold, id_in, stream};
use super::index::{Entry, Unreadable};
use super::shared::Shared;
use super::task::Task;
use crate::clock;
use crate::domain::{CorruptJournal, Hash, Timestamp};
use crate::store::{AppendError, Record, SharedJournal, StoreError};

/// Shows the whole journal to `take`, record by record, in its order.
pub(super) async fn read_journal(journal: &SharedJournal, mut take: impl FnMut(&Record)) -> Result<(), StoreError> {
    let mut position = 0;
    loop {
        let page = journal.read(position, READ_PAGE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        position = last.position;
        page.iter().for_each(&mut take);
    }
}

/// How many records are read at once.
const READ_PAGE: u32 = 1_000;

/// All aggregates of one kind in the making.
pub(super) struct Folds<A: Aggregate>(BTreeMap<A::Id, Fold<A>>);

/// An aggregate in the making. One that cannot be folded further keeps what was folded before, and with it its lock.
struct Fold<A: Aggregate> {
    known: Option<(A::State, Hash)>,
    corrupt: Option<CorruptJournal>,
    /// Whether its end was among the records, readable or not.
    ended: bool,
}

impl<A: Aggregate> Folds<A> {
    pub(super) fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Folds the next record, if it is of this kind. One that cannot be folded is set aside, and the others live on.
    pub(super) fn take(&mut self, record: &Record) {
        let Some(id) = id_in::<A>(&record.stream) else { return };
        let so_far = self.0.entry(id).or_insert(Fold { known: None, corrupt: None, ended: false });
        so_far.ended |= record.kind == A::END;
        if so_far.corrupt.is_some() {
            return;
        }
        match fold::<A>(so_far.known.as_ref().map(|(state, _)| state.clone()), record) {
            Ok(state) => so_far.known = Some((state, record.hash)),
            Err(corrupt) => so_far.corrupt = Some(corrupt),
        }
    }

    /// Puts all of them into the index. Nothing is done for those that are not `wanted`, and they take no input.
    pub(super) fn take_up(self, shared: &Arc<Shared>, wanted: impl Fn(&A::Id) -> bool) {
        for (id, fold) in self.0 {
            let why = fold.corrupt.map(|corrupt| corrupt.to_string());
            if let Some(why) = &why {
                error!(%id, why, "set aside");
            }
            match (fold.known, why) {
                (Some((state, head)), None) if wanted(&id) => take_up::<A>(shared, state, head, true),
                (Some((state, head)), why) => shelve::<A>(shared, state, head, why),
                (None, Some(why)) => A::index(shared).insert_unreadable(id, Unreadable { why, ended: fold.ended }),
                (None, None) => {}
            }
        }
    }
}

/// Puts one into the index that nothing is done for: it is shown, and holds its lock. `stuck` is why a person has to see
/// to it, if one has.
fn shelve<A: Aggregate>(shared: &Arc<Shared>, state: A::State, head: Hash, stuck: Option<String>) {
    let id = A::id(&state).clone();
    let entry = Entry { state: Arc::new(state), head, progress: A::Progress::default(), mailbox: None, stuck };
    A::index(shared).insert(id, entry);
}

/// Puts one into the index, and gives it a task if it still owes anything.
fn take_up<A: Aggregate>(shared: &Arc<Shared>, state: A::State, head: Hash, booted: bool) {
    let id = A::id(&state).clone();
    let active = A::ended(&state).is_none() || !A::pending(&state).is_empty();
    let (sender, mailbox) = mpsc::unbounded_channel();
    let entry = Entry {
        state: Arc::new(state.clone()),
        head,
        progress: A::Progress::default(),
        mailbox: active.then(|| sender.clone()),
        stuck: None,
    };
    A::index(shared).insert(id.clone(), entry);
    if active {
        info!(%id, booted, "taken up");
        tokio::spawn(Task::<A>::new(Arc::clone(shared), state, head, (sender, mailbox), booted).run());
    }
}

/// Makes a new aggregate durable and takes it up.
///
/// # Errors
/// Why it could not be journalled; nothing has begun then.
pub(super) async fn begin<A: Aggregate>(
    shared: &Arc<Shared>,
    id: &A::Id,
    now: Timestamp,
    events: &[A::Event],
) -> Result<(), String> {
    let records: Vec<_> = events.iter().map(|event| encode::<A>(now, event)).collect();
    let stored = match shared.ports.journal.append(shared.fence, &stream::<A>(id), 0, &records).await {
        Ok(stored) => stored,
        Err(error @ AppendError::OutcomeUnknown { .. }) => {
            // The id is fresh: whatever is in the stream is this start. Until that is known a lock is neither
            // free nor held, so no other start is let in.
            let stored = settle::<A>(shared, id).await.ok_or_else(|| error.to_string())?;
            if stored.is_empty() {
                return Err(error.to_string());
            }
            stored
        }
        Err(error) => {
            if let AppendError::Fenced { .. } = error {
                shared.forced.stop(&error.to_string());
            }
            return Err(error.to_string());
        }
    };
    let (mut state, mut head) = (None, Hash::GENESIS);
    for record in &stored {
        state = Some(fold::<A>(state, record).map_err(|corrupt| corrupt.to_string())?);
        head = record.hash;
    }
    let state = state.ok_or_else(|| "the journal returned nothing".to_owned())?;
    take_up::<A>(shared, state, head, false);
    Ok(())
}

/// Reads a stream until the store answers. `None` if the engine stops first.
async fn settle<A: Aggregate>(shared: &Shared, id: &A::Id) -> Option<Vec<Record>> {
    let mut pause = shared.pace.retry_first;
    loop {
        match shared.ports.journal.load(&stream::<A>(id)).await {
            Ok(stored) => return Some(stored),
            Err(error) => warn!(%id, %error, "whether the start was journalled is not known yet"),
        }
        tokio::select! {
            () = shared.stop.cancelled() => return None,
            () = clock::sleep(&*shared.ports.clock, pause) => {}
        }
        pause = (pause * 2).min(shared.pace.retry_max);
    }
}
