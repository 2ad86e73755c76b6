//! `pointsman render`: a runbook as a page that a person can follow.

use std::io::{self, Write};
use std::process::ExitCode;

use super::DefinitionsArgs;
use crate::catalog::{Catalog, CheckContext};
use crate::config::Settings;
use crate::domain::RunbookName;
use crate::render::runbook_page;

/// Writes a runbook as one page of Markdown, to follow by hand when chat is down.
#[derive(Debug, Clone, clap::Args)]
pub struct RenderArgs {
    /// The runbook's name.
    pub runbook: RunbookName,
    /// Where the definitions lie.
    #[command(flatten)]
    pub definitions: DefinitionsArgs,
}

impl RenderArgs {
    /// The arguments with the settings' folders, unless others are given.
    #[must_use]
    pub fn under(self, settings: &Settings) -> Self {
        Self { definitions: self.definitions.or_of(settings), ..self }
    }
}

/// Writes the page to `out`; what is wrong to `err`, with status 1.
///
/// # Errors
/// If `out` or `err` cannot be written to.
pub fn render(args: &RenderArgs, context: &CheckContext, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let dirs = args.definitions.dirs();
    let loaded = match Catalog::load_runbook(&dirs, &args.runbook, context) {
        Ok(Some(loaded)) => loaded,
        Ok(None) => {
            let folders: Vec<String> = dirs.iter().map(|dir| dir.runbooks.display().to_string()).collect();
            writeln!(err, "no runbook `{}` in {}", args.runbook, folders.join(", "))?;
            return Ok(ExitCode::FAILURE);
        }
        Err(diagnostics) => {
            write!(err, "{diagnostics}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    write!(out, "{}", runbook_page(&loaded.definition, &loaded.source.digest))?;
    Ok(ExitCode::SUCCESS)
}
