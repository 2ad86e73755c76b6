//! Whether commands and runbooks can be used, with the roles and secrets that the settings know.

use super::{Finding, Patient};
use crate::catalog::{Catalog, CheckContext, DefinitionsDir};

/// Loads the definitions as the bot would. `None` if it would not start with them.
pub(super) fn load(patient: &Patient, findings: &mut Vec<Finding>) -> Option<Catalog> {
    let settings = &patient.settings;
    let dirs: Vec<DefinitionsDir> = settings.definitions.iter().map(|root| DefinitionsDir::under(root)).collect();
    let context = CheckContext { roles: Some(settings.roles.keys().cloned().collect()), ..patient.context.clone() };
    match Catalog::load_all(&dirs, &context) {
        Ok(catalog) => {
            let (runbooks, commands) = (catalog.runbooks().len(), catalog.commands().len());
            if runbooks == 0 {
                let folders = settings.definitions.iter().map(|dir| dir.display().to_string()).collect::<Vec<_>>().join(", ");
                let mend = "set `definitions` to the folders with `commands/` and `runbooks/` in them";
                findings.push(Finding::warning("definitions", format!("no runbook in {folders}"), mend));
            } else {
                findings.push(Finding::well("definitions", format!("{runbooks} runbooks, {commands} commands")));
            }
            Some(catalog)
        }
        Err(mistakes) => {
            let mend = "mend the files; `pointsman check` shows each mistake in its place";
            findings.push(Finding::problem("definitions", mistakes.to_string(), mend));
            None
        }
    }
}
