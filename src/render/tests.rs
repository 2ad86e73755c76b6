//! What people read, as it stands in the thread: a run is driven through the domain, every owed message is rendered at
//! the moment when it would be posted, and the live ones once more at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::domain::run::{
    Actor, Answer, Event, Failure, FailureKind, GateRef, Input, ListRef, Mode, Outcome, OutputFile, Place, Portion, ReactionVote,
    Reading, StartRequest, Verdict, Vote, begin, decide, evolve, start,
};
use crate::domain::runbook::{Excludes, Runbook};
use crate::domain::{
    ChannelId, Interruption, MessageId, MessageRef, Person, Plan, RoleId, StepKind, StepName, StepTraits, TargetIdentity, UserId,
};

const RUNBOOK: &str = include_str!("../../tests/fixtures/discord/runbook.json");

fn person(id: u64, name: &str, roles: &[&str]) -> Person {
    let roles: BTreeSet<RoleName> = roles.iter().map(|role| role.parse().unwrap()).collect();
    Person { id: UserId::new(id), name: name.to_owned(), roles, bot: false }
}

fn olivia() -> Person {
    person(1, "Olivia_*", &["operator", "dba"])
}

fn dana() -> Person {
    person(2, "Dana", &["dba"])
}

fn luis() -> Person {
    person(3, "Luís @everyone", &["operations_lead"])
}

fn plan() -> Plan {
    let runbook: Runbook = serde_json::from_str(RUNBOOK).unwrap();
    let traits = |name: &str| {
        let (kind, effect, interruption) = match name {
            "copy" => (StepKind::Action, true, Interruption::Resume),
            "switch" | "switch-back" | "restore" => (StepKind::Action, true, Interruption::Ask),
            "tell" => (StepKind::Confirm, false, Interruption::Repeat),
            "checks" => (StepKind::Checklist, false, Interruption::Repeat),
            _ => (StepKind::Action, false, Interruption::Repeat),
        };
        let late = if name == "switch" { vec!["{{ steps['copy'].result.target }}".to_owned()] } else { vec![] };
        StepTraits { kind, effect, interruption, late }
    };
    let steps = runbook.all_steps().map(|s| (s.step.clone(), traits(s.step.as_str()))).collect();
    let roles = ["dba", "operations_lead", "operator"].iter().enumerate();
    let roles = roles.map(|(i, role)| (role.parse().unwrap(), vec![RoleId::new(i as u64 + 10)])).collect();
    let parameters = [("source_id".parse().unwrap(), json!("assets_1")), ("workers".parse().unwrap(), json!(2))];
    let target = TargetIdentity::Sqlite { path: "/srv/app.sqlite".to_owned() };
    Plan {
        lock: runbook.lock.clone(),
        runbook,
        parameters: parameters.into_iter().collect(),
        steps,
        roles,
        files: BTreeMap::new(),
        targets: [("source".parse().unwrap(), target)].into_iter().collect(),
    }
}

/// Whether Discord would show stars of this line: bold begins before a letter and ends behind one.
fn nests_bold(line: &str) -> bool {
    let plain = line.replace("\\*", "");
    let parts: Vec<&str> = plain.split("**").collect();
    let inside = |part: &&str| part.trim().len() != part.len() || part.is_empty();
    parts.len().is_multiple_of(2) || parts.iter().skip(1).step_by(2).any(inside)
}

/// A run with its thread as people see it.
struct Story {
    state: State,
    now: Timestamp,
    progress: Vec<Progress>,
    transcript: String,
    history: Vec<(Timestamp, Event)>,
}

impl Story {
    fn begin(mode: Mode) -> Self {
        Self::of(mode, plan())
    }

    fn of(mode: Mode, plan: Plan) -> Self {
        let now = Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
        let request = StartRequest {
            run: RunId::from_random(7),
            mode,
            requester: olivia(),
            channel: ChannelId::new(5),
            plan,
            at: None,
            held_by: None,
            unreadable: None,
            rehearsal: None,
            beat: None,
            opens_incident: None,
            incident: None,
        };
        let events = start(now, request).unwrap();
        let state = begin(now, &events[0]).unwrap();
        let history = vec![(now, events[0].clone())];
        let mut story = Self { state, now, progress: Vec::new(), transcript: String::new(), history };
        story.put(Input::Tick);
        story.put(Input::ThreadOpened(ChannelId::new(6)));
        story
    }

