//! A runbook as one page of Markdown that a person can follow by hand when chat is down: who signs, at what
//! time, each step with the command or the SQL that it amounts to, the ways back, and boxes to tick.
//!
//! The page is made of the definition alone. What a step finds out at run time stays visible as `{{ ... }}`:
//! the reader fills it in, as they do with the parameters.

use std::fmt::Write;

use indexmap::IndexMap;
use serde_json::Value;

use crate::domain::runbook::{
    ChecklistItem, Criterion, Gate, OnFailure, Parameter, ParameterKind, Phase, Rollback, Runbook, Step, TIMEOUT_DEFAULT, Target,
};
use crate::domain::{Digest, Duration, RoleName};

/// The page. `digest` is that of the file it was made of, printed so that two copies can be compared.
#[must_use]
pub fn runbook_page(runbook: &Runbook, digest: &Digest) -> String {
    let mut page = Page { runbook, text: String::new() };
    page.heading(digest);
    page.parameters();
    page.targets();
    page.people();
    page.time_table();
    for (index, phase) in runbook.phases.iter().enumerate() {
        page.phase(index + 1, phase);
    }
    page.rollbacks();
    page.afterwards();
    page.text
}

/// Where a person writes.
const BLANK: &str = "________";

struct Page<'r> {
    runbook: &'r Runbook,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: impl AsRef<str>) {
        self.text.push_str(line.as_ref());
        self.text.push('\n');
    }

    fn heading(&mut self, digest: &Digest) {
        let runbook = self.runbook;
        self.line(format!("# {}\n", runbook.title));
        self.line(format!(
            "`{}` · version {} · {} · kept by {} · window {} · file {}\n",
            runbook.runbook,
            runbook.version,
            runbook.kind,
            runbook.owner,
            runbook.window,
            digest.short()
        ));
        if let Some(summary) = &runbook.summary {
            self.line(format!("{}\n", summary.trim()));
        }
        self.line(
            "Follow this page by hand only when the bot cannot run it. Write down who does what and when (UTC): it goes into the",
        );
        self.line(
            "timeline afterwards. Where the page says `{{ ... }}`, put in the value of the parameter or of the earlier step.\n",
        );
        self.line(format!(
            "- [ ] Nobody else works on `{}`: the bot is stopped or its run is paused, and the team is told.",
            runbook.lock
        ));
        if let Some(policy) = &runbook.dry_run {
            self.line(format!(
                "- [ ] A rehearsal of the same version ended green within the last {}: {BLANK}",
                policy.required_within
            ));
        }
        self.line("");
    }

    fn parameters(&mut self) {
        if self.runbook.parameters.is_empty() {
            return;
        }
        self.line("## Parameters\n\n| Parameter | What | Value |\n|---|---|---|");
        for (name, parameter) in &self.runbook.parameters {
            let value = parameter
                .default
                .as_ref()
                .map_or_else(|| BLANK.to_owned(), |default| format!("{BLANK} (else {})", plain(default)));
            self.line(format!("| `params.{name}` | {}; {} | {value} |", cell(&parameter.help), kind_of(parameter)));
        }
        self.line("");
    }

    fn targets(&mut self) {
        if self.runbook.targets.is_empty() {
            return;
        }
        self.line("## Targets\n\n| Target | What |\n|---|---|");
        for (name, target) in &self.runbook.targets {
            self.line(format!("| `{name}` | {} |", cell(&address(target))));
        }
        self.line("");
    }

    fn people(&mut self) {
        let roles = self.runbook.roles();
        if roles.is_empty() {
            return;
        }
        self.line("## People\n\n| Role | Name | Reached at |\n|---|---|---|");
        for role in roles {
            self.line(format!("| {role} | {BLANK} | {BLANK} |"));
        }
        self.line("");
    }

    fn time_table(&mut self) {
        self.line(format!(
            "## Times\n\nT-0 (UTC): {BLANK}\n\n| Phase | Starts | Estimate | Actual start | Actual end |\n|---|---|---|---|---|"
        ));
        for (index, phase) in self.runbook.phases.iter().enumerate() {
            let starts = phase.at.map_or_else(|| "after the phase before".to_owned(), |at| at.to_string());
            let estimate = known(phase.steps.iter().filter_map(|step| step.estimate).sum());
            self.line(format!("| {}. {} | {starts} | {estimate} | {BLANK} | {BLANK} |", index + 1, cell(phase.title())));
        }
        let total = known(self.runbook.phases.iter().flat_map(|phase| &phase.steps).filter_map(|step| step.estimate).sum());
        self.line(format!("| All, window {} | | {total} | {BLANK} | {BLANK} |\n", self.runbook.window));
    }

    fn phase(&mut self, number: usize, phase: &Phase) {
        let at = phase.at.map(|at| format!(" ({at})")).unwrap_or_default();
        self.line(format!("## {number}. {}{at}\n", phase.title()));
        if phase.at.is_some() {
            let grace = self.runbook.grace;
            self.line(format!("If it is more than {grace} late, do not start by yourself: ask who decides.\n"));
        }
        if let Some(gate) = &phase.gate {
            self.gate(phase, gate);
        }
        for (index, step) in phase.steps.iter().enumerate() {
            self.step(&format!("{number}.{}", index + 1), step);
        }
        match &phase.on_failure {
            OnFailure::Stop => self.line("**If a step fails:** stop, and decide about the rollback.\n"),
            OnFailure::Ask => self.line("**If a step fails:** decide together: again, roll back, or stop.\n"),
            OnFailure::Rollback(name) => self.line(format!("**If a step fails:** go to the rollback `{name}` at once.\n")),
        }
    }

    fn gate(&mut self, phase: &Phase, gate: &Gate) {
        self.line("### Gate: sign before anything of this phase starts\n");
        let from = if gate.opens_before == Duration::ZERO {
            "when the phase before has ended".to_owned()
        } else {
            format!("{} before", gate.opens_before)
        };
        let of = if phase.at.is_some() { "the phase's time" } else { "the gate's opening" };
        self.line(format!(
            "Gather signatures from {from}; {} after {of} the answer is no. One ❌ of a role below closes the gate.",
            gate.expires
        ));
        self.line("Whoever asked for the run does not sign, and each person signs for one role only.\n");
        for (index, step) in gate.measure.iter().enumerate() {
            self.step(&format!("Measure {}", index + 1), step);
        }
        self.criteria("Go only if every line is true; a value that cannot be measured is a no.", &gate.go);
        self.signatures(&gate.sign_off);
        if let Some(rollback) = &gate.also_arms {
            self.line(format!("The same signatures approve the rollback `{rollback}` in advance.\n"));
        }
    }

    fn signatures(&mut self, sign_off: &IndexMap<RoleName, u8>) {
        self.line("| Role | Name | Yes or no | At (UTC) |\n|---|---|---|---|");
        for (role, count) in sign_off {
            for _ in 0..*count {
                self.line(format!("| {role} | {BLANK} | ☐ yes ☐ no | {BLANK} |"));
            }
        }
        self.line("");
    }

    fn criteria(&mut self, heading: &str, criteria: &[Criterion]) {
        if criteria.is_empty() {
            return;
        }
        self.line(format!("{heading}\n"));
        for criterion in criteria {
            self.line(format!("- [ ] {} (`{}`), measured: {BLANK}", criterion.says, one_line(&criterion.expect)));
        }
        self.line("");
    }

    fn step(&mut self, number: &str, step: &Step) {
        self.line(format!("### {number} {} (`{}`)\n", step.title, step.step));
        let mut times = vec![format!("estimate {}", step.estimate.map_or_else(|| "unknown".to_owned(), |span| span.to_string()))];
        if let Some(timeout) = step.timeout {
            times.push(format!("give up after {timeout}"));
        }
        if step.retry.attempts > 1 {
            times.push(format!("at most {} attempts, first {} apart", step.retry.attempts, step.retry.backoff));
        }
        self.line(format!("- [ ] Done at {BLANK}, took {BLANK} ({})", times.join(", ")));
        if let Some(when) = &step.when {
            self.line(format!("- Only if `{}`, else skip it.", one_line(when)));
        }
        self.line("");
        self.doing(step);
        self.criteria("Afterwards:", &step.check);
    }

    /// The command, the SQL or the questions that the step amounts to, and every parameter that they do not show.
    fn doing(&mut self, step: &Step) {
        let mut shown: Vec<&str> = Vec::new();
        if let Some(Value::Array(argv)) = step.with.get("argv") {
            let command: Vec<String> = argv.iter().map(|argument| shell_word(&plain(argument))).collect();
            self.fenced("sh", &command.join(" "));
            shown.push("argv");
        }
        for key in ["sql", "query", "statement"] {
            if let Some(Value::String(sql)) = step.with.get(key) {
                self.fenced("sql", sql.trim_end());
                shown.push(key);
            }
        }
        if let Some(command) = by_hand(step, &self.runbook.targets) {
            self.fenced("sh", &command);
        }
        match step.action.as_str() {
            "human.checklist" => shown.extend(self.checklist(step)),
            "human.confirm" => {
                let (question, owner) = (word(step, "question"), word(step, "owner"));
                self.line(format!("Ask {}: {} ☐ yes ☐ no\n", owner.unwrap_or_default(), question.unwrap_or_default()));
                shown.extend(["question", "owner"]);
            }
            _ => {}
        }
        let rest: Vec<(&String, &Value)> = step.with.iter().filter(|(key, _)| !shown.contains(&key.as_str())).collect();
        if rest.is_empty() {
            return;
        }
        self.line(format!("`{}` with\n", step.action));
        for (key, value) in rest {
            let address =
                value.as_str().and_then(|name| self.runbook.targets.get(name)).map(|target| format!(" ({})", address(target)));
            self.line(format!("- {key}: `{}`{}", one_line(&plain(value)), address.unwrap_or_default()));
        }
        self.line("");
    }

    fn checklist(&mut self, step: &Step) -> Option<&'static str> {
        let items: Vec<ChecklistItem> = serde_json::from_value(step.with.get("items")?.clone()).ok()?;
        for item in items {
            self.line(format!("- [ ] {} ({}: {BLANK})", item.item, item.owner));
        }
        self.line("");
        Some("items")
    }

    fn fenced(&mut self, language: &str, code: &str) {
        // A fence must be longer than any run of backticks in the code.
        let fence = if code.contains("```") { "`````" } else { "```" };
        self.line(format!("{fence}{language}\n{code}\n{fence}\n"));
    }

    fn rollbacks(&mut self) {
        for (name, rollback) in &self.runbook.rollback {
            self.rollback(name.as_str(), rollback);
        }
    }

    fn rollback(&mut self, name: &str, rollback: &Rollback) {
        let title = rollback.title.as_deref().map(|title| format!(" ({title})")).unwrap_or_default();
        self.line(format!("## Rollback `{name}`{title}\n"));
        let allow: Vec<&str> = rollback.allow.iter().map(RoleName::as_str).collect();
        self.line(format!("Decided by one of: {}. It should take no more than {}.", allow.join(", "), rollback.target));
        match &rollback.until {
            Some(until) => self.line(format!("Possible until the step `{}` has started: {}\n", until.step, until.because)),
            None => self.line("Possible until the run is closed.\n"),
        }
        let arms = |phase: &&Phase| {
            phase.gate.as_ref().and_then(|gate| gate.also_arms.as_ref()).is_some_and(|armed| armed.as_str() == name)
        };
        match self.runbook.phases.iter().find(arms) {
            Some(phase) => self
                .line(format!("Once the gate of `{}` was signed, no further signature is needed. Before that:\n", phase.phase)),
            None => self.line("Signatures:\n"),
        }
        self.signatures(&rollback.sign_off);
        self.line(format!("Reason: {BLANK}  Decided by {BLANK} at {BLANK}\n"));
        for (index, step) in rollback.steps.iter().enumerate() {
            self.step(&format!("{name} {}", index + 1), step);
        }
    }

    fn afterwards(&mut self) {
        if self.runbook.afterwards.is_empty() {
            return;
        }
        self.line("## Afterwards\n");
        for item in &self.runbook.afterwards {
            self.line(format!("- [ ] {} ({}: {BLANK})", item.item, item.owner));
        }
        self.line("");
    }
}

