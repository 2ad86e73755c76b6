//! The SX application's faults as switches for people: titles, choices, and what each sets.

use super::faults::{Faults, Place};
use crate::sandbox::page::Switch;

const GROUP: &str = "SX application";
const OFF: &str = "off";
const ON: &str = "on";
/// What a process waits before it listens, milliseconds: noticeable, and a long start that a restart still waits for.
const SLOW_START_MILLIS: [(&str, u64); 2] = [("5s", 5_000), ("30s", 30_000)];
/// The places of a fault, as the switches name and describe them.
const PLACES: [(&str, &str, Option<Place>); 4] = [
    (OFF, "off", None),
    ("live", "on the live process", Some(Place::Live)),
    ("candidate", "on the candidate", Some(Place::Candidate)),
    ("everywhere", "on both", Some(Place::Everywhere)),
];

/// A fault that is on at a place: its switch, and where it is kept.
struct Placed {
    id: &'static str,
    title: &'static str,
    help: &'static str,
    kept: fn(&mut Faults) -> &mut Option<Place>,
}

/// A fault that is on or off.
struct Flag {
    id: &'static str,
    title: &'static str,
    help: &'static str,
    kept: fn(&mut Faults) -> &mut bool,
}

const PLACED: [Placed; 5] = [
    Placed {
        id: "sx_leak_on",
        title: "Leak",
        help: "In PostgreSQL mode, a list also holds an item of another profile.",
        kept: |faults| &mut faults.leak_on,
    },
    Placed {
        id: "sx_mismatch_tolerated_on",
        title: "Wrong source answered",
        help: "In PostgreSQL mode, unknown and contradicting sources are answered.",
        kept: |faults| &mut faults.mismatch_tolerated_on,
    },
    Placed {
        id: "sx_unhealthy_on",
        title: "Unhealthy",
        help: "In PostgreSQL mode, /health answers 503.",
        kept: |faults| &mut faults.unhealthy_on,
    },
    Placed {
        id: "sx_writes_fail_on",
        title: "Writes fail",
        help: "In PostgreSQL mode, notes and metadata cannot be written.",
        kept: |faults| &mut faults.writes_fail_on,
    },
    Placed {
        id: "sx_burst_on",
        title: "Burst of errors",
        help: "In PostgreSQL mode, a process's first searches answer 500: only its log shows it.",
        kept: |faults| &mut faults.burst_on,
    },
];

const FLAGS: [Flag; 3] = [
    Flag {
        id: "sx_mode_ignored",
        title: "Mode ignored",
        help: "A restarted process stays in SQLite mode.",
        kept: |faults| &mut faults.mode_ignored,
    },
    Flag {
        id: "sx_bootstrap_fails",
        title: "Bootstrap fails",
        help: "The profile's schema cannot be made: the run stops before the import.",
        kept: |faults| &mut faults.bootstrap_fails,
    },
    Flag {
        id: "sx_import_loses_rows",
        title: "Import loses a note",
        help: "The comparison before the switch finds it.",
        kept: |faults| &mut faults.import_loses_rows,
    },
];

const SLOW_START: &str = "sx_slow_start";

/// Every switch, as `faults` has it. The ids begin with `sx_`, because the stage has other switches too.
#[must_use]
pub fn switches(faults: &Faults) -> Vec<Switch> {
    // The places are reached through the same functions that set them, which need something of their own to change.
    let mut faults = faults.clone();
    let places = PLACES.map(|(value, title, _)| (value, title));
    let two = [(OFF, "off"), (ON, "on")];
    let slow = [(OFF, "off"), ("5s", "5 s"), ("30s", "30 s")];
    let new = |id, title, help, choices: &[(&str, &str)], value| Switch::new(GROUP, id, title, help, choices, value);
    let placed = PLACED.iter().map(|it| new(it.id, it.title, it.help, &places, name_of(*(it.kept)(&mut faults))));
    let mut switches: Vec<Switch> = placed.collect();
    switches.extend(FLAGS.iter().map(|it| new(it.id, it.title, it.help, &two, if *(it.kept)(&mut faults) { ON } else { OFF })));
    let slowness =
        SLOW_START_MILLIS.iter().find(|(_, millis)| *millis == faults.slow_start_millis).map_or(OFF, |(value, _)| value);
    switches.push(new(SLOW_START, "Slow start", "A process that is started is late to listen.", &slow, slowness));
    switches
}

/// `faults` with the switch `id` set to `value`.
///
/// # Errors
/// If there is no such switch or it has no such value.
pub fn set(mut faults: Faults, id: &str, value: &str) -> Result<Faults, String> {
    let unknown = || format!("{id} cannot be set to {value}");
    if let Some(placed) = PLACED.iter().find(|placed| placed.id == id) {
        let place = PLACES.iter().find(|(name, ..)| *name == value).ok_or_else(unknown)?.2;
        *(placed.kept)(&mut faults) = place;
    } else if let Some(flag) = FLAGS.iter().find(|flag| flag.id == id) {
        let known = [(OFF, false), (ON, true)].into_iter().find(|(name, _)| *name == value);
        *(flag.kept)(&mut faults) = known.ok_or_else(unknown)?.1;
    } else if id == SLOW_START {
        let known = [(OFF, 0)].into_iter().chain(SLOW_START_MILLIS).find(|(name, _)| *name == value);
        faults.slow_start_millis = known.ok_or_else(unknown)?.1;
    } else {
        return Err(format!("there is no switch {id}"));
    }
    Ok(faults)
}

fn name_of(place: Option<Place>) -> &'static str {
    PLACES.iter().find(|(.., known)| *known == place).map_or(OFF, |(name, ..)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

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

    #[test]
    fn every_fault_has_a_switch_of_its_own() {
        let fields = serde_json::to_value(Faults::default()).unwrap();
        let wanted: BTreeSet<String> = fields.as_object().unwrap().keys().cloned().collect();
        let changed = |switch: &Switch| {
            let set = set(Faults::default(), &switch.id, &switch.choices[1].value).unwrap();
            let set = serde_json::to_value(set).unwrap();
            wanted.iter().filter(|name| set[name.as_str()] != fields[name.as_str()]).cloned().collect::<Vec<_>>()
        };
        let switches = switches(&Faults::default());
        let moved: Vec<String> = switches.iter().flat_map(changed).collect();
        assert_eq!(moved.len(), switches.len(), "each moves one fault: {moved:?}");
        assert_eq!(moved.into_iter().collect::<BTreeSet<_>>(), wanted);
    }
}
