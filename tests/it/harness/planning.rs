//! Plans made of runbooks that the tests write down. What a step is follows from its action's name.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use indexmap::IndexMap;
use pointsman::domain::runbook::Runbook;
use pointsman::domain::{Interruption, ParameterName, Plan, RoleId, RunId, RunbookName, StepKind, StepTraits};
use pointsman::engine::{PlanProblem, Planning};

/// Makes plans from JSON runbooks, and remembers which runs it has pinned.
#[derive(Default)]
pub(crate) struct FakePlanning {
    runbooks: Mutex<BTreeMap<RunbookName, Runbook>>,
    pub(crate) pinned: Mutex<Vec<RunId>>,
}

impl FakePlanning {
    /// Adds a runbook, or replaces the one of its name.
    pub(crate) fn add(&self, json: &str) -> RunbookName {
        let runbook: Runbook = serde_json::from_str(json).expect("the test's runbook is one");
        let name = runbook.runbook.clone();
        self.runbooks.lock().unwrap().insert(name.clone(), runbook);
        name
    }
}

/// The plan of a runbook without parameters.
pub(crate) fn plan_of(runbook: Runbook) -> Plan {
    let steps = runbook.all_steps().map(|step| (step.step.clone(), traits(step.action.as_str()))).collect();
    let roles = ["dba", "operations_lead", "operator", "break_glass"].iter().zip(10..);
    let roles = roles.map(|(role, id)| (role.parse().unwrap(), vec![RoleId::new(id)])).collect();
    let (files, targets, parameters) = (BTreeMap::new(), BTreeMap::new(), IndexMap::new());
    Plan { lock: runbook.lock.clone(), runbook, parameters, steps, roles, files, targets }
}

fn traits(action: &str) -> StepTraits {
    let (kind, effect, interruption) = match action {
        "look.at" => (StepKind::Action, false, Interruption::Repeat),
        "act.repeat" => (StepKind::Action, true, Interruption::Repeat),
        "act.resume" => (StepKind::Action, true, Interruption::Resume),
        "act.probe" => (StepKind::Action, true, Interruption::Probe),
        "act.ask" => (StepKind::Action, true, Interruption::Ask),
        "wait.for" => (StepKind::Wait, false, Interruption::Repeat),
        "human.confirm" => (StepKind::Confirm, false, Interruption::Repeat),
        "human.checklist" => (StepKind::Checklist, false, Interruption::Repeat),
        other => panic!("the tests know no action `{other}`"),
    };
    StepTraits { kind, effect, interruption, late: vec![] }
}

#[async_trait]
impl Planning for FakePlanning {
    async fn plan(&self, runbook: &RunbookName, _: &IndexMap<ParameterName, String>) -> Result<Plan, PlanProblem> {
        let known = self.runbooks.lock().unwrap().get(runbook).cloned();
        known.map(plan_of).ok_or_else(|| PlanProblem::UnknownRunbook(runbook.clone()))
    }

    async fn pin(&self, run: &RunId, _: &Plan) -> Result<(), PlanProblem> {
        self.pinned.lock().unwrap().push(run.clone());
        Ok(())
    }
}
