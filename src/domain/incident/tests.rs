//! Given these events, when this is asked, then these events or that refusal.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::*;
use crate::domain::{ChannelId, Duration, IssueRef, MessageId, MessageKey, MessageRef, Person, Timestamp, UserId};

const CHANNEL: ChannelId = ChannelId::new(70);

fn at(minute: i64) -> Timestamp {
    "2026-11-21T03:00:00Z".parse::<Timestamp>().unwrap() + TimeDelta::minutes(minute)
}

fn person(id: u64, name: &str) -> Person {
    Person { id: UserId::new(id), name: name.to_owned(), roles: BTreeSet::new(), bot: false }
}

fn request(severity: Severity) -> OpenRequest {
    OpenRequest {
        title: "Checkout is down".to_owned(),
        severity,
        by: Opener::Person(person(1, "Olga")),
        customer_facing: false,
        private: false,
        asked_in: None,
        run: None,
    }
}

/// An incident that is driven by hand.
struct Case {
    state: State,
    now: Timestamp,
    posted: u64,
    /// How many updates have fallen due by the journal, those that were missed included.
    beats_due: u32,
}

impl Case {
    fn opened(severity: Severity) -> Self {
        Self::with(request(severity), Policy::default())
    }

    fn with(request: OpenRequest, policy: Policy) -> Self {
        let id = next_id(at(0), []).unwrap();
        let events = open(id, policy, request).unwrap();
        Self { state: begin(at(0), &events[0]).unwrap(), now: at(0), posted: 0, beats_due: 0 }
    }

    /// As it is once its channel exists and everything owed so far is visible.
    fn settled(severity: Severity) -> Self {
        let mut case = Self::opened(severity);
        case.does(Input::ChannelOpened { channel: CHANNEL, fallback: None });
        case.post_all();
        case
    }

    fn at(&mut self, minute: i64) -> &mut Self {
        self.now = at(minute);
        self
    }

    fn tries(&mut self, input: Input) -> Result<Vec<Event>, Rejection> {
        let events = decide(&self.state, self.now, input)?;
        for event in &events {
            self.state = evolve(self.state.clone(), self.now, event).unwrap();
            if let Event::StatusDue { missed, .. } = event {
                self.beats_due += 1 + missed;
            }
        }
        Ok(events)
    }

    fn does(&mut self, input: Input) -> Vec<Event> {
        self.tries(input).unwrap()
    }

    fn post_all(&mut self) {
        while let Some(owed) = self.state.owed.iter().find(|owed| owed.posted.is_none()) {
            let key = owed.key.clone();
            self.posted += 1;
            let message = MessageRef { channel: CHANNEL, message: MessageId::new(self.posted) };
            self.does(Input::MessagePosted(key, message, u32::MAX));
        }
    }

    /// A message becomes visible that tells of so many updates.
    fn arrives(&mut self, key: MessageKey, told: u32) {
        self.posted += 1;
        let message = MessageRef { channel: CHANNEL, message: MessageId::new(self.posted) };
        self.does(Input::MessagePosted(key, message, told));
    }

    fn unposted_beats(&self) -> Vec<(Timestamp, u32)> {
        let beat = |owed: &Owed| match owed.kind {
            MessageKind::Beat { due, missed } if owed.posted.is_none() => Some((due, missed)),
            _ => None,
        };
        self.state.owed.iter().filter_map(beat).collect()
    }

    fn resolve(&mut self) {
        self.does(Input::Resolve { by: person(2, "Ivo"), summary: "rolled back".to_owned() });
    }
}

fn update(text: &str) -> Input {
    Input::Update { by: person(1, "Olga"), text: text.to_owned() }
}

fn severity(to: Severity) -> Input {
    Input::ChangeSeverity { to, by: person(1, "Olga"), reason: String::new() }
}

