//! A journal that does not make sense, the same for every kind of aggregate.

/// The journal holds something that cannot have happened: what it is about is set aside and shown as stuck.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {seq} cannot follow the events before it: {what}")]
pub struct CorruptJournal {
    /// The event's number in its stream.
    pub seq: u64,
    /// What is wrong.
    pub what: String,
}