/// The tool and its arguments that do by hand what an action of our own does, where there is one.
fn by_hand(step: &Step, targets: &IndexMap<crate::domain::TargetName, Target>) -> Option<String> {
    let target = |key: &str| step.with.get(key).and_then(Value::as_str).and_then(|name| targets.get(name));
    let any_target = || step.with.values().filter_map(Value::as_str).find_map(|name| targets.get(name));
    let to = word(step, "to").or_else(|| word(step, "path")).unwrap_or_else(|| BLANK.to_owned());
    match (step.action.as_str(), any_target()) {
        ("sqlite.backup", Some(Target::Sqlite { path })) => Some(format!(
            "sqlite3 {} {}\nsqlite3 {} 'PRAGMA integrity_check'\nsha256sum {}",
            shell_word(path),
            shell_word(&format!(".backup '{to}'")),
            shell_word(&to),
            shell_word(&to)
        )),
        ("sqlite.inspect", Some(Target::Sqlite { path })) => Some(format!("sqlite3 {} '.schema' '.tables'", shell_word(path))),
        ("postgres.dump", Some(Target::Postgres { dsn })) => {
            Some(format!("pg_dump --format=custom --file={} \"${dsn}\"  # {dsn}: from the secret of this name", shell_word(&to)))
        }
        ("postgres.restore", Some(Target::Postgres { dsn })) => {
            let from = word(step, "from").unwrap_or_else(|| to.clone());
            Some(format!(
                "pg_restore --exit-on-error --dbname=\"${dsn}\" {}  # {dsn}: from the secret of this name",
                shell_word(&from)
            ))
        }
        ("http.check", found) => {
            let base = match found {
                Some(Target::Http { url }) => url.trim_end_matches('/').to_owned(),
                _ => String::new(),
            };
            let rest = word(step, "url").or_else(|| word(step, "path")).filter(|rest| !targets.contains_key(rest.as_str()))?;
            Some(format!("curl --fail-with-body --include {}", shell_word(&format!("{base}{rest}"))))
        }
        ("kubernetes.rollout" | "kubernetes.secret", _) => {
            let Target::Kubernetes { context, namespace, .. } = target("target").or_else(any_target)? else { return None };
            let context = context.as_ref().map(|context| format!(" --context {}", shell_word(context))).unwrap_or_default();
            let kubectl = format!("kubectl{context} --namespace {}", shell_word(namespace));
            if step.action.as_str() == "kubernetes.secret" {
                let secret = word(step, "secret").or_else(|| word(step, "name")).unwrap_or_else(|| BLANK.to_owned());
                return Some(format!(
                    "{kubectl} get secret {0} -o yaml  # keep it for the rollback\n{kubectl} edit secret {0}",
                    shell_word(&secret)
                ));
            }
            let verb = word(step, "verb")
                .or_else(|| word(step, "command"))
                .or_else(|| word(step, "do"))
                .unwrap_or_else(|| "restart".to_owned());
            let resource = word(step, "deployment").map(|name| format!("deployment/{name}")).or_else(|| word(step, "resource"));
            let resource = resource.unwrap_or_else(|| BLANK.to_owned());
            Some(format!(
                "{kubectl} rollout {verb} {0}\n{kubectl} rollout status {0} --timeout={1}s",
                shell_word(&resource),
                step.timeout.unwrap_or(TIMEOUT_DEFAULT).as_secs()
            ))
        }
        _ => None,
    }
}