#[test]
fn numbers_count_per_utc_day_without_gaps_or_twins() {
    let mut known = Vec::new();
    for number in 1..=3 {
        let id = next_id(at(0), &known).unwrap();
        assert_eq!((id.day(), id.number()), (at(0).date_naive(), number));
        known.push(id);
    }
    assert_eq!(next_id(at(24 * 60), &known).unwrap().to_string(), "inc-20261122-001");
    let full: Vec<_> = (1..=NUMBER_MAX).filter_map(|number| IncidentId::new(at(0).date_naive(), number)).collect();
    assert_eq!(next_id(at(0), &full), Err(Rejection::TooManyToday { max: NUMBER_MAX }));
}

#[test]
fn a_title_is_required_and_bounded() {
    let id = next_id(at(0), []).unwrap();
    let titled = |title: &str| open(id, Policy::default(), OpenRequest { title: title.to_owned(), ..request(Severity::Sev3) });
    assert_eq!(titled("  ").unwrap_err().code(), "text-missing");
    assert_eq!(titled(&"x".repeat(201)).unwrap_err().code(), "text-too-long");
    assert!(titled("two\nlines").is_ok());
}

#[test]
fn the_first_thing_owed_is_a_channel_and_then_the_card_and_its_pin() {
    let mut case = Case::opened(Severity::Sev3);
    assert_eq!(pending(&case.state), [Effect::OpenChannel { generation: 0 }]);
    case.does(Input::ChannelOpened { channel: CHANNEL, fallback: None });
    assert_eq!(pending(&case.state), [Effect::PostMessage { key: MessageKey::new("summary"), generation: 0 }]);
    case.post_all();
    let message = case.state.owed[0].posted.unwrap();
    assert_eq!(pending(&case.state), [Effect::PinSummary { message }]);
    case.does(Input::SummaryPinned(message));
    assert_eq!(pending(&case.state), []);
}

#[test]
fn nothing_is_pinned_in_the_fallback_channel() {
    let mut case = Case::opened(Severity::Sev3);
    case.does(Input::ChannelOpened { channel: CHANNEL, fallback: Some("the category is full".to_owned()) });
    case.post_all();
    assert_eq!(pending(&case.state), []);
}

#[test]
fn a_severe_incident_pages_and_a_mild_one_does_not() {
    assert!(pending(&Case::opened(Severity::Sev1).state).contains(&Effect::Page { level: 0 }));
    assert!(!pending(&Case::opened(Severity::Sev3).state).contains(&Effect::Page { level: 0 }));
    let mut raised = Case::settled(Severity::Sev3);
    raised.at(5).does(severity(Severity::Sev1));
    assert!(pending(&raised.state).contains(&Effect::Page { level: 0 }));
}

#[test]
fn a_status_update_falls_due_by_the_cadence_of_the_severity() {
    for (severity, minutes) in [(Severity::Sev1, 15), (Severity::Sev2, 30), (Severity::Sev3, 60)] {
        let mut case = Case::settled(severity);
        case.at(minutes - 1).does(Input::Tick);
        assert_eq!(case.unposted_beats(), [], "{severity}");
        assert_eq!(next_deadline(&case.state, case.now), Some(at(minutes)));
        case.at(minutes).does(Input::Tick);
        assert_eq!(case.unposted_beats(), [(at(minutes), 0)], "{severity}");
    }
    let mut low = Case::settled(Severity::Sev4);
    low.at(600).does(Input::Tick);
    assert_eq!(low.unposted_beats(), []);
}

#[test]
fn several_missed_updates_are_one_that_names_the_count() {
    let mut case = Case::settled(Severity::Sev1);
    case.does(Input::Acknowledge { by: person(2, "Ivo") });
    case.post_all();
    case.at(50).does(Input::Tick);
    assert_eq!(case.unposted_beats(), [(at(15), 2)]);
    assert_eq!(next_deadline(&case.state, case.now), Some(at(60)));
}

#[test]
fn an_update_that_nobody_could_see_stands_for_the_next_ones() {
    let mut case = Case::settled(Severity::Sev1);
    case.at(15).does(Input::Tick);
    case.at(30).does(Input::Tick);
    case.at(46).does(Input::Tick);
    assert_eq!(case.unposted_beats(), [(at(15), 2)]);
    case.post_all();
    case.at(60).does(Input::Tick);
    assert_eq!(case.unposted_beats(), [(at(60), 0)]);
    assert_eq!(case.beats_due, 4);
}

