//! From folders to a catalog: every file is read, parsed and checked before anything is refused.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::command::{self, COMMANDS_MAX, Known, MESSAGE_COMMANDS_MAX};
use super::diagnostics::{Diagnostics, Report};
use super::shape::Shape;
use super::tree::{self, FILE_LEN_MAX, Node};
use super::{Catalog, CheckContext, DefinitionsDir, Loaded, Source, runbook, schema};
use crate::domain::command::Command;
use crate::domain::runbook::Runbook;
use crate::domain::{Digest, RunbookName};

/// The most files of one folder: a folder with more is not what it was meant to be.
const FILES_MAX: usize = 1_000;

/// A file on its way into the catalog.
struct File {
    source: Source,
    shown: String,
    found: Vec<super::Diagnostic>,
    root: Option<Node>,
}

pub(super) fn load(dirs: &[DefinitionsDir], context: &CheckContext) -> Result<Catalog, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut runbook_files = read_all(dirs.iter().map(|dir| &dir.runbooks), &mut diagnostics);
    let mut command_files = read_all(dirs.iter().map(|dir| &dir.commands), &mut diagnostics);

    refuse_twins(&mut runbook_files, "runbook");
    let runbook_schema = schema::of::<Runbook>();
    let runbooks: Vec<Loaded<Runbook>> = runbook_files
        .iter_mut()
        .filter_map(|file| check(file, &runbook_schema, |root, report| runbook::check(root, context, report)))
        .collect();

    refuse_twins(&mut command_files, "command");
    refuse_twins(&mut command_files, "title");
    let command_schema = schema::of::<Command>();
    let definitions: Vec<Runbook> = runbooks.iter().map(|loaded| loaded.definition.clone()).collect();
    let names: Vec<String> = runbook_files.iter().filter_map(|file| name_of(file, "runbook")).map(str::to_owned).collect();
    let known = Known { runbooks: &definitions, names: &names };
    let commands: Vec<Loaded<Command>> = command_files
        .iter_mut()
        .filter_map(|file| check(file, &command_schema, |root, report| command::check(root, context, &known, report)))
        .collect();
    refuse_more_than(COMMANDS_MAX, "slash commands", command_files.iter_mut().filter(|file| !is_for_messages(file)));
    refuse_more_than(
        MESSAGE_COMMANDS_MAX,
        "commands for messages",
        command_files.iter_mut().filter(|file| is_for_messages(file)),
    );

    for file in runbook_files.into_iter().chain(command_files) {
        diagnostics.extend(file.found);
    }
    if diagnostics.errors() > 0 {
        return Err(diagnostics);
    }
    let mut catalog = Catalog { runbooks, commands, warnings: diagnostics };
    catalog.runbooks.sort_by(|a, b| a.definition.runbook.cmp(&b.definition.runbook));
    catalog.commands.sort_by(|a, b| a.definition.command.cmp(&b.definition.command));
    Ok(catalog)
}

pub(super) fn load_runbook(
    dirs: &[DefinitionsDir],
    name: &RunbookName,
    context: &CheckContext,
) -> Result<Option<Loaded<Runbook>>, Diagnostics> {
    let mut diagnostics = Diagnostics::default();
    let mut files = read_all(dirs.iter().map(|dir| &dir.runbooks), &mut diagnostics);
    files.retain(|file| name_of(file, "runbook") == Some(name.as_str()));
    refuse_twins(&mut files, "runbook");
    let schema = schema::of::<Runbook>();
    let mut found = None;
    for mut file in files {
        found = check(&mut file, &schema, |root, report| runbook::check(root, context, report));
        diagnostics.extend(file.found);
    }
    if diagnostics.errors() > 0 { Err(diagnostics) } else { Ok(found) }
}