    fn put(&mut self, input: Input) {
        let events: Vec<Event> = decide(&self.state, self.now, input).unwrap();
        for event in &events {
            self.state = evolve(self.state.clone(), self.now, event).unwrap();
            self.history.push((self.now, event.clone()));
        }
        self.post();
    }

    /// Shows what is owed and can be posted.
    fn post(&mut self) {
        let thread = self.state.thread.is_some();
        let next = |owed: &&Owed| owed.posted.is_none() && (owed.place == Place::Channel || thread);
        if let Some(owed) = self.state.owed.iter().find(next).cloned() {
            self.show(&owed);
            let at = MessageRef { channel: ChannelId::new(6), message: MessageId::new(100 + self.state.seq) };
            self.put(Input::MessagePosted(owed.key, at, u32::MAX));
        }
    }

    fn show(&mut self, owed: &Owed) {
        let head = "ab".repeat(32);
        let view = View { state: &self.state, head: &head, progress: &self.progress, now: self.now };
        let shown = message(view, owed);
        let files = shown.embeds.iter().all(|embed| limits::len(&embed.description) <= limits::DESCRIPTION_MAX);
        let key = marker(self.state.id(), &owed.key, owed.generation);
        assert!(files && shown.embeds.last().is_some_and(|e| told(&e.footer, &key) == Some(owed.kind.stands_for())));
        let text = shown.text();
        assert_eq!(text.lines().find(|line| nests_bold(line)), None, "bold inside bold");
        let _ = writeln!(self.transcript, "{text}\n────────");
    }

    fn say(&mut self, what: &str) {
        let _ = writeln!(self.transcript, "=== {what}");
    }

    fn live(&mut self) {
        for owed in self.state.owed.clone().iter().filter(|owed| owed.kind.is_live()) {
            self.show(owed);
        }
    }

    fn later(&mut self, secs: i64) {
        self.now += chrono::TimeDelta::seconds(secs);
        self.put(Input::Tick);
    }

    fn name(text: &str) -> StepName {
        text.parse().unwrap()
    }

    fn succeed(&mut self, step: &str, result: serde_json::Value, checks: Vec<Reading>) {
        let step = Self::name(step);
        let output = OutputFile { file: format!("out/{step}.log"), bytes: 90, tail: "done".to_owned() };
        let simulated = self.state.is_dry_run();
        let attempt = self.state.step(&step).attempts;
        let outcome = Outcome::Succeeded { result, simulated, checks, output: Some(output) };
        self.put(Input::StepFinished(step, attempt, outcome));
    }

    fn fail(&mut self, step: &str, retryable: bool) {
        let step = Self::name(step);
        let failure = Failure {
            kind: FailureKind::Failed,
            message: "`app` answered 502 to <@&10>; nothing was switched".to_owned(),
            retryable,
        };
        let output = OutputFile { file: "out/x.log".to_owned(), bytes: 90, tail: "line 1\n```line 2".to_owned() };
        let attempt = self.state.step(&step).attempts;
        self.put(Input::StepFinished(step, attempt, Outcome::Failed { failure, checks: vec![], output: Some(output) }));
    }

    fn gate() -> GateRef {
        GateRef::Phase("cutover".parse().unwrap())
    }

    fn readings(red: bool) -> Vec<Reading> {
        let verdict = if red { Verdict::Red { why: "it is 4 s".to_owned() } } else { Verdict::Green };
        let green = Reading { says: "every row arrived".to_owned(), measured: "failed = 0".to_owned(), verdict: Verdict::Green };
        vec![green, Reading { says: "the lag is below 1 s".to_owned(), measured: "lag".to_owned(), verdict }]
    }

    fn measure(&mut self, red: bool) {
        let card = self.state.gates[&Self::gate()].card;
        self.put(Input::GateMeasured { gate: Self::gate(), card, readings: Self::readings(red) });
    }

    fn votes(people: &[(Person, Vote)]) -> Vec<ReactionVote> {
        people.iter().map(|(person, vote)| ReactionVote { person: person.clone(), vote: *vote }).collect()
    }

