//! What is measured off the journal: spans of runs, appends, and appends whose answer was lost; and that no other names
//! come out than those which are listed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pointsman::domain::run::{Input, Mode, Vote};
use pointsman::domain::{RunId, StreamId};
use pointsman::metrics::{BeatWatch, MeasuredJournal, Metrics, Observer, RunWatch, Scrape};
use pointsman::store::{AppendError, Journal as _, NewRecord, Record};

use super::Site;
use crate::deployment::{Labels, listed_metrics};
use crate::harness::engine::{Bench, Life, at, chores, cutover, dba, dead_holder, lead, team};
use crate::harness::journal::{Fault, TestJournal};
use crate::harness::performer::Behaviour;
use crate::harness::points::Points;

/// What is measured when the run's records are told one after the other.
async fn measured(life: &Life<'_>, run: &RunId, news: bool) -> String {
    let metrics = Arc::new(Metrics::new("0.0.0"));
    let watch = RunWatch::new(Arc::clone(&metrics));
    let records = life.journal.load(&StreamId::new("run", run.as_str()).unwrap()).await.unwrap();
    records.iter().for_each(|record| watch.saw(record, news));
    // Reading them afterwards counts nothing twice.
    records.iter().for_each(|record| watch.saw(record, false));
    metrics.text(&Scrape::default())
}

fn value(text: &str, metric: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(metric).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[test]
fn a_run_tells_how_long_its_steps_its_gate_and_its_start_took() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let card = life.card(&run, &cutover());
        life.advance(40).await;
        life.react(card, &dba(), Vote::Sign).await;
        life.advance(20).await;
        life.react(card, &lead(), Vote::Sign).await;
        life.play(&run, &chores).await;

        let text = measured(life, &run, true).await;
        assert_eq!(value(&text, "pointsman_gate_wait_seconds_count{outcome=\"cleared\"}"), Some(1.0), "{text}");
        assert_eq!(value(&text, "pointsman_gate_wait_seconds_sum{outcome=\"cleared\"}"), Some(60.0), "{text}");
        assert_eq!(value(&text, "pointsman_last_signature_to_start_seconds_count"), Some(1.0), "{text}");
        assert_eq!(value(&text, "pointsman_last_signature_to_start_seconds_sum"), Some(0.0), "{text}");
        let steps = value(&text, "pointsman_step_duration_seconds_count{action=\"look.at\",outcome=\"succeeded\"}");
        assert_eq!(steps, Some(2.0), "{text}");

        // What was read at the start happened in an earlier life, which has counted it.
        let text = measured(life, &run, false).await;
        assert_eq!(value(&text, "pointsman_last_signature_to_start_seconds_count"), Some(0.0), "{text}");
        assert!(!text.contains("look.at"), "{text}");
    });
}

#[test]
fn failures_and_refusals_are_told_apart_and_rehearsals_left_out() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let rehearsal = life.begin("move", Mode::DryRun).await;
        life.play(&rehearsal, &team).await;
        assert!(!measured(life, &rehearsal, true).await.contains("look.at"));

        bench.effects.always("poke", Behaviour::Fail { retryable: false });
        let run = life.begin("tiny", Mode::Live).await;
        let text = measured(life, &run, true).await;
        let failed = value(&text, "pointsman_step_duration_seconds_count{action=\"act.probe\",outcome=\"failed\"}");
        assert_eq!(failed, Some(1.0), "{text}");

        let run = life.begin("move", Mode::Live).await;
        let card = life.card(&run, &cutover());
        life.react(card, &dba(), Vote::Veto).await;
        let text = measured(life, &run, true).await;
        assert_eq!(value(&text, "pointsman_gate_wait_seconds_count{outcome=\"refused\"}"), Some(1.0), "{text}");
    });
}

