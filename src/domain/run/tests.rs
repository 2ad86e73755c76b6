//! Given events, when an input comes, then events or a rejection; and what holds for every legal history.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::domain::runbook::{Excludes, Runbook};
use crate::domain::{
    ChannelId, Interruption, MessageId, MessageRef, Person, Plan, RoleId, RoleName, RunId, StepKind, StepName, StepTraits,
    Timestamp, UserId,
};

fn at(secs: i64) -> Timestamp {
    chrono::DateTime::from_timestamp(1_800_000_000 + secs, 0).unwrap()
}

fn step(name: &str) -> StepName {
    name.parse().unwrap()
}

fn person(id: u64, roles: &[&str]) -> Person {
    let roles: BTreeSet<RoleName> = roles.iter().map(|role| role.parse().unwrap()).collect();
    Person { id: UserId::new(id), name: format!("p{id}"), roles, bot: false }
}

fn requester() -> Person {
    person(1, &["operator", "dba"])
}

fn dba() -> Person {
    person(2, &["dba"])
}

fn lead() -> Person {
    person(3, &["operations_lead"])
}

const RUNBOOK: &str = r#"{
  "runbook": "move", "title": "Move", "version": "1", "owner": "us", "kind": "migration",
  "lock": "db", "window": "2h", "grace": "5m",
  "phases": [
    { "phase": "prepare", "on_failure": "ask", "steps": [
      { "step": "look", "title": "Look", "action": "sql.check", "estimate": "1m" },
      { "step": "copy", "title": "Copy", "action": "database.copy", "estimate": "10m", "retry": { "attempts": 3, "backoff": "10s" } } ] },
    { "phase": "cutover", "gate": { "sign_off": { "dba": 1, "operations_lead": 1 }, "also_arms": "runtime", "expires": "30m",
        "go": [ { "expect": "true", "says": "all is well" } ] },
      "on_failure": "rollback runtime", "steps": [
      { "step": "switch", "title": "Switch", "action": "shell.run", "estimate": "1m" },
      { "step": "smoke", "title": "Smoke", "action": "http.check", "estimate": "1m" } ] }
  ],
  "rollback": {
    "runtime": { "target": "5m", "allow": ["operator"], "sign_off": { "operations_lead": 1 }, "steps": [
      { "step": "switch-back", "title": "Switch back", "action": "shell.run" } ] }
  },
  "afterwards": [ { "item": "Tell everybody", "owner": "operations_lead" } ]
}"#;

fn plan() -> Plan {
    let runbook: Runbook = serde_json::from_str(RUNBOOK).unwrap();
    let traits = |name: &str| {
        let (effect, interruption) = match name {
            "copy" => (true, Interruption::Resume),
            "switch" | "switch-back" => (true, Interruption::Ask),
            _ => (false, Interruption::Repeat),
        };
        StepTraits { kind: StepKind::Action, effect, interruption, late: vec![] }
    };
    let steps = runbook.all_steps().map(|s| (s.step.clone(), traits(s.step.as_str()))).collect();
    let roles = ["dba", "operations_lead", "operator"].iter().enumerate();
    let roles = roles.map(|(i, role)| (role.parse().unwrap(), vec![RoleId::new(i as u64 + 10)])).collect();
    let parameters = indexmap::IndexMap::new();
    Plan { lock: runbook.lock.clone(), runbook, parameters, steps, roles, files: BTreeMap::new(), targets: BTreeMap::new() }
}

fn request(mode: Mode) -> StartRequest {
    StartRequest {
        run: RunId::from_random(7),
        mode,
        requester: requester(),
        channel: ChannelId::new(5),
        plan: plan(),
        at: None,
        held_by: None,
        unreadable: None,
        rehearsal: None,
        beat: None,
        opens_incident: None,
        incident: None,
    }
}

/// A run that is driven by hand: the journal so far, and the time.
struct Play {
    state: State,
    now: Timestamp,
    events: Vec<Event>,
}

impl Play {
    fn start(mode: Mode) -> Self {
        Self::of(request(mode))
    }

    fn of(wish: StartRequest) -> Self {
        let events = start(at(0), wish).unwrap();
        let state = begin(at(0), &events[0]).unwrap();
        let mut play = Self { state, now: at(0), events };
        play.put(Input::Tick);
        play
    }

    fn try_put(&mut self, input: Input) -> Result<Vec<Event>, Rejection> {
        let events = decide(&self.state, self.now, input)?;
        for event in &events {
            self.state = evolve(self.state.clone(), self.now, event).unwrap();
        }
        self.events.extend(events.clone());
        Ok(events)
    }

    fn put(&mut self, input: Input) -> Vec<Event> {
        self.try_put(input).unwrap()
    }

    fn later(&mut self, secs: i64) -> Vec<Event> {
        self.now += chrono::TimeDelta::seconds(secs);
        self.put(Input::Tick)
    }

    fn succeed(&mut self, name: &str) -> Vec<Event> {
        let attempt = self.state.step(&step(name)).attempts;
        let outcome = Outcome::Succeeded { result: json!({ "ok": true }), simulated: false, checks: vec![], output: None };
        self.put(Input::StepFinished(step(name), attempt, outcome))
    }

    fn fail(&mut self, name: &str, retryable: bool) -> Vec<Event> {
        let attempt = self.state.step(&step(name)).attempts;
        let failure = Failure { kind: FailureKind::Failed, message: "broken".to_owned(), retryable };
        self.put(Input::StepFinished(step(name), attempt, Outcome::Failed { failure, checks: vec![], output: None }))
    }

    fn gate() -> GateRef {
        GateRef::Phase("cutover".parse().unwrap())
    }

    fn card(&self) -> u32 {
        self.state.gates[&Self::gate()].card
    }

    fn measure(&mut self, green: bool) -> Vec<Event> {
        let card = self.card();
        self.put(Input::GateMeasured { gate: Self::gate(), card, readings: vec![reading(green)] })
    }

    fn votes(&mut self, votes: &[(&Person, Vote)]) -> Vec<Event> {
        let card = self.card();
        self.put(Input::VotesRead { gate: Self::gate(), card, votes: cast(votes) })
    }

    fn recheck(&mut self, votes: &[(&Person, Vote)]) -> Vec<Event> {
        let card = self.card();
        let (votes, readings, targets_changed) = (cast(votes), vec![reading(true)], vec![]);
        self.put(Input::GateRechecked { gate: Self::gate(), card, votes, readings, targets_changed })
    }

    /// Up to the gate, its criteria green.
    fn at_gate() -> Self {
        Self::start(Mode::Live).up_to_gate()
    }

    /// As [`Self::at_gate`], of a gate that leaves out whoever has acted.
    fn at_strict_gate() -> Self {
        let mut wish = request(Mode::Live);
        wish.plan.runbook.phases[1].gate.as_mut().unwrap().excludes = Excludes::AnyoneWhoActed;
        Self::of(wish).up_to_gate()
    }

    fn up_to_gate(mut self) -> Self {
        self.succeed("look");
        self.succeed("copy");
        self.measure(true);
        self
    }

    /// Past the gate, `switch` under way, `runtime` armed.
    fn past_gate() -> Self {
        let mut play = Self::at_gate();
        play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Sign)]);
        play.recheck(&[(&dba(), Vote::Sign), (&lead(), Vote::Sign)]);
        assert!(matches!(play.state.step(&step("switch")).status, StepStatus::Running(_)));
        play
    }

    fn status(&self) -> Status {
        self.state.status(self.now)
    }
}

