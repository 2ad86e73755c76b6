//! What people read, as it stands in the incident's channel: an incident is driven through the domain, every owed message
//! is rendered at the moment when it would be posted, and the live ones once more where they have changed.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::*;
use crate::domain::incident::{
    Delivery, EscalationLevel, Facts, Input, IssueKind, OpenRequest, Opener, Policy, ResponderRole, begin, decide, evolve,
    next_id, open,
};
use crate::domain::{ChannelId, Duration, IssueRef, MessageId, Person, RoleId, UserId};
use crate::render::limits;

const CHANNEL: ChannelId = ChannelId::new(70);

fn start() -> Timestamp {
    "2026-11-21T03:00:00Z".parse().unwrap()
}

fn person(id: u64, name: &str) -> Person {
    Person { id: UserId::new(id), name: name.to_owned(), roles: BTreeSet::new(), bot: false }
}

fn olga() -> Person {
    person(1, "Olga_*")
}

fn ivo() -> Person {
    person(2, "Ivo @everyone")
}

fn policy() -> Policy {
    let role: RoleName = "on_call".parse().unwrap();
    let level = |minutes| EscalationLevel { after: Duration::from_minutes(minutes), roles: vec![role.clone()] };
    Policy { escalation: vec![level(30), level(60)], roles: [(role.clone(), vec![RoleId::new(42)])].into(), ..Policy::default() }
}

fn request() -> OpenRequest {
    OpenRequest {
        title: "Checkout is **down** <@&42>".to_owned(),
        severity: Severity::Sev2,
        by: Opener::Person(olga()),
        customer_facing: true,
        private: false,
        asked_in: None,
        run: None,
    }
}

/// An incident with its channel as people see it.
struct Story {
    state: State,
    now: Timestamp,
    transcript: String,
}

impl Story {
    fn begin(request: OpenRequest, fallback: Option<&str>) -> Self {
        let events = open(next_id(start(), []).unwrap(), policy(), request).unwrap();
        let mut story = Self { state: begin(start(), &events[0]).unwrap(), now: start(), transcript: String::new() };
        story.put(Input::ChannelOpened { channel: CHANNEL, fallback: fallback.map(str::to_owned) });
        story
    }

    fn put(&mut self, input: Input) {
        for event in decide(&self.state, self.now, input).unwrap() {
            self.state = evolve(self.state.clone(), self.now, &event).unwrap();
        }
        while let Some(owed) = self.state.owed.iter().find(|owed| owed.posted.is_none()).cloned() {
            self.show(&owed);
            let message = MessageRef { channel: CHANNEL, message: MessageId::new(100 + self.state.seq) };
            for event in decide(&self.state, self.now, Input::MessagePosted(owed.key, message, u32::MAX)).unwrap() {
                self.state = evolve(self.state.clone(), self.now, &event).unwrap();
            }
        }
    }

    fn at(&mut self, minute: i64) -> &mut Self {
        self.now = start() + chrono::TimeDelta::minutes(minute);
        self
    }

    fn view(&self) -> View<'_> {
        View { state: &self.state, head: "abab", runs: &[], guild: GuildId::new(9), now: self.now }
    }

    fn show(&mut self, owed: &Owed) {
        let shown = message(self.view(), owed);
        let key = marker(self.state.id(), &owed.key, owed.generation);
        let footer = shown.embeds.last().map(|embed| embed.footer.as_str()).unwrap_or_default();
        assert_eq!(crate::render::told(footer, &key), Some(owed.kind.stands_for()), "{footer}");
        self.tell(&shown);
    }

    fn tell(&mut self, message: &Message) {
        let _ = writeln!(self.transcript, "{}\n────────", message.text());
    }

    fn live(&mut self, what: &str) {
        let _ = writeln!(self.transcript, "=== {what}");
        for owed in self.state.owed.clone().iter().filter(|owed| owed.kind.is_live()) {
            self.show(owed);
        }
    }
}