#[test]
fn a_beat_is_counted_once_with_the_lateness_of_the_earliest_that_it_stands_for() {
    let metrics = Arc::new(Metrics::new("0.0.0"));
    let watch = BeatWatch::new(Arc::clone(&metrics));
    let tell = |stream: &str, seq: u64, secs: i64, kind: &str, body: String, news: bool| {
        let (stream, hash) = (stream.parse().unwrap(), pointsman::domain::Hash::GENESIS);
        watch.saw(&Record { position: seq, stream, seq, at: at(secs), kind: kind.to_owned(), body, hash }, news);
    };
    let due = |secs: i64| {
        format!(
            "{{\"status_due\":{{\"due\":\"{}\",\"missed\":0,\"next\":\"{}\"}}}}",
            at(secs).to_rfc3339(),
            at(9_999).to_rfc3339()
        )
    };
    let posted =
        |key: &str| format!("{{\"message_posted\":{{\"key\":\"{key}\",\"message\":{{\"channel\":\"1\",\"message\":\"2\"}}}}}}");
    // In time; another message is none.
    tell("run/run-a", 5, 900, "status_due", due(900), true);
    tell("run/run-a", 6, 901, "message_posted", posted("note/4"), true);
    tell("run/run-a", 7, 902, "message_posted", posted("beat/5"), true);
    tell("run/run-a", 8, 903, "message_posted", posted("beat/5"), true);
    // Two fell due while nobody could see the first; the former life of the bot saw it due.
    tell("incident/inc-20270115-001", 3, 900, "status_due", due(900), false);
    tell("incident/inc-20270115-001", 4, 1_800, "status_due", due(1_800), true);
    tell("incident/inc-20270115-001", 5, 1_830, "message_posted", posted("beat/3"), true);
    let text = metrics.text(&Scrape::default());
    assert_eq!(value(&text, "pointsman_beats_total{outcome=\"posted\"}"), Some(1.0), "{text}");
    assert_eq!(value(&text, "pointsman_beats_total{outcome=\"late\"}"), Some(1.0), "{text}");
    assert_eq!(value(&text, "pointsman_beat_lateness_seconds_sum"), Some(932.0), "{text}");
}

/// Keeps what it is told.
#[derive(Default)]
struct Ear(Mutex<Vec<(u64, bool)>>);

impl Observer for Ear {
    fn saw(&self, record: &Record, news: bool) {
        self.0.lock().unwrap().push((record.seq, news));
    }
}

#[test]
fn an_append_whose_answer_was_lost_is_told_when_it_is_found() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("journal.db").display()).into();
        let inner = pointsman::store::open(&url).await.unwrap();
        let lease = inner.acquire_lease(&dead_holder(), Duration::from_secs(60)).await.unwrap();
        let journal = TestJournal { inner, points: Arc::new(Points::new(None)), faults: Arc::clone(&bench.faults) };
        let (metrics, ear) = (Arc::new(Metrics::new("0.0.0")), Arc::new(Ear::default()));
        let measured = MeasuredJournal::new(Arc::new(journal), Arc::clone(&metrics), vec![Arc::clone(&ear) as _]);

        let stream = StreamId::new("run", "run-a").unwrap();
        let record = NewRecord { at: at(0), kind: "k".to_owned(), body: "{}".to_owned() };
        let append = async |seq: u64| measured.append(lease.fence(), &stream, seq, std::slice::from_ref(&record)).await;
        append(0).await.unwrap();
        assert!(matches!(append(0).await, Err(AppendError::Conflict { .. })));
        bench.faults.appends.lock().unwrap().push_back(Fault::AnswerLost);
        assert!(matches!(append(1).await, Err(AppendError::OutcomeUnknown { .. })));
        assert_eq!(*ear.0.lock().unwrap(), [(1, true)]);
        // Looking for itself finds it; a second look is no news.
        measured.load(&stream).await.unwrap();
        measured.load(&stream).await.unwrap();
        assert_eq!(*ear.0.lock().unwrap(), [(1, true), (2, true)]);
        // Reading as at the start is no news either.
        measured.read(0, 10).await.unwrap();
        assert_eq!(ear.0.lock().unwrap()[2..], [(1, false), (2, false)]);

        let text = metrics.text(&Scrape::default());
        for (outcome, count) in [("appended", 1.0), ("conflict", 1.0), ("unknown", 1.0), ("fenced", 0.0)] {
            let metric = format!("pointsman_journal_appends_total{{outcome=\"{outcome}\"}}");
            assert_eq!(value(&text, &metric), Some(count), "{text}");
        }
        assert_eq!(value(&text, "pointsman_journal_append_duration_seconds_count"), Some(3.0));
    });
}

