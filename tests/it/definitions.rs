//! Definitions: the shipped ones load, bad ones explain themselves, and a bad set never replaces a good one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use pointsman::catalog::{Catalog, CheckContext, DefinitionsDir, Diagnostics, Severity, SharedCatalog, schemas};
use pointsman::cli::{self, CheckArgs, DefinitionsArgs, Format, RenderArgs, SchemaArgs};
use pointsman::config::{Environment, Settings};
use pointsman::domain::{ActionSpec, Effect, Interruption, RunbookName, StepKind};
use pointsman::render::runbook_page;
use serde_json::{Value, json};

const FIXTURES: &str = "tests/fixtures/definitions";

fn spec(name: &str, properties: Value, required: &[&str]) -> ActionSpec {
    ActionSpec {
        name: name.parse().expect("the fixture's name is valid"),
        summary: format!("What {name} does"),
        parameters: json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false }),
        effect: Effect::Always,
        interruption: Interruption::Ask,
        kind: StepKind::Action,
        target_keys: Vec::new(),
        file_keys: Vec::new(),
        literal_keys: Vec::new(),
        argv_keys: Vec::new(),
        secret_keys: Vec::new(),
    }
}

fn targets(keys: &[(&str, &[&'static str])]) -> Vec<(String, Vec<&'static str>)> {
    keys.iter().map(|(key, kinds)| ((*key).to_owned(), kinds.to_vec())).collect()
}

/// A few actions, one for each thing that a specification can say.
fn context() -> CheckContext {
    let text = json!({ "type": "string" });
    let owned_items = json!({ "type": "array", "items": { "type": "object", "properties": { "item": text, "owner": text } } });
    let actions = vec![
        ActionSpec {
            target_keys: targets(&[("from", &["sqlite"]), ("to", &["postgres"])]),
            ..spec("database.copy", json!({ "from": text, "to": text }), &["from", "to"])
        },
        ActionSpec {
            effect: Effect::Never,
            target_keys: targets(&[("target", &["postgres", "sqlite"])]),
            literal_keys: vec!["sql".to_owned()],
            ..spec(
                "sql.query",
                json!({ "target": text, "sql": text, "parameters": { "type": "array" }, "row_limit": { "type": "integer", "minimum": 1 } }),
                &["target", "sql"],
            )
        },
        spec("sql.check", json!({}), &[]),
        ActionSpec {
            effect: Effect::Never,
            target_keys: targets(&[("target", &["http"])]),
            ..spec("http.check", json!({ "target": text, "path": text }), &["target"])
        },
        ActionSpec {
            effect: Effect::Unless { key: "read_only".to_owned() },
            argv_keys: vec!["argv".to_owned()],
            file_keys: vec!["script".to_owned()],
            secret_keys: vec!["secrets".to_owned()],
            ..spec(
                "shell.run",
                json!({
                    "argv": { "type": "array", "items": text },
                    "script": text,
                    "secrets": { "type": "array", "items": text },
                    "env": { "type": "object", "additionalProperties": text },
                    "read_only": { "type": "boolean" },
                }),
                &["argv"],
            )
        },
        ActionSpec { kind: StepKind::Checklist, ..spec("human.checklist", json!({ "items": owned_items }), &["items"]) },
        ActionSpec {
            kind: StepKind::Confirm,
            ..spec("human.confirm", json!({ "question": text, "owner": text }), &["question"])
        },
        ActionSpec { kind: StepKind::Wait, ..spec("wait.for", json!({ "duration": text, "until": text }), &[]) },
    ];
    let roles: BTreeSet<_> = ["operator", "operations_lead", "dba", "security"]
        .iter()
        .map(|role| role.parse().expect("the fixture's name is valid"))
        .collect();
    CheckContext { actions, roles: Some(roles) }
}

fn load(folder: &str) -> Result<Catalog, Diagnostics> {
    Catalog::load_all(&[DefinitionsDir::under(&Path::new(FIXTURES).join(folder))], &context())
}

/// A folder with one runbook file of this text, and its diagnostics.
fn check_text(text: &[u8]) -> Result<Catalog, Diagnostics> {
    let folder = tempfile::tempdir().expect("a folder can be made");
    fs::create_dir(folder.path().join("runbooks")).expect("a folder can be made");
    fs::write(folder.path().join("runbooks/x.yaml"), text).expect("a file can be written");
    Catalog::load_all(&[DefinitionsDir::under(folder.path())], &context())
}

fn valid_text() -> String {
    fs::read_to_string(Path::new(FIXTURES).join("valid/runbooks/move-profile.yaml")).expect("the fixture is there")
}

/// The messages of the valid runbook after one edit of its text.
fn messages_after(from: &str, to: &str) -> Vec<String> {
    let text = valid_text();
    assert!(text.contains(from), "the fixture has no `{from}`");
    match check_text(text.replacen(from, to, 1).as_bytes()) {
        Ok(catalog) => catalog.warnings().iter().map(|diagnostic| diagnostic.message.clone()).collect(),
        Err(diagnostics) => diagnostics.iter().map(|diagnostic| diagnostic.message.clone()).collect(),
    }
}

#[test]
fn the_shipped_commands_load() {
    let catalog =
        Catalog::load("commands", "tests/fixtures/definitions/valid/runbooks", &context()).unwrap_or_else(|d| panic!("{d}"));
    let names: Vec<&str> = catalog.commands().iter().map(|loaded| loaded.definition.command.as_str()).collect();
    assert_eq!(
        names,
        ["add-to-timeline", "break-glass", "incident", "migrate", "postmortem", "rollback", "runbook", "signoff", "whoami"]
    );
    let verbs = |name: &str| -> Vec<String> {
        let loaded = catalog.commands().iter().find(|loaded| loaded.definition.command == name).expect("it is shipped");
        loaded.definition.subcommands.iter().map(|subcommand| subcommand.name.clone()).collect()
    };
    assert_eq!(verbs("migrate"), ["start", "plan", "status", "pause", "resume", "abort", "close"]);
    let of_incidents = ["open", "update", "note", "severity", "role", "acknowledge", "run", "status", "timeline", "resolve"];
    assert_eq!(verbs("incident"), of_incidents);
    assert_eq!(verbs("postmortem"), ["preview", "publish", "add-action"]);
}

#[test]
fn the_examples_in_the_documents_are_valid() {
    let text = fs::read_to_string("docs/runbooks.md").expect("the document is there");
    let blocks = || text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let example = |key: &str| blocks().find(|block| block.starts_with(key)).expect("the document has such an example");
    let mut context = context();
    let name = json!({ "type": "string" });
    let copy = spec("database.copy", json!({ "source": name, "target": name }), &["source", "target"]);
    let inspect = ActionSpec { effect: Effect::Never, ..spec("sqlite.inspect", json!({ "target": name }), &["target"]) };
    context.actions.retain(|action| action.name != copy.name);
    context.actions.extend([copy, inspect]);
    let folder = tempfile::tempdir().expect("a folder can be made");
    for (kind, key) in [("runbooks", "runbook:"), ("commands", "command:")] {
        fs::create_dir(folder.path().join(kind)).expect("a folder can be made");
        fs::write(folder.path().join(kind).join("example.yaml"), example(key)).expect("a file can be written");
    }
    let catalog = Catalog::load_all(&[DefinitionsDir::under(folder.path())], &context).unwrap_or_else(|d| panic!("{d}"));
    assert!(catalog.warnings().is_empty(), "{}", catalog.warnings());
}

#[test]
fn a_valid_definition_loads_without_a_word_and_keeps_its_source() {
    let catalog = load("valid").unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert!(catalog.warnings().is_empty(), "{}", catalog.warnings());
    let name: RunbookName = "move-profile".parse().unwrap();
    let loaded = catalog.runbook(&name).unwrap();
    assert_eq!(loaded.definition.phases.len(), 2);
    assert_eq!(&*loaded.source.text, valid_text());
    assert_eq!(loaded.source.digest, pointsman::domain::Digest::of_bytes(valid_text().as_bytes()));
    assert_eq!(catalog.commands().len(), 1);
}

/// One snapshot for all mistakes: whoever adds a check adds a case to the files.
#[test]
fn every_mistake_of_every_file_is_told_at_once() {
    let diagnostics = load("broken").unwrap_err();
    assert!(!diagnostics.to_json().to_string().contains("hunter2"), "a password in a definition is repeated");
    insta::with_settings!({ snapshot_path => "../fixtures/definitions", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("broken", diagnostics.to_string());
    });
}

#[test]
fn diagnostics_for_machines_name_file_line_and_column() {
    let json = load("broken").unwrap_err().to_json();
    let all = json["diagnostics"].as_array().unwrap();
    let chek = all.iter().find(|d| d["message"] == "unknown action `sql.chek`, did you mean `sql.check`?").unwrap();
    assert_eq!(chek["file"], "tests/fixtures/definitions/broken/runbooks/g-steps.yaml");
    assert_eq!((chek["line"].as_u64(), chek["column"].as_u64()), (Some(20), Some(17)));
    assert_eq!(chek["severity"], "error");
    assert!(chek["snippet"].as_str().unwrap().contains("^^^^^^^^"));
    assert_eq!(json["errors"].as_u64().unwrap() + json["warnings"].as_u64().unwrap(), all.len() as u64);
}

#[test]
fn a_warning_does_not_stop_the_loading() {
    assert_eq!(messages_after("kind: cutover", "kind: operation"), Vec::<String>::new());
    let text = valid_text();
    let without_rollback = text[..text.find("rollback:\n").unwrap()]
        .replace("    on_failure: rollback runtime\n", "")
        .replace("      also_arms: runtime\n", "");
    let catalog = check_text(without_rollback.as_bytes()).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    let warnings: Vec<_> = catalog.warnings().iter().map(|warning| (warning.severity, warning.message.as_str())).collect();
    assert_eq!(warnings, [(Severity::Warning, "this cutover has no rollback: whoever is on call has no way back")]);
}

#[test]
fn one_edit_makes_one_message() {
    for (from, to, message) in [
        ("window: 2h", "window: 30m", "the window of 30m is too short: the phases take 31m by their times and estimates"),
        ("steps['copy'].result.rows > 0", "steps['restart'].result.rows > 0", "the step `restart` comes later"),
        (
            "sign_off: { operations_lead: 1, dba: 1 }",
            "sign_off: { dba: 1 }",
            "this gate cannot arm `runtime`: that takes 1 of `operations_lead`, and the gate asks for 0",
        ),
        ("    allow: [operator]\n    sign_off: { operations_lead: 1 }\n", "", "missing key `allow`|missing key `sign_off`"),
        (
            "sql: \"select count(*) from entries where profile = $1\"",
            "sql: \"select '{{ params.stage }}'\"",
            "a template inside code",
        ),
        ("[./restart, \"{{ params.stage }}\"]", "[sh, -c, \"restart {{ params.stage }}\"]", "a template inside code for `sh`"),
        ("[./restart, \"{{ params.stage }}\"]", "[sh, ./restart, \"{{ params.stage }}\"]", ""),
        ("row_limit: \"{{ params.rows_min }}\"", "row_limit: no", "expected a whole number, found the text `no`"),
        (
            "[./restart, \"{{ params.stage }}\"]",
            "[ssh, -n, \"{{ params.stage }}\", restart, \"{{ params.stage }}\"]",
            "a template inside code for `ssh`",
        ),
        (
            "until: { step: restart,",
            "until: { step: copy,",
            "this gate cannot arm `runtime`: its last chance, the step `copy`, is over by then",
        ),
        ("until: { step: restart,", "until: { step: tell,", "unknown step `tell` in the phases"),
        ("path: /health }", "path: /health }\n          retry: { attempts: 0 }", "`attempts` is 1 to 20, the first one included"),
    ] {
        assert_eq!(messages_after(from, to).join("|"), message, "{from} -> {to}");
    }
}

#[test]
fn hostile_files_are_refused_and_harm_nobody() {
    let first = |bytes: &[u8]| check_text(bytes).unwrap_err().iter().next().unwrap().message.clone();
    assert!(first(&vec![b' '; 1024 * 1024 + 1]).contains("larger than 1024 KiB"));
    assert!(first(b"runbook: \xff\xfe").contains("not UTF-8"));
    assert!(first(format!("runbook: {}", "[".repeat(10_000)).as_bytes()).contains("not YAML"));
    let bomb = "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n";
    let messages = check_text(bomb.as_bytes()).unwrap_err().to_string();
    assert_eq!((messages.matches("anchors (").count(), messages.matches("aliases (").count()), (3, 4), "{messages}");
    assert!(first("a: \u{0}".as_bytes()).contains("not YAML"));
    assert!(first("runbook: ä\u{1F600}: [".as_bytes()).contains("not YAML"));
}

#[test]
fn a_missing_folder_is_empty_and_a_file_in_its_place_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Catalog::load_all(&[DefinitionsDir::under(folder.path())], &context()).unwrap();
    assert!(catalog.runbooks().is_empty() && catalog.commands().is_empty());
    fs::write(folder.path().join("runbooks"), "x").unwrap();
    let diagnostics = Catalog::load_all(&[DefinitionsDir::under(folder.path())], &context()).unwrap_err();
    assert!(diagnostics.to_string().contains("the folder cannot be read"), "{diagnostics}");
}

#[test]
fn a_broken_file_never_displaces_a_loaded_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runbooks/x.yaml");
    fs::create_dir(folder.path().join("runbooks")).unwrap();
    fs::write(&file, valid_text()).unwrap();
    let shared = SharedCatalog::load(vec![DefinitionsDir::under(folder.path())], context()).unwrap();
    let before = shared.current();

    fs::write(&file, valid_text().replace("sql.query", "sql.qery")).unwrap();
    let diagnostics = shared.reload().unwrap_err();
    assert_eq!(diagnostics.errors(), 1);
    assert_eq!(shared.current(), before);

    fs::write(&file, valid_text().replace("1.2.0", "1.3.0")).unwrap();
    shared.reload().unwrap();
    assert_eq!(shared.current().runbooks()[0].definition.version, "1.3.0");
    assert_eq!(before.runbooks()[0].definition.version, "1.2.0", "whoever holds the old catalog keeps it");
}

#[test]
fn editors_get_what_each_action_accepts() {
    let schemas = schemas(&context().actions);
    let step = &schemas.runbook["$defs"]["Step"];
    let conditions = step["allOf"].as_array().unwrap();
    assert_eq!(conditions.len(), context().actions.len());
    let query = conditions.iter().find(|c| c["if"]["properties"]["action"]["const"] == "sql.query").unwrap();
    let limit = &query["then"]["properties"]["with"]["properties"]["row_limit"];
    assert_eq!(limit["anyOf"][0]["type"], "integer");
    assert_eq!(limit["anyOf"][1]["type"], "string", "a template may stand for a number");
    assert!(schemas.command["properties"]["subcommands"].is_object());
}

#[test]
fn a_page_shows_what_a_person_needs_to_follow_it() {
    let catalog = load("valid").unwrap();
    let loaded = &catalog.runbooks()[0];
    let page = runbook_page(&loaded.definition, &loaded.source.digest);
    insta::with_settings!({ snapshot_path => "../fixtures/definitions", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("page", page);
    });
}

#[test]
fn a_runbook_is_rendered_in_spite_of_mistakes_in_other_files() {
    let args = RenderArgs { runbook: "good".parse().unwrap(), definitions: definitions("broken") };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert_eq!(format!("{:?}", cli::render(&args, &context(), &mut out, &mut err).unwrap()), format!("{:?}", ExitCode::SUCCESS));
    assert!(String::from_utf8(out).unwrap().starts_with("# One that commands refer to\n"));
    let args = RenderArgs { runbook: "g".parse().unwrap(), ..args };
    assert_eq!(
        format!("{:?}", cli::render(&args, &context(), &mut Vec::new(), &mut err).unwrap()),
        format!("{:?}", ExitCode::FAILURE)
    );
    assert!(String::from_utf8(err).unwrap().contains("unknown action `sql.chek`"));
}

fn definitions(folder: &str) -> DefinitionsArgs {
    DefinitionsArgs { definitions: vec![Path::new(FIXTURES).join(folder)] }
}

#[test]
fn check_tells_by_its_status_whether_the_definitions_can_be_used() {
    let run = |folder: &str, format: Format| {
        let mut out = Vec::new();
        let args = CheckArgs { definitions: definitions(folder), format, post_mortem_template: None };
        let status = cli::check(&args, &context(), false, &mut out).unwrap();
        (format!("{status:?}"), String::from_utf8(out).unwrap())
    };
    let (success, failure) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::FAILURE));
    assert_eq!(run("valid", Format::Text), (success, "1 runbook and 1 command are valid\n".to_owned()));
    let (status, text) = run("broken", Format::Text);
    assert_eq!(status, failure);
    assert!(text.contains("--> tests/fixtures/definitions/broken/runbooks/g-steps.yaml:20:17"), "{text}");
    let (status, text) = run("broken", Format::Json);
    assert_eq!(status, failure);
    assert!(serde_json::from_str::<Value>(&text).unwrap()["errors"].as_u64().unwrap() > 50);
    let (status, text) = run("mistyped", Format::Text);
    assert_eq!(status, failure);
    assert!(text.starts_with("no definitions found in "), "{text}");
}

