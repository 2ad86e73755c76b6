//! GitHub: whether the token may make issues in the repository of the settings.

use super::{Finding, Patient};
use crate::github::{GitHub, Settings, Trouble};

const ABOUT: &str = "github";
/// A shortcoming is a sentence that holds its own mend.
const THEN: &str = "look again with `pointsman doctor` afterwards";

pub(super) async fn examine(patient: &Patient) -> Vec<Finding> {
    let Some(settings) = &patient.settings.github else {
        return vec![Finding::well(ABOUT, "not set up: post-mortems stay in their channels")];
    };
    let repository = &settings.repository;
    let access = Settings { api_base: settings.api_base.clone(), token: settings.token.clone(), repository: repository.clone() };
    let github = match GitHub::new(access) {
        Ok(github) => github,
        Err(unusable) => {
            let mend = "check `github.api_base` and POINTSMAN_GITHUB_TOKEN(_FILE)";
            return vec![Finding::problem(ABOUT, unusable.to_string(), mend)];
        }
    };
    match github.check_rights().await {
        Ok(rights) => {
            let shortcomings = rights.shortcomings();
            if shortcomings.is_empty() {
                return vec![Finding::well(ABOUT, format!("the token may make issues in {repository}"))];
            }
            // A repository under its old name works; without the right to make issues nothing does.
            let finding = if rights.may_write { Finding::warning } else { Finding::problem };
            shortcomings.into_iter().map(|shortcoming| finding(ABOUT, shortcoming, THEN)).collect()
        }
        Err(Trouble::Refused { why, mend, .. }) => vec![Finding::problem(ABOUT, why, mend)],
        Err(Trouble::Later { why, .. }) => {
            let mend = "check that this machine reaches `github.api_base`; the bot itself waits and tries again";
            vec![Finding::warning(ABOUT, why, mend)]
        }
    }
}
