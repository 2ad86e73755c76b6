//! What the facts of runs and incidents say about status updates: whether each was visible in time.
//!
//! A beat that falls due while an earlier one is not visible yet is stood for by that one: it is counted with it, and
//! the lateness is that of the earliest.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;

use super::{Metrics, Observer};
use crate::domain::Timestamp;
use crate::store::Record;

/// The kinds of the streams that have a beat.
const STREAM_KINDS: [&str; 2] = ["run", "incident"];
/// From how late on a beat counts as late, in seconds: what says of itself that it is late, in chat, is late here.
const LATE_SECS: f64 = 60.0;

/// Watches the beats of all streams.
pub struct BeatWatch {
    metrics: Arc<Metrics>,
    /// When each beat that is not visible yet was due, by stream and by the number of the event that owes it.
    owed: Mutex<HashMap<String, BTreeMap<u64, Timestamp>>>,
}

/// The parts of the two events that matter here; they read alike in runs and incidents.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Fact {
    StatusDue { due: Timestamp },
    MessagePosted { key: String },
}

impl BeatWatch {
    /// Tells `metrics` what it sees.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, owed: Mutex::default() }
    }
}

impl Observer for BeatWatch {
    fn saw(&self, record: &Record, news: bool) {
        let about = matches!(record.kind.as_str(), "status_due" | "message_posted");
        if !about || !STREAM_KINDS.contains(&record.stream.kind()) {
            return;
        }
        let Ok(fact) = serde_json::from_str::<Fact>(&record.body) else { return };
        let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
        let stream = record.stream.as_str();
        match fact {
            Fact::StatusDue { due } => {
                let beats = owed.entry(stream.to_owned()).or_default();
                if beats.is_empty() {
                    beats.insert(record.seq, due);
                }
            }
            Fact::MessagePosted { key } => {
                let Some(seq) = key.strip_prefix("beat/").and_then(|seq| seq.parse().ok()) else { return };
                let Some(due) = owed.get_mut(stream).and_then(|beats| beats.remove(&seq)) else { return };
                owed.retain(|_, beats| !beats.is_empty());
                if news {
                    self.metrics.beat_posted((record.at - due).as_seconds_f64().max(0.0), LATE_SECS);
                }
            }
        }
    }
}