#[test]
fn the_cadence_changes_at_once_with_the_severity() {
    let mut case = Case::settled(Severity::Sev3);
    case.at(10).does(severity(Severity::Sev1));
    assert_eq!(case.state.beat.unwrap().next, at(15));
    let mut overdue = Case::settled(Severity::Sev3);
    let events = overdue.at(40).does(severity(Severity::Sev1));
    assert!(matches!(events[1], Event::StatusDue { due, missed: 0, .. } if due == at(40)));
    overdue.at(41).does(severity(Severity::Sev4));
    assert_eq!(overdue.state.beat, None);
}

#[test]
fn a_persons_update_moves_the_next_one() {
    let mut case = Case::settled(Severity::Sev1);
    case.at(10).does(update("we look at the database"));
    assert_eq!(case.state.beat.unwrap().next, at(25));
}

#[test]
fn escalation_goes_level_by_level_until_somebody_acknowledges() {
    let mut case = Case::settled(Severity::Sev2);
    case.at(29).does(Input::Tick);
    assert_eq!(case.state.escalated, 0);
    case.at(30).does(Input::Tick);
    assert_eq!(case.state.escalated, 1);
    assert!(pending(&case.state).contains(&Effect::Page { level: 1 }));
    case.at(45).does(Input::Acknowledge { by: person(2, "Ivo") });
    case.at(90).does(Input::Tick);
    assert_eq!(case.state.escalated, 1);
    let again = case.tries(Input::Acknowledge { by: person(3, "Una") });
    assert_eq!(again.unwrap_err().to_string(), "Ivo acknowledged it at 03:45:00 UTC");
}

#[test]
fn after_an_absence_only_the_highest_level_is_told() {
    let mut case = Case::settled(Severity::Sev2);
    let events = case.at(200).does(Input::Tick);
    let levels: Vec<_> = events.iter().filter(|event| matches!(event, Event::Escalated { .. })).collect();
    assert_eq!(levels, [&Event::Escalated { level: 2 }]);
}

#[test]
fn of_two_who_resolve_at_once_the_second_is_told_who_was_first() {
    let mut case = Case::settled(Severity::Sev2);
    case.at(20).resolve();
    let second = case.tries(Input::Resolve { by: person(3, "Una"), summary: "me too".to_owned() });
    assert_eq!(second.unwrap_err().to_string(), "the incident was resolved by Ivo at 03:20:00 UTC on 2026-11-21");
    assert_eq!(case.state.beat, None);
}

#[test]
fn a_message_is_marked_once() {
    let mut case = Case::settled(Severity::Sev2);
    let mark = || Input::MarkMessage {
        by: person(1, "Olga"),
        message: MessageRef { channel: CHANNEL, message: MessageId::new(9) },
        author: "Una".to_owned(),
        text: None,
    };
    case.does(mark());
    assert_eq!(case.tries(mark()).unwrap_err().code(), "already-marked");
    assert_eq!(case.state.timeline.len(), 1);
}

#[test]
fn a_deleted_channel_is_opened_anew_and_its_cards_are_owed_anew() {
    let mut case = Case::settled(Severity::Sev2);
    case.does(Input::ChannelLost { channel: ChannelId::new(9) });
    assert_eq!(case.state.channel, Some(CHANNEL), "news about another channel");
    case.does(Input::ChannelLost { channel: CHANNEL });
    assert_eq!(pending(&case.state)[1..], [Effect::OpenChannel { generation: 1 }]);
    assert_eq!(case.state.owed[0].generation, 1);
    assert_eq!(case.state.owed[0].posted, None);
}

#[test]
fn old_news_about_one_copy_does_not_take_away_the_next() {
    let mut case = Case::settled(Severity::Sev3);
    let (key, first) = (case.state.owed[0].key.clone(), case.state.owed[0].posted.unwrap());
    case.does(Input::MessageLost(key.clone(), first));
    case.post_all();
    assert_eq!(case.does(Input::MessageLost(key, first)), []);
    assert!(case.state.owed[0].posted.is_some());
}

