//! Criteria and checks: from expressions to readings.
//!
//! Invariants: in a live run, what cannot be measured is red. In a dry run, what depends on a value that was
//! only rehearsed, or that is not there, is not measured, and never green.

use serde_json::Value;

use crate::domain::run::{Reading, Verdict};
use crate::domain::runbook::Criterion;
use crate::expression::{Expression, Reference, Scope};

/// What a rehearsal changes about reading criteria.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measured {
    /// Everything was really measured.
    Live,
    /// A dry run; `result` was really found.
    DryRun,
    /// A dry run; `result` stands for what a live run would find.
    Simulated,
}

/// Reads every criterion in `scope`, in order.
pub(super) fn read(criteria: &[Criterion], scope: &Scope, measured: Measured) -> Vec<Reading> {
    criteria.iter().map(|criterion| read_one(criterion, scope, measured)).collect()
}

fn read_one(criterion: &Criterion, scope: &Scope, measured: Measured) -> Reading {
    let says = criterion.says.clone();
    let expression = match Expression::parse(&criterion.expect) {
        Ok(expression) => expression,
        Err(error) => {
            let why = format!("`{}` cannot be read: {error}", criterion.expect);
            return Reading { says, measured: String::new(), verdict: Verdict::Red { why } };
        }
    };
    let shown = expression.explain(scope).unwrap_or_default();
    let unmeasured = expression.references().iter().find_map(|reference| rehearsed_only(reference, scope, measured));
    if let Some(why) = unmeasured {
        return Reading { says, measured: String::new(), verdict: Verdict::NotMeasured { why } };
    }
    let verdict = match expression.holds(scope) {
        Ok(true) => Verdict::Green,
        Ok(false) => Verdict::Red { why: format!("`{}` is not true", expression.source()) },
        Err(error) => Verdict::Red { why: format!("`{}` cannot be measured: {error}", expression.source()) },
    };
    Reading { says, measured: shown, verdict }
}

/// Why a rehearsal cannot tell this value.
fn rehearsed_only(reference: &Reference, scope: &Scope, measured: Measured) -> Option<String> {
    if measured == Measured::Live {
        return None;
    }
    let simulated_step = |root: &str, step: &str| {
        let flag = Reference { root: root.to_owned(), path: vec![step.to_owned(), "simulated".to_owned()], dynamic: false };
        scope.value(&flag) == Some(&Value::Bool(true))
    };
    match (reference.root.as_str(), reference.first()) {
        ("result", _) if measured == Measured::Simulated => Some("this step was only rehearsed".to_owned()),
        ("steps", None) => Some("it may depend on steps that were only rehearsed".to_owned()),
        (root @ ("steps" | "measured"), Some(step)) if simulated_step(root, step) => {
            Some(format!("the step `{step}` was only rehearsed"))
        }
        ("steps" | "result" | "measured", _) if scope.value(reference).is_none() => {
            Some(format!("`{reference}` is not there in a dry run"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(expect: &str, measured: Measured) -> Verdict {
        let scope = Scope::new().with("result", json!({ "failed": 0 })).with(
            "steps",
            json!({
                "real": { "simulated": false, "result": { "n": 1 } },
                "rehearsed": { "simulated": true, "result": { "n": 1 } },
            }),
        );
        let criterion = Criterion { expect: expect.to_owned(), says: "it holds".to_owned() };
        read(&[criterion], &scope, measured).remove(0).verdict
    }

    #[test]
    fn live_everything_that_is_not_true_is_red() {
        assert_eq!(verdict("result.failed == 0", Measured::Live), Verdict::Green);
        for expect in ["result.failed > 0", "result.gone == 0", "result.failed == 'x'", "1 +", "result.failed"] {
            assert!(matches!(verdict(expect, Measured::Live), Verdict::Red { .. }), "{expect}");
        }
    }

    #[test]
    fn a_rehearsal_measures_what_is_real_and_says_what_is_not() {
        assert_eq!(verdict("steps['real'].result.n == 1", Measured::DryRun), Verdict::Green);
        assert!(matches!(verdict("steps['real'].result.n == 2", Measured::DryRun), Verdict::Red { .. }));
        for expect in
            ["steps['rehearsed'].result.n == 1", "steps['later'].result.n == 1", "result.gone == 1", "steps | length == 2"]
        {
            assert!(matches!(verdict(expect, Measured::DryRun), Verdict::NotMeasured { .. }), "{expect}");
        }
        assert!(matches!(verdict("result.failed == 0", Measured::Simulated), Verdict::NotMeasured { .. }));
        assert_eq!(verdict("steps['real'].result.n == 1", Measured::Simulated), Verdict::Green);
    }
}
