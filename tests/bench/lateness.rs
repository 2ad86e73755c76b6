//! What was due held against what was said.

use std::collections::BTreeMap;
use std::fmt;

use pointsman::domain::Timestamp;
use pointsman::domain::incident::IncidentId;

use super::history::CADENCE;

/// One update as it became visible.
#[derive(Debug, Clone, Copy)]
pub(super) struct Beat {
    /// Whose.
    pub(super) incident: IncidentId,
    /// When it was due.
    pub(super) due: Timestamp,
    /// How many later ones it stands for.
    pub(super) missed: u32,
    /// When it became visible.
    pub(super) at: Timestamp,
}

/// What is looked at.
#[derive(Debug, Clone)]
pub(super) struct Span {
    /// From the first start of the bot.
    pub(super) begin: Timestamp,
    /// Until then: what falls due later is nobody's fault.
    pub(super) end: Timestamp,
    /// When the bot was away in between.
    pub(super) outages: Vec<(Timestamp, Timestamp)>,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct Tally {
    /// Updates that fell due.
    pub(super) expected: usize,
    /// Messages that were said.
    pub(super) messages: usize,
    /// Updates that no message stands for.
    pub(super) unsaid: usize,
    /// Updates that more than one message stands for.
    pub(super) doubled: usize,
    /// Incidents whose newest update before the end, or a later one, was not said.
    pub(super) behind: usize,
    /// Seconds from due to visible, ascending, of what fell due while the bot was running.
    running: Vec<f64>,
    /// The same of what fell due while it was away, which cannot be punctual.
    away: Vec<f64>,
}

/// Holds what was `said` against what was due of each of the incidents, which are given with the instant of their opening.
pub(super) fn tally(opened: &BTreeMap<IncidentId, Timestamp>, said: &[Beat], span: &Span) -> Tally {
    let mut stood_for: BTreeMap<(IncidentId, Timestamp), u32> = BTreeMap::new();
    for beat in said {
        for number in 0..=beat.missed {
            *stood_for.entry((beat.incident, beat.due + CADENCE * i32::try_from(number).unwrap())).or_default() += 1;
        }
    }
    let due: Vec<_> = opened.iter().flat_map(|(id, at)| dues(*at, span.end).map(|due| (*id, due))).collect();
    let ever = |id: IncidentId| (id, Timestamp::MIN_UTC)..=(id, Timestamp::MAX_UTC);
    let newest = |id: IncidentId| stood_for.range(ever(id)).next_back().map(|((_, due), _)| *due);
    let is_behind = |(id, at): &(&IncidentId, &Timestamp)| dues(**at, span.end).last() > newest(**id);
    let times = |due: &(IncidentId, Timestamp)| stood_for.get(due).copied().unwrap_or(0);
    let away = |due: Timestamp| due < span.begin || span.outages.iter().any(|(gone, back)| *gone <= due && due < *back);
    let lateness = |wanted: bool| {
        let chosen = said.iter().filter(|beat| away(beat.due) == wanted);
        let mut lateness: Vec<f64> = chosen.map(|beat| (beat.at - beat.due).as_seconds_f64()).collect();
        lateness.sort_by(f64::total_cmp);
        lateness
    };
    Tally {
        expected: due.len(),
        messages: said.len(),
        unsaid: due.iter().filter(|due| times(due) == 0).count(),
        doubled: due.iter().filter(|due| times(due) > 1).count(),
        behind: opened.iter().filter(is_behind).count(),
        running: lateness(false),
        away: lateness(true),
    }
}

/// When the updates of an incident that was opened at `at` fall due before `end`.
fn dues(at: Timestamp, end: Timestamp) -> impl Iterator<Item = Timestamp> {
    std::iter::successors(Some(at + CADENCE), |due| Some(*due + CADENCE)).take_while(move |due| *due < end)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, messages, unsaid, doubled, .. } = self;
        writeln!(f, "updates due {expected}, messages {messages}, unsaid {unsaid}, doubled {doubled}")?;
        write!(f, "{:<34} {:>8} {:>9} {:>9} {:>9} {:>9}", "lateness in seconds", "messages", "p50", "p95", "p99", "max")?;
        for (title, values) in [("due while the bot was running", &self.running), ("due while it was away", &self.away)] {
            let at = |share: f64| values.get(((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1)));
            let show = |share| at(share).map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.2}"));
            let (p50, p95, p99, max) = (show(0.5), show(0.95), show(0.99), show(1.0));
            write!(f, "\n{title:<34} {:>8} {p50:>9} {p95:>9} {p99:>9} {max:>9}", values.len())?;
        }
        Ok(())
    }
}