fn reading(green: bool) -> Reading {
    let verdict = if green { Verdict::Green } else { Verdict::Red { why: "no".to_owned() } };
    Reading { says: "all is well".to_owned(), measured: String::new(), verdict }
}

fn cast(votes: &[(&Person, Vote)]) -> Vec<ReactionVote> {
    votes.iter().map(|(person, vote)| ReactionVote { person: (*person).clone(), vote: *vote }).collect()
}

fn kinds(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(kind_of).collect()
}

#[test]
fn a_run_without_incident_goes_from_start_to_closing_to_its_end() {
    let mut play = Play::past_gate();
    assert_eq!(play.state.armed.len(), 1);
    play.succeed("switch");
    assert_eq!(kinds(&play.succeed("smoke")), ["step_succeeded", "closing_began"]);
    assert!(play.state.holds_lock());
    play.later(3 * 3600);
    assert_eq!(play.status(), Status::Closing(End::Succeeded), "the afterwards are not ticked");
    play.put(Input::TickItem { list: ListRef::Afterwards, item: 0, ticked: true, by: lead() });
    assert_eq!(play.status(), Status::Ended(End::Succeeded));
}

#[test]
fn the_gate_and_the_first_gated_step_are_journalled_together() {
    let mut play = Play::at_gate();
    assert_eq!(
        kinds(&play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Sign)])),
        ["sign_off_granted", "sign_off_granted", "quorum_reached"]
    );
    assert_eq!(pending(&play.state).iter().filter(|e| matches!(e, Effect::RecheckGate { .. })).count(), 1);
    let events = play.recheck(&[(&dba(), Vote::Sign), (&lead(), Vote::Sign)]);
    assert_eq!(kinds(&events), ["gate_cleared", "rollback_armed", "step_started"]);
}

#[test]
fn what_people_must_act_on_does_not_wait_behind_what_they_may_read() {
    let mut play = Play::at_gate();
    let at = MessageRef { channel: ChannelId::new(1), message: MessageId::new(2) };
    play.put(Input::MessagePosted(MessageKey::new("plan"), at, 1));
    play.put(Input::ThreadOpened(ChannelId::new(2)));
    let posts: Vec<String> = pending(&play.state).iter().map(Effect::id).filter(|id| id.starts_with("message/")).collect();
    let place = |part: &str| posts.iter().position(|id| id.contains(part)).unwrap();
    assert!(place("gate/cutover/1") < place("note/"), "{posts:?}");
}

#[test]
fn a_step_that_is_cut_off_again_and_again_asks_instead_of_looping() {
    let mut play = Play::start(Mode::Live);
    for _ in 0..4 {
        let events = play.put(Input::Rebooted);
        assert_eq!(events.last().map(kind_of), Some("step_started"), "`look` only looks: it is repeated");
    }
    assert_eq!(play.put(Input::Rebooted).last().map(kind_of), Some("asked"));
    assert!(play.put(Input::Rebooted).iter().all(|event| kind_of(event) != "step_started"));
}

#[test]
fn sign_off_by_the_requester_is_refused() {
    let mut play = Play::at_gate();
    let events = play.votes(&[(&requester(), Vote::Sign), (&lead(), Vote::Sign)]);
    assert!(matches!(&events[0], Event::VoteRefused { why: VoteRefusal::Requester, .. }));
    assert_eq!(kinds(&events), ["vote_refused", "sign_off_granted"]);
    assert!(play.votes(&[(&requester(), Vote::Sign), (&lead(), Vote::Sign)]).is_empty(), "said once");
}

#[test]
fn a_vote_of_the_wrong_role_is_refused_and_a_bot_is_ignored() {
    let mut play = Play::at_gate();
    let bot = Person { bot: true, ..person(9, &["dba"]) };
    let events =
        play.votes(&[(&person(8, &["operator"]), Vote::Sign), (&bot, Vote::Sign), (&person(8, &["operator"]), Vote::Veto)]);
    assert_eq!(kinds(&events), ["vote_refused", "vote_refused"]);
    assert_eq!(play.status(), Status::AtGate(Play::gate()));
}

#[test]
fn a_vote_withdrawn_before_the_start_stops_the_start() {
    let mut play = Play::at_gate();
    play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Sign)]);
    let events = play.recheck(&[(&lead(), Vote::Sign)]);
    assert_eq!(kinds(&events), ["sign_off_withdrawn", "clearance_failed"]);
    assert_eq!(play.state.step(&step("switch")).attempts, 0);
}

#[test]
fn a_role_lost_before_the_start_stops_the_start() {
    let mut play = Play::at_gate();
    play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Sign)]);
    let events = play.recheck(&[(&person(2, &[]), Vote::Sign), (&lead(), Vote::Sign)]);
    assert_eq!(kinds(&events), ["sign_off_withdrawn", "vote_refused", "clearance_failed"]);
}

#[test]
fn a_veto_of_a_required_role_is_final_for_its_card() {
    let mut play = Play::at_gate();
    assert_eq!(kinds(&play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Veto)])), ["gate_refused", "paused"]);
    let answered = play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Sign)]);
    assert_eq!(kinds(&answered), ["vote_refused", "vote_refused"], "removing the veto changes nothing");
    assert_eq!(play.status(), Status::Paused);
    assert_eq!(kinds(&play.put(Input::Resume { by: dba() })), ["unpaused", "gate_opened"]);
    assert_eq!(play.card(), 2);
    assert!(play.state.gates[&Play::gate()].signers.is_empty(), "a new card has new votes");
}

#[test]
fn a_vote_on_a_replaced_card_is_answered_once_and_stands_in_nobodys_way() {
    let mut play = Play::at_gate();
    play.votes(&[(&dba(), Vote::Sign)]);
    play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Veto)]);
    assert!(play.votes(&[(&dba(), Vote::Sign), (&lead(), Vote::Veto)]).is_empty(), "the veto counted");
    play.put(Input::Resume { by: lead() });
    let late = person(9, &["operations_lead"]);
    let old_card = |play: &mut Play| {
        let votes = cast(&[(&dba(), Vote::Sign), (&lead(), Vote::Veto), (&late, Vote::Sign)]);
        play.put(Input::VotesRead { gate: Play::gate(), card: 1, votes })
    };
    let answered = old_card(&mut play);
    let [Event::VoteRefused { card: 1, voter, why: VoteRefusal::ClosedCard, .. }] = answered.as_slice() else {
        panic!("only who voted after the card was closed is answered: {answered:?}")
    };
    assert_eq!(voter.id, late.id);
    assert!(old_card(&mut play).is_empty(), "once");
    play.measure(true);
    let granted = play.votes(&[(&dba(), Vote::Sign), (&late, Vote::Sign)]);
    assert_eq!(kinds(&granted), ["sign_off_granted", "sign_off_granted", "quorum_reached"]);
    assert!(old_card(&mut play).is_empty(), "nor is it forgotten by the new card's votes");
}