fn word(step: &Step, key: &str) -> Option<String> {
    step.with.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn address(target: &Target) -> String {
    match target {
        Target::Sqlite { path } => format!("SQLite file `{path}`"),
        Target::Postgres { dsn } => format!("PostgreSQL, address in the secret `{dsn}`"),
        Target::Kubernetes { context, namespace, .. } => {
            let context = context.as_ref().map(|context| format!(", context `{context}`")).unwrap_or_default();
            format!("Kubernetes namespace `{namespace}`{context}")
        }
        Target::Http { url } => format!("HTTP service `{url}`"),
    }
}

fn kind_of(parameter: &Parameter) -> String {
    let mut text = match parameter.kind {
        ParameterKind::String => "text".to_owned(),
        ParameterKind::Integer => "a whole number".to_owned(),
        ParameterKind::Choice => format!("one of {}", parameter.choices.join(", ")),
        ParameterKind::Boolean => "yes or no".to_owned(),
        ParameterKind::Duration => "a span such as `5m`".to_owned(),
        ParameterKind::Instant => "an instant, UTC".to_owned(),
    };
    if let Some(pattern) = &parameter.pattern {
        let _ = write!(text, " like `{}`", cell(pattern));
    }
    match (parameter.min, parameter.max) {
        (Some(min), Some(max)) => {
            let _ = write!(text, " from {min} to {max}");
        }
        (Some(min), None) => {
            let _ = write!(text, " of at least {min}");
        }
        (None, Some(max)) => {
            let _ = write!(text, " of at most {max}");
        }
        (None, None) => {}
    }
    text
}

fn known(span: Duration) -> String {
    if span == Duration::ZERO { "unknown".to_owned() } else { span.to_string() }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Text inside of a table: a bar would end the cell.
fn cell(text: &str) -> String {
    one_line(text).replace('|', "\\|")
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it back: quoted unless it is harmless. A template is quoted too.
fn shell_word(text: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !text.is_empty() && text.chars().all(harmless) {
        return text.to_owned();
    }
    if text.contains("{{") && !text.contains(['"', '$', '`', '\\']) {
        // The reader puts a value here: its own quotes must stay readable.
        return format!("\"{text}\"");
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
