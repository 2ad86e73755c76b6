//! The planner: from a runbook and its parameters to the plan that is shown, signed and pinned.
//!
//! Deterministic: the same runbook, parameters, roles, files and targets give the same digest, for a dry run and a
//! live run alike. What is wrong is reported at once, as far as it can be found without the rest being right.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use super::binding::bind_early;
use super::performer::{parameters as parameters_in_scope, public_targets};
use super::registry::Registry;
use super::target::TargetReader;
use crate::domain::runbook::{IfInterrupted, Runbook, Step, Target};
use crate::domain::{
    Digest, Interruption, ParameterName, PinnedFile, Plan, RoleId, RoleName, StepKind, StepName, StepTraits, TargetIdentity,
    TargetName, with_suggestion,
};
use crate::expression::{Scope, Template};

/// The largest file that a plan pins, in bytes: scripts and schemas, not data.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Makes plans.
pub struct Planner {
    registry: Arc<Registry>,
    targets: TargetReader,
}

/// A plan, and what a run must have at hand to execute it.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// The pinned files by content, each once: for [`super::pin_files`].
    pub files: Vec<(Digest, Vec<u8>)>,
}

/// Why there is no plan. Nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Everything that was given is right, and these required parameters were not given. Ask for them.
    #[error("required and not given: {}", list(.0))]
    Missing(Vec<ParameterName>),
    /// Something must be changed first; each problem names the thing, the reason and the next step.
    #[error("{}", .0.join("; "))]
    Refused(Vec<String>),
    /// Targets that cannot be looked at now; another try may help.
    #[error("{}", .0.join("; "))]
    Unreachable(Vec<String>),
}

fn list(names: &[ParameterName]) -> String {
    names.iter().map(ParameterName::as_str).collect::<Vec<_>>().join(", ")
}

impl Planner {
    /// A planner that knows these actions and looks at targets with `targets`.
    #[must_use]
    pub fn new(registry: Arc<Registry>, targets: TargetReader) -> Self {
        Self { registry, targets }
    }

    /// Plans a run: checks the parameters, binds what they decide, hashes the files (paths are relative to
    /// `definitions_dir`), and reads which systems the targets are. `given` may hold texts, as people type them.
    /// `roles` are the settings' Discord roles for each role.
    ///
    /// # Errors
    /// See [`PlanError`].
    pub async fn plan(
        &self,
        runbook: &Runbook,
        given: &IndexMap<ParameterName, Value>,
        roles: &BTreeMap<RoleName, Vec<RoleId>>,
        definitions_dir: &Path,
    ) -> Result<Planned, PlanError> {
        let parameters = check_parameters(runbook, given)?;
        let mut problems = Vec::new();
        let roles = map_roles(runbook, roles, &mut problems);
        let scope = Scope::new().with("params", parameters_in_scope(&parameters));
        let mut runbook = runbook.clone();
        bind_targets(&mut runbook, &scope, &mut problems);
        let lock = bind_lock(&mut runbook, &scope, &mut problems);
        if !problems.is_empty() {
            return Err(PlanError::Refused(problems));
        }
        let targets = self.identify(&runbook.targets).await?;
        let scope = scope.with("targets", public_targets(&targets));
        let mut draft = Draft { registry: &self.registry, scope, definitions_dir, problems, ..Draft::empty(&self.registry) };
        draft.bind_runbook(&mut runbook);
        if !draft.problems.is_empty() {
            return Err(PlanError::Refused(draft.problems));
        }
        let (steps, pinned) = (draft.steps, draft.pinned);
        let plan = Plan { runbook, parameters, lock, steps, roles, files: draft.files, targets };
        Ok(Planned { plan, files: pinned.into_iter().collect() })
    }

    async fn identify(&self, targets: &IndexMap<TargetName, Target>) -> Result<BTreeMap<TargetName, TargetIdentity>, PlanError> {
        let looks = targets.iter().map(async |(name, target)| (name.clone(), self.targets.identify(target).await));
        let mut identities = BTreeMap::new();
        let mut unreachable = Vec::new();
        for (name, identity) in futures_util::future::join_all(looks).await {
            match identity {
                Ok(identity) => drop(identities.insert(name, identity)),
                Err(why) => unreachable.push(format!("the target `{name}` cannot be looked at: {why}")),
            }
        }
        if unreachable.is_empty() { Ok(identities) } else { Err(PlanError::Unreachable(unreachable)) }
    }
}