#[test]
fn a_vote_on_a_red_card_does_not_count_until_it_is_cast_again() {
    let mut play = Play::start(Mode::Live);
    play.succeed("look");
    play.succeed("copy");
    play.measure(false);
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    assert_eq!(kinds(&play.votes(&both)), ["vote_refused", "vote_refused"]);
    play.measure(true);
    assert!(play.votes(&both).is_empty(), "an old vote does not turn green with the card");
    let card = play.card();
    for voter in [dba(), lead()] {
        play.put(Input::VoteRemoved { gate: Play::gate(), card, user: voter.id, vote: Vote::Sign });
    }
    assert_eq!(kinds(&play.votes(&both)), ["sign_off_granted", "sign_off_granted", "quorum_reached"]);
}

#[test]
fn an_expired_gate_refuses_after_two_warnings() {
    let mut play = Play::at_gate();
    assert_eq!(kinds(&play.later(15 * 60)), ["gate_warned"]);
    assert_eq!(kinds(&play.later(9 * 60)), ["gate_warned"]);
    assert_eq!(kinds(&play.later(6 * 60)), ["gate_refused", "paused"]);
    let late = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    let answered = play.votes(&late);
    assert!(matches!(&answered[0], Event::VoteRefused { why: VoteRefusal::ClosedCard, .. }), "late votes are answered");
    assert!(play.votes(&late).is_empty(), "once");
}

#[test]
fn a_deleted_card_voids_its_votes_and_is_posted_anew() {
    let mut play = Play::at_gate();
    let key = MessageKey::new("gate/cutover/1");
    play.put(Input::MessagePosted(key.clone(), MessageRef { channel: ChannelId::new(1), message: MessageId::new(2) }, 1));
    play.votes(&[(&dba(), Vote::Sign)]);
    assert_eq!(
        kinds(&play.put(Input::MessageLost(key, MessageRef { channel: ChannelId::new(1), message: MessageId::new(2) }))),
        ["gate_card_lost", "gate_opened"]
    );
    assert!(play.state.gates[&Play::gate()].signers.is_empty());
}

#[test]
fn a_lost_thread_voids_the_votes_in_it_and_what_people_must_act_on_is_owed_anew() {
    let mut play = Play::at_gate();
    let thread = ChannelId::new(2);
    let at = |channel, message| MessageRef { channel, message: MessageId::new(message) };
    let card = at(ChannelId::new(1), 3);
    play.put(Input::MessagePosted(MessageKey::new("plan"), card, 1));
    play.put(Input::ThreadOpened(thread));
    play.put(Input::MessagePosted(MessageKey::new("progress"), at(thread, 4), 1));
    play.put(Input::MessagePosted(MessageKey::new("gate/cutover/1"), at(thread, 5), 1));
    play.votes(&[(&dba(), Vote::Sign)]);
    assert_eq!(kinds(&play.put(Input::ThreadLost(ChannelId::new(9)))), Vec::<&str>::new(), "another one");
    assert_eq!(kinds(&play.put(Input::ThreadLost(thread))), ["thread_lost", "gate_card_lost", "gate_opened"]);
    assert_eq!(kinds(&play.put(Input::ThreadLost(thread))), Vec::<&str>::new(), "old news");
    assert!(play.state.gates[&Play::gate()].signers.is_empty());
    let owed = |state: &State, key: &str| state.owed.iter().find(|owed| owed.key.as_str() == key).unwrap().clone();
    assert_eq!((owed(&play.state, "plan").posted, owed(&play.state, "plan").former), (None, Some(card)));
    assert_eq!((owed(&play.state, "progress").posted, owed(&play.state, "progress").former), (None, None));
    assert_eq!(owed(&play.state, "gate/cutover/1").posted, Some(at(thread, 5)), "its votes are void: it is not shown again");
    let posts =
        |state: &State| pending(state).iter().map(Effect::id).filter(|id| !id.starts_with("measure/")).collect::<Vec<_>>();
    assert_eq!(posts(&play.state)[0], "message/plan/1", "nothing else has a place yet");
    assert!(!posts(&play.state).iter().any(|id| id == "thread" || id.contains("note/")));
    play.put(Input::MessagePosted(MessageKey::new("plan"), at(ChannelId::new(1), 6), 1));
    assert_eq!(owed(&play.state, "plan").former, None);
    assert!(posts(&play.state).contains(&"thread".to_owned()));
}

#[test]
fn a_changed_target_closes_the_gate() {
    let mut play = Play::at_gate();
    let votes = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.votes(&votes);
    let changed = vec!["`postgres` is another cluster".to_owned()];
    let input = Input::GateRechecked {
        gate: Play::gate(),
        card: 1,
        votes: cast(&votes),
        readings: vec![reading(true)],
        targets_changed: changed,
    };
    assert_eq!(kinds(&play.put(input)), ["gate_refused", "paused"]);
}

#[test]
fn break_glass_opens_a_green_gate_and_never_a_red_one() {
    let mut play = Play::at_gate();
    play.measure(false);
    let by = person(7, &["break_glass"]);
    let input = Input::BreakGlass { by: by.clone(), reason: "fire".to_owned(), other_holders: true };
    assert!(matches!(play.try_put(input.clone()), Err(Rejection::RedCriterion { .. })));
    play.measure(true);
    let own = Input::BreakGlass { by: requester(), reason: "fire".to_owned(), other_holders: true };
    assert!(matches!(play.try_put(own), Err(Rejection::Requester { .. })));
    assert_eq!(kinds(&play.put(input)), ["glass_broken", "quorum_reached"]);
    let events = play.recheck(&[]);
    assert_eq!(kinds(&events), ["gate_cleared", "step_started"], "nobody signed, so nothing is armed");
}

#[test]
fn gate_a_glass_is_broken_once() {
    let mut play = Play::at_gate();
    play.put(Input::Pause { by: lead(), reason: "lunch".to_owned() });
    let glass = |by: Person| Input::BreakGlass { by, reason: "fire".to_owned(), other_holders: true };
    let first = play.put(glass(person(7, &["break_glass"])));
    assert_eq!(kinds(&first), ["glass_broken"]);
    let again = play.try_put(glass(person(8, &["break_glass"]))).unwrap_err();
    assert_eq!((again.code(), again.to_string().as_str()), ("glass-broken", "p7 has broken the glass of this gate already"));

    // A journal of before may hold it twice: one review is owed and done with.
    let at = play.now;
    play.state = evolve(play.state, at, &first[0]).unwrap();
    let issue = crate::domain::IssueRef { number: 1, url: "https://github.example/1".to_owned() };
    play.put(Input::ReviewPublished { gate: Play::gate(), card: 1, at: issue });
    assert!(!pending(&play.state).iter().any(|effect| matches!(effect, Effect::PublishReview { .. })));
}

#[test]
fn the_beat_goes_on_during_a_rollback_from_closing() {
    let mut play = Play::past_gate();
    std::sync::Arc::make_mut(&mut play.state.started).beat = Some("15m".parse().unwrap());
    play.succeed("switch");
    play.succeed("smoke");
    assert_eq!((play.status(), play.state.beat), (Status::Closing(End::Succeeded), None));
    play.later(60);
    play.put(Input::Rollback { rollback: None, by: Actor::Person(requester()), reason: "wrong rows".to_owned() });
    assert_eq!(kinds(&play.later(15 * 60)), ["status_due"]);
    play.succeed("switch-back");
    assert_eq!(play.state.beat, None);
}

