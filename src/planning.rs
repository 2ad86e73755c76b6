//! Plans from the catalog: the engine's [`Planning`], made of the catalog in use and the actions' planner.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use indexmap::IndexMap;
use serde_json::Value;

use crate::actions::{PlanError, Planner, RunDirectories, pin_files};
use crate::catalog::SharedCatalog;
use crate::domain::{Digest, ParameterName, Plan, RoleId, RoleName, RunId, RunbookName};
use crate::engine::{PlanProblem, Planning};

/// Makes plans of the catalog's runbooks.
pub struct CatalogPlanning {
    /// The catalog in use.
    pub catalog: Arc<SharedCatalog>,
    /// Makes the plans.
    pub planner: Planner,
    /// The settings' Discord roles.
    pub roles: BTreeMap<RoleName, Vec<RoleId>>,
    /// Where runs keep their files.
    pub directories: RunDirectories,
}

impl CatalogPlanning {
    /// The folder that a runbook's file paths are relative to: the one that its own file is in.
    fn folder(&self, runbook: &RunbookName) -> Result<PathBuf, PlanProblem> {
        let catalog = self.catalog.current();
        let loaded = catalog.runbook(runbook).ok_or_else(|| PlanProblem::UnknownRunbook(runbook.clone()))?;
        Ok(loaded.source.path.parent().unwrap_or(Path::new("")).to_owned())
    }
}

#[async_trait]
impl Planning for CatalogPlanning {
    async fn plan(&self, runbook: &RunbookName, parameters: &IndexMap<ParameterName, String>) -> Result<Plan, PlanProblem> {
        let folder = self.folder(runbook)?;
        let catalog = self.catalog.current();
        let loaded = catalog.runbook(runbook).ok_or_else(|| PlanProblem::UnknownRunbook(runbook.clone()))?;
        let given = parameters.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
        let planned = self.planner.plan(&loaded.definition, &given, &self.roles, &folder).await;
        planned.map(|planned| planned.plan).map_err(|error| match error {
            PlanError::Missing(names) => PlanProblem::Missing(names),
            PlanError::Refused(problems) => PlanProblem::Invalid(problems),
            PlanError::Unreachable(problems) => PlanProblem::Unreachable(problems.join("; ")),
        })
    }

    async fn pin(&self, run: &RunId, plan: &Plan) -> Result<(), PlanProblem> {
        let folder = self.folder(&plan.runbook.runbook)?;
        let mut files = Vec::with_capacity(plan.files.len());
        for (path, pinned) in &plan.files {
            let problem =
                |why: String| PlanProblem::Unreachable(format!("`{path}` cannot be pinned: {why}; nothing was started"));
            let bytes = tokio::fs::read(folder.join(path)).await.map_err(|error| problem(error.to_string()))?;
            let sha256 = Digest::of_bytes(&bytes);
            if sha256 != pinned.sha256 {
                return Err(problem("it was changed while the plan was made; try again".to_owned()));
            }
            files.push((sha256, bytes));
        }
        let directory = self.directories.of(run);
        let written = directory.create().and_then(|()| pin_files(&directory, &files));
        written.map_err(|error| {
            PlanProblem::Unreachable(format!("the run's directory {} cannot be written: {error}", directory.path().display()))
        })
    }
}
