//! `pointsman audit`: what the journal says of itself.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::domain::Hash;
use crate::store::{Journal, StoreError, audit};

/// Verifies or exports the journal.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum AuditCommand {
    /// Recomputes the hash chain of the whole journal; exit status 1 if anything does not fit.
    Verify {
        /// A head that a summary in chat shows: the journal must contain it, so that a cut tail is found too.
        #[arg(long, value_name = "HASH")]
        head: Option<Hash>,
    },
    /// Writes every record as a line of JSON to standard output.
    Export,
}

/// Carries the command out on an open journal.
///
/// # Errors
/// If the journal cannot be read, or `out` not be written to.
pub async fn audit(command: &AuditCommand, journal: &dyn Journal, out: &mut (dyn Write + Send)) -> Result<ExitCode, StoreError> {
    match command {
        AuditCommand::Export => {
            audit::export(journal, out).await?;
            Ok(ExitCode::SUCCESS)
        }
        AuditCommand::Verify { head } => {
            let report = audit::verify(journal, *head).await?;
            report_to(&report, head.as_ref(), out).map_err(StoreError::Export)?;
            Ok(if report.is_intact() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn report_to(report: &audit::AuditReport, head: Option<&Hash>, out: &mut (dyn Write + Send)) -> io::Result<()> {
    let verdict = if report.is_intact() { "intact" } else { "NOT intact" };
    writeln!(out, "{verdict}: {} records in {} streams, head {}", report.records, report.streams, report.head.hash)?;
    match head {
        Some(head) if report.is_intact() => writeln!(out, "the given head {head} is in the chain")?,
        Some(_) => {}
        None => writeln!(out, "give --head HASH from a run's summary to find a cut tail as well")?,
    }
    for finding in &report.findings {
        writeln!(out, "- {finding}")?;
    }
    if report.is_cut_short {
        writeln!(out, "- there is more; only the first findings are shown")?;
    }
    Ok(())
}