/// Checks a file; a definition comes out only if there is no error.
fn check<T: DeserializeOwned>(
    file: &mut File,
    schema: &Value,
    semantics: impl FnOnce(&Node, &mut Report<'_>),
) -> Option<Loaded<T>> {
    let root = file.root.take()?;
    let mut definition = None;
    report(file, |report| {
        Shape { root: schema, templates: false, report }.check(&root, schema);
        semantics(&root, report);
        if !report.has_errors() {
            match serde_json::from_value::<T>(root.to_json()) {
                Ok(value) => definition = Some(value),
                // The checks before should have told it better; this is the net below them.
                Err(error) => {
                    report.error(root.span.clone(), error.to_string());
                }
            }
        }
    });
    let clean = !file.found.iter().any(|diagnostic| diagnostic.severity == super::Severity::Error);
    file.root = Some(root);
    definition.filter(|_| clean).map(|definition| Loaded { definition, source: file.source.clone() })
}

/// Two definitions of the same name: which one runs must not depend on the order of files.
fn refuse_twins(files: &mut [File], key: &str) {
    for index in 1..files.len() {
        let (before, rest) = files.split_at_mut(index);
        let Some(name) = name_of(&rest[0], key).map(str::to_owned) else { continue };
        if let Some(first) = before.iter().find(|other| name_of(other, key) == Some(&name)) {
            let help = format!("the other one is {}", first.shown);
            let span = rest[0].root.as_ref().and_then(|root| root.get(key)).map_or(0..0, |node| node.span.clone());
            report(&mut rest[0], |report| report.error(span, format!("a second {key} with the name `{name}`")).help(help));
        }
    }
}

/// Tells the first of these files that there are too many.
fn refuse_more_than<'f>(max: usize, what: &str, mut files: impl Iterator<Item = &'f mut File>) {
    if let Some(extra) = files.nth(max) {
        report(extra, |report| {
            report.error(0..0, format!("more than {max} {what}: Discord takes no more in one server"));
        });
    }
}

fn is_for_messages(file: &File) -> bool {
    name_of(file, "on") == Some("message")
}

fn name_of<'f>(file: &'f File, key: &str) -> Option<&'f str> {
    file.root.as_ref()?.get(key)?.text()
}

fn report(file: &mut File, tell: impl FnOnce(&mut Report<'_>)) {
    let mut report = Report::new(&file.shown, &file.source.text);
    tell(&mut report);
    file.found.extend(report.into_found());
}

fn read_all<'d>(folders: impl Iterator<Item = &'d PathBuf>, diagnostics: &mut Diagnostics) -> Vec<File> {
    let mut files = Vec::new();
    for folder in folders {
        match list(folder) {
            Ok(paths) => files.extend(paths.into_iter().map(|path| read(&path))),
            Err(error) => {
                let nothing: Arc<str> = Arc::from("");
                let shown = folder.display().to_string();
                let mut report = Report::new(&shown, &nothing);
                report.error(0..0, format!("the folder cannot be read: {error}"));
                diagnostics.extend(report.into_found());
            }
        }
    }
    files
}

/// The definition files of a folder, sorted by name; none if there is no such folder.
fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
            paths.push(path);
        }
    }
    if paths.len() > FILES_MAX {
        return Err(io::Error::other(format!("it holds more than {FILES_MAX} definition files")));
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> File {
    let (text, problem) = match read_text(path) {
        Ok(text) => (text, None),
        Err(problem) => (String::new(), Some(problem)),
    };
    let source = Source { path: path.to_owned(), digest: Digest::of_bytes(text.as_bytes()), text: Arc::from(text) };
    let mut file = File { shown: path.display().to_string(), source, found: Vec::new(), root: None };
    let mut root = None;
    let text = Arc::clone(&file.source.text);
    report(&mut file, |report| match problem {
        Some(problem) => {
            report.error(0..0, problem);
        }
        None => root = tree::parse(&text, report),
    });
    file.root = root;
    file
}

fn read_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let limit = FILE_LEN_MAX as u64 + 1;
    fs::File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| format!("the file cannot be read: {error}"))?;
    if bytes.len() > FILE_LEN_MAX {
        return Err(format!("the file is larger than {} KiB", FILE_LEN_MAX / 1024));
    }
    String::from_utf8(bytes).map_err(|error| format!("the file is not UTF-8, at byte {}", error.utf8_error().valid_up_to()))
}