#[test]
fn the_post_mortem_is_published_first_and_again_with_links_to_its_action_items() {
    let mut case = Case::settled(Severity::Sev2);
    assert_eq!(case.tries(Input::Publish { by: person(1, "Olga") }), Err(Rejection::NotResolved));
    case.at(20).resolve();
    case.post_all();
    case.does(Input::ReviewScheduled { at: at(1_000), event: Some(5), why: None });
    case.post_all();
    case.does(Input::SummaryPinned(case.state.owed[0].posted.unwrap()));
    case.does(Input::Paged { level: 0, outcome: Delivery::NotConfigured });
    let due = at(0).date_naive();
    let (title, owner) = ("Add a check".to_owned(), "ivo".to_owned());
    case.does(Input::AddAction { by: person(1, "Olga"), title, owner, due });
    case.post_all();
    assert_eq!(pending(&case.state), [], "nobody has asked for it yet");
    case.does(Input::Publish { by: person(1, "Olga") });
    let post_mortem = |revision| Effect::PublishIssue { issue: IssueKind::PostMortem, revision };
    assert_eq!(pending(&case.state), [post_mortem(2)]);
    let issue = |number| IssueRef { number, url: format!("https://github.example/{number}") };
    case.does(Input::IssuePublished { issue: IssueKind::PostMortem, at: issue(7), revision: 2 });
    assert_eq!(pending(&case.state), [Effect::PublishIssue { issue: IssueKind::Action(1), revision: 1 }]);
    case.does(Input::IssuePublished { issue: IssueKind::Action(1), at: issue(8), revision: 1 });
    assert_eq!(pending(&case.state), [post_mortem(3)]);
    case.does(Input::IssuePublished { issue: IssueKind::PostMortem, at: issue(7), revision: 3 });
    assert_eq!(pending(&case.state), []);
}

#[test]
fn that_github_is_away_is_said_once() {
    let mut case = Case::settled(Severity::Sev2);
    case.resolve();
    case.does(Input::Publish { by: person(1, "Olga") });
    let delayed = || Input::IssueDelayed { issue: IssueKind::PostMortem, why: "GitHub does not answer".to_owned() };
    assert_eq!(case.does(delayed()).len(), 1);
    assert_eq!(case.does(delayed()), []);
}

#[test]
fn the_review_is_scheduled_within_a_day_and_people_are_reminded_once() {
    let mut case = Case::settled(Severity::Sev2);
    case.resolve();
    let when = at(23 * 60);
    assert!(pending(&case.state).contains(&Effect::ScheduleReview { at: when }));
    case.does(Input::ReviewScheduled { at: when, event: None, why: Some("no permission".to_owned()) });
    assert_eq!(case.at(22 * 60 + 29).does(Input::Tick), []);
    assert_eq!(case.at(22 * 60 + 30).does(Input::Tick), [Event::ReviewNear]);
    assert_eq!(case.at(22 * 60 + 31).does(Input::Tick), []);
}

#[test]
fn a_channel_is_archived_then_exported_and_deleted_and_nothing_follows() {
    let policy = Policy { delete_after: Some(Duration::from_minutes(3 * 24 * 60)), ..Policy::default() };
    let mut case = Case::with(request(Severity::Sev3), policy);
    case.does(Input::ChannelOpened { channel: CHANNEL, fallback: None });
    case.resolve();
    case.does(Input::ReviewScheduled { at: at(23 * 60), event: Some(5), why: None });
    case.at(25 * 60).does(Input::Tick);
    assert!(!pending(&case.state).contains(&Effect::ArchiveChannel), "something is still to be said there");
    case.post_all();
    case.does(Input::SummaryPinned(case.state.owed[0].posted.unwrap()));
    assert_eq!(pending(&case.state), [Effect::ArchiveChannel]);
    case.does(Input::ChannelArchived);
    case.at(73 * 60).does(Input::Tick);
    assert_eq!(pending(&case.state), [Effect::DeleteChannel]);
    assert_eq!(case.does(Input::ChannelLost { channel: CHANNEL }), [], "no new channel for one that is deleted on purpose");
    case.does(Input::ChannelDeleted);
    assert_eq!((pending(&case.state), next_deadline(&case.state, case.now)), (vec![], None));
    assert_eq!(case.tries(update("hello")), Err(Rejection::Closed));
}

