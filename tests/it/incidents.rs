//! Incidents through the engine's handle: numbers, channels, the beat, what is owed, and kills at every moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pointsman::clock::Clock as _;
use pointsman::domain::incident::{
    Event, IncidentId, Input, IssueKind, OpenRequest, Opener, ResponderRole, Severity, State, begin, evolve, pending,
};
use pointsman::domain::run::{Actor, GateRef, Input as RunInput, Mode, Vote};
use pointsman::domain::{ChannelId, Duration, MessageId, MessageRef, RunId, StreamId, Timestamp};
use pointsman::engine::{Hint, IncidentError, Incidents as _, Mark, RunPolicy, Runs as _};
use pointsman::store::audit;

use crate::harness::engine::{Bench, Life, at, chores, cutover, dba, dead_holder, lead, operator, requester, team};
use crate::harness::incident_chat::FALLBACK;
use crate::harness::journal::Fault;
use crate::harness::performer::Behaviour;
use crate::harness::points::Points;

fn request(severity: Severity) -> OpenRequest {
    OpenRequest {
        title: "Checkout is down".to_owned(),
        severity,
        by: Opener::Person(operator()),
        customer_facing: true,
        private: false,
        asked_in: Some(ChannelId::new(5)),
        run: None,
    }
}

impl Life<'_> {
    async fn open(&self, severity: Severity) -> IncidentId {
        let incident = self.handle.open(request(severity)).await.expect("it opens");
        self.settle().await;
        incident
    }

    async fn tell(&self, incident: &IncidentId, input: Input) -> Result<(), IncidentError> {
        let told = self.handle.tell(incident, input).await;
        self.settle().await;
        told
    }

    fn incident_state(&self, incident: &IncidentId) -> Arc<State> {
        self.handle.incident(incident).expect("the engine knows it").state
    }

    async fn incident_kinds(&self, incident: &IncidentId) -> Vec<String> {
        let stream = StreamId::new("incident", &incident.to_string()).unwrap();
        self.journal.load(&stream).await.unwrap().into_iter().map(|record| record.kind).collect()
    }

    /// What must hold of an incident that owes nothing at the moment: the journal folds to what is shown, everything
    /// that was owed is visible, once, and nothing else is.
    async fn expect_sound_incident(&self, incident: &IncidentId) {
        assert!(audit::verify(&*self.journal, None).await.unwrap().is_intact());
        let stream = StreamId::new("incident", &incident.to_string()).unwrap();
        let mut state: Option<State> = None;
        for record in self.journal.load(&stream).await.unwrap() {
            let event: Event = serde_json::from_str(&record.body).unwrap();
            state = Some(match state {
                None => begin(record.at, &event).unwrap(),
                Some(state) => evolve(state, record.at, &event).unwrap(),
            });
        }
        let state = state.expect("it has events");
        assert_eq!(state, *self.incident_state(incident));
        assert_eq!(pending(&state), []);
        let visible = self.bench.incidents.said(incident);
        let mut copies: BTreeMap<String, usize> = BTreeMap::new();
        for said in &visible {
            *copies.entry(said.key.to_string()).or_default() += 1;
        }
        for owed in &state.owed {
            assert_eq!(copies.remove(owed.key.as_str()), Some(1), "{} is not visible once", owed.key);
        }
        assert_eq!(copies, BTreeMap::new(), "nobody owed these");
    }
}

#[test]
fn an_incident_gets_a_channel_a_pinned_card_and_a_page() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev1).await;
        assert_eq!(bench.incidents.channels().len(), 1);
        assert_eq!(bench.incidents.pages(), [(incident, 0)]);
        assert_eq!(bench.incidents.status_page(), [(incident, 1)]);
        let card = bench.incidents.said(&incident)[0].at;
        assert_eq!(bench.incidents.pinned(), [card]);
        assert_eq!(life.handle.incident_in_channel(card.channel), Some(incident));
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn of_many_opened_at_once_each_gets_its_own_number_and_none_is_left_out() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let points = Arc::new(Points::new(None));
        let life = bench.start(&points, &dead_holder()).await.unwrap();
        let opening = (0..20).map(|_| life.handle.open(request(Severity::Sev4)));
        let opened = futures_util::future::join_all(opening).await;
        let numbers: BTreeSet<u32> = opened.into_iter().map(|opened| opened.unwrap().number()).collect();
        assert_eq!(numbers, (1..=20).collect());
    });
}