#[test]
fn a_failure_behind_the_gate_rolls_back_on_the_armed_signatures() {
    let mut play = Play::past_gate();
    play.succeed("switch");
    assert_eq!(kinds(&play.fail("smoke", false)), ["step_failed", "rollback_started", "step_started"]);
    assert_eq!(kinds(&play.succeed("switch-back")), ["step_succeeded", "rollback_finished", "ended"]);
    assert_eq!(play.status(), Status::Ended(End::RolledBack));
}

#[test]
fn a_rollback_that_is_not_armed_opens_its_own_gate() {
    let mut play = Play::at_gate();
    let by = Actor::Person(person(4, &["operator"]));
    let events = play.put(Input::Rollback { rollback: None, by, reason: "bad".to_owned() });
    assert_eq!(kinds(&events), ["rollback_requested", "gate_opened"]);
    let gate = GateRef::Rollback("runtime".parse().unwrap());
    play.put(Input::GateMeasured { gate: gate.clone(), card: 1, readings: vec![] });
    let votes = cast(&[(&lead(), Vote::Sign)]);
    play.put(Input::VotesRead { gate: gate.clone(), card: 1, votes: votes.clone() });
    let events = play.put(Input::GateRechecked { gate, card: 1, votes, readings: vec![], targets_changed: vec![] });
    assert_eq!(kinds(&events), ["gate_cleared", "rollback_started", "step_started"]);
}

#[test]
fn an_armed_rollback_takes_one_authorised_person_or_the_host() {
    let mut play = Play::past_gate();
    let by = |person| Actor::Person(person);
    let refused = play.try_put(Input::Rollback { rollback: None, by: by(dba()), reason: "x".to_owned() });
    assert!(matches!(refused, Err(Rejection::RoleMissing { .. })));
    let events =
        play.put(Input::Rollback { rollback: None, by: Actor::Host { user: "root".to_owned() }, reason: "x".to_owned() });
    assert_eq!(kinds(&events), ["rollback_started"], "the step under way is cancelled first");
    assert!(pending(&play.state).iter().any(|e| matches!(e, Effect::CancelStep { .. })));
    let failure = Failure { kind: FailureKind::Cancelled, message: String::new(), retryable: false };
    let outcome = Outcome::Failed { failure, checks: vec![], output: None };
    assert_eq!(kinds(&play.put(Input::StepFinished(step("switch"), 1, outcome))), ["step_failed", "step_started"]);
}

#[test]
fn nothing_is_rolled_back_before_the_first_effect() {
    let mut play = Play::start(Mode::Live);
    let by = Actor::Person(person(4, &["operator"]));
    let refused = play.try_put(Input::Rollback { rollback: None, by, reason: "x".to_owned() });
    assert_eq!(refused, Err(Rejection::NothingToRollBack));
    assert_eq!(kinds(&play.put(Input::Abort { by: lead(), reason: "x".to_owned() }))[0], "abort_requested");
}

#[test]
fn a_restart_resumes_what_can_be_resumed_and_asks_about_the_rest() {
    let mut play = Play::start(Mode::Live);
    play.succeed("look");
    assert_eq!(kinds(&play.put(Input::Rebooted)), ["rebooted", "step_interrupted", "step_started"]);
    assert!(matches!(play.events.last(), Some(Event::StepStarted { resumes: true, attempt: 2, .. })));

    let mut play = Play::past_gate();
    assert_eq!(kinds(&play.put(Input::Rebooted)), ["rebooted", "step_interrupted", "asked"]);
    let answer = |by, answer| Input::Answer { question: 1, answer, reason: "I looked".to_owned(), by };
    assert_eq!(
        play.try_put(answer(requester(), Answer::Happened)),
        Err(Rejection::Requester { what: "settle whether it happened" })
    );
    assert_eq!(kinds(&play.put(answer(dba(), Answer::Happened))), ["answered"]);
    assert!(pending(&play.state).iter().any(|e| matches!(e, Effect::CheckStep { .. })));
    let checked = Input::StepChecked { step: step("switch"), attempt: 1, result: json!(null), checks: vec![] };
    let events = play.put(checked);
    assert!(matches!(&events[0], Event::StepSucceeded { asserted_by: Some(by), .. } if by.id == dba().id));
}

#[test]
fn a_failed_step_is_retried_with_backoff_then_asked_about() {
    let mut play = Play::start(Mode::Live);
    play.succeed("look");
    assert_eq!(kinds(&play.fail("copy", true)), ["step_failed"]);
    assert!(play.later(9).is_empty());
    assert_eq!(kinds(&play.later(1)), ["step_started"]);
    play.fail("copy", true);
    assert_eq!(kinds(&play.later(20)), ["step_started"]);
    assert_eq!(kinds(&play.fail("copy", true)), ["step_failed", "asked"]);
    let input = Input::Answer { question: 1, answer: Answer::Retry, reason: "mended".to_owned(), by: requester() };
    assert_eq!(kinds(&play.put(input)), ["answered", "step_started"]);
}

#[test]
fn failed_attempts_do_not_count_as_cut_off_after_a_person_has_had_it_tried_again() {
    let mut play = Play::start(Mode::Live);
    play.succeed("look");
    for pause in [10, 20, 0] {
        play.fail("copy", true);
        play.later(pause);
    }
    let input = Input::Answer { question: 1, answer: Answer::Retry, reason: "mended".to_owned(), by: requester() };
    play.put(input);
    for cut_off in 1..5 {
        assert_eq!(
            kinds(&play.put(Input::Rebooted)),
            ["rebooted", "step_interrupted", "step_started"],
            "cut off {cut_off} times"
        );
    }
    assert_eq!(kinds(&play.put(Input::Rebooted)), ["rebooted", "step_interrupted", "asked"], "the fifth time in a row");
}

#[test]
fn a_paused_run_starts_nothing_and_still_gathers_votes() {
    let mut play = Play::at_gate();
    play.put(Input::Pause { by: lead(), reason: "lunch".to_owned() });
    let votes = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    assert_eq!(kinds(&play.votes(&votes)), ["sign_off_granted", "sign_off_granted"]);
    assert_eq!(kinds(&play.put(Input::Resume { by: lead() })), ["unpaused", "quorum_reached"]);
}

#[test]
fn a_dry_run_needs_no_votes_and_has_no_effects() {
    let mut play = Play::start(Mode::DryRun);
    play.succeed("look");
    play.succeed("copy");
    assert_eq!(kinds(&play.measure(true)), ["criteria_measured", "gate_cleared", "step_started"]);
    play.succeed("switch");
    assert_eq!(kinds(&play.succeed("smoke")), ["step_succeeded", "ended"]);
    assert_eq!(play.state.effects_began_at, None);
}

#[test]
fn a_rehearsal_with_a_red_criterion_goes_on_and_ends_failed() {
    let mut play = Play::start(Mode::DryRun);
    play.succeed("look");
    play.succeed("copy");
    play.measure(false);
    play.succeed("switch");
    play.succeed("smoke");
    assert_eq!(play.status(), Status::Ended(End::Failed));
}

#[test]
fn a_second_live_run_on_a_held_lock_is_refused() {
    let holder = Holder { run: RunId::from_random(1), requester: "Ada".to_owned(), since: at(-60) };
    let refused = start(at(0), StartRequest { held_by: Some(holder), ..request(Mode::Live) }).unwrap_err();
    assert_eq!(refused.code(), "locked");
    assert!(refused.to_string().contains("Ada"), "{refused}");
}