/// Rules and dashboards use the list. A name that it does not have is seen by nobody, one that is not emitted alarms nobody.
#[test]
fn what_is_emitted_is_what_is_listed() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let site = Site::of(life).await;
        for run in runs_that_end_in_every_way(&bench, life).await {
            let watch = RunWatch::new(Arc::clone(&site.metrics));
            let records = life.journal.load(&StreamId::new("run", run.as_str()).unwrap()).await.unwrap();
            records.iter().for_each(|record| watch.saw(record, true));
        }
        let (_, text) = site.get("/metrics").await;
        let (mut emitted, listed) = (emitted_metrics(&text), listed_metrics());
        for (name, (_, labels)) in &mut emitted {
            // Where the list leaves the values open, there are too many.
            let open = |label: &String| listed.get(name).is_some_and(|(_, known)| known.get(label).is_some_and(|v| v.is_empty()));
            labels.iter_mut().filter(|(label, _)| open(label)).for_each(|(_, values)| values.clear());
        }
        assert_eq!(emitted, listed, "{text}");
    });
}

/// Steps that succeed, fail and stay unknown; gates that are cleared, refused and broken.
async fn runs_that_end_in_every_way(bench: &Bench, life: &Life<'_>) -> [RunId; 4] {
    bench.effects.next("copy", &[Behaviour::TakeEffectUnknown]);
    let signed = life.begin("move", Mode::Live).await;
    life.play(&signed, &team).await;
    let broken = life.begin("move", Mode::Live).await;
    life.send(&broken, Input::BreakGlass { by: lead(), reason: "fire".to_owned(), other_holders: true }).await.unwrap();
    life.play(&broken, &chores).await;
    let refused = life.begin("move", Mode::Live).await;
    life.react(life.card(&refused, &cutover()), &dba(), Vote::Veto).await;
    bench.effects.always("poke", Behaviour::Fail { retryable: false });
    let failed = life.begin("tiny", Mode::Live).await;
    [signed, broken, refused, failed]
}

/// The metrics of an answer by name, as the list has them: with type, labels and the values that occur.
fn emitted_metrics(text: &str) -> BTreeMap<String, (String, Labels)> {
    let mut metrics: BTreeMap<String, (String, Labels)> = BTreeMap::new();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    for (name, kind) in types {
        let (name, kind) = match kind {
            "counter" => (format!("{name}_total"), kind),
            // Prometheus knows no such type.
            "info" => (format!("{name}_info"), "gauge"),
            _ => (name.to_owned(), kind),
        };
        metrics.insert(name, (kind.to_owned(), Labels::new()));
    }
    let label = regex::Regex::new(r#"(\w+)="([^"]*)""#).unwrap();
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let name = sample.split(['{', ' ']).next().unwrap();
        let part = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let base = part.filter(|base| metrics.contains_key(*base)).unwrap_or(name).to_owned();
        let (_, labels) = metrics.get_mut(&base).unwrap_or_else(|| panic!("no type: {sample}"));
        for found in label.captures_iter(sample).filter(|found| &found[1] != "le") {
            labels.entry(found[1].to_owned()).or_default().insert(found[2].to_owned());
        }
    }
    metrics
}
