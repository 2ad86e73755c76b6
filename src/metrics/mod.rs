//! What is measured, under the names that dashboards and alert rules know.
//!
//! Two kinds of figures: those that grow with what happens (counters and histograms, kept in [`Metrics`], derived from
//! the journal by [`RunWatch`]) and those that are read when somebody asks ([`Scrape`]). Nothing else keeps counts in
//! here, and nothing of it is durable: counters begin at nought with the process, as Prometheus expects.
//!
//! Names follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for counters. They are never
//! renamed, because rules outside of this repository use them. Labels come from closed sets, or from what the
//! definitions hold (an action's name), never from what people type.

mod beats;
mod journal;
mod runs;

pub use beats::BeatWatch;
pub use journal::{MeasuredJournal, Observer};
pub use runs::RunWatch;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What the answer to a scrape is called in HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The bounds for what people wait for, in seconds: a second to four hours.
const PATIENCE_SECS: [f64; 12] = [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0, 7_200.0, 14_400.0];
/// The bounds for an append, in seconds: a warm SSD takes a few milliseconds, and seconds mean trouble.
const APPEND_SECS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 20.0];
/// The bounds for the time from the last signature to the start, in seconds.
const START_SECS: [f64; 9] = [0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0];

/// The bounds for how late a status update is, in seconds: a minute is where it says so itself, fifteen the shortest beat.
const LATENESS_SECS: [f64; 10] = [0.5, 1.0, 2.0, 5.0, 15.0, 60.0, 120.0, 300.0, 900.0, 3_600.0];

type HistogramFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// How something came out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: &'static str,
}

/// Which action, and how it came out.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByAction {
    action: String,
    outcome: &'static str,
}

/// The figures that grow with what happens.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    appends: Family<ByOutcome, Counter>,
    append_duration: Histogram,
    step_duration: HistogramFamily<ByAction>,
    gate_wait: HistogramFamily<ByOutcome>,
    signature_to_start: Histogram,
    beats: Family<ByOutcome, Counter>,
    beat_lateness: Histogram,
}

impl Metrics {
    /// All figures at nought.
    #[must_use]
    pub fn new(version: &'static str) -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("pointsman"),
            appends: Family::default(),
            append_duration: Histogram::new(APPEND_SECS),
            step_duration: Family::new_with_constructor(patience),
            gate_wait: Family::new_with_constructor(patience),
            signature_to_start: Histogram::new(START_SECS),
            beats: Family::default(),
            beat_lateness: Histogram::new(LATENESS_SECS),
        };
        // There from the start, so that a rate over it is never absent.
        for outcome in ["posted", "late"] {
            drop(metrics.beats.get_or_create(&ByOutcome { outcome }));
        }
        for outcome in ["appended", "conflict", "fenced", "unknown", "failed"] {
            drop(metrics.appends.get_or_create(&ByOutcome { outcome }));
        }
        metrics.registered(version)
    }

    fn registered(mut self, version: &'static str) -> Self {
        let registry = &mut self.registry;
        registry.register("up", "The version that runs", Info::new([("version", version)]));
        registry.register("journal_appends", "Appends to the journal by outcome", self.appends.clone());
        registry.register_with_unit(
            "journal_append_duration",
            "How long an append to the journal took",
            Unit::Seconds,
            self.append_duration.clone(),
        );
        registry.register_with_unit(
            "step_duration",
            "How long an attempt of a step took, live runs only",
            Unit::Seconds,
            self.step_duration.clone(),
        );
        registry.register_with_unit(
            "gate_wait",
            "How long a gate's card was open until it was cleared or refused, live runs only",
            Unit::Seconds,
            self.gate_wait.clone(),
        );
        registry.register_with_unit(
            "last_signature_to_start",
            "From the last signature that counts, or the phase's own time if that is later, to the first gated step",
            Unit::Seconds,
            self.signature_to_start.clone(),
        );
        registry.register("beats", "Status updates that became visible, in time or late", self.beats.clone());
        registry.register_with_unit(
            "beat_lateness",
            "How long after it was due a status update became visible",
            Unit::Seconds,
            self.beat_lateness.clone(),
        );
        self
    }

    /// Everything as Prometheus reads it: what has grown, and what `scrape` found.
    #[must_use]
    pub fn text(&self, scrape: &Scrape) -> String {
        let mut text = String::new();
        let written = encode_registry(&mut text, &self.registry)
            .and_then(|()| encode_registry(&mut text, &scrape.registry()))
            .and_then(|()| encode_eof(&mut text));
        if let Err(error) = written {
            // A text has room for everything; a comment is better than nothing all the same.
            let _ = write!(text, "# could not be written: {error}");
        }
        text
    }

    fn appended(&self, outcome: &'static str, took: Duration) {
        self.appends.get_or_create(&ByOutcome { outcome }).inc();
        self.append_duration.observe(took.as_secs_f64());
    }

    fn step_took(&self, action: &str, outcome: &'static str, secs: f64) {
        self.step_duration.get_or_create(&ByAction { action: action.to_owned(), outcome }).observe(secs);
    }

    fn beat_posted(&self, late_secs: f64, late_from_secs: f64) {
        let outcome = if late_secs > late_from_secs { "late" } else { "posted" };
        self.beats.get_or_create(&ByOutcome { outcome }).inc();
        self.beat_lateness.observe(late_secs);
    }

    fn gate_waited(&self, outcome: &'static str, secs: f64) {
        self.gate_wait.get_or_create(&ByOutcome { outcome }).observe(secs);
    }
}