/// The parameters in the runbook's order, each checked against its type.
fn check_parameters(
    runbook: &Runbook,
    given: &IndexMap<ParameterName, Value>,
) -> Result<IndexMap<ParameterName, Value>, PlanError> {
    let mut problems = Vec::new();
    let mut missing = Vec::new();
    let mut parameters = IndexMap::new();
    for (name, parameter) in &runbook.parameters {
        let Some(value) = given.get(name).filter(|value| !value.is_null()).or(parameter.default.as_ref()) else {
            missing.push(name.clone());
            continue;
        };
        match parameter.check_value(value) {
            Ok(value) => drop(parameters.insert(name.clone(), value)),
            Err(why) => problems.push(format!("the parameter `{name}` ({}): {why}", parameter.help)),
        }
    }
    for unknown in given.keys().filter(|name| !runbook.parameters.contains_key(*name)) {
        let says = format!("the runbook `{}` has no parameter `{unknown}`", runbook.runbook);
        problems.push(with_suggestion(&says, unknown.as_str(), runbook.parameters.keys().map(ParameterName::as_str)));
    }
    if !problems.is_empty() {
        problems.extend(missing.iter().map(|name| format!("the parameter `{name}` is required and not given")));
        return Err(PlanError::Refused(problems));
    }
    if missing.is_empty() { Ok(parameters) } else { Err(PlanError::Missing(missing)) }
}

/// The Discord roles of each role that the runbook names.
fn map_roles(
    runbook: &Runbook,
    settings: &BTreeMap<RoleName, Vec<RoleId>>,
    problems: &mut Vec<String>,
) -> BTreeMap<RoleName, Vec<RoleId>> {
    let mut roles = BTreeMap::new();
    for role in runbook.roles() {
        match settings.get(&role).filter(|ids| !ids.is_empty()) {
            Some(ids) => {
                // The order in the settings means nothing, so it must not change the digest.
                let ids: BTreeSet<RoleId> = ids.iter().copied().collect();
                roles.insert(role, ids.into_iter().collect());
            }
            None => problems.push(format!(
                "the role `{role}` is not mapped to a Discord role: add `{role}` under `roles:` in the settings and restart the bot"
            )),
        }
    }
    roles
}

fn render(text: &mut String, scope: &Scope) -> Result<(), String> {
    let rendered = Template::parse(text).and_then(|template| template.render(scope)).map_err(|error| error.to_string())?;
    *text = rendered;
    Ok(())
}

fn bind_targets(runbook: &mut Runbook, scope: &Scope, problems: &mut Vec<String>) {
    for (name, target) in &mut runbook.targets {
        let bound = match target {
            Target::Sqlite { path } => render(path, scope),
            Target::Http { url } => render(url, scope),
            Target::Kubernetes { context, namespace, kubeconfig: _ } => {
                let context = context.as_mut().map_or(Ok(()), |context| render(context, scope));
                context.and_then(|()| render(namespace, scope))
            }
            Target::Postgres { dsn: _ } => Ok(()),
        };
        if let Err(why) = bound {
            problems.push(format!("the address of the target `{name}`: {why}"));
        }
    }
}

fn bind_lock(runbook: &mut Runbook, scope: &Scope, problems: &mut Vec<String>) -> String {
    let mut lock = runbook.lock.clone();
    match render(&mut lock, scope) {
        Ok(()) if lock.trim().is_empty() => problems.push("the runbook's `lock` comes out empty".to_owned()),
        Ok(()) => runbook.lock.clone_from(&lock),
        Err(why) => problems.push(format!("the runbook's `lock`: {why}")),
    }
    lock
}

/// What is collected while the steps are gone through.
struct Draft<'a> {
    registry: &'a Registry,
    scope: Scope,
    definitions_dir: &'a Path,
    steps: BTreeMap<StepName, StepTraits>,
    files: BTreeMap<String, PinnedFile>,
    pinned: BTreeMap<Digest, Vec<u8>>,
    problems: Vec<String>,
}

impl<'a> Draft<'a> {
    fn empty(registry: &'a Registry) -> Self {
        Self {
            registry,
            scope: Scope::new(),
            definitions_dir: Path::new(""),
            steps: BTreeMap::new(),
            files: BTreeMap::new(),
            pinned: BTreeMap::new(),
            problems: Vec::new(),
        }
    }

    fn bind_runbook(&mut self, runbook: &mut Runbook) {
        self.bind_says(&mut runbook.title);
        runbook.summary.iter_mut().for_each(|summary| self.bind_says(summary));
        for phase in &mut runbook.phases {
            phase.title.iter_mut().for_each(|title| self.bind_says(title));
            if let Some(gate) = &mut phase.gate {
                for step in &mut gate.measure {
                    self.bind_step(step);
                }
                gate.go.iter_mut().for_each(|criterion| self.bind_says(&mut criterion.says));
            }
            phase.steps.iter_mut().for_each(|step| self.bind_traits(step));
        }
        for rollback in runbook.rollback.values_mut() {
            rollback.title.iter_mut().for_each(|title| self.bind_says(title));
            rollback.steps.iter_mut().for_each(|step| self.bind_traits(step));
        }
    }

