//! `pointsman check`: every mistake of every definition, without a network.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::DefinitionsArgs;
use crate::catalog::{Catalog, CheckContext, DefinitionsDir, Diagnostics};
use crate::config::Settings;
use crate::render::post_mortem::Template;

/// Checks all definitions and reports all mistakes.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Where the definitions lie.
    #[command(flatten)]
    pub definitions: DefinitionsArgs,
    /// The team's own form of post-mortems, as `incidents.post_mortem_template` names it; checked as well.
    #[arg(long, value_name = "FILE")]
    pub post_mortem_template: Option<PathBuf>,
    /// How the mistakes are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

impl CheckArgs {
    /// The arguments and the context with what the settings add: their folders and their post-mortem template unless
    /// others are given, and the role names that they map, so that a sign-off by an unmapped role is a mistake.
    #[must_use]
    pub fn under(self, settings: &Settings, context: CheckContext) -> (Self, CheckContext) {
        let post_mortem_template = self.post_mortem_template.or_else(|| settings.incidents.post_mortem_template.clone());
        let args = Self { definitions: self.definitions.or_of(settings), post_mortem_template, ..self };
        (args, CheckContext { roles: Some(settings.roles.keys().cloned().collect()), ..context })
    }
}

/// How diagnostics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For machines: one JSON object.
    Json,
}

/// Writes the diagnostics to `out`. The status is 0 without errors (warnings are none) and 1 with some.
///
/// # Errors
/// If `out` cannot be written to.
pub fn check(args: &CheckArgs, context: &CheckContext, colour: bool, out: &mut dyn Write) -> io::Result<ExitCode> {
    let dirs = args.definitions.dirs();
    let (mut diagnostics, mut loaded) = match Catalog::load_all(&dirs, context) {
        Ok(catalog) => (catalog.warnings().clone(), Some(catalog)),
        Err(diagnostics) => (diagnostics, None),
    };
    if let Some((path, line, mistake)) = args.post_mortem_template.as_deref().and_then(template_mistake) {
        diagnostics.add_error(&path, line, &mistake);
        loaded = None;
    }
    match args.format {
        Format::Json => writeln!(out, "{:#}", diagnostics.to_json())?,
        Format::Text => write_text(&dirs, &diagnostics, loaded.as_ref(), colour, out)?,
    }
    let found_something = loaded.as_ref().is_some_and(|catalog| !catalog.runbooks().is_empty() || !catalog.commands().is_empty());
    Ok(if found_something { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The file, the line and the mistake of a template that cannot be used.
fn template_mistake(path: &Path) -> Option<(String, usize, String)> {
    let mistake = |line: Option<usize>, why: String| (path.display().to_string(), line.unwrap_or(1), why);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return Some(mistake(None, format!("cannot be read: {error}"))),
    };
    Template::parse(&text).err().map(|error| mistake(error.line, format!("the post-mortem template cannot be used: {error}")))
}

fn write_text(
    dirs: &[DefinitionsDir],
    diagnostics: &Diagnostics,
    loaded: Option<&Catalog>,
    colour: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    write!(out, "{}", diagnostics.render(colour))?;
    match loaded {
        // A mistyped folder must not look like a clean one.
        Some(catalog) if catalog.runbooks().is_empty() && catalog.commands().is_empty() => {
            let folders: Vec<String> =
                dirs.iter().map(|dir| format!("{}, {}", dir.commands.display(), dir.runbooks.display())).collect();
            writeln!(out, "no definitions found in {}", folders.join(", "))
        }
        Some(catalog) => {
            let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
            let (runbooks, commands) = (catalog.runbooks().len(), catalog.commands().len());
            writeln!(out, "{} and {} are valid", count(runbooks, "runbook"), count(commands, "command"))
        }
        None => Ok(()),
    }
}