fn patience() -> Histogram {
    Histogram::new(PATIENCE_SECS)
}

/// The figures that are read when somebody asks.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scrape {
    /// Whether the bot is ready, as `/readyz` says.
    pub ready: bool,
    /// Runs by status, those that ended and are remembered included.
    pub runs: BTreeMap<&'static str, u64>,
    /// Open incidents by severity.
    pub incidents_open: BTreeMap<&'static str, u64>,
    /// What was set aside because its records do not make sense, by kind of stream.
    pub stuck: BTreeMap<&'static str, u64>,
    /// Messages that runs and incidents owe and that are not visible yet.
    pub owed_messages: u64,
    /// Since when the oldest of them is owed, in seconds; 0 if none is.
    pub oldest_owed_secs: f64,
    /// Whether a gateway session stands.
    pub gateway_connected: bool,
    /// How often a gateway session was begun after the first.
    pub gateway_reconnects: u64,
    /// Gateway events that are known and could not be parsed.
    pub events_unparsed: u64,
    /// Requests to Discord by route template and outcome.
    pub discord_requests: Vec<(String, &'static str, u64)>,
    /// Requests to GitHub by outcome.
    pub github_requests: BTreeMap<&'static str, u64>,
}

impl Scrape {
    /// A registry of these figures, for one answer.
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("pointsman");
        registry.register("ready", "Whether the bot is ready: 1 or 0", gauge(u64::from(self.ready)));
        registry.register("runs", "Runs by status", gauges("status", &self.runs));
        let incidents = gauges("severity", &self.incidents_open);
        registry.register("incidents_open", "Open incidents by severity", incidents);
        registry.register("stuck", "What was set aside because its records do not make sense", gauges("kind", &self.stuck));
        registry.register("owed_messages", "Messages that are owed and not visible yet", gauge(self.owed_messages));
        let oldest = Gauge::<f64, AtomicU64>::default();
        oldest.set(self.oldest_owed_secs);
        registry.register_with_unit("oldest_owed_message_age", "The age of the oldest owed message", Unit::Seconds, oldest);
        let connected = gauge(u64::from(self.gateway_connected));
        registry.register("gateway_connected", "Whether a gateway session stands: 1 or 0", connected);
        registry.register("gateway_reconnects", "Gateway sessions after the first", counter(self.gateway_reconnects));
        registry.register("discord_events_unparsed", "Known events that could not be parsed", counter(self.events_unparsed));
        let requests = Family::<Pairs, Counter>::default();
        for (route, outcome, count) in &self.discord_requests {
            let labels = Pairs(vec![("route", route.clone()), ("outcome", (*outcome).to_owned())]);
            requests.get_or_create(&labels).inc_by(*count);
        }
        registry.register("discord_requests", "Requests to Discord by route and outcome", requests);
        let requests = Family::<ByOutcome, Counter>::default();
        for (outcome, count) in &self.github_requests {
            requests.get_or_create(&ByOutcome { outcome }).inc_by(*count);
        }
        registry.register("github_requests", "Requests to GitHub by outcome", requests);
        registry
    }
}