#[test]
fn fail_closed_beside_a_run_that_cannot_be_read_no_live_run_starts() {
    let beside = |mode| start(at(0), StartRequest { unreadable: Some(RunId::from_random(1)), ..request(mode) });
    assert_eq!(beside(Mode::Live).unwrap_err().code(), "lock-unknown");
    assert!(beside(Mode::DryRun).is_ok());
}

#[test]
fn a_start_that_does_not_fit_the_window_is_refused_with_the_arithmetic() {
    let mut wish = request(Mode::Live);
    wish.plan.runbook.window = "10m".parse().unwrap();
    let refused = start(at(0), wish).unwrap_err();
    assert!(refused.to_string().contains("prepare 11m + cutover 2m"), "{refused}");
}

#[test]
fn a_live_run_needs_a_recent_green_rehearsal_of_the_same_digest() {
    let mut wish = request(Mode::Live);
    wish.plan.runbook.dry_run = Some(crate::domain::runbook::DryRunPolicy { required_within: "1h".parse().unwrap() });
    let digest = wish.plan.digest();
    assert_eq!(start(at(0), wish.clone()).unwrap_err().code(), "not-rehearsed");
    let rehearsal = |ended_at| Some(Rehearsal { run: RunId::from_random(2), ended_at, digest });
    assert!(start(at(0), StartRequest { rehearsal: rehearsal(at(-7200)), ..wish.clone() }).is_err());
    assert!(start(at(0), StartRequest { rehearsal: rehearsal(at(-60)), ..wish }).is_ok());
}

#[test]
fn a_phase_that_is_late_asks_instead_of_starting() {
    let mut wish = request(Mode::Live);
    wish.at = Some(at(600));
    let events = start(at(0), wish).unwrap();
    let state = begin(at(0), &events[0]).unwrap();
    let mut play = Play { state, now: at(0), events };
    assert!(play.put(Input::Tick).is_empty());
    assert_eq!(next_deadline(&play.state, at(0)), Some(at(600)));
    play.now = at(600 + 301);
    assert_eq!(kinds(&play.put(Input::Tick)), ["asked"]);
    let input = Input::Answer { question: 1, answer: Answer::Proceed, reason: "still fine".to_owned(), by: dba() };
    assert_eq!(kinds(&play.put(input)), ["answered", "step_started"]);
}

#[test]
fn votes_after_the_start_are_answered_too_late() {
    let mut play = Play::past_gate();
    let votes = vec![ReactionVote { person: lead(), vote: Vote::Veto }];
    let late = Input::VotesRead { gate: Play::gate(), card: 1, votes };
    let events = play.put(late.clone());
    assert!(matches!(&events[0], Event::VoteRefused { why: VoteRefusal::TooLate, .. }));
    assert_eq!(play.put(late), [], "once");
    assert!(matches!(play.state.step(&step("switch")).status, StepStatus::Running(_)));
}

/// Anything that may come, in any order.
#[test]
fn what_changed_since_an_update_is_what_people_need_to_hear() {
    use ChangeKind::{GateCleared, GateOpened, RollbackArmed, RollbackStarted, Signed, StepDone, StepFailed};
    let mut play = Play::start(Mode::Live);
    play.succeed("look");
    play.later(60);
    let told = play.now;
    play.later(60);
    play.fail("copy", true);
    play.later(10);
    play.succeed("copy");
    play.measure(true);
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.votes(&both);
    play.recheck(&both);
    play.succeed("switch");
    play.fail("smoke", false);
    let (gate, runtime): (_, crate::domain::RollbackName) = (Play::gate, "runtime".parse().unwrap());
    let expected = [
        StepDone(step("copy")),
        GateOpened(gate()),
        Signed(gate(), dba()),
        Signed(gate(), lead()),
        GateCleared(gate()),
        RollbackArmed(runtime.clone()),
        StepDone(step("switch")),
        StepFailed(step("smoke")),
        RollbackStarted(runtime),
    ];
    let since = |at| play.state.changes_since(at).map(|change| change.kind.clone()).collect::<Vec<_>>();
    assert_eq!(since(told), expected, "an attempt that is made again is nothing that people need to hear");
    assert_eq!(since(at(-1))[0], StepDone(step("look")));
    assert_eq!(since(play.now), []);
}

#[test]
fn an_update_tells_what_changed_since_the_one_before_it() {
    let mut request = request(Mode::Live);
    request.beat = Some(crate::domain::Duration::from_minutes(15));
    let mut play = Play::of(request);
    assert_eq!(play.state.told_before(at(900)), at(0), "nobody has heard anything yet");
    play.succeed("look");
    play.later(1_000);
    play.later(1_000);
    let dues: Vec<Timestamp> = play
        .state
        .owed
        .iter()
        .filter_map(|owed| if let MessageKind::Beat { due, .. } = owed.kind { Some(due) } else { None })
        .collect();
    assert_eq!(dues, [at(900)], "nobody could see it, so that it stands for the next one");
    assert_eq!(play.state.told_before(at(900)), at(0));
    assert_eq!(play.state.told_before(at(1_800)), at(900));
}

#[test]
fn a_rollback_is_safe_to_start_while_it_still_ends_within_the_window() {
    let mut play = Play::past_gate();
    let runtime = "runtime".parse().unwrap();
    let window = LastSafe { at: at(2 * 3_600 - 300), bound: SafeUntil::WindowEnds };
    assert_eq!(last_safe(&play.state, &runtime, play.now), Some(window.clone()));
    assert_eq!(last_safe(&play.state, &runtime, at(3 * 3_600)), Some(window), "that it has passed is told");
    let by = Actor::Person(person(4, &["operator"]));
    play.put(Input::Rollback { rollback: None, by, reason: "bad".to_owned() });
    assert_eq!(last_safe(&play.state, &runtime, play.now), None, "it is under way");
    assert_eq!(last_safe(&Play::start(Mode::DryRun).state, &runtime, at(0)), None);
}

#[test]
fn a_rollback_with_a_point_of_no_return_is_safe_until_that_step_is_forecast_to_start() {
    let until = |minutes: u64| {
        let mut request = request(Mode::Live);
        request.plan.runbook.window = crate::domain::Duration::from_minutes(minutes);
        let (_, rollback) = request.plan.runbook.rollback.get_index_mut(0).unwrap();
        rollback.until = Some(crate::domain::runbook::PointOfNoReturn { step: step("smoke"), because: "it writes".to_owned() });
        Play::of(request)
    };
    let runtime = "runtime".parse().unwrap();
    let mut play = until(120);
    // Look, copy and switch: 1 + 10 + 1 minutes.
    let smoke = |at| Some(LastSafe { at, bound: SafeUntil::NoReturn(step("smoke")) });
    assert_eq!(last_safe(&play.state, &runtime, at(0)), smoke(at(12 * 60)));
    play.later(30);
    assert_eq!(last_safe(&play.state, &runtime, play.now), smoke(at(12 * 60)), "it is as fast as it was thought to be");
    play.later(60);
    play.succeed("look");
    assert_eq!(last_safe(&play.state, &runtime, play.now), smoke(at(90 + 11 * 60)), "it took half a minute longer");
    // The window ends a quarter of an hour after the start, and the rollback takes five minutes.
    let window = LastSafe { at: at(10 * 60), bound: SafeUntil::WindowEnds };
    assert_eq!(last_safe(&until(15).state, &runtime, at(0)), Some(window), "whichever comes first");
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.succeed("copy");
    play.measure(true);
    play.votes(&both);
    play.recheck(&both);
    play.succeed("switch");
    assert_eq!(last_safe(&play.state, &runtime, play.now), None, "smoke has started");
}