    fn vote(&mut self, people: &[(Person, Vote)]) {
        let card = self.state.gates[&Self::gate()].card;
        self.put(Input::VotesRead { gate: Self::gate(), card, votes: Self::votes(people) });
    }

    fn sign(&mut self) {
        let both = [(dana(), Vote::Sign), (luis(), Vote::Sign)];
        self.vote(&both);
        // Votes are gathered before; nothing starts before its time.
        let due = self.state.due(self.state.current_phase().unwrap()).unwrap();
        self.later((due - self.now).num_seconds());
        let card = self.state.gates[&Self::gate()].card;
        let (gate, votes, readings) = (Self::gate(), Self::votes(&both), Self::readings(false));
        self.put(Input::GateRechecked { gate, card, votes, readings, targets_changed: vec![] });
    }

    fn prepare(&mut self) {
        self.later(60);
        self.succeed("look", json!({}), vec![]);
        self.later(500);
        self.succeed(
            "copy",
            json!({ "rows": 200_000, "sha256": "ab12", "tables": ["x"] }),
            vec![Self::readings(false).remove(0)],
        );
        self.put(Input::Confirm { step: Self::name("tell"), yes: true, by: olivia() });
        self.later(300);
    }
}

#[test]
fn a_cutover_from_the_plan_card_to_the_summary() {
    let mut story = Story::begin(Mode::Live);
    story.prepare();
    story.measure(true);
    story.vote(&[(olivia(), Vote::Sign), (dana(), Vote::Sign), (person(9, "Bob", &[]), Vote::Sign)]);
    story.measure(false);
    story.vote(&[]);
    story.say("the glance at the open gate");
    story.live();
    story.sign();
    story.later(60);
    story.succeed("switch", json!({}), vec![]);
    story.succeed("smoke", json!({ "status": 200 }), vec![]);
    let list = || ListRef::Step(Story::name("checks"));
    story.put(Input::TickItem { list: list(), item: 0, ticked: true, by: olivia() });
    story.say("one item is ticked");
    story.live();
    story.put(Input::TickItem { list: list(), item: 1, ticked: true, by: dana() });
    for (item, by) in [(0, luis()), (1, dana())] {
        story.put(Input::TickItem { list: ListRef::Afterwards, item, ticked: true, by });
    }
    story.put(Input::Close { by: luis(), reason: "all *done*".to_owned() });
    story.say("the live messages at the end");
    story.live();
    insta::assert_snapshot!(story.transcript);
}

/// A cutover whose switch fails, and that goes back by itself.
fn failed_cutover() -> Story {
    let mut story = Story::begin(Mode::Live);
    story.later(60);
    story.succeed("look", json!({}), vec![]);
    story.fail("copy", true);
    story.say("while it waits for the second attempt");
    story.live();
    story.later(10);
    let attempt = story.state.step(&Story::name("copy")).attempts;
    story.put(Input::StepFinished(Story::name("copy"), attempt, Outcome::Unknown { why: "the connection broke".to_owned() }));
    story.succeed("copy", json!({ "rows": 1 }), vec![]);
    story.put(Input::Confirm { step: Story::name("tell"), yes: true, by: olivia() });
    story.later(600);
    story.measure(false);
    story.sign();
    let attempt = story.state.step(&Story::name("switch")).attempts;
    story.put(Input::StepFinished(Story::name("switch"), attempt, Outcome::Unknown { why: "the host was lost".to_owned() }));
    story.say("the question");
    story.live();
    let (answer, reason) = (Answer::DidNotHappen, "looked at the `host`".to_owned());
    story.put(Input::Answer { question: 1, answer, reason, by: dana() });
    story.fail("switch", false);
    story.succeed("switch-back", json!({}), vec![]);
    story.later(7_200);
    story
}

#[test]
fn a_cutover_that_fails_and_goes_back() {
    let mut story = failed_cutover();
    story.say("the live messages at the end");
    story.live();
    insta::assert_snapshot!(story.transcript);
}