#[test]
fn check_takes_folders_roles_and_template_from_settings_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(FIXTURES).join("valid").canonicalize().unwrap();
    let run = |roles: &str, given: Vec<std::path::PathBuf>| {
        let text = format!(
            "discord: {{ guild: '1' }}\nroles: {{ {roles} }}\ndefinitions: [{}]\nincidents: {{ post_mortem_template: pm.md }}",
            root.display()
        );
        let settings = Settings::parse(&folder.path().join("pointsman.yaml"), &text, &Environment::of([])).unwrap();
        let args =
            CheckArgs { definitions: DefinitionsArgs { definitions: given }, format: Format::Text, post_mortem_template: None };
        let (args, context) = args.under(&settings, context());
        let mut out = Vec::new();
        let status = cli::check(&args, &context, false, &mut out).unwrap();
        (format!("{status:?}") == format!("{:?}", ExitCode::SUCCESS), String::from_utf8(out).unwrap())
    };
    let every_role = "operator: '1', operations_lead: '2', dba: '3', security: '4'";
    let (valid, text) = run(every_role, Vec::new());
    assert!(!valid && text.contains("pm.md") && text.contains("cannot be read"), "{text}");
    fs::write(folder.path().join("pm.md"), pointsman::render::post_mortem::SHIPPED).unwrap();
    assert_eq!(run(every_role, Vec::new()), (true, "1 runbook and 1 command are valid\n".to_owned()));
    let (valid, text) = run("operator: '1'", Vec::new());
    assert!(!valid && text.contains("operations_lead"), "{text}");
    let (valid, text) = run(every_role, vec![folder.path().to_owned()]);
    assert!(!valid && text.starts_with("no definitions found in "), "{text}");
}

