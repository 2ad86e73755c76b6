//! `shell.run`: a program with arguments, or a pinned script. No shell reads anything that is data.
//!
//! Dry run: with `read_only: true` it really runs; otherwise nothing runs, but secrets are resolved and pinned
//! files checked. Interruption: a person is asked, unless `read_only: true`.

use std::collections::BTreeMap;
use std::path::Path;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::action::{Action, Done, Trouble, describe, keys};
use super::context::{Context, Record, Show, exited};
use super::process::{Command, Exit, Finished};
use super::result::cut_text;
use crate::domain::{ActionSpec, Effect, Interruption};

/// How much of an output a result shows, in bytes; the attempt's log holds more.
const RESULT_OUTPUT_BYTES_MAX: usize = 8 * 1024;

/// The action `shell.run`.
pub(super) struct ShellRun;

/// What to run. One of `argv` and `script` is given.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    /// The program and its arguments, each as it is: no shell reads them.
    #[serde(default)]
    argv: Vec<Argument>,
    /// A script below the definitions' directory, pinned by its hash and run by the interpreter of its `#!` line.
    #[serde(default)]
    script: Option<String>,
    /// The script's arguments.
    #[serde(default)]
    args: Vec<Argument>,
    /// Further pinned files, laid out like the script under `{{ run.dir }}/files`, where the step runs.
    #[serde(default)]
    files: Vec<String>,
    /// Variables of the environment.
    #[serde(default)]
    env: BTreeMap<String, Argument>,
    /// Variables that hold secrets: from the variable to the secret's name.
    #[serde(default)]
    secret_env: BTreeMap<String, String>,
    /// Where it runs, an absolute path; otherwise `{{ run.dir }}/files`, where pinned files are under their own paths.
    #[serde(default)]
    cwd: Option<String>,
    /// Says that it changes nothing: it may be repeated, and a dry run really runs it.
    #[serde(default)]
    read_only: bool,
    /// The exit status that means success.
    #[serde(default)]
    expect_exit: i32,
    /// `json` reads the standard output as one JSON value, which the result has as `json`.
    #[serde(default)]
    parse: Parse,
}

/// An argument or a variable's value: text, or a number or boolean that a template came out as.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Argument {
    /// Text.
    Text(String),
    /// A number, written in decimal.
    Number(serde_json::Number),
    /// `true` or `false`.
    Boolean(bool),
}

impl std::fmt::Display for Argument {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
        }
    }
}

/// What the standard output is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Parse {
    /// Text.
    #[default]
    Text,
    /// One JSON value.
    Json,
}

#[async_trait]
impl Action for ShellRun {
    type Parameters = Parameters;

    fn spec(&self) -> ActionSpec {
        ActionSpec {
            effect: Effect::Unless { key: "read_only".to_owned() },
            interruption: Interruption::Ask,
            file_keys: keys(&["script", "files"]),
            argv_keys: keys(&["argv"]),
            secret_keys: keys(&["secret_env"]),
            ..describe::<Parameters>(
                "shell.run",
                "Runs a program, or a script pinned by its hash. A dry run only runs it if it says `read_only: true`.",
            )
        }
    }

    async fn perform(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        let command = command(context, parameters)?;
        let record = if parameters.read_only { Record::No } else { Record::Yes };
        let finished = context.run_child(command, record, Show::All).await?;
        judge(parameters, &finished).map(Done::real)
    }

    async fn rehearse(&self, context: &Context, parameters: &Parameters) -> Result<Done, Trouble> {
        if parameters.read_only {
            return self.perform(context, parameters).await;
        }
        command(context, parameters)?;
        context.note("dry run: this would have been run");
        Ok(Done::simulated(json!({ "exit": parameters.expect_exit, "stdout": "" })))
    }
}

