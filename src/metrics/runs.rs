//! What the facts of runs say about time: how long steps took, gates stood, and starts waited after the last signature.
//!
//! The figures of other kinds of streams get an observer of their own beside this one: see [`Observer`].

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::{Metrics, Observer};
use crate::domain::run::{Clearance, Event, GateRef, Mode, Started};
use crate::domain::{StepName, Timestamp};
use crate::store::Record;

/// The kind of the streams that are watched.
const STREAM_KIND: &str = "run";

/// What a record must be of to be looked into; the others are long or say nothing about time.
const KINDS: &[&str] = &[
    "started",
    "sign_off_granted",
    "gate_opened",
    "gate_refused",
    "gate_cleared",
    "step_started",
    "step_succeeded",
    "step_failed",
    "step_interrupted",
    "ended",
];

/// Watches the streams of runs. What it must remember of a run is small, and forgotten when the run ends.
pub struct RunWatch {
    metrics: Arc<Metrics>,
    runs: Mutex<HashMap<String, Watch>>,
}

impl RunWatch {
    /// Tells `metrics` what it sees.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, runs: Mutex::default() }
    }
}

impl Observer for RunWatch {
    fn saw(&self, record: &Record, news: bool) {
        if record.stream.kind() != STREAM_KIND || !KINDS.contains(&record.kind.as_str()) {
            return;
        }
        // A record that cannot be read sets its run aside, which the engine tells.
        let Ok(event) = serde_json::from_str::<Event>(&record.body) else { return };
        let mut runs = self.runs.lock().unwrap_or_else(PoisonError::into_inner);
        let run = record.stream.name();
        if matches!(event, Event::Ended { .. }) {
            runs.remove(run);
            return;
        }
        if let Event::Started(started) = &event {
            // A dry run waits for nobody and simulates what it does: its times would only blur those of live ones.
            if started.mode == Mode::Live {
                runs.entry(run.to_owned()).or_insert_with(|| Watch::of(started, record.seq));
            }
            return;
        }
        let Some(watch) = runs.get_mut(run).filter(|watch| watch.seq < record.seq) else { return };
        watch.seq = record.seq;
        let spans = watch.take(&event, record.at);
        if news {
            spans.iter().for_each(|span| span.tell(&self.metrics));
        }
    }
}

/// Something that took time.
#[derive(Debug, PartialEq)]
enum Span {
    Step { action: String, outcome: &'static str, secs: f64 },
    Gate { outcome: &'static str, secs: f64 },
    Start { secs: f64 },
}

impl Span {
    fn tell(&self, metrics: &Metrics) {
        match self {
            Self::Step { action, outcome, secs } => metrics.step_took(action, outcome, *secs),
            Self::Gate { outcome, secs } => metrics.gate_waited(outcome, *secs),
            Self::Start { secs } => metrics.signature_to_start.observe(*secs),
        }
    }
}

/// What is remembered of one run.
#[derive(Debug)]
struct Watch {
    /// The last record that was looked into.
    seq: u64,
    /// Each step's action.
    actions: BTreeMap<StepName, String>,
    /// When the phases behind gates may start at the earliest.
    due: BTreeMap<GateRef, Timestamp>,
    /// When the present card of each gate was opened.
    opened: BTreeMap<GateRef, Timestamp>,
    /// When the last signature of each gate's present card came.
    signed: BTreeMap<GateRef, Timestamp>,
    /// From when on the first gated step could have started, once its gate is cleared.
    cleared_from: Option<Timestamp>,
    /// When the attempt under way of each step began.
    begun: BTreeMap<StepName, Timestamp>,
}

impl Watch {
    fn of(started: &Started, seq: u64) -> Self {
        let runbook = &started.plan.runbook;
        let due = |phase: &crate::domain::runbook::Phase| {
            let at = started.t_zero + phase.at?.delta();
            Some((GateRef::Phase(phase.phase.clone()), at))
        };
        Self {
            seq,
            actions: runbook.all_steps().map(|step| (step.step.clone(), step.action.to_string())).collect(),
            due: runbook.phases.iter().filter_map(due).collect(),
            opened: BTreeMap::new(),
            signed: BTreeMap::new(),
            cleared_from: None,
            begun: BTreeMap::new(),
        }
    }

    /// Takes an event in and gives the spans that it ends.
    fn take(&mut self, event: &Event, at: Timestamp) -> Vec<Span> {
        match event {
            Event::GateOpened { gate, .. } => {
                self.opened.insert(gate.clone(), at);
                self.signed.remove(gate);
            }
            Event::SignOffGranted { gate, .. } => drop(self.signed.insert(gate.clone(), at)),
            Event::GateRefused { gate, .. } => return self.gate_over(gate, "refused", at),
            Event::GateCleared { gate, clearance, .. } => {
                let outcome = match clearance {
                    Clearance::SignOff { .. } => {
                        let last = self.signed.get(gate).copied();
                        self.cleared_from = last.map(|last| self.due.get(gate).map_or(last, |due| last.max(*due)));
                        "cleared"
                    }
                    Clearance::BreakGlass { .. } => "glass_broken",
                    // Dry runs are not watched.
                    Clearance::Rehearsal => return Vec::new(),
                };
                return self.gate_over(gate, outcome, at);
            }
            Event::StepStarted { step, .. } => {
                self.begun.insert(step.clone(), at);
                let from = self.cleared_from.take();
                return from.map(|from| Span::Start { secs: secs(from, at) }).into_iter().collect();
            }
            Event::StepSucceeded { step, .. } => return self.step_over(step, "succeeded", at),
            Event::StepFailed { step, .. } => return self.step_over(step, "failed", at),
            Event::StepInterrupted { step, .. } => return self.step_over(step, "unknown", at),
            _ => {}
        }
        Vec::new()
    }

    fn gate_over(&mut self, gate: &GateRef, outcome: &'static str, at: Timestamp) -> Vec<Span> {
        let opened = self.opened.remove(gate);
        opened.map(|opened| Span::Gate { outcome, secs: secs(opened, at) }).into_iter().collect()
    }

    /// An attempt that could not even begin has taken no time.
    fn step_over(&mut self, step: &StepName, outcome: &'static str, at: Timestamp) -> Vec<Span> {
        let (begun, action) = (self.begun.remove(step), self.actions.get(step));
        let span = |(begun, action): (Timestamp, &String)| Span::Step { action: action.clone(), outcome, secs: secs(begun, at) };
        begun.zip(action).map(span).into_iter().collect()
    }
}

/// Never below nought: the wall clock may be set back between two facts.
fn secs(from: Timestamp, to: Timestamp) -> f64 {
    (to - from).as_seconds_f64().max(0.0)
}