#[test]
fn in_the_fallback_channel_too_an_incident_ends_only_when_its_issues_and_the_status_page_have_their_news() {
    let policy = Policy { delete_after: Some(Duration::from_minutes(3 * 24 * 60)), ..Policy::default() };
    for fallback in [Some("the category is full".to_owned()), None] {
        let public = OpenRequest { customer_facing: true, ..request(Severity::Sev3) };
        let mut case = Case::with(public, policy.clone());
        case.does(Input::ChannelOpened { channel: CHANNEL, fallback: fallback.clone() });
        case.resolve();
        case.does(Input::Publish { by: person(1, "Olga") });
        case.does(Input::ReviewScheduled { at: at(23 * 60), event: Some(5), why: None });
        case.at(73 * 60).does(Input::Tick);
        case.post_all();
        let is_over = |case: &Case| case.state.closed_at.is_some() || pending(&case.state).contains(&Effect::DeleteChannel);
        assert!(!is_over(&case), "the post-mortem is owed: {fallback:?}");
        let issue = IssueRef { number: 7, url: "https://github.example/issues/7".to_owned() };
        case.does(Input::IssuePublished { issue: IssueKind::PostMortem, at: issue, revision: 1 });
        case.post_all();
        assert!(!is_over(&case), "the status page has not heard of the end: {fallback:?}");
        case.does(Input::StatusPageTold { sequence: 2, outcome: Delivery::Delivered });
        case.post_all();
        assert!(is_over(&case), "{fallback:?}");
    }
}

#[test]
fn the_status_page_hears_of_a_customer_facing_incident_and_of_no_other() {
    let public = OpenRequest { customer_facing: true, ..request(Severity::Sev3) };
    let mut case = Case::with(public, Policy::default());
    assert!(pending(&case.state).contains(&Effect::TellStatusPage { sequence: 1 }));
    case.does(Input::StatusPageTold { sequence: 1, outcome: Delivery::Delivered });
    case.does(update("we are on it"));
    case.resolve();
    assert!(pending(&case.state).contains(&Effect::TellStatusPage { sequence: 3 }), "the newest is enough");
    let inner = Case::settled(Severity::Sev3);
    assert_eq!(inner.state.status_page_wanted, 0);
}

#[test]
fn what_was_said_once_and_deleted_is_not_said_again() {
    let mut case = Case::settled(Severity::Sev1);
    case.at(16).does(Input::Note { by: person(1, "Olga"), text: "a password by mistake".to_owned() });
    case.post_all();
    let lost = |owed: &Owed| Input::MessageLost(owed.key.clone(), owed.posted.unwrap());
    for owed in case.state.owed.clone() {
        let expected = if owed.kind.is_live() { vec![Event::MessageLost { key: owed.key.clone() }] } else { vec![] };
        assert_eq!(case.does(lost(&owed)), expected, "{}", owed.key);
    }
}

#[test]
fn that_chat_refuses_a_message_is_remembered_until_it_is_taken() {
    let mut case = Case::settled(Severity::Sev3);
    case.does(update("it is the disk"));
    let key = case.state.owed.last().unwrap().key.clone();
    let refused = |why: &str| Input::MessageRefused(key.clone(), why.to_owned());
    assert_eq!(case.does(refused("no permission")).len(), 1);
    assert_eq!(case.does(refused("no permission")), [], "the same again is no news");
    assert_eq!(case.does(refused("too long")).len(), 1);
    assert_eq!(case.state.owed.last().unwrap().refused.as_deref(), Some("too long"));
    case.post_all();
    assert_eq!(case.state.owed.last().unwrap().refused, None);
    assert_eq!(case.does(refused("no permission")), [], "it stands");
}