fn gauge(value: u64) -> Gauge<u64, AtomicU64> {
    let gauge = Gauge::default();
    gauge.set(value);
    gauge
}

fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn gauges(label: &'static str, values: &BTreeMap<&'static str, u64>) -> Family<Pairs, Gauge<u64, AtomicU64>> {
    let family = Family::default();
    for (name, value) in values {
        let gauge: Gauge<u64, AtomicU64> = family.get_or_create_owned(&Pairs(vec![(label, (*name).to_owned())]));
        gauge.set(*value);
    }
    family
}

/// Labels whose names are known only at run time of [`gauges`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pairs(Vec<(&'static str, String)>);

impl EncodeLabelSet for Pairs {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        for pair in &self.0 {
            prometheus_client::encoding::EncodeLabel::encode(&(pair.0, pair.1.as_str()), encoder.encode_label())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_that_rules_use() {
        let metrics = Metrics::new("1.2.3");
        metrics.appended("appended", Duration::from_millis(3));
        metrics.step_took("shell.run", "failed", 61.0);
        metrics.gate_waited("cleared", 4.0);
        metrics.signature_to_start.observe(0.3);
        let scrape = Scrape {
            ready: true,
            runs: BTreeMap::from([("running", 2)]),
            incidents_open: BTreeMap::from([("sev1", 7)]),
            stuck: BTreeMap::from([("run", 1), ("incident", 2)]),
            owed_messages: 3,
            oldest_owed_secs: 12.5,
            gateway_connected: true,
            gateway_reconnects: 4,
            events_unparsed: 5,
            discord_requests: vec![("POST /channels/{id}/messages".to_owned(), "done", 6)],
            github_requests: BTreeMap::from([("limited", 8)]),
        };
        let text = metrics.text(&scrape);
        for line in [
            "pointsman_up_info{version=\"1.2.3\"} 1",
            "pointsman_ready 1",
            "pointsman_runs{status=\"running\"} 2",
            "pointsman_incidents_open{severity=\"sev1\"} 7",
            "pointsman_stuck{kind=\"run\"} 1",
            "pointsman_stuck{kind=\"incident\"} 2",
            "pointsman_journal_appends_total{outcome=\"appended\"} 1",
            "pointsman_journal_appends_total{outcome=\"failed\"} 0",
            "pointsman_journal_append_duration_seconds_count 1",
            "pointsman_step_duration_seconds_bucket{le=\"60.0\",action=\"shell.run\",outcome=\"failed\"} 0",
            "pointsman_step_duration_seconds_bucket{le=\"120.0\",action=\"shell.run\",outcome=\"failed\"} 1",
            "pointsman_gate_wait_seconds_sum{outcome=\"cleared\"} 4.0",
            "pointsman_last_signature_to_start_seconds_count 1",
            "pointsman_owed_messages 3",
            "pointsman_oldest_owed_message_age_seconds 12.5",
            "pointsman_gateway_connected 1",
            "pointsman_gateway_reconnects_total 4",
            "pointsman_discord_events_unparsed_total 5",
            "pointsman_discord_requests_total{route=\"POST /channels/{id}/messages\",outcome=\"done\"} 6",
            "pointsman_github_requests_total{outcome=\"limited\"} 8",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        assert_eq!(text.matches("# EOF").count(), 1);
    }
}
