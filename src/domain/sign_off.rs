//! Sign-off: how people are matched to the roles that a gate demands.
//!
//! A quorum needs *distinct people*: somebody who holds two roles counts for one of them. The best
//! assignment is a maximum matching of people to places, found by augmenting paths, so that nobody is
//! told "missing" while another assignment would do.

use std::collections::BTreeMap;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{Person, RoleName, UserId};

/// Who signed as what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The person, with the roles that they held when their vote was read.
    pub person: Person,
    /// The role that they count for.
    pub role: RoleName,
}

/// How far a gate's sign-off is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quorum {
    /// Who counts for which role, in the order of the gate's roles.
    pub assignments: Vec<Assignment>,
    /// How many people are missing for each role; roles that are complete are left out.
    pub missing: Vec<(RoleName, usize)>,
    /// Signers who hold a role but are not needed: every place that they could take is taken.
    pub spare: Vec<Person>,
}

impl Quorum {
    /// Whether every place is taken.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }
}

/// Matches `signers` to the places of `sign_off`.
///
/// `signers` are people whose vote counts; each is used once, also if listed twice.
#[must_use]
pub fn quorum<'a>(sign_off: &IndexMap<RoleName, u8>, signers: impl IntoIterator<Item = &'a Person>) -> Quorum {
    let people: Vec<&Person> = signers.into_iter().map(|p| (p.id, p)).collect::<BTreeMap<UserId, _>>().into_values().collect();
    let places: Vec<&RoleName> =
        sign_off.iter().flat_map(|(role, count)| std::iter::repeat_n(role, usize::from(*count))).collect();
    let mut taken_by: Vec<Option<usize>> = vec![None; places.len()];
    for person in 0..people.len() {
        let mut seen = vec![false; places.len()];
        place_person(person, &people, &places, &mut taken_by, &mut seen);
    }
    let assignments: Vec<Assignment> = places
        .iter()
        .zip(&taken_by)
        .filter_map(|(role, taken)| taken.map(|p| Assignment { person: people[p].clone(), role: (*role).clone() }))
        .collect();
    let missing = sign_off
        .iter()
        .map(|(role, count)| (role.clone(), usize::from(*count) - assignments.iter().filter(|a| a.role == *role).count()))
        .filter(|(_, count)| *count > 0)
        .collect();
    let spare = (0..people.len()).filter(|p| !taken_by.contains(&Some(*p))).map(|p| people[p].clone()).collect();
    Quorum { assignments, missing, spare }
}

/// Finds a place for `person`, moving others to their alternatives if need be (Kuhn's augmenting path).
fn place_person(
    person: usize,
    people: &[&Person],
    places: &[&RoleName],
    taken_by: &mut [Option<usize>],
    seen: &mut [bool],
) -> bool {
    for place in 0..places.len() {
        if seen[place] || people[person].bot || !people[person].roles.contains(places[place]) {
            continue;
        }
        seen[place] = true;
        let free = match taken_by[place] {
            None => true,
            Some(other) => place_person(other, people, places, taken_by, seen),
        };
        if free {
            taken_by[place] = Some(person);
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn role(name: &str) -> RoleName {
        name.parse().unwrap()
    }

    fn person(id: u64, roles: &[&str]) -> Person {
        Person { id: UserId::new(id), name: format!("p{id}"), roles: roles.iter().map(|r| role(r)).collect(), bot: false }
    }

    fn demand(roles: &[(&str, u8)]) -> IndexMap<RoleName, u8> {
        roles.iter().map(|(name, count)| (role(name), *count)).collect()
    }

    #[test]
    fn one_person_counts_once_however_many_roles_they_hold() {
        let both = person(1, &["dba", "security"]);
        let quorum = quorum(&demand(&[("dba", 1), ("security", 1)]), [&both, &both]);
        assert_eq!(quorum.missing.len(), 1);
    }

    #[test]
    fn people_are_moved_to_the_role_that_only_they_can_take() {
        let both = person(1, &["dba", "security"]);
        let dba = person(2, &["dba"]);
        let complete = quorum(&demand(&[("dba", 1), ("security", 1)]), [&both, &dba]);
        assert!(complete.is_complete());
        assert_eq!(complete.assignments[1].person.id, both.id);
    }

    #[test]
    fn two_of_one_team_do_not_make_up_for_the_missing_team() {
        let quorum = quorum(
            &demand(&[("dba", 1), ("operations_lead", 2)]),
            [&person(1, &["operations_lead"]), &person(2, &["operations_lead"])],
        );
        assert_eq!(quorum.missing, [(role("dba"), 1)]);
    }

    #[test]
    fn bots_never_count() {
        let bot = Person { bot: true, ..person(1, &["dba"]) };
        assert!(!quorum(&demand(&[("dba", 1)]), [&bot]).is_complete());
    }

    /// Every way of giving places to people, by brute force.
    fn best(places: &[&RoleName], people: &[Person], used: usize) -> usize {
        let Some((first, rest)) = places.split_first() else { return 0 };
        let skipped = best(rest, people, used);
        let taken = (0..people.len()).filter(|p| used & (1 << p) == 0 && people[*p].roles.contains(*first));
        taken.map(|p| 1 + best(rest, people, used | (1 << p))).max().unwrap_or(0).max(skipped)
    }

    proptest! {
        #[test]
        fn the_matching_is_the_largest_one(
            counts in proptest::collection::vec(0u8..3, 3),
            held in proptest::collection::vec(0usize..8, 0..6),
        ) {
            let names = ["dba", "security", "lead"];
            let demand: IndexMap<RoleName, u8> = names.iter().map(|n| role(n)).zip(counts).collect();
            let people: Vec<Person> = held
                .iter()
                .enumerate()
                .map(|(i, bits)| person(i as u64 + 1, &names.iter().enumerate().filter(|(n, _)| bits & (1 << n) != 0).map(|(_, name)| *name).collect::<Vec<_>>()))
                .collect();
            let found = quorum(&demand, &people);
            let places: Vec<&RoleName> = demand.iter().flat_map(|(r, c)| std::iter::repeat_n(r, usize::from(*c))).collect();
            prop_assert_eq!(found.assignments.len(), best(&places, &people, 0));
            prop_assert_eq!(found.assignments.len() + found.missing.iter().map(|(_, n)| n).sum::<usize>(), places.len());
            for assignment in &found.assignments {
                prop_assert!(assignment.person.roles.contains(&assignment.role));
            }
        }
    }
}