/// Everything that is needed to run it, secrets and pinned files included.
fn command(context: &Context, parameters: &Parameters) -> Result<Command, Trouble> {
    let mut files: Vec<&str> = parameters.script.iter().chain(&parameters.files).map(String::as_str).collect();
    files.sort_unstable();
    files.dedup();
    let laid_out = context.lay_out(&files)?;
    let mut command = program(context, parameters, &laid_out)?;
    for (name, value) in &parameters.env {
        command = command.env(checked_name(name)?, value.to_string());
    }
    for (name, secret) in &parameters.secret_env {
        let secret = context.secret(secret).map_err(|error| Trouble::lasting(format!("{error}; nothing was run")))?;
        command = command.secret_env(checked_name(name)?, secret);
    }
    match &parameters.cwd {
        Some(cwd) if Path::new(cwd).is_absolute() => Ok(command.cwd(cwd)),
        Some(cwd) => Err(Trouble::lasting(format!("`cwd` must be an absolute path, and `{cwd}` is not; nothing was run"))),
        None => Ok(command.cwd(laid_out)),
    }
}

fn program(context: &Context, parameters: &Parameters, laid_out: &Path) -> Result<Command, Trouble> {
    match (&parameters.script, parameters.argv.split_first()) {
        (None, Some((program, arguments))) if parameters.args.is_empty() => {
            Ok(Command::new(program.to_string()).args(arguments.iter().map(ToString::to_string)))
        }
        (Some(script), None) => {
            let interpreter = interpreter(script, &context.pinned(script)?)?;
            let (program, first) = interpreter.split_first().expect("an interpreter has a program");
            let command = Command::new(program.as_str()).args(first).arg(laid_out.join(script));
            Ok(command.args(parameters.args.iter().map(ToString::to_string)))
        }
        (None, Some(_)) => Err(Trouble::lasting("`args` belongs to `script`; with `argv`, put them there; nothing was run")),
        (Some(_), Some(_)) | (None, None) => {
            Err(Trouble::lasting("a step runs either `argv` or `script`, exactly one of them; nothing was run"))
        }
    }
}

/// What the script's `#!` line names, as the kernel reads it: a program and at most one argument.
fn interpreter(script: &str, bytes: &[u8]) -> Result<Vec<String>, Trouble> {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = std::str::from_utf8(line).ok().and_then(|line| line.strip_prefix("#!")).map(str::trim);
    let Some(line) = line.filter(|line| !line.is_empty()) else {
        let message = format!("the script `{script}` does not say what runs it: begin it with a line such as `#!/bin/sh`");
        return Err(Trouble::lasting(message));
    };
    Ok(line.splitn(2, char::is_whitespace).map(|part| part.trim().to_owned()).collect())
}

fn checked_name(name: &str) -> Result<&str, Trouble> {
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Ok(name);
    }
    Err(Trouble::lasting(format!("`{name}` is not the name of a variable: use letters, digits and `_`; nothing was run")))
}

fn judge(parameters: &Parameters, finished: &Finished) -> Result<Value, Trouble> {
    if finished.exit != Exit::Code(parameters.expect_exit) {
        let what = parameters.script.clone().or(parameters.argv.first().map(ToString::to_string)).unwrap_or_default();
        return Err(Trouble::passing(exited(&format!("`{what}`"), finished.exit, &finished.stderr)));
    }
    let stdout = finished.stdout.text();
    let mut result = json!({
        "exit": parameters.expect_exit,
        "stdout": cut_text(stdout.trim_end(), RESULT_OUTPUT_BYTES_MAX),
        "stderr": cut_text(finished.stderr.text().trim_end(), RESULT_OUTPUT_BYTES_MAX),
        "left_behind": finished.left_behind,
    });
    if parameters.parse == Parse::Json {
        let json: Value = serde_json::from_str(&stdout)
            .map_err(|error| Trouble::passing(format!("it ran, and its standard output is not one JSON value: {error}")))?;
        result["json"] = json;
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interpreter_is_read_as_the_kernel_reads_it() {
        assert_eq!(interpreter("a", b"#!/bin/sh\necho").unwrap(), ["/bin/sh"]);
        assert_eq!(interpreter("a", b"#! /usr/bin/env -S bash -eu\n").unwrap(), ["/usr/bin/env", "-S bash -eu"]);
        for bytes in [&b"echo"[..], b"", b"#!\n", b"\x7fELF"] {
            assert!(interpreter("a.sh", bytes).unwrap_err().to_string().contains("`a.sh`"));
        }
    }
}