#[test]
fn an_incident_from_its_card_to_the_review() {
    let mut story = Story::begin(request(), None);
    story.put(Input::Paged { level: 0, outcome: Delivery::Refused { why: "no such service".to_owned() } });
    story.at(30).put(Input::Tick);
    story.put(Input::Paged { level: 1, outcome: Delivery::NotConfigured });
    story.at(34).put(Input::Acknowledge { by: ivo() });
    story.put(Input::TakeRole { role: ResponderRole::Commander, person: ivo(), by: olga() });
    story.at(35).put(Input::ChangeSeverity { to: Severity::Sev1, by: ivo(), reason: "nobody can pay".to_owned() });
    story.live("after the severity");
    // The bot was away for a while.
    story.at(80).put(Input::Tick);
    story.put(Input::Note { by: olga(), text: "the pool is exhausted".to_owned() });
    story.at(81).put(Input::Update { by: olga(), text: "we go back".to_owned() });
    let message = MessageRef { channel: CHANNEL, message: MessageId::new(5) };
    story.put(Input::MarkMessage { by: olga(), message, author: "Una".to_owned(), text: Some("look [here](x)".to_owned()) });
    story.put(Input::StatusPageTold { sequence: 2, outcome: Delivery::Refused { why: "401".to_owned() } });
    story.at(96).put(Input::Tick);
    story.at(100).put(Input::Resolve { by: ivo(), summary: "rolled back".to_owned() });
    story.put(Input::GiveFacts { by: ivo(), facts: Facts { root_cause: Some("a leak".to_owned()), ..Facts::default() } });
    let (title, owner) = ("Bound the pool".to_owned(), "ivo".to_owned());
    story.put(Input::AddAction { by: ivo(), title, owner, due: start().date_naive() });
    story.put(Input::ReviewScheduled { at: start() + chrono::TimeDelta::hours(24), event: None, why: Some("403".to_owned()) });
    story.put(Input::Publish { by: ivo() });
    story.put(Input::IssueDelayed { issue: IssueKind::PostMortem, why: "GitHub is away".to_owned() });
    let at = |number| IssueRef { number, url: format!("https://github.example/{number}") };
    story.live("while GitHub is away");
    story.put(Input::IssuePublished { issue: IssueKind::PostMortem, at: at(7), revision: 3 });
    story.put(Input::IssuePublished { issue: IssueKind::Action(1), at: at(8), revision: 1 });
    story.at(24 * 60 - 30).put(Input::Tick);
    story.live("in the end");
    let (list, page, timeline) =
        (status::list(&[story.view()], &[]), status::one(story.view(), None), status::timeline(story.view()));
    assert!(page.rows.is_empty());
    for message in [&list, &timeline] {
        story.tell(message);
    }
    assert!(!story.transcript.contains("@everyone"), "a name must not mention anybody");
    insta::assert_snapshot!(story.transcript);
}

#[test]
fn a_private_incident_keeps_its_secret_where_everybody_reads() {
    let private = OpenRequest { title: "Payroll leaked".to_owned(), private: true, ..request() };
    let mut story = Story::begin(private.clone(), Some("the category is full"));
    story.put(Input::Note { by: olga(), text: "the bucket Payroll was public".to_owned() });
    story.at(31).put(Input::Tick);
    story.at(32).put(Input::Resolve { by: ivo(), summary: "Payroll bucket closed".to_owned() });
    story.live("in the end");
    assert!(!story.transcript.contains("Payroll"), "{}", story.transcript);
    assert!(!status::list(&[story.view()], &[]).text().contains("Payroll"));
    assert!(story.transcript.contains("inc-20261121-001"));
    let own = Story::begin(private, None);
    assert!(own.transcript.contains("Payroll leaked"), "its own channel is read by those who may know");
}

#[test]
fn a_late_update_says_so_and_a_punctual_one_tells_what_changed_since_the_last() {
    let mut story = Story::begin(request(), None);
    story.put(Input::Acknowledge { by: ivo() });
    story.at(29).put(Input::Note { by: olga(), text: "first".to_owned() });
    story.at(30).put(Input::Tick);
    story.at(40).put(Input::Note { by: olga(), text: "second".to_owned() });
    story.transcript.clear();
    story.at(60).put(Input::Tick);
    assert!(story.transcript.contains("second") && !story.transcript.contains("first"), "{}", story.transcript);
    assert!(!story.transcript.contains("Late"));
    story.transcript.clear();
    story.at(155).put(Input::Tick);
    assert!(story.transcript.contains("stands for 2 later updates"), "{}", story.transcript);
}

#[test]
fn a_refusal_says_what_why_what_next_and_its_code() {
    insta::assert_snapshot!(rejected(&Rejection::NotResolved).text(), @r"
    🚫 The incident is not resolved yet, so its post-mortem cannot be published.
    `/incident resolve` ends it; `/postmortem preview` shows the draft meanwhile.
    `not-resolved`
    ");
}

#[test]
fn the_longest_incident_still_fits() {
    let mut story = Story::begin(OpenRequest { title: "x".repeat(200), ..request() }, None);
    for minute in 0..60 {
        let text = format!("{minute} {}", "y".repeat(1_400));
        story.at(minute).put(Input::Note { by: olga(), text });
    }
    story.at(90).put(Input::Tick);
    let owed = story.state.newest_beat().cloned().unwrap();
    let shown = message(story.view(), &owed);
    assert!(shown.embeds[0].fields.iter().all(|field| limits::len(&field.value) <= limits::FIELD_VALUE_MAX));
    assert!(shown.text().contains("earlier"));
    assert!(status::timeline(story.view()).text().contains("59 y"), "the newest is never what is left out");
}