fn any_input() -> impl Strategy<Value = Input> {
    let people =
        || prop_oneof![Just(requester()), Just(dba()), Just(lead()), Just(person(4, &["operator"])), Just(person(5, &[]))];
    let vote = || prop_oneof![3 => Just(Vote::Sign), 1 => Just(Vote::Veto)];
    let votes = || {
        proptest::collection::vec((people(), vote()), 0..5)
            .prop_map(|votes| votes.into_iter().map(|(person, vote)| ReactionVote { person, vote }).collect::<Vec<_>>())
    };
    let gates = || prop_oneof![4 => Just(Play::gate()), 1 => Just(GateRef::Rollback("runtime".parse().unwrap()))];
    let steps = || prop_oneof![Just("look"), Just("copy"), Just("switch"), Just("smoke"), Just("switch-back")];
    let readings = || proptest::bool::weighted(0.8).prop_map(|green| vec![reading(green)]);
    let outcome = prop_oneof![
        6 => Just(Outcome::Succeeded { result: json!({}), simulated: false, checks: vec![], output: None }),
        1 => Just(Outcome::Failed { failure: Failure { kind: FailureKind::Failed, message: "x".into(), retryable: true }, checks: vec![], output: None }),
        1 => Just(Outcome::Unknown { why: "lost".into() }),
    ];
    prop_oneof![
        2 => Just(Input::Tick),
        1 => Just(Input::Rebooted),
        1 => Just(Input::ThreadOpened(ChannelId::new(2))),
        1 => Just(Input::ThreadLost(ChannelId::new(2))),
        8 => (steps(), 1u32..4, outcome).prop_map(|(name, attempt, outcome)| Input::StepFinished(step(name), attempt, outcome)),
        4 => (gates(), 1u32..3, readings()).prop_map(|(gate, card, readings)| Input::GateMeasured { gate, card, readings }),
        6 => (gates(), 1u32..3, votes()).prop_map(|(gate, card, votes)| Input::VotesRead { gate, card, votes }),
        4 => (gates(), 1u32..3, votes(), readings()).prop_map(|(gate, card, votes, readings)| Input::GateRechecked { gate, card, votes, readings, targets_changed: vec![] }),
        1 => people().prop_map(|by| Input::BreakGlass { by, reason: "fire".into(), other_holders: true }),
        1 => people().prop_map(|by| Input::Pause { by, reason: "x".into() }),
        2 => people().prop_map(|by| Input::Resume { by }),
        1 => people().prop_map(|by| Input::Abort { by, reason: "x".into() }),
        1 => people().prop_map(|by| Input::Close { by, reason: "x".into() }),
        1 => people().prop_map(|by| Input::Rollback { rollback: None, by: Actor::Person(by), reason: "x".into() }),
        1 => (1u32..3, people(), prop_oneof![Just(Answer::Happened), Just(Answer::DidNotHappen), Just(Answer::Retry), Just(Answer::Stop)])
            .prop_map(|(question, by, answer)| Input::Answer { question, answer, reason: "x".into(), by }),
        1 => steps().prop_map(|name| Input::StepChecked { step: step(name), attempt: 1, result: json!({}), checks: vec![] }),
    ]
}

/// What comes where people sign and act in turn: enough of them that somebody is always left who may still sign.
fn input_at_strict_gate() -> impl Strategy<Value = Input> {
    let signers = || {
        let all =
            vec![dba(), lead(), person(6, &["dba"]), person(7, &["operations_lead"]), person(8, &["dba", "operations_lead"])];
        proptest::sample::subsequence(all, 0..=5)
    };
    let votes = || {
        let sign = |person| ReactionVote { person, vote: Vote::Sign };
        signers().prop_map(move |people| people.into_iter().map(sign).collect::<Vec<_>>())
    };
    let actor =
        || prop_oneof![Just(person(4, &["operator"])), Just(dba()), Just(lead()), Just(person(8, &["dba", "operations_lead"]))];
    let (gate, readings) = (Play::gate, || vec![reading(true)]);
    prop_oneof![
        2 => any_input(),
        6 => (1u32..3, votes()).prop_map(move |(card, votes)| Input::VotesRead { gate: gate(), card, votes }),
        6 => (1u32..3, votes()).prop_map(move |(card, votes)| Input::GateRechecked { gate: gate(), card, votes, readings: readings(), targets_changed: vec![] }),
        2 => actor().prop_map(|by| Input::Pause { by, reason: "x".into() }),
        3 => actor().prop_map(|by| Input::Resume { by }),
    ]
}

