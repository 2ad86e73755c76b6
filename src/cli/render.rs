//! `pointsman render`: a runbook as a page that a person can follow.

use std::io::{self, Write};
use std::process::ExitCode;

use super::DefinitionsArgs;
use crate::catalog::{Catalog, CheckContext};
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

/// Writes the page to `out`; what is wrong to `err`, with status 1.
///
/// # Errors
/// If `out` or `err` cannot be written to.
pub fn render(args: &RenderArgs, context: &CheckContext, out: &mut dyn Write, err: &mut dyn Write) -> io::Result<ExitCode> {
    let catalog = match Catalog::load_all(&args.definitions.dirs(), context) {
        Ok(catalog) => catalog,
        Err(diagnostics) => {
            write!(err, "{diagnostics}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let Some(loaded) = catalog.runbook(&args.runbook) else {
        let known: Vec<&str> = catalog.runbooks().iter().map(|loaded| loaded.definition.runbook.as_str()).collect();
        writeln!(err, "unknown runbook `{}`; there is {}", args.runbook, known.join(", "))?;
        return Ok(ExitCode::FAILURE);
    };
    write!(out, "{}", runbook_page(&loaded.definition, &loaded.source.digest))?;
    Ok(ExitCode::SUCCESS)
}