/// An incident about a run, opened when the run began and resolved now.
fn incident_about(story: &Story) -> crate::domain::incident::State {
    use crate::domain::incident::{
        Facts, Input, OpenRequest, Opener, Policy, ResponderRole, Severity, begin, decide, evolve, next_id, open,
    };
    let opened = story.history[0].0;
    let run = story.state.id().clone();
    let request = OpenRequest {
        title: "The switch failed @everyone".to_owned(),
        severity: Severity::Sev1,
        by: Opener::Run { run: run.clone(), why: "`switch` failed".to_owned() },
        customer_facing: true,
        private: false,
        asked_in: None,
        run: Some(run),
    };
    let events = open(next_id(opened, []).unwrap(), Policy::default(), request).unwrap();
    let mut state = begin(opened, &events[0]).unwrap();
    let facts = Facts { root_cause: Some("a <!-- pointsman: --> leak in #7".to_owned()), ..Facts::default() };
    let due = story.now.date_naive();
    let title = "Bound the pool".to_owned();
    for input in [
        Input::TakeRole { role: ResponderRole::Commander, person: dana(), by: dana() },
        Input::Note { by: luis(), text: "it is the\npool".to_owned() },
        Input::Resolve { by: dana(), summary: "went back".to_owned() },
        Input::GiveFacts { by: dana(), facts },
        Input::AddAction { by: dana(), title, owner: "@luis".to_owned(), due },
    ] {
        for event in decide(&state, story.now, input).unwrap() {
            state = evolve(state, story.now, &event).unwrap();
        }
    }
    state
}

#[test]
fn a_post_mortem_tells_what_the_journal_knows_and_what_nobody_told_yet() {
    let story = failed_cutover();
    let state = incident_about(&story);
    let head = "ab".repeat(32);
    let runs = [View { state: &story.state, head: &head, progress: &story.progress, now: story.now }];
    let guild = crate::domain::GuildId::new(9);
    let incident = incident::View { state: &state, head: &head, runs: &runs, guild, now: story.now };
    let histories = [(story.state.id().clone(), story.history.clone())];
    let dossier = post_mortem::Dossier { incident, histories: &histories, journal_head: &head };
    let text = post_mortem::Template::shipped().render(dossier);
    assert!(!text.contains("@everyone") && !text.contains("@luis"), "nobody is notified: {text}");
    insta::assert_snapshot!(text);
    insta::assert_snapshot!("the_issue_of_an_action_item", post_mortem::action_item(incident, &state.post_mortem.actions[0]));
    let own = post_mortem::Template::parse("{{ incident.duration }} {% if incident.customer_facing %}public{% endif %}").unwrap();
    assert!(own.render(dossier).ends_with(" public"));
    let wrong = post_mortem::Template::parse("{% if incident.id == 'x' %}fine{% else %}{{ nothing.there }}{% endif %}");
    if let Ok(template) = wrong {
        let text = template.render(dossier);
        assert!(text.contains("could not show this incident") && text.contains("## Timeline"), "{text}");
    }
}

#[test]
fn an_incidents_card_and_update_tell_where_its_runs_stand() {
    let mut story = Story::begin(Mode::Live);
    story.prepare();
    story.measure(true);
    let state = incident_about(&story);
    let head = "ab".repeat(32);
    let runs = [View { state: &story.state, head: &head, progress: &story.progress, now: story.now }];
    let guild = crate::domain::GuildId::new(9);
    let view = incident::View { state: &state, head: &head, runs: &runs, guild, now: story.now };
    let kind = crate::domain::incident::MessageKind::Beat { due: story.now, missed: 0 };
    let owed = crate::domain::incident::Owed {
        key: MessageKey::new("beat/9"),
        kind,
        generation: 1,
        since: story.now,
        posted: None,
        refused: None,
    };
    insta::assert_snapshot!(incident::message(view, &owed).text());
    assert!(incident::status::one(view, None).text().contains("waits for sign-off"), "the card names its runs");
}

#[test]
fn a_veto_a_new_card_a_broken_glass_and_an_abort() {
    let mut story = Story::begin(Mode::Live);
    story.prepare();
    story.measure(false);
    story.vote(&[(dana(), Vote::Veto)]);
    story.put(Input::Resume { by: olivia() });
    story.measure(false);
    story.put(Input::Pause { by: olivia(), reason: "phone rings".to_owned() });
    story.put(Input::Resume { by: olivia() });
    story.vote(&[(dana(), Vote::Sign)]);
    story.vote(&[]);
    story.later(900);
    story.put(Input::Rebooted);
    story.put(Input::BreakGlass { by: luis(), reason: "nobody wakes up".to_owned(), other_holders: true });
    story.say("with broken glass");
    story.live();
    let review = post_mortem::glass_review(&story.state, &Story::gate(), story.state.gates[&Story::gate()].card, "abab");
    insta::assert_snapshot!("the_review_of_a_broken_glass", review);
    story.put(Input::Abort { by: olivia(), reason: "enough".to_owned() });
    let by = Actor::Person(dana());
    story.put(Input::Rollback { rollback: Some("data".parse().unwrap()), by, reason: "undo".to_owned() });
    story.say("the rollback's own gate");
    story.live();
    insta::assert_snapshot!(story.transcript);
}

