//! What lists need of everything that the journal ever held: a line for each run and each incident.
//!
//! A fold of the records as they are appended, and as the engine reads them all when it starts. It outlasts whatever
//! the engine forgets of what has ended, and holds the one relation that no stream tells by itself: which runs belong to
//! an incident. A line is some hundred bytes, so that years of a team's nights fit in a few megabytes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::domain::incident::{self, IncidentId, IssueKind, Severity};
use crate::domain::run::{self, End, Mode};
use crate::domain::{IssueRef, RunId, RunbookName, Timestamp};
use crate::render::board::{PastIncident, PastRun};
use crate::store::Record;

/// The lines, by id.
#[derive(Default)]
pub(super) struct Archive {
    runs: BTreeMap<RunId, RunLine>,
    incidents: BTreeMap<IncidentId, IncidentLine>,
}

struct RunLine {
    runbook: RunbookName,
    title: String,
    rehearsal: bool,
    started_at: Timestamp,
    ended: Option<(Timestamp, End)>,
    incident: Option<IncidentId>,
}

struct IncidentLine {
    title: String,
    private: bool,
    severity: Severity,
    opened_at: Timestamp,
    resolved_at: Option<Timestamp>,
    /// The run that it was opened about.
    about: Option<RunId>,
    post_mortem: Option<IssueRef>,
}

/// The facts that change a line, by their kind: the others, which are most, are not read.
const OF_RUNS: [&str; 3] = ["started", "incident_opened", "ended"];
const OF_INCIDENTS: [&str; 4] = ["opened", "severity_changed", "resolved", "issue_published"];

impl Archive {
    /// Takes in a record. Seeing one again changes nothing; of one that cannot be read, its own page tells.
    pub(super) fn take(&mut self, record: &Record) {
        let (kind, name) = (record.kind.as_str(), record.stream.name());
        if record.stream.kind() == "run"
            && OF_RUNS.contains(&kind)
            && let (Ok(run), Ok(event)) = (name.parse(), serde_json::from_str(&record.body))
        {
            self.take_of_run(run, record.at, event);
        } else if record.stream.kind() == "incident"
            && OF_INCIDENTS.contains(&kind)
            && let (Ok(incident), Ok(event)) = (name.parse(), serde_json::from_str(&record.body))
        {
            self.take_of_incident(incident, record.at, event);
        }
    }

    fn take_of_run(&mut self, run: RunId, at: Timestamp, event: run::Event) {
        if let run::Event::Started(started) = event {
            self.runs.entry(run).or_insert_with(|| RunLine::new(at, *started));
            return;
        }
        let Some(line) = self.runs.get_mut(&run) else { return };
        if let run::Event::IncidentOpened { incident } = event {
            line.incident = Some(incident);
        } else if let run::Event::Ended { end, .. } = event {
            line.ended = Some((at, end));
        }
    }

    fn take_of_incident(&mut self, incident: IncidentId, at: Timestamp, event: incident::Event) {
        if let incident::Event::Opened(opened) = event {
            self.incidents.entry(incident).or_insert_with(|| IncidentLine::new(at, *opened));
            return;
        }
        let Some(line) = self.incidents.get_mut(&incident) else { return };
        if let incident::Event::SeverityChanged { to, .. } = event {
            line.severity = to;
        } else if let incident::Event::Resolved { .. } = event {
            line.resolved_at = Some(at);
        } else if let incident::Event::IssuePublished { issue: IssueKind::PostMortem, at: issue, .. } = event {
            line.post_mortem = Some(issue);
        }
    }

    /// The runs that have ended, the newest end first.
    pub(super) fn past_runs(&self) -> Vec<PastRun> {
        let mut past: Vec<PastRun> = self.runs.iter().filter_map(|(run, line)| line.past(run)).collect();
        past.sort_by_key(|run| Reverse(run.ended_at));
        past
    }

    /// The incidents that are resolved, the newest first.
    pub(super) fn past_incidents(&self) -> Vec<PastIncident> {
        self.incidents.iter().rev().filter_map(|(incident, line)| line.past(incident)).collect()
    }

    /// The run that an incident was opened about and those that were started from inside it, the oldest first.
    pub(super) fn runs_of(&self, incident: &IncidentId) -> Vec<RunId> {
        let about = self.incidents.get(incident).and_then(|line| line.about.as_ref());
        let belongs = |(run, line): &(&RunId, &RunLine)| line.incident == Some(*incident) || about == Some(*run);
        let mut runs: Vec<_> = self.runs.iter().filter(belongs).collect();
        runs.sort_by_key(|(_, line)| line.started_at);
        runs.into_iter().map(|(run, _)| run.clone()).collect()
    }

    /// Where the post-mortem of an incident stands, if the board may tell of it.
    pub(super) fn post_mortem(&self, incident: &IncidentId) -> Option<IssueRef> {
        self.incidents.get(incident).filter(|line| !line.private)?.post_mortem.clone()
    }
}

impl RunLine {
    fn new(started_at: Timestamp, started: run::Started) -> Self {
        let runbook = started.plan.runbook;
        Self {
            runbook: runbook.runbook,
            title: runbook.title,
            rehearsal: started.mode == Mode::DryRun,
            started_at,
            ended: None,
            incident: started.incident,
        }
    }

    fn past(&self, run: &RunId) -> Option<PastRun> {
        let (ended_at, end) = self.ended?;
        let (id, runbook, title) = (run.clone(), self.runbook.clone(), self.title.clone());
        Some(PastRun { id, runbook, title, rehearsal: self.rehearsal, started_at: self.started_at, ended_at, end })
    }
}

impl IncidentLine {
    fn new(opened_at: Timestamp, opened: incident::Opened) -> Self {
        Self {
            title: opened.title,
            private: opened.private,
            severity: opened.severity,
            opened_at,
            resolved_at: None,
            about: opened.run,
            post_mortem: None,
        }
    }

    fn past(&self, incident: &IncidentId) -> Option<PastIncident> {
        let Self { private, severity, opened_at, .. } = *self;
        let (id, title, resolved_at) = (*incident, self.title.clone(), self.resolved_at?);
        Some(PastIncident { id, title, private, severity, opened_at, resolved_at })
    }
}
