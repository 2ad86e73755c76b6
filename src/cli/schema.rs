//! `pointsman schema`: JSON Schemas of the definition files, for editors.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;

use crate::catalog::{CheckContext, schemas};

/// Writes the JSON Schemas of runbook and command files.
#[derive(Debug, Clone, clap::Args)]
pub struct SchemaArgs {
    /// The folder to write `runbook.schema.json` and `command.schema.json` to; `-` writes both as one object.
    #[arg(long, value_name = "DIR", default_value = "-")]
    pub out: PathBuf,
}

/// Writes the schemas to the folder, or to `out`.
///
/// # Errors
/// If the folder or `out` cannot be written to.
pub fn schema(args: &SchemaArgs, context: &CheckContext, out: &mut dyn Write) -> io::Result<ExitCode> {
    let schemas = schemas(&context.actions);
    if args.out.as_os_str() == "-" {
        writeln!(out, "{:#}", json!({ "runbook": schemas.runbook, "command": schemas.command }))?;
        return Ok(ExitCode::SUCCESS);
    }
    fs::create_dir_all(&args.out)?;
    for (name, schema) in [("runbook", &schemas.runbook), ("command", &schemas.command)] {
        let path = args.out.join(format!("{name}.schema.json"));
        fs::write(&path, format!("{schema:#}\n"))?;
        writeln!(out, "wrote {}", path.display())?;
    }
    Ok(ExitCode::SUCCESS)
}