#[test]
fn numbers_go_on_after_a_restart_and_begin_anew_with_the_utc_day() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        life.open(Severity::Sev4).await;
        life.open(Severity::Sev4).await;
    });
    bench.whole_life(async |life| {
        assert_eq!(life.open(Severity::Sev4).await.number(), 3);
        life.advance(24 * 3600).await;
        assert_eq!(life.open(Severity::Sev4).await.number(), 1);
    });
}

#[test]
fn a_status_update_comes_at_its_hour_and_the_next_after_it() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev1).await;
        life.tell(&incident, Input::Acknowledge { by: operator() }).await.unwrap();
        life.advance(46 * 60).await;
        let expected: Vec<_> = [15, 30, 45].map(|minute| (at(minute * 60), 0, at(minute * 60))).into();
        assert_eq!(bench.incidents.beats(&incident), expected);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn after_a_restart_a_missed_update_is_said_at_once_and_once() {
    let bench = Bench::new();
    let incident = bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev1).await;
        life.tell(&incident, Input::Acknowledge { by: operator() }).await.unwrap();
        incident
    });
    bench.clock.advance(std::time::Duration::from_secs(50 * 60));
    bench.whole_life(async |life| {
        life.settle().await;
        assert_eq!(bench.incidents.beats(&incident), [(at(15 * 60), 2, at(50 * 60))]);
        life.advance(10 * 60).await;
        assert_eq!(bench.incidents.beats(&incident)[1..], [(at(60 * 60), 0, at(60 * 60))]);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn updates_that_chat_could_not_take_become_one_late_one_that_counts_them() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev1).await;
        life.tell(&incident, Input::Acknowledge { by: operator() }).await.unwrap();
        bench.incidents.set_away(true);
        life.advance(47 * 60).await;
        assert_eq!(bench.incidents.beats(&incident), []);
        bench.incidents.set_away(false);
        life.advance(5 * 60).await;
        let beats = bench.incidents.beats(&incident);
        assert_eq!(beats.iter().map(|(due, missed, _)| (*due, *missed)).collect::<Vec<_>>(), [(at(15 * 60), 2)]);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn what_fell_due_after_a_message_whose_answer_was_lost_is_said_as_well() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev1).await;
        life.tell(&incident, Input::Acknowledge { by: operator() }).await.unwrap();
        // The first update is said and its answer lost; then chat is away for two more.
        bench.incidents.go_away_with_the_next_update();
        life.advance(47 * 60).await;
        bench.incidents.set_away(false);
        life.advance(5 * 60).await;
        let beats = bench.incidents.beats(&incident);
        let said: Vec<_> = beats.iter().map(|(due, missed, _)| (*due, *missed)).collect();
        assert_eq!(said, [(at(15 * 60), 0), (at(30 * 60), 1)]);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn a_clock_that_goes_backwards_doubles_no_update() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev1).await;
        life.tell(&incident, Input::Acknowledge { by: operator() }).await.unwrap();
        life.advance(16 * 60).await;
        bench.clock.set(at(5 * 60));
        life.advance(26 * 60).await;
        let due: Vec<Timestamp> = bench.incidents.beats(&incident).iter().map(|(due, ..)| *due).collect();
        assert_eq!(due, [at(15 * 60), at(30 * 60)]);
    });
}

