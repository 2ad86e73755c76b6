//! Alive, ready, measured: what machines are told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pointsman::domain::StreamId;
use pointsman::domain::incident::{Input, OpenRequest, Opener, Severity};
use pointsman::domain::run::Mode;
use pointsman::engine::Incidents as _;
use pointsman::store::NewRecord;
use serde_json::Value;

use super::Site;
use crate::harness::engine::{Bench, at, dead_holder, operator};
use crate::harness::journal::TestJournal;
use crate::harness::points::Points;

async fn ready(site: &Site) -> (u16, Value) {
    let (status, body) = site.get("/readyz").await;
    (status, serde_json::from_str(&body).unwrap())
}

#[test]
fn readiness_names_the_part_that_is_not_well() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let away = TestJournal {
            inner: Arc::clone(&life.journal),
            points: Arc::new(Points::new(None)),
            faults: Arc::clone(&bench.faults),
        };
        let site = Site::over(Some(life.handle.clone()), Arc::new(away), Arc::new(bench.clock.clone())).await;
        let (status, body) = ready(&site).await;
        assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)), "{body}");

        site.vitals.connected.store(false, Ordering::SeqCst);
        let (status, body) = ready(&site).await;
        assert_eq!((status, &body["gateway"]["ready"], &body["journal"]["ready"]), (503, &false.into(), &true.into()));
        assert!(body["gateway"]["why"].as_str().unwrap().contains("votes do not arrive"));

        site.vitals.connected.store(true, Ordering::SeqCst);
        bench.faults.away.store(true, Ordering::SeqCst);
        let (status, body) = ready(&site).await;
        assert_eq!((status, &body["gateway"]["ready"], &body["journal"]["ready"]), (503, &true.into(), &false.into()));
        bench.faults.away.store(false, Ordering::SeqCst);
    });
}

#[test]
fn a_process_without_the_lease_is_alive_and_not_ready() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let site = Site::over(None, Arc::clone(&life.journal), Arc::new(bench.clock.clone())).await;
        let (status, body) = ready(&site).await;
        assert_eq!((status, &body["lease"]["ready"]), (503, &false.into()));
        assert_eq!(site.get("/healthz").await, (200, "alive\n".to_owned()));
        // What cannot be told yet is nought and not an error.
        let (status, text) = site.get("/metrics").await;
        assert!(status == 200 && text.contains("pointsman_ready 0") && text.contains("pointsman_runs{status=\"running\"} 0"));
    });
}

#[test]
fn metrics_tell_runs_by_status_and_what_chat_is_owed() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        bench.chat.set_away(true);
        life.begin("tiny", Mode::Live).await;
        life.advance(90).await;
        let site = Site::of(life).await;
        let (_, text) = site.get("/metrics").await;
        let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start}\n{text}"));
        assert_eq!(line("pointsman_runs{status=\"closing\"}"), "pointsman_runs{status=\"closing\"} 1");
        let owed: u64 = line("pointsman_owed_messages ").rsplit(' ').next().unwrap().parse().unwrap();
        assert!(owed >= 3, "{owed}");
        let age: f64 = line("pointsman_oldest_owed_message_age_seconds ").rsplit(' ').next().unwrap().parse().unwrap();
        assert!((90.0..600.0).contains(&age), "{age}");
        assert_eq!(line("pointsman_gateway_reconnects_total"), "pointsman_gateway_reconnects_total 2");
        assert!(text.ends_with("# EOF\n"));
    });
}

fn request() -> OpenRequest {
    OpenRequest {
        title: "Checkout is down".to_owned(),
        severity: Severity::Sev2,
        by: Opener::Person(operator()),
        customer_facing: false,
        private: false,
        asked_in: None,
        run: None,
    }
}

#[test]
fn metrics_tell_open_incidents_and_what_they_owe() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        bench.incidents.set_away(true);
        let incident = life.handle.open(request()).await.unwrap();
        life.advance(90).await;
        let site = Site::of(life).await;
        let expect = async |lines: &[&str]| {
            let (_, text) = site.get("/metrics").await;
            for line in lines {
                assert!(text.lines().any(|found| found == *line), "{line}\nis not in\n{text}");
            }
        };
        let [open, none] = [1, 0].map(|count| format!("pointsman_incidents_open{{severity=\"sev2\"}} {count}"));
        expect(&[
            &open,
            "pointsman_incidents_open{severity=\"sev1\"} 0",
            "pointsman_owed_messages 1",
            "pointsman_oldest_owed_message_age_seconds 90.0",
            "pointsman_stuck{kind=\"incident\"} 0",
        ])
        .await;
        bench.incidents.set_away(false);
        life.advance(600).await;
        expect(&[&open, "pointsman_owed_messages 0", "pointsman_oldest_owed_message_age_seconds 0.0"]).await;
        life.handle.tell(&incident, Input::Resolve { by: operator(), summary: "mended".to_owned() }).await.unwrap();
        expect(&[&none]).await;
    });
}

#[test]
fn an_incident_that_is_set_aside_is_counted_as_stuck() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.handle.open(request()).await.unwrap();
        life.settle().await;
        let stream = StreamId::new("incident", &incident.to_string()).unwrap();
        let lease = life.journal.acquire_lease(&dead_holder(), Duration::from_secs(60)).await.unwrap();
        let body = r#"{"message_lost":{"key":"nobody-owed-this"}}"#.to_owned();
        let record = NewRecord { at: at(0), kind: "message_lost".to_owned(), body };
        let seq = life.handle.incident(&incident).unwrap().state.seq;
        life.journal.append(lease.fence(), &stream, seq, &[record]).await.unwrap();
    });
    bench.whole_life(async |life| {
        let site = Site::of(life).await;
        let (_, text) = site.get("/metrics").await;
        let stuck = "pointsman_stuck{kind=\"incident\"} 1";
        assert!(text.lines().any(|line| line == stuck), "{text}");
    });
}

#[test]
fn nothing_is_cached_framed_or_sniffed() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let site = Site::of(life).await;
        for path in ["/healthz", "/no/such/page"] {
            let answer = site.client.get(format!("{}{path}", site.base)).send().await.unwrap();
            let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(header("cache-control"), "no-store");
            assert!(header("content-security-policy").starts_with("default-src 'none';"));
            assert_eq!(header("x-content-type-options"), "nosniff");
        }
    });
}
