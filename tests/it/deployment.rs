//! What lies in `deploy/` agrees with itself, with the program, and with the documents. That the programs which read these
//! files can do so is checked by `deploy/check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use pointsman::actions::Registry;
use pointsman::catalog::{CheckContext, DefinitionsDir, SharedCatalog};
use pointsman::config::{Environment, Settings};
use regex::Regex;
use serde_json::Value;

const UNIT: &str = "deploy/systemd/pointsman.service";
const COMPOSE: &str = "deploy/compose/compose.yaml";
const DEPLOYMENT: &str = "deploy/kubernetes/deployment.yaml";

#[test]
fn the_bot_starts_with_the_settings_and_the_environment_of_each_deployment() {
    let example =
        BTreeMap::from(["POINTSMAN_DISCORD_TOKEN", "ACE_POSTGRES_DSN", "ACE_KUBECONFIG"].map(|n| (n.to_owned(), "0".to_owned())));
    for (file, environment) in [
        ("deploy/pointsman.example.yaml", example),
        ("deploy/compose/pointsman.yaml", compose_environment()),
        ("deploy/kubernetes/pointsman.yaml", kubernetes_environment()),
    ] {
        let settings = Settings::parse(Path::new(file), &read(file), &as_given(environment)).unwrap();
        let roles = Some(settings.roles.keys().cloned().collect());
        let context = CheckContext { actions: Registry::standard().specs(), roles };
        let shipped = vec![DefinitionsDir::under(root())];
        SharedCatalog::load(shipped, context).unwrap_or_else(|mistakes| panic!("the roles of {file}: {mistakes}"));
    }
}

#[test]
fn every_secret_that_the_environment_names_is_there() {
    let unit = format!("{}{}", read(UNIT), read("deploy/systemd/secrets.conf"));
    let credentials = found(r"(?m)^LoadCredential=([a-z-]+):", &unit);
    assert_eq!(credentials, found(r"(?m)^Environment=[A-Z_]+=%d/([a-z-]+)$", &unit), "credentials of the unit");

    let compose = yaml(COMPOSE);
    let declared: BTreeSet<String> = compose["secrets"].as_object().unwrap().keys().cloned().collect();
    for (name, service) in compose["services"].as_object().unwrap() {
        let given = texts(&service["secrets"]);
        assert!(given.is_subset(&declared), "{name}: {given:?} of {declared:?}");
        let named = found(r"/run/secrets/([a-z-]+)", &service["environment"].to_string());
        assert_eq!(named, given, "secrets of {name}");
    }

    let volumes = yaml(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["volumeMounts"].to_string();
    for (name, value) in kubernetes_environment().into_iter().filter(|(name, _)| name.ends_with("_FILE")) {
        let folder = Path::new(&value).parent().unwrap().to_str().unwrap();
        assert!(volumes.contains(&format!("\"{folder}\"")), "{name} lies in {folder}, where no volume is");
    }
}

/// A stop that is cut short leaves a step with an unknown outcome behind.
#[test]
fn all_three_give_the_bot_the_same_time_to_stop() {
    let unit = found(r"(?m)^TimeoutStopSec=(\d+s)$", &read(UNIT));
    assert_eq!(unit.len(), 1);
    let seconds = unit.first().unwrap();
    assert_eq!(yaml(COMPOSE)["services"]["bot"]["stop_grace_period"], **seconds);
    let pod = &yaml(DEPLOYMENT)["spec"]["template"]["spec"];
    assert_eq!(format!("{}s", pod["terminationGracePeriodSeconds"]), *seconds);
}

#[test]
fn the_port_and_the_version_are_the_same_everywhere() {
    let dockerfile = read("deploy/Dockerfile");
    let port = found(r"(?m)^EXPOSE (\d+)$", &dockerfile).pop_first().unwrap();
    assert_eq!(found(r"http://127.0.0.1:(\d+)/healthz", &dockerfile), BTreeSet::from([port.clone()]));
    let listen = format!("0.0.0.0:{port}");
    assert_eq!(compose_environment()["POINTSMAN_WEB_LISTEN"], listen);
    assert_eq!(kubernetes_environment()["POINTSMAN_WEB_LISTEN"], listen);
    assert_eq!(yaml(COMPOSE)["services"]["bot"]["ports"][0], format!("127.0.0.1:{port}:{port}"));
    for file in [DEPLOYMENT, "deploy/kubernetes/service.yaml", "deploy/kubernetes/network-policy.yaml"] {
        assert!(read(file).contains(&format!("ort: {port}")), "{file}");
    }
    let image = format!("pointsman:{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(yaml(COMPOSE)["services"]["bot"]["image"], image);
    assert_eq!(yaml(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]["image"], image);
}

/// A bot that asks Discord with a bad token every few seconds gets its address banned.
#[test]
fn a_start_that_would_fail_again_is_not_repeated_by_the_unit() {
    let status = found(r"(?m)^RestartPreventExitStatus=(\d+)$", &read(UNIT)).pop_first().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("pointsman.yaml");
    let serve = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pointsman"));
        command.env_clear().arg("--config").arg(&settings).arg("serve").output().unwrap()
    };
    let expect_refusal = |text: &str, says: &str| {
        fs::write(&settings, text).unwrap();
        let ended = serve();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code().map(|code| code.to_string()), Some(status.clone()), "{text}: {told}");
        assert!(told.contains(says), "{text}: {told}");
    };
    expect_refusal("discord: { gild: '1' }", "gild");
    expect_refusal("discord: { guild: '1' }", "definitions");
    fs::create_dir(folder.path().join("runbooks")).unwrap();
    expect_refusal("discord: { guild: '1' }", "POINTSMAN_DISCORD_TOKEN_FILE");
}

