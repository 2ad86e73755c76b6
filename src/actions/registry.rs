//! The actions by name.

use std::collections::BTreeMap;

use super::action::{Action, AnyAction};
use crate::domain::{ActionName, ActionSpec};

/// Every action that steps may name.
#[derive(Default)]
pub struct Registry {
    actions: BTreeMap<ActionName, (ActionSpec, Box<dyn AnyAction>)>,
}

impl Registry {
    /// The actions that come with the bot.
    #[must_use]
    pub fn standard() -> Self {
        Self::default()
            .with(super::human::Confirm)
            .with(super::human::Checklist)
            .with(super::human::WaitFor)
            .with(super::shell_run::ShellRun)
            .with(super::http_check::HttpCheck)
            .with(super::postgres::Dump)
            .with(super::postgres::Restore)
            .with(super::sql::Query)
            .with(super::sql::Check)
            .with(super::sqlite::Backup)
            .with(super::sqlite::Inspect)
            .with(super::database::Copy)
            .with(super::database::Verify)
            .with(super::kubernetes::Rollout)
            .with(super::kubernetes::Secret)
    }

    /// These and one more; of two with one name the later stays.
    #[must_use]
    pub fn with(mut self, action: impl Action) -> Self {
        let spec = action.spec();
        self.actions.insert(spec.name.clone(), (spec, Box::new(action)));
        self
    }

    /// What is known of each action, sorted by name: for the catalog, the schemas and the planner.
    #[must_use]
    pub fn specs(&self) -> Vec<ActionSpec> {
        self.actions.values().map(|(spec, _)| spec.clone()).collect()
    }

    pub(super) fn find(&self, name: &ActionName) -> Option<(&ActionSpec, &dyn AnyAction)> {
        self.actions.get(name).map(|(spec, action)| (spec, action.as_ref()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_description_is_fit_for_the_catalog() {
        for spec in Registry::standard().specs() {
            let name = &spec.name;
            assert_eq!(spec.parameters["additionalProperties"], false, "{name}");
            let properties = spec.parameters["properties"].as_object().unwrap();
            let keys = [&spec.file_keys, &spec.literal_keys, &spec.argv_keys, &spec.secret_keys];
            for key in keys.into_iter().flatten().chain(spec.target_keys.iter().map(|(key, _)| key)) {
                assert!(properties.contains_key(key), "{name}: {key}");
            }
            for (key, property) in properties {
                let described = property.get("description").is_some() || property.get("$ref").is_some();
                assert!(described, "{name}: `{key}` needs a doc comment, which editors show");
            }
            assert!(spec.summary.len() <= 200, "{name}");
        }
    }
}