#[test]
fn a_bot_started_with_a_clock_that_is_behind_says_what_it_owed_and_nothing_twice() {
    let bench = Bench::new();
    let incident = bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev1).await;
        life.tell(&incident, Input::Acknowledge { by: operator() }).await.unwrap();
        life.advance(16 * 60).await;
        bench.incidents.set_away(true);
        life.advance(15 * 60).await;
        incident
    });
    bench.incidents.set_away(false);
    bench.clock.set(at(5 * 60));
    let due = |bench: &Bench| bench.incidents.beats(&incident).iter().map(|(due, ..)| *due).collect::<Vec<_>>();
    bench.whole_life(async |life| {
        life.settle().await;
        assert_eq!(due(&bench), [at(15 * 60), at(30 * 60)], "what was owed does not wait for the clock");
        life.advance(35 * 60).await;
        assert_eq!(due(&bench), [at(15 * 60), at(30 * 60)]);
        life.advance(20 * 60).await;
        assert_eq!(due(&bench), [at(15 * 60), at(30 * 60), at(45 * 60), at(60 * 60)]);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn a_clock_that_goes_backwards_doubles_no_update_of_a_run_and_loses_none() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        life.advance(16 * 60).await;
        bench.clock.set(at(-3_600));
        life.settle().await;
        bench.clock.set(at(14 * 60));
        life.advance(12 * 60).await;
        let due = async || {
            let stream = StreamId::new("run", run.as_str()).unwrap();
            let records = life.journal.load(&stream).await.unwrap();
            records.iter().filter(|record| record.kind == "status_due").count()
        };
        let said = || bench.chat.visible().iter().filter(|message| message.key.as_str().starts_with("beat/")).count();
        assert_eq!((due().await, said()), (1, 1));
        life.advance(5 * 60).await;
        assert_eq!((due().await, said()), (2, 2));
        life.expect_sound(&run).await;
    });
}

#[test]
fn of_two_who_resolve_at_once_one_is_told_who_was_first() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev3).await;
        let resolve = |by| life.handle.tell(&incident, Input::Resolve { by, summary: "mended".to_owned() });
        let (first, second) = tokio::join!(resolve(operator()), resolve(dba()));
        assert_eq!(first, Ok(()));
        assert!(second.unwrap_err().to_string().starts_with("the incident was resolved by Barbara"));
        life.settle().await;
        assert_eq!(bench.incidents.reviews(), [incident]);
    });
}

#[test]
fn what_a_person_adds_stands_in_the_journal_once_also_if_the_answer_to_its_write_is_lost() {
    let inputs = || {
        let due = at(0).date_naive();
        [
            ("noted", Input::Note { by: operator(), text: "the disk is full".to_owned() }),
            ("updated", Input::Update { by: operator(), text: "we make room".to_owned() }),
            ("action_added", Input::AddAction { by: operator(), title: "alert".to_owned(), owner: "ada".to_owned(), due }),
        ]
    };
    for fault in [Fault::AnswerLost, Fault::LostWithAnswer] {
        let bench = Bench::new();
        bench.whole_life(async |life| {
            let incident = life.open(Severity::Sev3).await;
            for (kind, input) in inputs() {
                bench.faults.appends.lock().unwrap().push_back(fault);
                let told = life.while_time_passes(life.handle.tell(&incident, input)).await;
                assert_eq!(told, Ok(()), "{kind}, {fault:?}");
                life.settle().await;
                let times = life.incident_kinds(&incident).await.iter().filter(|known| *known == kind).count();
                assert_eq!(times, 1, "{kind}, {fault:?}");
            }
            life.expect_sound_incident(&incident).await;
        });
    }
}

#[test]
fn a_deleted_channel_is_made_anew_and_the_incident_goes_on_there() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev3).await;
        let (channel, _) = bench.incidents.channels()[0];
        bench.incidents.delete_channel(channel);
        life.handle.hint(Hint::ChannelDeleted { channel });
        life.settle().await;
        assert_eq!(bench.incidents.channels().len(), 1);
        assert_ne!(bench.incidents.channels()[0].0, channel);
        life.tell(&incident, Input::Note { by: operator(), text: "here".to_owned() }).await.unwrap();
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn a_channel_that_was_deleted_while_nobody_listened_is_noticed_by_the_next_message() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev3).await;
        bench.incidents.delete_channel(bench.incidents.channels()[0].0);
        life.tell(&incident, Input::Note { by: operator(), text: "hello?".to_owned() }).await.unwrap();
        life.advance(300).await;
        assert_eq!(bench.incidents.channels().len(), 1);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn without_room_for_a_channel_the_incident_lives_in_the_fallback_channel() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        bench.incidents.set_full(true);
        let incident = life.open(Severity::Sev3).await;
        assert_eq!(life.incident_state(&incident).channel, Some(FALLBACK));
        assert_eq!(bench.incidents.pinned(), []);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn a_mark_set_while_the_bot_was_away_is_on_the_timeline_once() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev3).await;
        let channel = bench.incidents.channels()[0].0;
        let message = MessageRef { channel, message: MessageId::new(42) };
        bench.incidents.mark(Mark { message, author: "Ada".to_owned(), by: dba() });
        life.handle.hint(Hint::Reconnected);
        life.settle().await;
        life.handle.hint(Hint::Marked { channel });
        life.settle().await;
        let marked = life.incident_kinds(&incident).await.iter().filter(|kind| *kind == "message_marked").count();
        assert_eq!(marked, 1);
    });
}