    fn bind_traits(&mut self, step: &mut Step) {
        if let Some(traits) = self.bind_step(step) {
            self.steps.insert(step.step.clone(), traits);
        }
    }

    /// Binds a step and pins its files. `None` if that could not be done; the problem is noted.
    fn bind_step(&mut self, step: &mut Step) -> Option<StepTraits> {
        let name = step.step.clone();
        self.bind_says(&mut step.title);
        for check in &mut step.check {
            self.bind_says(&mut check.says);
        }
        let Some((spec, action)) = self.registry.find(&step.action) else {
            self.problems
                .push(format!("the step `{name}` needs the action `{}`, which this version of the bot has not", step.action));
            return None;
        };
        let engine_reads = spec.kind != StepKind::Action;
        let bound = bind_early(spec, std::mem::take(&mut step.with), &self.scope, engine_reads);
        let bound = match bound {
            Ok(bound) => bound,
            Err(why) => {
                self.problems.push(format!("the step `{name}`: {why}"));
                return None;
            }
        };
        for path in spec.file_keys.iter().filter_map(|key| bound.with.get(key)).flat_map(texts) {
            if let Err(why) = self.pin(&path) {
                self.problems.push(format!("the step `{name}` names the file `{path}`: {why}"));
            }
        }
        let interruption = match step.if_interrupted {
            Some(IfInterrupted::Repeat) => Interruption::Repeat,
            Some(IfInterrupted::Ask) => Interruption::Ask,
            None => action.interruption(&bound.with),
        };
        let traits = StepTraits { kind: spec.kind, effect: action.has_effect(&bound.with), interruption, late: bound.late };
        step.with = Map::into_iter(bound.with).collect();
        Some(traits)
    }

    fn bind_says(&mut self, says: &mut String) {
        if let Err(why) = render(says, &self.scope) {
            self.problems.push(format!("the text `{says}`: {why}"));
        }
    }

    fn pin(&mut self, path: &str) -> Result<(), String> {
        if self.files.contains_key(path) {
            return Ok(());
        }
        let bytes = read_inside(self.definitions_dir, path)?;
        let sha256 = Digest::of_bytes(&bytes);
        self.files.insert(path.to_owned(), PinnedFile { sha256, bytes: bytes.len() as u64 });
        self.pinned.insert(sha256, bytes);
        Ok(())
    }
}

fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(texts).collect(),
        Value::Object(map) => map.values().flat_map(texts).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

/// Reads a file below `root`, reached by plain names only: no way out by `..`, an absolute path or a link.
fn read_inside(root: &Path, relative: &str) -> Result<Vec<u8>, String> {
    let names: Vec<_> = Path::new(relative).components().collect();
    let plain = !names.is_empty() && names.iter().all(|name| matches!(name, Component::Normal(_)));
    // `a//b` and `a/./b` would be second names of one file.
    let spelled: PathBuf = names.iter().collect();
    if !plain || spelled.as_os_str() != relative {
        return Err("write its path plainly, relative to the definitions' directory and without `..`".to_owned());
    }
    let mut path = root.to_owned();
    for name in names {
        path.push(name);
        let data = path.symlink_metadata().map_err(|error| not_there(&error, root))?;
        if data.is_symlink() {
            return Err("links are not followed: put the file itself below the definitions' directory".to_owned());
        }
    }
    let data = path.metadata().map_err(|error| not_there(&error, root))?;
    if !data.is_file() {
        return Err("it is not a file".to_owned());
    }
    if data.len() > FILE_BYTES_MAX {
        return Err(format!("it holds {} bytes, more than {FILE_BYTES_MAX}", data.len()));
    }
    std::fs::read(&path).map_err(|error| not_there(&error, root))
}

fn not_there(error: &io::Error, root: &Path) -> String {
    format!("it cannot be read below {}: {error}", root.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_below_the_definitions_are_read() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("scripts")).unwrap();
        std::fs::write(root.path().join("scripts/a.sh"), "echo").unwrap();
        std::fs::write(outside.path().join("b.sh"), "evil").unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("linked")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("b.sh"), root.path().join("scripts/b.sh")).unwrap();
        assert_eq!(read_inside(root.path(), "scripts/a.sh").unwrap(), b"echo");
        let absolute = outside.path().join("b.sh").display().to_string();
        for path in ["linked/b.sh", "scripts/b.sh"] {
            assert!(read_inside(root.path(), path).unwrap_err().contains("links"), "{path}");
        }
        for path in ["../b.sh", "scripts/../scripts/a.sh", "./scripts/a.sh", "scripts//a.sh", "", &absolute] {
            assert!(read_inside(root.path(), path).unwrap_err().contains("plainly"), "{path}");
        }
        assert!(read_inside(root.path(), "scripts/none.sh").unwrap_err().contains("No such file"));
        assert!(read_inside(root.path(), "scripts").unwrap_err().contains("not a file"));
    }
}