#[test]
fn each_kind_of_delay_is_told_once_until_publishing_works() {
    let mut case = Case::settled(Severity::Sev3);
    case.resolve();
    case.does(Input::Publish { by: person(2, "Ivo") });
    let delayed = |why: &str| Input::IssueDelayed { issue: IssueKind::PostMortem, why: why.to_owned() };
    let told: Vec<usize> = ["limited, request 7C", "limited, request 8D", "GitHub answers 500", "limited, request 9E"]
        .map(|why| case.does(delayed(why)).len())
        .into();
    assert_eq!(told, [1, 0, 1, 0]);
    let at = IssueRef { number: 1, url: "https://github.example/issues/1".to_owned() };
    case.does(Input::IssuePublished { issue: IssueKind::PostMortem, at, revision: 1 });
    assert_eq!(case.does(delayed("limited, request 1F")).len(), 1, "it is another trouble by now");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    fn any_input() -> impl Strategy<Value = Input> {
        let by = || person(1, "Olga");
        prop_oneof![
            4 => Just(Input::Tick),
            2 => Just(Input::ChannelOpened { channel: CHANNEL, fallback: None }),
            1 => Just(Input::ChannelLost { channel: CHANNEL }),
            1 => prop_oneof![Just(Severity::Sev1), Just(Severity::Sev3), Just(Severity::Sev4)]
                .prop_map(move |to| Input::ChangeSeverity { to, by: person(1, "Olga"), reason: String::new() }),
            1 => Just(Input::Acknowledge { by: by() }),
            1 => Just(update("news")),
            1 => Just(Input::Resolve { by: by(), summary: "done".to_owned() }),
        ]
    }

    proptest! {
        /// Every update that falls due is visible in the end, once, and none is invented.
        #[test]
        fn every_due_update_is_said_and_none_is_said_twice(inputs in prop::collection::vec((any_input(), 0_i64..40, 0_u8..4), 1..60)) {
            let mut case = Case::opened(Severity::Sev1);
            let mut minute = 0;
            let mut said = 0;
            // What chat was asked to show, as it was then.
            let mut on_its_way: Option<(MessageKey, u32)> = None;
            for (input, minutes, post) in inputs {
                minute += minutes;
                if case.at(minute).tries(input).is_err() {
                    case.does(Input::Tick);
                }
                match (post, on_its_way.take()) {
                    (0, None) => {
                        let beat = case.state.owed.iter().find(|owed| owed.posted.is_none() && matches!(owed.kind, MessageKind::Beat { .. }));
                        on_its_way = beat.map(|owed| (owed.key.clone(), owed.kind.stands_for()));
                    }
                    (1, None) if case.state.channel.is_some() => {
                        said += case.unposted_beats().iter().map(|(_, missed)| 1 + missed).sum::<u32>();
                        case.post_all();
                    }
                    (2.., Some((key, told))) => {
                        said += told;
                        case.arrives(key, told);
                    }
                    (_, waiting) => on_its_way = waiting,
                }
                prop_assert!(case.unposted_beats().len() <= 1);
                prop_assert!(case.state.beat.is_none_or(|beat| beat.next > case.now));
            }
            if let Some((key, told)) = on_its_way {
                said += told;
                case.arrives(key, told);
            }
            case.does(Input::ChannelOpened { channel: CHANNEL, fallback: None });
            said += case.unposted_beats().iter().map(|(_, missed)| 1 + missed).sum::<u32>();
            case.post_all();
            prop_assert_eq!(said, case.beats_due);
        }

        /// A stored history folds to the state that was reached live.
        #[test]
        fn every_event_survives_its_json_form(inputs in prop::collection::vec((any_input(), 0_i64..40), 1..30)) {
            let mut case = Case::opened(Severity::Sev2);
            let mut minute = 0;
            for (input, minutes) in inputs {
                minute += minutes;
                for event in case.at(minute).tries(input).unwrap_or_default() {
                    let text = serde_json::to_string(&event).unwrap();
                    prop_assert!(text.contains(kind_of(&event)));
                    prop_assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
                }
            }
        }
    }
}