#[test]
fn a_signature_whose_author_then_acted_is_struck_from_the_card_with_the_reason() {
    let mut plan = plan();
    let gate = plan.runbook.phases.iter_mut().find_map(|phase| phase.gate.as_mut()).unwrap();
    gate.excludes = Excludes::AnyoneWhoActed;
    let mut story = Story::of(Mode::Live, plan);
    story.prepare();
    story.measure(false);
    story.vote(&[(dana(), Vote::Sign)]);
    let shown = |story: &mut Story| {
        story.transcript.clear();
        story.live();
        story.transcript.clone()
    };
    assert!(shown(&mut story).contains("✅ `dba`: **Dana**"), "{}", story.transcript);
    story.transcript.clear();
    story.put(Input::Pause { by: dana(), reason: "phone rings".to_owned() });
    assert!(story.transcript.contains("**Dana** has acted on this run after signing"), "{}", story.transcript);
    let card = shown(&mut story);
    assert!(!card.contains("✅ `dba`"), "{card}");
    assert!(card.contains("✅ <@2>: has acted on this run, and this gate leaves such people out"), "{card}");
}

#[test]
fn a_rehearsal_says_so_everywhere() {
    let mut story = Story::begin(Mode::DryRun);
    story.succeed("look", json!({}), vec![]);
    story.succeed("copy", json!({ "rows": 5 }), vec![]);
    story.measure(true);
    story.succeed("switch", json!({}), vec![]);
    story.succeed("smoke", json!({}), vec![]);
    story.say("the live messages at the end");
    story.live();
    insta::assert_snapshot!(story.transcript);
}

#[test]
fn progress_shows_share_rate_and_eta_from_where_counting_began() {
    let mut story = Story::begin(Mode::Live);
    story.succeed("look", json!({}), vec![]);
    let since = story.now;
    story.now += chrono::TimeDelta::seconds(10);
    story.progress = vec![Progress {
        step: Story::name("copy"),
        attempt: 1,
        done: 84_000,
        total: Some(200_000),
        unit: "rows".to_owned(),
        what: "playbook_entries".to_owned(),
        portions: Vec::new(),
        done_at_start: 34_000,
        since,
        at: story.now,
    }];
    let head = String::new();
    let view = View { state: &story.state, head: &head, progress: &story.progress, now: story.now };
    let owed = story.state.owed.iter().find(|owed| owed.kind == MessageKind::Progress).unwrap();
    insta::assert_snapshot!(message(view, owed).text());
}

#[test]
fn every_portion_under_way_has_a_bar_and_the_rest_is_counted() {
    let mut story = Story::begin(Mode::Live);
    story.succeed("look", json!({}), vec![]);
    let portion = |name: &str, done, total, aside| Portion { name: name.to_owned(), done, total, aside };
    let portions = [portion("users", 1_000, 1_000, 3), portion("empty", 0, 0, 0), portion("events `2024`", 84_000, 200_000, 12)];
    let waiting = (0..9).map(|number| portion(&format!("part_{number}"), 0, 10, 0));
    let progress = Progress {
        step: Story::name("copy"),
        attempt: 1,
        done: 85_000,
        total: Some(201_090),
        unit: "rows".to_owned(),
        what: String::new(),
        portions: portions.into_iter().chain(waiting).collect(),
        done_at_start: 0,
        since: story.now,
        at: story.now,
    };
    let head = String::new();
    let view = View { state: &story.state, head: &head, progress: &[progress], now: story.now };
    let owed = story.state.owed.iter().find(|owed| owed.kind == MessageKind::Progress).unwrap();
    let text = message(view, owed).text();
    let bars: Vec<&str> = text.lines().skip_while(|line| !line.contains("201,090")).skip(1).take(10).collect();
    assert_eq!(bars[0], "– ▰▰▰▰▱▱▱▱▱▱ `events ˋ2024ˋ` 84,000/200,000 · 12 put aside", "{text}");
    assert_eq!(bars[1], "– ▱▱▱▱▱▱▱▱▱▱ `part_0` 0/10");
    assert_eq!(bars[8..], ["– and 2 more", "– ✅ 2 of 12 · 3 put aside"]);
}