#[test]
fn rules_and_dashboard_use_listed_metrics_and_labels_only() {
    let listed = metrics();
    for file in ["deploy/alerts.yaml", "deploy/alerts.test.yaml", "deploy/grafana-dashboard.json"] {
        let mistakes = unknown_metrics(&read(file), &listed);
        assert!(mistakes.is_empty(), "{file}: not in deploy/metrics.txt:\n{}", mistakes.join("\n"));
    }
    let dashboard = read("deploy/grafana-dashboard.json");
    let unseen: Vec<&String> = listed.keys().filter(|name| !dashboard.contains(*name)).collect();
    assert!(unseen.is_empty(), "the dashboard shows nothing of {unseen:?}");
}

#[test]
fn a_metric_that_is_not_listed_is_found() {
    let listed = metrics();
    for (text, mistake) in [
        ("pointsman_ready == 0", None),
        ("rate(pointsman_gate_wait_seconds_bucket[5m])", None),
        ("pointsman_redy == 0", Some("pointsman_redy")),
        ("pointsman_ready_bucket", Some("pointsman_ready_bucket")),
        (r#"pointsman_beats_total{outcome="late",job="a"}"#, None),
        (r#"pointsman_beats_total{outcome="lost"}"#, Some("`lost`")),
        (r#"pointsman_journal_appends_total{outcome=~"failed|fencd"}"#, Some("`fencd`")),
        (r#"pointsman_beats_total{result!="late"}"#, Some("`result`")),
        (r#"pointsman_beats_total{job=\"a\", outcome=\"lost\"}"#, Some("`lost`")),
    ] {
        let mistakes = unknown_metrics(text, &listed).join("\n");
        assert_eq!(mistakes.is_empty(), mistake.is_none(), "{text}: {mistakes}");
        assert!(mistakes.contains(mistake.unwrap_or_default()), "{text}: {mistakes}");
    }
}

/// Somebody who is paged finds what the alert means and what to do, and each alert was seen to fire.
#[test]
fn every_alert_is_explained_and_tested() {
    let (rules, tests, page) = (read("deploy/alerts.yaml"), read("deploy/alerts.test.yaml"), read("docs/deployment.md"));
    let alerts = found(r"- alert: (\w+)", &rules);
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in &alerts {
        assert!(page.lines().any(|line| line == format!("### {alert}")), "docs/deployment.md has no section {alert}");
        assert!(rules.contains(&format!("docs/deployment.md#{}\n", alert.to_lowercase())), "{alert} leads to no section");
        assert!(tests.contains(&format!("\"{alert}\"")), "{alert} is never seen to fire");
    }
    assert_eq!(found(r"(?m)^### (Pointsman\w+)$", &page), alerts, "sections and alerts");
}

/// The labels of a metric, each with its values if they are known.
pub(crate) type Labels = BTreeMap<String, BTreeSet<String>>;

/// The metrics that `deploy/metrics.txt` lists, by name.
fn metrics() -> BTreeMap<String, Labels> {
    listed_metrics().into_iter().map(|(name, (_, labels))| (name, labels)).collect()
}

/// The metrics that `deploy/metrics.txt` lists, by name, each with its type.
pub(crate) fn listed_metrics() -> BTreeMap<String, (String, Labels)> {
    let mut metrics = BTreeMap::new();
    for line in read("deploy/metrics.txt").lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut columns = line.split_whitespace();
        let [name, kind, labels] = [(); 3].map(|()| columns.next().unwrap_or_else(|| panic!("too few columns: {line}")));
        assert!(columns.next().is_some(), "no help: {line}");
        assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
        assert_eq!(kind == "counter", name.ends_with("_total"), "counters and nothing else end on _total: {line}");
        let metric = (kind.to_owned(), parse_labels(labels));
        assert!(metrics.insert(name.to_owned(), metric).is_none(), "twice: {line}");
    }
    metrics
}

/// `action,outcome=succeeded|failed`.
fn parse_labels(text: &str) -> Labels {
    let label = |label: &str| {
        let (name, values) = label.split_once('=').unwrap_or((label, ""));
        (name.to_owned(), values.split('|').filter(|value| !value.is_empty()).map(str::to_owned).collect())
    };
    text.split(',').filter(|text| *text != "-").map(label).collect()
}

/// The metrics, labels and values of labels in `text` that the list does not have.
fn unknown_metrics(text: &str, listed: &BTreeMap<String, Labels>) -> Vec<String> {
    // JSON escapes the quotes.
    let text = text.replace("\\\"", "\"");
    let selector = Regex::new(r#"\b(pointsman_[a-z_]+)(?:\{([^}]*)\})?"#).unwrap();
    let matcher = Regex::new(r#"(\w+)\s*(?:=|!=|=~|!~)\s*"([^"]*)""#).unwrap();
    let mut mistakes = Vec::new();
    for selected in selector.captures_iter(&text) {
        let name = &selected[1];
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let base = base.filter(|base| base.ends_with("_seconds")).unwrap_or(name);
        let Some(labels) = listed.get(base) else {
            mistakes.push(name.to_owned());
            continue;
        };
        for matched in matcher.captures_iter(selected.get(2).map_or("", |labels| labels.as_str())) {
            let label = &matched[1];
            match labels.get(label) {
                // Prometheus' own, and a bucket's.
                None if ["job", "instance", "le"].contains(&label) => {}
                None => mistakes.push(format!("{name}: no label `{label}`")),
                Some(values) if values.is_empty() => {}
                Some(values) => mistakes.extend(
                    matched[2]
                        .split('|')
                        .filter(|value| !values.contains(*value))
                        .map(|value| format!("{name}: {label} is never `{value}`")),
                ),
            }
        }
    }
    mistakes
}

fn compose_environment() -> BTreeMap<String, String> {
    let environment = yaml(COMPOSE)["services"]["bot"]["environment"].clone();
    serde_json::from_value(environment).unwrap()
}

fn kubernetes_environment() -> BTreeMap<String, String> {
    let container = yaml(DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0].clone();
    let variable =
        |variable: &Value| (variable["name"].as_str().unwrap().to_owned(), variable["value"].as_str().unwrap().to_owned());
    container["env"].as_array().unwrap().iter().map(variable).collect()
}

/// The environment as the program has it, with values in place of files that lie on other machines.
fn as_given(environment: BTreeMap<String, String>) -> Environment {
    let given = environment.into_iter().map(|(name, value)| match name.strip_suffix("_FILE") {
        Some("POINTSMAN_STORE") => ("POINTSMAN_STORE", "postgres://pointsman:0@journal/pointsman".to_owned()),
        Some(secret) => (&*secret.to_owned().leak(), "0123456789abcdef".to_owned()),
        None => (&*name.leak(), value),
    });
    Environment::of(given)
}

/// What the group of `pattern` finds in `text`.
fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|found| found[1].to_owned()).collect()
}

fn texts(list: &Value) -> BTreeSet<String> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn yaml(file: &str) -> Value {
    serde_saphyr::from_str(&read(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