/// A run of `move` that has failed behind its gate, with what the bench does about it.
async fn failing_run(life: &Life<'_>) -> RunId {
    life.bench.effects.next("smoke", &[Behaviour::Fail { retryable: false }]);
    let run = life.begin("move", Mode::Live).await;
    let card = life.card(&run, &cutover());
    life.react(card, &dba(), Vote::Sign).await;
    life.react(card, &lead(), Vote::Sign).await;
    run
}

fn bench_with_incidents() -> Bench {
    let mut bench = Bench::new();
    bench.policies.runs = RunPolicy { beat: Some(Duration::from_minutes(15)), incident: Some(Severity::Sev2) };
    bench
}

#[test]
fn a_run_that_goes_badly_opens_an_incident_and_both_know_each_other() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        let run = failing_run(life).await;
        let incidents = life.handle.incidents();
        assert_eq!(incidents.len(), 1);
        let incident = &incidents[0];
        assert_eq!(incident.state.run(), Some(&run));
        assert!(incident.runs.iter().map(|run| run.state.id()).eq([&run]));
        assert_eq!(life.state(&run).incident, Some(*incident.state.id()));
        life.expect_sound(&run).await;
    });
}

#[test]
fn the_incident_of_a_run_is_as_severe_as_was_agreed_on_when_the_run_began() {
    let mut bench = bench_with_incidents();
    bench.policies.runs.incident = Some(Severity::Sev1);
    let run = bench.whole_life(async |life| life.begin("move", Mode::Live).await);
    bench.policies.runs.incident = None;
    bench.whole_life(async |life| {
        life.bench.effects.next("smoke", &[Behaviour::Fail { retryable: false }]);
        life.settle().await;
        let card = life.card(&run, &cutover());
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        let severities: Vec<Severity> = life.handle.incidents().iter().map(|incident| incident.state.severity).collect();
        assert_eq!(severities, [Severity::Sev1]);
    });
}

#[test]
fn a_person_who_opens_one_about_a_run_whose_last_one_is_resolved_gets_a_new_one() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        let run = failing_run(life).await;
        let first = *life.handle.incidents()[0].state.id();
        let about = || OpenRequest { run: Some(run.clone()), ..request(Severity::Sev1) };
        assert_eq!(life.handle.open(about()).await, Ok(first), "it is still open: one is enough");
        life.tell(&first, Input::Resolve { by: dba(), summary: "mended".to_owned() }).await.unwrap();
        let why = "it failed".to_owned();
        let by_itself = OpenRequest { by: Opener::Run { run: run.clone(), why }, ..about() };
        assert_eq!(life.handle.open(by_itself).await, Ok(first), "after a crash the run finds its own again");
        let second = life.handle.open(about()).await.expect("it opens");
        life.settle().await;
        assert_ne!(second, first);
        assert!(bench.incidents.pages().contains(&(second, 0)), "and somebody is woken");
        assert_eq!(life.handle.open(about()).await, Ok(second), "which is the open one now");
        let thread = life.state(&run).thread.unwrap();
        assert_eq!(life.handle.incident_in_channel(thread), Some(second), "and the one that is meant in the run's thread");
    });
}

#[test]
fn a_run_that_asks_what_to_do_about_a_failure_has_people_called() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        life.bench.effects.next("copy", &[Behaviour::Fail { retryable: false }]);
        let run = life.begin("move", Mode::Live).await;
        assert!(matches!(life.state(&run).question, Some(ref question) if question.id == 1));
        assert_eq!(life.handle.incidents().len(), 1);
    });
}