#[test]
fn check_tells_what_is_wrong_with_a_teams_own_post_mortem() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("post-mortem.md");
    let run = |text: &str| {
        fs::write(&file, text).unwrap();
        let mut out = Vec::new();
        let args =
            CheckArgs { definitions: definitions("valid"), format: Format::Text, post_mortem_template: Some(file.clone()) };
        let status = cli::check(&args, &context(), false, &mut out).unwrap();
        (format!("{status:?}"), String::from_utf8(out).unwrap())
    };
    let (success, failure) = (format!("{:?}", ExitCode::SUCCESS), format!("{:?}", ExitCode::FAILURE));
    assert_eq!(run(pointsman::render::post_mortem::SHIPPED).0, success);
    let (status, text) = run("fine\n\n{{ incident.title");
    assert_eq!(status, failure);
    assert!(text.contains("post-mortem.md:3"), "{text}");
    let (status, text) = run("{{ facts.root_casue }}");
    assert_eq!(status, failure);
    assert!(text.contains("root_casue"), "{text}");
}

#[test]
fn schema_and_render_write_where_they_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut out = Vec::new();
    cli::schema(&SchemaArgs { out: folder.path().join("schemas") }, &context(), &mut out).unwrap();
    let written = fs::read_to_string(folder.path().join("schemas/runbook.schema.json")).unwrap();
    assert!(serde_json::from_str::<Value>(&written).unwrap()["$defs"]["Step"].is_object());

    let (mut out, mut err) = (Vec::new(), Vec::new());
    let args = RenderArgs { runbook: "move-profil".parse().unwrap(), definitions: definitions("valid") };
    cli::render(&args, &context(), &mut out, &mut err).unwrap();
    assert!(out.is_empty());
    assert!(String::from_utf8(err).unwrap().starts_with("no runbook `move-profil` in "));
}