#[test]
fn lists_and_pages_on_request() {
    let mut story = Story::begin(Mode::Live);
    story.prepare();
    story.measure(false);
    story.vote(&[(dana(), Vote::Sign)]);
    let head = String::new();
    let view = View { state: &story.state, head: &head, progress: &[], now: story.now };
    let line = status::Line { state: &story.state, now: story.now };
    let verbs = vec![
        Allowed { verb: "/migrate start".to_owned(), allow: vec!["operator".parse().unwrap()] },
        Allowed { verb: "/break-glass".to_owned(), allow: vec!["security".parse().unwrap()] },
        Allowed { verb: "/whoami".to_owned(), allow: vec![] },
    ];
    let known = ["operator".parse().unwrap(), "security".parse().unwrap()];
    let who = olivia();
    let rejected = crate::domain::run::Rejection::PastNoReturn {
        rollback: "data".parse().unwrap(),
        because: "users write to it, ask <@1>".to_owned(),
    };
    let messages = [
        status::list(&[line], &[]),
        status::list(&[], &[]),
        status::one(view, None),
        sign_off_status(view),
        runbooks::list([story.state.runbook()]),
        runbooks::one(story.state.runbook(), "# page".to_owned()),
        plan::message(story.state.plan()),
        whoami(&Whoami { person: &who, verbs, known: &known }),
        rejection::rejected(&rejected),
        rejection::mistakes("The form has mistakes:", &["`a`: no".to_owned()], "Nothing was started."),
    ];
    let texts: Vec<String> = messages.iter().map(Message::text).collect();
    insta::assert_snapshot!(format!("{}\n────────\n{}", texts.join("\n────────\n"), plan::text(story.state.plan())));
}

#[test]
fn a_run_that_is_set_aside_is_said_to_be_once_with_what_to_do() {
    let story = Story::begin(Mode::Live);
    let head = String::new();
    let view = View { state: &story.state, head: &head, progress: &[], now: story.now };
    let line = status::Line { state: &story.state, now: story.now };
    let (shown, unreadable) = (story.state.id().clone(), "run-zzzzzzzz".parse().unwrap());
    let why = "event 4 cannot be *read*";
    let set_aside = [status::SetAside { run: &shown, why }, status::SetAside { run: &unreadable, why }];
    let list = status::list(&[line], &set_aside).text();
    assert_eq!(list.matches(shown.as_str()).count(), 1, "{list}");
    assert!(list.contains(unreadable.as_str()), "{list}");
    for text in [list, status::one(view, Some(why)).text()] {
        assert!(text.contains(r"set aside: event 4 cannot be \*read\*"), "{text}");
        assert!(text.contains("A restart of the bot reads it again"), "{text}");
        assert!(text.contains("`pointsman audit verify`"), "{text}");
    }
}

#[test]
fn a_message_that_is_too_long_is_cut_and_never_refused() {
    let long = |n: usize| (0..n).map(|i| format!("line {i}")).collect::<Vec<_>>().join("\n");
    let mut embed = Embed { title: "t".repeat(300), description: long(2_000), ..Embed::default() };
    for _ in 0..30 {
        embed.field("name", &[long(200)]);
    }
    let fitted = Message::framed(embed).marked("run-00000000 · note/1".to_owned()).fitted();
    let embed = &fitted.embeds[0];
    let total = limits::len(&embed.title)
        + limits::len(&embed.description)
        + limits::len(&embed.footer)
        + embed.fields.iter().map(|f| limits::len(&f.name) + limits::len(&f.value)).sum::<usize>();
    assert!(total <= limits::EMBEDS_TOTAL_MAX, "{total}");
    assert!(embed.description.contains("more"));
    assert_eq!(embed.footer, "run-00000000 · note/1", "the marker is never cut");
}
