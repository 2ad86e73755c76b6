//! `pointsman check`: every mistake of every definition, without a network.

use std::io::{self, Write};
use std::process::ExitCode;

use super::DefinitionsArgs;
use crate::catalog::{Catalog, CheckContext, DefinitionsDir, Diagnostics};

/// Checks all definitions and reports all mistakes.
#[derive(Debug, Clone, clap::Args)]
pub struct CheckArgs {
    /// Where the definitions lie.
    #[command(flatten)]
    pub definitions: DefinitionsArgs,
    /// How the mistakes are written.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
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
    let (diagnostics, loaded) = match Catalog::load_all(&dirs, context) {
        Ok(catalog) => (catalog.warnings().clone(), Some(catalog)),
        Err(diagnostics) => (diagnostics, None),
    };
    match args.format {
        Format::Json => writeln!(out, "{:#}", diagnostics.to_json())?,
        Format::Text => write_text(&dirs, &diagnostics, loaded.as_ref(), colour, out)?,
    }
    let found_something = loaded.as_ref().is_some_and(|catalog| !catalog.runbooks().is_empty() || !catalog.commands().is_empty());
    Ok(if found_something { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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
