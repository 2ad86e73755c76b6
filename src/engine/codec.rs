//! Run events as the journal stores them: one line of JSON, its tag as the record's kind.

use crate::domain::run::{self, CorruptJournal, Event, State, kind_of};
use crate::domain::{RunId, StreamId, Timestamp};
use crate::store::{NewRecord, Record};

/// What a run's streams are called: `run/run-k3f9w2mx`.
const STREAM_KIND: &str = "run";

/// The stream of a run.
pub(super) fn stream(run: &RunId) -> StreamId {
    StreamId::new(STREAM_KIND, run.as_str()).expect("a run id is short and plain")
}

/// The run whose stream this is; `None` for a stream of something else.
pub(super) fn run_of(stream: &StreamId) -> Option<RunId> {
    (stream.kind() == STREAM_KIND).then(|| stream.name().parse().ok()).flatten()
}

/// An event as it is appended.
pub(super) fn encode(at: Timestamp, event: &Event) -> NewRecord {
    let body = serde_json::to_string(event).expect("an event has text keys only");
    NewRecord { at, kind: kind_of(event).to_owned(), body }
}

/// Folds one more record into a run.
///
/// # Errors
/// [`CorruptJournal`] if the record cannot be read or cannot follow.
pub(super) fn fold(state: Option<State>, record: &Record) -> Result<State, CorruptJournal> {
    let event: Event = serde_json::from_str(&record.body)
        .map_err(|error| CorruptJournal { seq: record.seq, what: format!("it cannot be read: {error}") })?;
    match state {
        None => run::begin(record.at, &event),
        Some(state) => run::evolve(state, record.at, &event),
    }
}
