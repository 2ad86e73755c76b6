//! Events as the journal stores them: one line of JSON, its tag as the record's kind.

use super::aggregate::Aggregate;
use crate::domain::{CorruptJournal, StreamId, Timestamp};
use crate::store::{NewRecord, Record};

/// The stream of an aggregate.
pub(super) fn stream<A: Aggregate>(id: &A::Id) -> StreamId {
    StreamId::new(A::KIND, &id.to_string()).expect("an id is short and plain")
}

/// The aggregate whose stream this is; `None` for a stream of something else.
pub(super) fn id_in<A: Aggregate>(stream: &StreamId) -> Option<A::Id> {
    (stream.kind() == A::KIND).then(|| stream.name().parse().ok()).flatten()
}

/// An event as it is appended.
pub(super) fn encode<A: Aggregate>(at: Timestamp, event: &A::Event) -> NewRecord {
    let body = serde_json::to_string(event).expect("an event has text keys only");
    NewRecord { at, kind: A::kind_of(event).to_owned(), body }
}

/// Folds one more record into an aggregate.
///
/// # Errors
/// [`CorruptJournal`] if the record cannot be read or cannot follow.
pub(super) fn fold<A: Aggregate>(state: Option<A::State>, record: &Record) -> Result<A::State, CorruptJournal> {
    let event: A::Event = serde_json::from_str(&record.body)
        .map_err(|error| CorruptJournal { seq: record.seq, what: format!("it cannot be read: {error}") })?;
    match state {
        None => A::begin(record.at, &event),
        Some(state) => A::evolve(state, record.at, &event),
    }
}
