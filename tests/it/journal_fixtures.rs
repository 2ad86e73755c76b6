//! What an old version has journalled is read for ever. The files under `tests/fixtures/journal/v1` are never
//! changed; a new variant or field gets a new file beside them.

use std::collections::BTreeSet;
use std::path::Path;

use pointsman::domain::Timestamp;
use pointsman::domain::incident::Severity;
use pointsman::domain::run::{self, End, Event, State, kind_of};
use serde_json::Value;

/// Every kind of event that there is. Whoever adds a variant is stopped by [`expect_known`], and adds it here and to
/// a fixture.
const KINDS: [&str; 43] = [
    "started",
    "thread_opened",
    "thread_lost",
    "message_posted",
    "message_lost",
    "rebooted",
    "gate_opened",
    "criteria_measured",
    "sign_off_granted",
    "sign_off_withdrawn",
    "vote_refused",
    "refused_vote_removed",
    "gate_warned",
    "gate_card_lost",
    "quorum_reached",
    "clearance_failed",
    "gate_refused",
    "glass_broken",
    "gate_cleared",
    "rollback_armed",
    "when_evaluated",
    "step_started",
    "child_started",
    "step_succeeded",
    "step_failed",
    "step_interrupted",
    "step_probed",
    "step_skipped",
    "item_ticked",
    "asked",
    "answered",
    "paused",
    "unpaused",
    "abort_requested",
    "rollback_requested",
    "rollback_started",
    "rollback_finished",
    "closing_began",
    "status_due",
    "incident_opened",
    "review_published",
    "review_delayed",
    "ended",
];

fn expect_known(event: &Event) {
    match event {
        Event::Started(_)
        | Event::ThreadOpened { .. }
        | Event::ThreadLost { .. }
        | Event::MessagePosted { .. }
        | Event::MessageLost { .. }
        | Event::Rebooted
        | Event::GateOpened { .. }
        | Event::CriteriaMeasured { .. }
        | Event::SignOffGranted { .. }
        | Event::SignOffWithdrawn { .. }
        | Event::VoteRefused { .. }
        | Event::RefusedVoteRemoved { .. }
        | Event::GateWarned { .. }
        | Event::GateCardLost { .. }
        | Event::QuorumReached { .. }
        | Event::ClearanceFailed { .. }
        | Event::GateRefused { .. }
        | Event::GlassBroken { .. }
        | Event::GateCleared { .. }
        | Event::RollbackArmed { .. }
        | Event::WhenEvaluated { .. }
        | Event::StepStarted { .. }
        | Event::ChildStarted { .. }
        | Event::StepSucceeded { .. }
        | Event::StepFailed { .. }
        | Event::StepInterrupted { .. }
        | Event::StepProbed { .. }
        | Event::StepSkipped { .. }
        | Event::ItemTicked { .. }
        | Event::Asked(_)
        | Event::Answered { .. }
        | Event::Paused { .. }
        | Event::Unpaused { .. }
        | Event::AbortRequested { .. }
        | Event::RollbackRequested { .. }
        | Event::RollbackStarted { .. }
        | Event::RollbackFinished { .. }
        | Event::ClosingBegan { .. }
        | Event::StatusDue { .. }
        | Event::IncidentOpened { .. }
        | Event::ReviewPublished { .. }
        | Event::ReviewDelayed { .. }
        | Event::Ended { .. } => {}
    }
    assert!(KINDS.contains(&kind_of(event)), "{} is not listed", kind_of(event));
}

fn load(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/journal/v1").join(file);
    serde_json::from_str(&std::fs::read_to_string(path).expect("the fixture is there")).expect("the fixture is JSON")
}

#[test]
fn every_event_of_version_1_loads_and_is_written_as_it_was() {
    let mut seen = BTreeSet::new();
    let files = [
        "events.json",
        "events-of-beat-and-incident.json",
        "events-of-a-pinned-severity.json",
        "events-of-a-void-signature.json",
        "events-of-lost-threads.json",
    ];
    for json in files.into_iter().flat_map(load) {
        let event: Event = serde_json::from_value(json.clone()).unwrap_or_else(|error| panic!("{error}: {json}"));
        expect_known(&event);
        seen.insert(kind_of(&event));
        assert_eq!(serde_json::to_value(&event).unwrap(), json);
    }
    assert_eq!(seen, BTreeSet::from(KINDS), "every kind of event has a fixture");
}

/// The severity came later: until then it was taken from the settings when the incident was opened.
#[test]
fn a_start_that_says_only_whether_it_opens_an_incident_loads_with_a_severity() {
    for json in load("started-that-says-only-whether-it-opens-an-incident.json") {
        let Event::Started(started) = serde_json::from_value(json).unwrap() else { panic!("it is a start") };
        assert_eq!(started.opens_incident, Some(Severity::Sev2));
    }
}

#[test]
fn a_whole_run_of_version_1_folds_to_its_end() {
    let mut state: Option<State> = None;
    for record in load("run-rolled-back.json") {
        let at: Timestamp = serde_json::from_value(record["at"].clone()).unwrap();
        let event: Event = serde_json::from_value(record["event"].clone()).unwrap();
        assert_eq!(record["kind"], kind_of(&event));
        state = Some(match state {
            None => run::begin(at, &event).unwrap(),
            Some(state) => run::evolve(state, at, &event).unwrap(),
        });
    }
    let state = state.expect("it has events");
    assert_eq!(state.end.map(|ending| ending.end), Some(End::RolledBack));
    assert!(state.owed.iter().all(|owed| owed.posted.is_some()));
}
