//! What the journal says of one run or one incident: the facts in their order, and the state that they fold to.
//!
//! Pages are made from this and not from what the engine holds in memory, so that the page of what ended long ago is
//! made as the page of what goes on now.

use serde::de::DeserializeOwned;

use crate::domain::{CorruptJournal, Hash, StreamId, Timestamp};
use crate::store::{Journal, Record, StoreError};

/// The history of one aggregate.
pub(super) struct History<S, E> {
    /// The fold of the facts.
    pub(super) state: S,
    /// The facts in their order, as far as they can be read and make sense; at least one.
    pub(super) facts: Vec<(Timestamp, E)>,
    /// The hash of the stream's last record, in hex.
    pub(super) head: String,
    /// Why the facts end before the stream does, if they do.
    pub(super) broken: Option<CorruptJournal>,
}

/// The first two of the four functions of an aggregate: all that folding needs.
pub(super) struct Folding<S, E> {
    pub(super) begin: fn(Timestamp, &E) -> Result<S, CorruptJournal>,
    pub(super) evolve: fn(S, Timestamp, &E) -> Result<S, CorruptJournal>,
}

/// Reads a history; `None` if there is none, or if not even its first fact makes sense.
///
/// # Errors
/// [`StoreError`] if the journal cannot be read now.
pub(super) async fn read<S, E: DeserializeOwned>(
    journal: &dyn Journal,
    stream: &StreamId,
    folding: &Folding<S, E>,
) -> Result<Option<History<S, E>>, StoreError> {
    let records = journal.load(stream).await?;
    let head = records.last().map_or(Hash::GENESIS, |record| record.hash).to_string();
    let (mut facts, mut broken) = (Vec::with_capacity(records.len()), None);
    for record in &records {
        match parse(record) {
            Ok(fact) => facts.push(fact),
            Err(corrupt) => {
                broken = Some(corrupt);
                break;
            }
        }
    }
    let (state, senseless) = fold(&facts, folding);
    if let Some((sound, corrupt)) = senseless {
        facts.truncate(sound);
        broken = Some(corrupt);
    }
    Ok(state.map(|state| History { state, facts, head, broken }))
}

fn parse<E: DeserializeOwned>(record: &Record) -> Result<(Timestamp, E), CorruptJournal> {
    let unreadable = |error| CorruptJournal { seq: record.seq, what: format!("it cannot be read: {error}") };
    serde_json::from_str(&record.body).map(|fact| (record.at, fact)).map_err(unreadable)
}

/// The state, and if not every fact makes sense, how many do and why the next does not.
fn fold<S, E>(facts: &[(Timestamp, E)], folding: &Folding<S, E>) -> (Option<S>, Option<(usize, CorruptJournal)>) {
    let mut state = None;
    for (sound, (at, fact)) in facts.iter().enumerate() {
        let next = match state.take() {
            None => (folding.begin)(*at, fact),
            Some(state) => (folding.evolve)(state, *at, fact),
        };
        match next {
            Ok(next) => state = Some(next),
            // The state went into the fact that could not follow it.
            Err(corrupt) => return (fold(&facts[..sound], folding).0, Some((sound, corrupt))),
        }
    }
    (state, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTING: Folding<u32, u32> = Folding { begin: |_, fact| Ok(*fact), evolve: follow };

    fn follow(state: u32, _: Timestamp, fact: &u32) -> Result<u32, CorruptJournal> {
        if *fact == state + 1 { Ok(*fact) } else { Err(CorruptJournal { seq: 9, what: "a gap".to_owned() }) }
    }

    #[test]
    fn what_makes_sense_is_folded_and_the_rest_is_told() {
        let facts = |facts: &[u32]| facts.iter().map(|fact| (Timestamp::default(), *fact)).collect::<Vec<_>>();
        assert_eq!(fold(&facts(&[]), &COUNTING), (None, None));
        assert_eq!(fold(&facts(&[1, 2, 3]), &COUNTING), (Some(3), None));
        let (state, broken) = fold(&facts(&[1, 2, 4, 5]), &COUNTING);
        assert_eq!((state, broken.map(|(sound, corrupt)| (sound, corrupt.what))), (Some(2), Some((2, "a gap".to_owned()))));
    }
}
