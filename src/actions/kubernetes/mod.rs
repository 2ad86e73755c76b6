//! `kubernetes.rollout` and `kubernetes.secret`: what both need of kubectl.
//!
//! Every kubectl gets `--kubeconfig`, `--context` and `--namespace` of the target on its command line, so that nothing
//! depends on a file that happens to be in a home directory. Patches go to it by standard input: what they hold is
//! in no process list.

mod rollout;
mod secret;

use serde_json::Value;

use super::action::Trouble;
use super::context::{Context, Record, Show, TargetKey, exited};
use super::process::{Command, Finished, OutputLimits};

pub(super) use rollout::Rollout;
pub(super) use secret::Secret;

/// The largest answer that is read: etcd takes objects of 1.5 MiB, and a list of ReplicaSets has some dozens.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// kubectl for one target.
struct Cluster<'a> {
    context: &'a Context,
    base: Command,
    namespace: String,
}

/// Whether a patch is really made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Live,
    /// The API server does everything but store it: it checks permissions, quotas and admission as for a real one.
    DryRun,
}

impl Mode {
    fn apply(self, command: Command) -> (Command, Record) {
        match self {
            Self::Live => (command, Record::Yes),
            Self::DryRun => (command.arg("--dry-run=server"), Record::No),
        }
    }
}

/// Why kubectl did not do it.
struct Refused {
    /// What the API server calls it, e.g. `NotFound`; empty if it did not answer.
    reason: String,
    trouble: Trouble,
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Self {
        refused.trouble
    }
}

impl From<Trouble> for Refused {
    fn from(trouble: Trouble) -> Self {
        Self { reason: String::new(), trouble }
    }
}

impl<'a> Cluster<'a> {
    fn of(context: &'a Context, target: &TargetKey) -> Result<Self, Trouble> {
        let address = context.kubernetes(target)?;
        Ok(Self { context, base: address.kubectl(), namespace: address.namespace })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let limits = OutputLimits { head_bytes: ANSWER_BYTES_MAX, tail_bytes: 0 };
        self.base.clone().args(arguments).limits(limits)
    }

    /// Reads an object or a list. What it holds is in no log.
    async fn get(&self, arguments: &[&str]) -> Result<Value, Refused> {
        let what = format!("`kubectl get {}` in the namespace {}", arguments.join(" "), self.namespace);
        let command = self.command(&["get"]).args(arguments).arg("--output=json");
        let finished = self.run(command, Record::No, &what).await?;
        let unreadable = |why: String| Refused::from(Trouble::lasting(format!("{what}: the answer cannot be read: {why}")));
        if finished.truncated {
            return Err(unreadable(format!("it has more than {ANSWER_BYTES_MAX} bytes")));
        }
        // An error of serde_json tells a place, never the text.
        serde_json::from_str(&finished.stdout.text()).map_err(|error| unreadable(error.to_string()))
    }

    /// Makes an object if there is none of its name. `false` if there is one.
    async fn create(&self, object: &Value, mode: Mode) -> Result<bool, Refused> {
        // Validation would fetch the server's whole schema to check an object that is written here.
        let command = self.command(&["create", "--filename=-", "--validate=false", "--output=name"]).stdin(object.to_string());
        let (command, record) = mode.apply(command);
        match self.run(command, record, "`kubectl create`").await {
            Ok(_) => Ok(true),
            Err(refused) if refused.reason == "AlreadyExists" => Ok(false),
            Err(refused) => Err(refused),
        }
    }

    /// Patches an object (`deployment/NAME`) in one request and returns its new version.
    async fn patch(&self, object: &str, format: &str, patch: &Value, mode: Mode) -> Result<String, Refused> {
        let format = format!("--type={format}");
        let output = "--output=jsonpath={.metadata.resourceVersion}";
        let command = self.command(&["patch", object, &format, "--patch-file=/dev/stdin", output]).stdin(patch.to_string());
        let (command, record) = mode.apply(command);
        let what = format!("`kubectl patch {object}` in the namespace {}", self.namespace);
        let finished = self.run(command, record, &what).await?;
        Ok(finished.stdout.text().trim().to_owned())
    }

    async fn run(&self, command: Command, record: Record, what: &str) -> Result<Finished, Refused> {
        let finished = self.context.run_child(command, record, Show::Errors).await?;
        if finished.exit.is_success() {
            return Ok(finished);
        }
        let reason = reason(&finished.stderr.text());
        let message = exited(what, finished.exit, &finished.stderr);
        let trouble = if is_lasting(&reason) { Trouble::lasting(message) } else { Trouble::passing(message) };
        Err(Refused { reason, trouble })
    }
}

/// The API server's word for it, as kubectl prints it: `Error from server (NotFound): ...`.
fn reason(stderr: &str) -> String {
    let found = stderr.lines().find_map(|line| line.strip_prefix("Error from server (")?.split_once(')'));
    if let Some((reason, _)) = found {
        return reason.to_owned();
    }
    // kubectl prints this one in a sentence of its own.
    let invalid = stderr.lines().any(|line| line.starts_with("The ") && line.contains(" is invalid"));
    if invalid { "Invalid".to_owned() } else { String::new() }
}

/// Refusals that stay until a person changes something.
fn is_lasting(reason: &str) -> bool {
    matches!(reason, "NotFound" | "Forbidden" | "Unauthorized" | "Invalid" | "BadRequest" | "MethodNotAllowed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        for (stderr, expected, lasting) in [
            ("Error from server (NotFound): secrets \"a\" not found\n", "NotFound", true),
            ("Warning: old\nError from server (Conflict): Operation cannot be fulfilled\n", "Conflict", false),
            ("The Deployment \"a\" is invalid: spec.replicas: Invalid value: -1\n", "Invalid", true),
            ("The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?\n", "", false),
            ("", "", false),
        ] {
            assert_eq!((reason(stderr).as_str(), is_lasting(&reason(stderr))), (expected, lasting), "{stderr}");
        }
    }
}