#[test]
fn a_run_that_goes_well_opens_none_and_a_rehearsal_never_does() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        life.play(&run, &team).await;
        life.bench.effects.next("look", &[Behaviour::Fail { retryable: false }]);
        let rehearsal = life.begin("move", Mode::DryRun).await;
        life.play(&rehearsal, &chores).await;
        assert_eq!(life.handle.incidents().len(), 0);
    });
}

#[test]
fn a_run_started_inside_an_incident_belongs_to_it_and_opens_no_other() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev2).await;
        let channel = bench.incidents.channels()[0].0;
        life.bench.effects.next("smoke", &[Behaviour::Fail { retryable: false }]);
        let mut order = life.order("move", Mode::Live);
        order.channel = channel;
        let run = life.handle.start(order).await.unwrap();
        life.settle().await;
        let card = life.card(&run, &cutover());
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        assert_eq!(life.handle.incidents().len(), 1);
        assert_eq!(life.handle.incident(&incident).unwrap().runs.len(), 1);
        let thread = life.state(&run).thread.unwrap();
        assert_eq!(life.handle.incident_in_channel(thread), Some(incident));
    });
}

#[test]
fn a_live_run_gives_updates_from_its_first_effect_to_its_closing() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        life.advance(14 * 60).await;
        let beats = || bench.chat.visible().iter().filter(|m| m.key.as_str().starts_with("beat/")).count();
        assert_eq!(beats(), 0);
        life.advance(2 * 60).await;
        assert_eq!(beats(), 1);
        let card = life.card(&run, &cutover());
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        life.advance(60 * 60).await;
        assert_eq!(beats(), 1, "it is closing");
        life.expect_sound(&run).await;
    });
}

#[test]
fn breaking_the_glass_owes_a_review_that_waits_for_github() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        bench.incidents.set_github_away(true);
        let run = life.begin("move", Mode::Live).await;
        let glass = RunInput::BreakGlass { by: lead(), reason: "nobody answers".to_owned(), other_holders: true };
        life.send(&run, glass).await.unwrap();
        assert_eq!(life.kinds(&run).await.iter().filter(|kind| **kind == "review_delayed").count(), 1);
        assert_eq!(bench.incidents.issues().len(), 0);
        bench.incidents.set_github_away(false);
        life.advance(600).await;
        assert_eq!(bench.incidents.issues().len(), 1);
        assert!(life.state(&run).reviews[0].issue.is_some());
    });
}

/// A whole incident: opened, worked on, resolved, published.
async fn story(life: &Life<'_>) -> IncidentId {
    let incident = match life.handle.incidents().first() {
        Some(known) => *known.state.id(),
        None => life.handle.open(request(Severity::Sev1)).await.expect("it opens"),
    };
    life.settle().await;
    let until = at(40 * 60);
    while life.bench.clock.now() < until {
        life.advance(5 * 60).await;
    }
    let state = || life.incident_state(&incident);
    let due = at(0).date_naive() + chrono::Days::new(7);
    if state().roles.is_empty() {
        let commander = Input::TakeRole { role: ResponderRole::Commander, person: dba(), by: dba() };
        life.tell(&incident, commander).await.unwrap();
    }
    if state().is_open() {
        life.tell(&incident, Input::Resolve { by: dba(), summary: "mended".to_owned() }).await.unwrap();
    }
    if state().post_mortem.actions.is_empty() {
        let (title, owner) = ("Add a check".to_owned(), "ada".to_owned());
        life.tell(&incident, Input::AddAction { by: dba(), title, owner, due }).await.unwrap();
    }
    if state().post_mortem.requested_by.is_none() {
        life.tell(&incident, Input::Publish { by: dba() }).await.unwrap();
    }
    life.advance(300).await;
    incident
}

/// What is to be the same however often the bot died.
fn outcome(bench: &Bench, incident: &IncidentId) -> impl PartialEq + std::fmt::Debug + use<> {
    let due: u32 = bench.incidents.beats(incident).iter().map(|(_, missed, _)| 1 + missed).sum();
    let markers: Vec<String> = bench.incidents.issues().into_keys().collect();
    (due, bench.incidents.channels().len(), bench.incidents.pages(), markers, bench.incidents.reviews())
}