/// Whether the journal up to here lets the gated steps start: a clearance for this digest by a whole quorum of
/// people who had signed and did not ask, or by a broken glass.
fn is_cleared(events: &[Event], digest: crate::domain::Digest) -> bool {
    events.iter().any(|event| match event {
        Event::GateCleared { gate, digest: cleared, clearance, .. } if *gate == Play::gate() && *cleared == digest => {
            match clearance {
                Clearance::SignOff { signers } => {
                    let people: BTreeSet<_> = signers.iter().map(|s| s.person.id).collect();
                    let roles: BTreeSet<_> = signers.iter().map(|s| s.role.as_str()).collect();
                    people.len() == 2
                        && roles == BTreeSet::from(["dba", "operations_lead"])
                        && !people.contains(&requester().id)
                        && signers.iter().all(|s| s.person.roles.contains(&s.role))
                }
                Clearance::BreakGlass { by } => {
                    events.iter().any(|e| matches!(e, Event::GlassBroken { by: b, .. } if b.id == by.id))
                }
                Clearance::Rehearsal => false,
            }
        }
        _ => false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_legal_history_starts_a_gated_step_without_a_valid_quorum(inputs in proptest::collection::vec((any_input(), 0i64..900), 1..60)) {
        let mut play = Play::start(Mode::Live);
        for (input, pause) in inputs {
            play.now += chrono::TimeDelta::seconds(pause);
            let _ = play.try_put(input);
        }
        let digest = play.state.started.digest;
        for (index, event) in play.events.iter().enumerate() {
            if let Event::StepStarted { step, .. } = event && matches!(step.as_str(), "switch" | "smoke") {
                prop_assert!(is_cleared(&play.events[..index], digest), "{:?}", kinds(&play.events[..=index]));
            }
        }
    }

    #[test]
    fn no_legal_history_starts_a_gated_step_on_the_word_of_somebody_who_acted(inputs in proptest::collection::vec((input_at_strict_gate(), 0i64..60), 1..60)) {
        let mut play = Play::at_strict_gate();
        for (input, pause) in inputs {
            play.now += chrono::TimeDelta::seconds(pause);
            let _ = play.try_put(input);
        }
        let digest = play.state.started.digest;
        let mut acted = BTreeSet::new();
        for (index, event) in play.events.iter().enumerate() {
            match event {
                Event::Paused { by: Some(by), .. } | Event::Unpaused { by } | Event::Answered { by, .. } => {
                    acted.insert(by.id);
                }
                Event::GateCleared { gate, clearance: Clearance::SignOff { signers }, .. } if *gate == Play::gate() => {
                    prop_assert!(signers.iter().all(|signer| !acted.contains(&signer.person.id)), "{:?}", play.events);
                }
                Event::RollbackArmed { signers, .. } => {
                    prop_assert!(signers.iter().all(|signer| !acted.contains(&signer.person.id)), "{:?}", play.events);
                }
                Event::StepStarted { step, .. } if matches!(step.as_str(), "switch" | "smoke") => {
                    prop_assert!(is_cleared(&play.events[..index], digest), "{:?}", kinds(&play.events[..=index]));
                }
                _ => {}
            }
        }
    }

    #[test]
    fn every_history_folds_to_the_same_state_and_every_attempt_ends_once(inputs in proptest::collection::vec((any_input(), 0i64..900), 1..60)) {
        let mut play = Play::start(Mode::Live);
        let mut stamps = vec![at(0); play.events.len()];
        for (input, pause) in inputs {
            play.now += chrono::TimeDelta::seconds(pause);
            let before = play.events.len();
            let _ = play.try_put(input);
            stamps.extend(std::iter::repeat_n(play.now, play.events.len() - before));
            prop_assert!(play.state.steps.values().filter(|s| s.is_under_way()).count() <= 1, "two steps at once");
        }
        let text: Vec<String> = play.events.iter().map(|event| serde_json::to_string(event).unwrap()).collect();
        let mut state: Option<State> = None;
        for (line, at) in text.iter().zip(&stamps) {
            let event: Event = serde_json::from_str(line).unwrap();
            state = Some(match state { None => begin(*at, &event).unwrap(), Some(state) => evolve(state, *at, &event).unwrap() });
        }
        prop_assert_eq!(state.unwrap(), play.state);
    }
}

#[test]
fn gate_a_signature_withdrawn_during_the_last_look_is_not_overridden_by_it() {
    let mut play = Play::at_gate();
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.votes(&both);
    let removed = Input::VoteRemoved { gate: Play::gate(), card: 1, user: dba().id, vote: Vote::Sign };
    assert_eq!(kinds(&play.put(removed)), ["sign_off_withdrawn", "clearance_failed"]);
    assert!(play.recheck(&both).is_empty(), "what was read before the withdrawal comes too late");
    assert_eq!(kinds(&play.votes(&both)), ["sign_off_granted", "quorum_reached"], "it may be given again");
}

#[test]
fn gate_a_signature_is_void_once_its_author_has_acted_if_the_gate_leaves_such_people_out() {
    let (operator, other_dba) = (person(4, &["operator"]), person(6, &["dba"]));
    let mut play = Play::at_strict_gate();
    play.votes(&[(&dba(), Vote::Sign)]);
    let pause = || Input::Pause { by: dba(), reason: "phone rings".to_owned() };
    assert_eq!(kinds(&play.put(pause())), ["paused", "sign_off_withdrawn", "vote_refused"]);
    play.put(Input::Resume { by: operator.clone() });
    let without = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    assert_eq!(kinds(&play.votes(&without)), ["sign_off_granted"], "one of two counts");
    let with = [(&dba(), Vote::Sign), (&lead(), Vote::Sign), (&other_dba, Vote::Sign)];
    assert_eq!(kinds(&play.votes(&with)), ["sign_off_granted", "quorum_reached"]);
    let events = play.recheck(&with);
    assert_eq!(kinds(&events), ["gate_cleared", "rollback_armed", "step_started"]);
    let Event::GateCleared { clearance: Clearance::SignOff { signers }, .. } = &events[0] else { panic!("by signatures") };
    assert!(signers.iter().map(|signer| signer.person.id).eq([other_dba.id, lead().id]));

    let mut play = Play::at_strict_gate();
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.votes(&both);
    let events = play.put(pause());
    assert_eq!(kinds(&events), ["paused", "sign_off_withdrawn", "vote_refused", "clearance_failed"], "during the last look");
    play.put(Input::Resume { by: operator });
    assert!(play.recheck(&both).is_empty());
}

#[test]
fn gate_the_last_look_leaves_out_whom_an_older_journal_still_counts() {
    let mut play = Play::at_strict_gate();
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.votes(&both);
    // As it was journalled when a signature outlived what its author did afterwards.
    for event in [Event::Paused { by: Some(dba()), reason: "phone rings".to_owned() }, Event::Unpaused { by: lead() }] {
        play.state = evolve(play.state.clone(), play.now, &event).unwrap();
    }
    let events = play.recheck(&both);
    assert_eq!(kinds(&events[..4]), ["sign_off_withdrawn", "vote_refused", "sign_off_withdrawn", "vote_refused"]);
    assert_eq!(kinds(&events[4..]), ["clearance_failed"]);
    assert_eq!(play.state.step(&step("switch")).attempts, 0);
}

#[test]
fn gate_a_criterion_that_turns_red_during_the_last_look_stops_the_start() {
    let mut play = Play::at_gate();
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.votes(&both);
    assert_eq!(kinds(&play.measure(false)), ["criteria_measured", "clearance_failed"]);
    assert!(play.recheck(&both).is_empty());
    assert_eq!(kinds(&play.measure(true)), ["criteria_measured", "quorum_reached"], "the signatures were given on green");
}

#[test]
fn gate_a_last_look_that_outlives_the_card_finds_it_expired() {
    let mut play = Play::at_gate();
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    play.votes(&both);
    let expires_at = play.state.gates[&Play::gate()].expires_at;
    assert!(next_deadline(&play.state, play.now).is_some_and(|at| at <= expires_at));
    play.now = expires_at;
    assert_eq!(kinds(&play.recheck(&both)), ["gate_refused", "paused"]);
}

#[test]
fn gate_a_last_look_that_makes_a_timed_phase_late_asks() {
    let mut wish = request(Mode::Live);
    wish.plan.runbook.phases[1].at = Some("T+20m".parse().unwrap());
    let events = start(at(0), wish).unwrap();
    let mut play = Play { state: begin(at(0), &events[0]).unwrap(), now: at(0), events };
    play.put(Input::Tick);
    play.succeed("look");
    play.succeed("copy");
    play.later(1_200);
    play.measure(true);
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    assert!(kinds(&play.votes(&both)).contains(&"quorum_reached"));
    play.now += chrono::TimeDelta::seconds(301);
    assert_eq!(kinds(&play.recheck(&both)), ["clearance_failed", "asked"]);
    assert_eq!(play.state.step(&step("switch")).attempts, 0);
}

#[test]
fn gate_nothing_is_cleared_while_a_rollback_is_wanted_or_the_run_is_aborted() {
    let both = [(&dba(), Vote::Sign), (&lead(), Vote::Sign)];
    let retreat = Input::Rollback { rollback: None, by: Actor::Person(person(4, &["operator"])), reason: "bad".to_owned() };
    for input in [retreat, Input::Abort { by: lead(), reason: "bad".to_owned() }] {
        let mut play = Play::at_gate();
        play.votes(&both);
        play.put(input);
        assert!(!pending(&play.state).iter().any(|effect| matches!(effect, Effect::RecheckGate { .. })));
        assert!(play.recheck(&both).is_empty());
        assert!(play.state.armed.is_empty());
    }
}

#[test]
fn gate_breaking_the_glass_opens_the_gate_whose_turn_it_is() {
    let mut play = Play::at_gate();
    let by = Actor::Person(person(4, &["operator"]));
    play.put(Input::Rollback { rollback: None, by, reason: "bad".to_owned() });
    let back = GateRef::Rollback("runtime".parse().unwrap());
    play.put(Input::GateMeasured { gate: back.clone(), card: 1, readings: vec![] });
    let glass = Input::BreakGlass { by: person(7, &["break_glass"]), reason: "fire".to_owned(), other_holders: true };
    let events = play.put(glass);
    assert!(matches!(&events[0], Event::GlassBroken { gate, .. } if *gate == back));
}

#[test]
fn intent_first_a_second_attempt_after_a_cut_off_is_made_only_if_twice_is_as_good_as_once() {
    let cancelled = |name: &str| {
        let failure = Failure { kind: FailureKind::TimedOut, message: "too long".to_owned(), retryable: true };
        Input::StepFinished(step(name), 1, Outcome::Failed { failure, checks: vec![], output: None })
    };
    let mut play = Play::start(Mode::Live);
    play.succeed("look");
    let events = play.put(cancelled("copy"));
    assert!(matches!(&events[0], Event::StepFailed { retry_at: Some(_), .. }), "a copy has a checkpoint");

    let mut wish = request(Mode::Live);
    wish.plan.steps.get_mut("copy").unwrap().interruption = Interruption::Ask;
    let events = start(at(0), wish).unwrap();
    let mut play = Play { state: begin(at(0), &events[0]).unwrap(), now: at(0), events };
    play.put(Input::Tick);
    play.succeed("look");
    let events = play.put(cancelled("copy"));
    assert!(matches!(&events[0], Event::StepFailed { retry_at: None, .. }), "whether it took effect is not known");
}

#[test]
fn fail_closed_a_run_that_ends_after_its_window_is_not_closed_at_once() {
    let mut play = Play::past_gate();
    play.succeed("switch");
    play.later(3 * 3600);
    play.put(Input::Abort { by: lead(), reason: "enough".to_owned() });
    let failure = Failure { kind: FailureKind::Cancelled, message: String::new(), retryable: false };
    let outcome = Outcome::Failed { failure, checks: vec![], output: None };
    assert_eq!(kinds(&play.put(Input::StepFinished(step("smoke"), 1, outcome))), ["step_failed", "closing_began"]);
    assert!(play.state.holds_lock());
    assert_eq!(kinds(&play.later(30 * 60)), ["ended"]);
}

#[test]
fn a_way_back_that_is_stopped_can_be_started_again() {
    let mut play = Play::past_gate();
    play.succeed("switch");
    play.fail("smoke", false);
    assert_eq!(kinds(&play.put(Input::Rebooted)), ["rebooted", "step_interrupted", "asked"]);
    let stop = Input::Answer { question: 1, answer: Answer::Stop, reason: "it looks wrong".to_owned(), by: lead() };
    assert_eq!(kinds(&play.put(stop)), ["answered", "step_failed", "closing_began"], "and is not asked about again");
    let again = Input::Rollback { rollback: None, by: Actor::Person(person(4, &["operator"])), reason: "now".to_owned() };
    assert_eq!(kinds(&play.put(again)), ["rollback_started", "step_started"]);
    assert_eq!(kinds(&play.succeed("switch-back")), ["step_succeeded", "rollback_finished", "ended"]);
}

#[test]
fn one_truth_a_plan_that_does_not_describe_its_steps_is_corrupt() {
    let mut wish = request(Mode::Live);
    wish.plan.steps.remove("copy");
    let events = start(at(0), wish).unwrap();
    assert!(begin(at(0), &events[0]).unwrap_err().what.contains("`copy`"));
}

#[test]
fn pinned_the_first_event_carries_the_plan_and_its_digest() {
    let mut play = Play::past_gate();
    let Event::Started(started) = &play.events[0] else { panic!("a run begins with its start") };
    assert_eq!((started.plan.clone(), started.digest), (plan(), plan().digest()));
    let before = play.state.started.clone();
    play.put(Input::Rebooted);
    assert_eq!(play.state.started, before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn intent_first_an_attempt_of_unknown_outcome_is_never_silently_repeated(inputs in proptest::collection::vec((any_input(), 0i64..900), 1..60)) {
        let mut play = Play::past_gate();
        for (input, pause) in inputs {
            play.now += chrono::TimeDelta::seconds(pause);
            let _ = play.try_put(input);
        }
        // `switch` changes something, cannot be probed, and is attempted once unless a person says otherwise.
        let mut allowed = false;
        let mut attempts = BTreeSet::new();
        for event in &play.events {
            match event {
                Event::Answered { answer: Answer::DidNotHappen | Answer::Retry, .. } => allowed = true,
                Event::StepStarted { step, attempt, .. } if step.as_str() == "switch" => {
                    prop_assert!(*attempt == 1 || allowed, "{:?}", kinds(&play.events));
                    prop_assert!(attempts.insert(*attempt), "an attempt begins once");
                    allowed = false;
                }
                Event::StepSucceeded { step, attempt, .. } if step.as_str() == "switch" => {
                    prop_assert!(attempts.contains(attempt), "an outcome follows its start");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn said_once_no_two_owed_messages_share_a_key(inputs in proptest::collection::vec((any_input(), 0i64..900), 1..60)) {
        let mut play = Play::start(Mode::Live);
        for (input, pause) in inputs {
            play.now += chrono::TimeDelta::seconds(pause);
            let _ = play.try_put(input);
        }
        let keys: BTreeSet<_> = play.state.owed.iter().map(|owed| owed.key.clone()).collect();
        prop_assert_eq!(keys.len(), play.state.owed.len(), "{:?}", play.state.owed);
    }

    #[test]
    fn fail_closed_time_alone_never_opens_a_gate(pauses in proptest::collection::vec(0i64..4_000, 1..40)) {
        let mut play = Play::at_gate();
        play.votes(&[(&dba(), Vote::Sign)]);
        for pause in pauses {
            play.later(pause);
        }
        prop_assert_eq!(play.state.step(&step("switch")).attempts, 0);
    }

    #[test]
    fn one_hand_on_the_points_the_lock_is_held_until_the_end(inputs in proptest::collection::vec((any_input(), 0i64..900), 1..60)) {
        let mut play = Play::start(Mode::Live);
        for (input, pause) in inputs {
            play.now += chrono::TimeDelta::seconds(pause);
            let _ = play.try_put(input);
            let ended = play.events.iter().any(|event| matches!(event, Event::Ended { .. }));
            prop_assert_eq!(play.state.holds_lock(), !ended);
        }
    }

    #[test]
    fn a_way_back_that_is_armed_is_one_authorised_action_away_until_the_end(inputs in proptest::collection::vec((any_input(), 0i64..900), 0..40)) {
        let mut play = Play::past_gate();
        for (input, pause) in inputs {
            play.now += chrono::TimeDelta::seconds(pause);
            let _ = play.try_put(input);
            prop_assert_eq!(play.state.armed.len(), 1, "nothing disarms it");
            let possible = play.state.end.is_none() && play.state.rollback.is_none() && play.state.rolled_back.is_empty();
            if possible {
                let by = Actor::Person(person(4, &["operator"]));
                let mut now = Play { state: play.state.clone(), now: play.now, events: play.events.clone() };
                let events = now.try_put(Input::Rollback { rollback: None, by, reason: "now".to_owned() });
                prop_assert!(events.is_ok_and(|events| kinds(&events).contains(&"rollback_started")), "{:?}", kinds(&play.events));
            }
        }
    }
}
