//! The ACE application's faults as switches for people: titles, choices, and what each sets.

use super::faults::{Backend, Faults};
use crate::sandbox::page::Switch;

const GROUP: &str = "ACE application";
const OFF: &str = "off";
const ON: &str = "on";
/// What the slow application waits before each answer, milliseconds: noticeable, and longer than a patient client waits.
const SLOW_MILLIS: [(&str, u64); 2] = [("2s", 2_000), ("30s", 30_000)];
/// A version that no release of the practice application bears.
const WRONG_VERSION: &str = "0.0.0-wrong";

/// Every switch, as `faults` has it.
#[must_use]
pub fn switches(faults: &Faults) -> Vec<Switch> {
    let backends = [(OFF, "off"), ("sqlite", "on SQLite"), ("postgres", "on PostgreSQL")];
    let two = [(OFF, "off"), (ON, "on")];
    let slow = [(OFF, "off"), ("2s", "2 s"), ("30s", "30 s")];
    let new = |id, title, help, choices: &[(&str, &str)], value| Switch::new(GROUP, id, title, help, choices, value);
    let slowness = SLOW_MILLIS.iter().find(|(_, millis)| *millis == faults.slow_millis).map_or(OFF, |(value, _)| value);
    vec![
        new(
            "items_fail_on",
            "Items fail",
            "/items answers 500: the smoke check fails.",
            &backends,
            on_backend(faults.items_fail_on),
        ),
        new(
            "unhealthy_on",
            "Unhealthy",
            "/health answers 503: the pod never gets ready.",
            &backends,
            on_backend(faults.unhealthy_on),
        ),
        new("slow", "Slow", "Every answer comes late.", &slow, slowness),
        new(
            "wrong_version",
            "Wrong version",
            "/version tells a version that was never released.",
            &two,
            on(faults.wrong_version.is_some()),
        ),
        new("rollout_stuck", "Rollout stuck", "No new pod gets ready.", &two, on(faults.rollout_stuck)),
        new("api_refuses", "Kubernetes away", "The Kubernetes API answers 503.", &two, on(faults.api_refuses)),
    ]
}

/// `faults` with the switch `id` set to `value`.
///
/// # Errors
/// If there is no such switch or it has no such value.
pub fn set(mut faults: Faults, id: &str, value: &str) -> Result<Faults, String> {
    let unknown = || format!("{id} cannot be set to {value}");
    match id {
        "items_fail_on" => faults.items_fail_on = backend(value).ok_or_else(unknown)?,
        "unhealthy_on" => faults.unhealthy_on = backend(value).ok_or_else(unknown)?,
        "slow" if value == OFF => faults.slow_millis = 0,
        "slow" => {
            let chosen = SLOW_MILLIS.iter().find(|(name, _)| *name == value);
            faults.slow_millis = chosen.map(|(_, millis)| *millis).ok_or_else(unknown)?;
        }
        "wrong_version" => faults.wrong_version = two(value).ok_or_else(unknown)?.then(|| WRONG_VERSION.to_owned()),
        "rollout_stuck" => faults.rollout_stuck = two(value).ok_or_else(unknown)?,
        "api_refuses" => faults.api_refuses = two(value).ok_or_else(unknown)?,
        _ => return Err(format!("there is no switch {id}")),
    }
    Ok(faults)
}

fn on(is_on: bool) -> &'static str {
    if is_on { ON } else { OFF }
}

fn on_backend(backend: Option<Backend>) -> &'static str {
    backend.map_or(OFF, Backend::name)
}

fn two(value: &str) -> Option<bool> {
    [(OFF, false), (ON, true)].into_iter().find(|(name, _)| *name == value).map(|(_, is_on)| is_on)
}

/// `Some(None)` for "off".
fn backend(value: &str) -> Option<Option<Backend>> {
    let known = [None, Some(Backend::Sqlite), Some(Backend::Postgres)];
    known.into_iter().find(|backend| on_backend(*backend) == value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_of_every_switch_can_be_set_and_is_shown() {
        for switch in switches(&Faults::default()) {
            assert_eq!(switch.value, switch.choices[0].value, "{} is off at first", switch.id);
            for choice in &switch.choices {
                let set = set(Faults::default(), &switch.id, &choice.value).unwrap();
                let shown = switches(&set).into_iter().find(|shown| shown.id == switch.id).unwrap();
                assert_eq!(shown.value, choice.value, "{}", switch.id);
                let off = super::set(set, &switch.id, OFF).unwrap();
                assert_eq!(off, Faults::default(), "{} can be put back", switch.id);
            }
            assert!(set(Faults::default(), &switch.id, "sideways").is_err());
        }
        assert!(set(Faults::default(), "nothing", ON).is_err());
    }
}