#[test]
fn killed_at_every_moment_an_incident_is_said_done_and_published_once() {
    let bench = Bench::new();
    let (peace, points) = bench.live(None, async |life| {
        let incident = story(life).await;
        life.expect_sound_incident(&incident).await;
        outcome(&bench, &incident)
    });
    let peace = peace.expect("nothing kills it");
    assert!(points.passed() > 40);
    for moment in 1..=points.passed() {
        let bench = Bench::new();
        let (done, points) = bench.live(Some(moment), async |life| story(life).await);
        assert!(done.is_none());
        let after = bench.whole_life(async |life| {
            let incident = story(life).await;
            life.expect_sound_incident(&incident).await;
            outcome(&bench, &incident)
        });
        assert_eq!(after, peace, "killed at {}", points.last());
    }
}

#[test]
fn killed_at_every_moment_a_bad_run_opens_one_incident() {
    let play = async |life: &Life<'_>| {
        let run = match life.handle.runs().first() {
            Some(known) => known.id.clone(),
            None => life.try_start("move", Mode::Live).await.unwrap(),
        };
        life.play(&run, &team).await;
        life.settle().await;
        run
    };
    let prepared = || {
        let bench = bench_with_incidents();
        // Twice: a smoke test that was cut off is made again, and finds what it would have found.
        bench.effects.next("smoke", &[Behaviour::Fail { retryable: false }, Behaviour::Fail { retryable: false }]);
        bench
    };
    let (done, points) = prepared().live(None, async |life| drop(play(life).await));
    assert!(done.is_some());
    for moment in 1..=points.passed() {
        let bench = prepared();
        bench.live(Some(moment), async |life| drop(play(life).await));
        bench.whole_life(async |life| {
            let run = play(life).await;
            assert_eq!(life.handle.incidents().len(), 1, "killed at {moment}");
            assert!(life.state(&run).incident.is_some(), "killed at {moment}");
            assert_eq!(bench.incidents.channels().len(), 1, "killed at {moment}");
        });
    }
}

#[test]
fn an_armed_rollback_is_asked_for_once_and_its_incident_with_it() {
    let bench = bench_with_incidents();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let rollback = RunInput::Rollback { rollback: None, by: Actor::Person(requester()), reason: "it smells".to_owned() };
        life.send(&run, rollback).await.unwrap();
        assert!(matches!(life.state(&run).open_gate(), Some((GateRef::Rollback(_), _))));
        assert_eq!(life.handle.incidents().len(), 1);
    });
}

#[test]
fn that_github_is_away_is_said_and_the_issue_follows_by_itself() {
    let bench = Bench::new();
    let incident = bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev3).await;
        bench.incidents.set_github_away(true);
        life.tell(&incident, Input::Resolve { by: dba(), summary: "mended".to_owned() }).await.unwrap();
        life.tell(&incident, Input::Publish { by: dba() }).await.unwrap();
        life.advance(3600).await;
        let delayed = life.incident_kinds(&incident).await.iter().filter(|kind| *kind == "issue_delayed").count();
        assert_eq!(delayed, 1);
        incident
    });
    bench.incidents.set_github_away(false);
    bench.whole_life(async |life| {
        life.settle().await;
        assert_eq!(bench.incidents.issues().keys().collect::<Vec<_>>(), [&format!("{incident}/{:?}", IssueKind::PostMortem)]);
        life.expect_sound_incident(&incident).await;
    });
}

#[test]
fn a_resolved_incidents_channel_is_archived_exported_and_deleted_at_its_time() {
    let mut bench = Bench::new();
    bench.policies.incidents.delete_after = Some(Duration::from_minutes(48 * 60));
    bench.whole_life(async |life| {
        let incident = life.open(Severity::Sev3).await;
        life.tell(&incident, Input::Resolve { by: dba(), summary: "mended".to_owned() }).await.unwrap();
        life.advance(25 * 3600).await;
        assert_eq!(bench.incidents.put_away(), (vec![incident], vec![]));
        life.advance(25 * 3600).await;
        assert_eq!(bench.incidents.put_away(), (vec![incident], vec![incident]));
        let late = life.tell(&incident, Input::Note { by: dba(), text: "late".to_owned() }).await;
        assert_eq!(late.unwrap_err().to_string(), "the incident is closed: its channel was exported and deleted");
    });
}
