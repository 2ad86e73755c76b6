//! Issues through the engine: the production tracker and client of GitHub against its model, over real sockets.
//!
//! A bot that is killed at any moment, before and after each append and each call, or in the middle of a request, leaves
//! one issue for each thing that owes one, and the next bot brings it up to date.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::Days;
use pointsman::clock::Clock as _;
use pointsman::domain::incident::{Facts, IncidentId, Input, IssueKind, OpenRequest, Opener, ResponderRole, Severity, State};
use pointsman::domain::run::{GateRef, Input as RunInput, Mode, Vote};
use pointsman::domain::{GuildId, Hash, IssueRef, Mask};
use pointsman::engine::{Dossier, Incidents as _, PortError, RunPolicy, Runs as _, Snapshot, Tracker};
use pointsman::github::{GitHub, Settings};
use pointsman::render::post_mortem::Template;
use pointsman::sandbox::github::{Fault, Issue, Misbehaviour, Model, REPOSITORY, TOKEN};
use pointsman::store::audit;
use pointsman::tracking::{GitHubTracker, House};

use crate::harness::engine::{Bench, Life, at, cutover, dba, lead, operator};
use crate::harness::performer::Behaviour;
use crate::harness::points::Points;

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(20);
const CREATE: &str = "POST /repos/*/*/issues";
const UPDATE: &str = "PATCH /repos/*/*/issues/*";

/// GitHub, which outlives every life of the bot.
struct Hub {
    model: Model,
    _runtime: tokio::runtime::Runtime,
}

impl Hub {
    /// A model that goes by the bench's time, and at which the bench's bot publishes.
    fn beside(bench: &mut Bench) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let clock = Arc::new(bench.clock.clone());
        let model = runtime.block_on(Model::start(clock, ([127, 0, 0, 1], 0).into())).unwrap();
        let api_base = model.api_base();
        bench.tracker = Some(Box::new(move |points| {
            let settings = Settings { api_base: api_base.clone(), token: TOKEN.into(), repository: REPOSITORY.parse().unwrap() };
            let github = Some(GitHub::with_patience(settings, SOON).unwrap());
            let house = House {
                guild: GuildId::new(7),
                labels: vec!["post-mortem".to_owned()],
                assignees: vec!["leo".to_owned()],
                template: Template::shipped().clone(),
                mask: Mask::none(),
            };
            Arc::new(Mortal { tracker: GitHubTracker { github, house }, points })
        }));
        Self { model, _runtime: runtime }
    }

    /// The issues that carry a mark that begins so, the oldest first.
    fn marked(&self, marker: &str) -> Vec<Issue> {
        let mark = format!("<!-- pointsman:{marker}");
        self.model.issues().into_iter().filter(|issue| issue.body.starts_with(&mark)).collect()
    }

    /// The one issue that carries such a mark.
    fn only(&self, marker: &str) -> Issue {
        let mut marked = self.marked(marker);
        assert_eq!(marked.len(), 1, "{marker}: {marked:#?}");
        marked.remove(0)
    }

    fn sent(&self, method: &str) -> usize {
        self.model.requests().iter().filter(|request| request.method == method).count()
    }

    fn expect_modelled(&self) {
        let strange: Vec<_> = self.model.requests().into_iter().filter(|request| !request.modelled).collect();
        assert!(strange.is_empty(), "{strange:?}");
    }
}

/// The production tracker in a process that may be killed before and after each call.
struct Mortal {
    tracker: GitHubTracker,
    points: Arc<Points>,
}

#[async_trait]
impl Tracker for Mortal {
    async fn publish(&self, dossier: &Dossier, issue: IssueKind) -> Result<IssueRef, PortError> {
        self.points.pass(&format!("before {issue:?}")).await;
        let published = self.tracker.publish(dossier, issue).await;
        self.points.pass(&format!("after {issue:?}")).await;
        published
    }

    async fn publish_review(&self, run: &Snapshot, gate: &GateRef, card: u32) -> Result<IssueRef, PortError> {
        self.points.pass("before the review").await;
        let published = self.tracker.publish_review(run, gate, card).await;
        self.points.pass("after the review").await;
        published
    }
}

fn incident_of(life: &Life<'_>, incident: &IncidentId) -> Arc<State> {
    life.handle.incident(incident).expect("the engine knows it").state
}

async fn tell(life: &Life<'_>, incident: &IncidentId, input: Input) {
    life.handle.tell(incident, input).await.expect("it is allowed");
    life.settle().await;
}

fn action() -> Input {
    let (title, owner) = ("Add a check".to_owned(), "olivia".to_owned());
    Input::AddAction { by: dba(), title, owner, due: at(0).date_naive() + Days::new(7) }
}

fn note() -> Input {
    Input::Note { by: dba(), text: "the disk was full".to_owned() }
}

#[test]
fn a_post_mortem_tells_what_the_journal_knows_and_grows_with_it() {
    let mut bench = Bench::new();
    bench.policies.runs = RunPolicy { beat: None, incident: Some(Severity::Sev2) };
    bench.policies.incidents.review_after = pointsman::domain::Duration::from_minutes(24 * 60);
    let hub = Hub::beside(&mut bench);
    bench.whole_life(async |life| {
        bench.effects.next("smoke", &[Behaviour::Fail { retryable: false }]);
        let run = life.begin("move", Mode::Live).await;
        let card = life.card(&run, &cutover());
        life.react(card, &dba(), Vote::Sign).await;
        life.react(card, &lead(), Vote::Sign).await;
        let incident = *life.handle.incidents()[0].state.id();
        tell(life, &incident, Input::TakeRole { role: ResponderRole::Commander, person: dba(), by: dba() }).await;
        life.advance(20 * 60).await;
        tell(life, &incident, Input::Resolve { by: dba(), summary: "went back".to_owned() }).await;
        let facts = Facts { root_cause: Some("a full disk".to_owned()), ..Facts::default() };
        tell(life, &incident, Input::GiveFacts { by: dba(), facts }).await;
        tell(life, &incident, action()).await;
        assert_eq!(hub.model.issues().len(), 0, "nobody has asked for it");
        tell(life, &incident, Input::Publish { by: lead() }).await;

        let issue = hub.only("post-mortem:");
        let item = hub.only("action-item:");
        let state = incident_of(life, &incident);
        assert_eq!(issue.title, format!("Post-mortem: {} ({incident})", state.opened.title));
        assert_eq!(
            (issue.labels.as_slice(), issue.assignees.as_slice()),
            (&["post-mortem", "sev2"].map(String::from)[..], &["leo".to_owned()][..])
        );
        let review = state.review.as_ref().expect("a review").at.format("%Y-%m-%d %H:%M UTC").to_string();
        let run_failed = format!("`{run}` step `smoke` failed");
        let action_line = format!("Add a check (Owner: olivia, Due: 2027-01-22) – #{}", item.number);
        for told in ["Grace: incident commander", "went back", "a full disk", &review, &run_failed, &action_line] {
            assert!(issue.body.contains(told), "{told} is not in:\n{}", issue.body);
        }

        // The head that stands there is one of the chain's, so that a journal that was cut since shows.
        let head = issue.body.split("--head ").nth(1).and_then(|rest| rest.split('`').next()).expect("a head");
        let head: Hash = head.parse().expect("a hash");
        assert!(audit::verify(&*life.journal, Some(head)).await.unwrap().is_intact());
        assert!(!audit::verify(&*life.journal, Some(Hash::of(b"another"))).await.unwrap().is_intact());

        assert_eq!(
            (item.labels.as_slice(), item.assignees.as_slice()),
            (&["action-item".to_owned()][..], &["olivia".to_owned()][..])
        );
        let from = format!("From the post-mortem: #{}", issue.number);
        for told in ["Owner: olivia", "Due: 2027-01-22", &from] {
            assert!(item.body.contains(told), "{told} is not in:\n{}", item.body);
        }

        // What is added later is brought there, and nothing is made anew.
        tell(life, &incident, note()).await;
        let grown = hub.only("post-mortem:");
        assert!(grown.body.contains("Grace: the disk was full") && grown.number == issue.number, "{}", grown.body);
        assert_eq!(hub.sent("POST"), 2);
        let known = &incident_of(life, &incident).post_mortem;
        assert_eq!(known.published.as_ref().map(|published| published.at.number), Some(issue.number));
        assert_eq!(known.actions[0].issue.as_ref().map(|at| at.number), Some(item.number));
    });
    hub.expect_modelled();
}

/// Resolved, published, and something more found out. Goes on wherever an earlier life has stopped.
async fn story(life: &Life<'_>) -> IncidentId {
    let request = || OpenRequest {
        title: "Checkout is down".to_owned(),
        severity: Severity::Sev4,
        by: Opener::Person(operator()),
        customer_facing: false,
        private: false,
        asked_in: None,
        run: None,
    };
    let incident = match life.handle.incidents().first() {
        Some(known) => *known.state.id(),
        None => life.handle.open(request()).await.expect("it opens"),
    };
    life.settle().await;
    let state = || incident_of(life, &incident);
    if state().is_open() {
        tell(life, &incident, Input::Resolve { by: dba(), summary: "mended".to_owned() }).await;
    }
    if state().post_mortem.actions.is_empty() {
        tell(life, &incident, action()).await;
    }
    if state().post_mortem.requested_by.is_none() {
        tell(life, &incident, Input::Publish { by: dba() }).await;
    }
    if state().timeline.len() < 2 {
        tell(life, &incident, note()).await;
    }
    life.advance(300).await;
    incident
}

/// What is to be the same however often the bot died.
fn expect_published(hub: &Hub, life: &Life<'_>, incident: &IncidentId, when: &str) {
    let (issue, item) = (hub.only("post-mortem:"), hub.only("action-item:"));
    assert_eq!(hub.model.issues().len(), 2, "{when}");
    assert!(
        issue.body.contains(&format!("#{}", item.number)) && issue.body.contains("the disk was full"),
        "{when}: {}",
        issue.body
    );
    assert!(item.body.contains(&format!("#{}", issue.number)), "{when}: {}", item.body);
    let known = &incident_of(life, incident).post_mortem;
    let published = known.published.as_ref().expect("published");
    assert_eq!((published.at.number, published.revision), (issue.number, known.revision), "{when}");
}

#[test]
fn killed_at_every_moment_each_issue_is_made_once_and_brought_up_to_date() {
    let mut bench = Bench::new();
    let hub = Hub::beside(&mut bench);
    let (done, points) = bench.live(None, async |life| expect_published(&hub, life, &story(life).await, "in peace"));
    assert!(done.is_some() && points.passed() > 20, "{} moments", points.passed());
    for moment in 1..=points.passed() {
        let mut bench = Bench::new();
        let hub = Hub::beside(&mut bench);
        let (done, points) = bench.live(Some(moment), async |life| story(life).await);
        assert!(done.is_none());
        let when = format!("killed at {}", points.last());
        bench.whole_life(async |life| expect_published(&hub, life, &story(life).await, &when));
        hub.expect_modelled();
    }
}

#[test]
fn killed_in_the_middle_of_a_request_the_next_bot_finds_what_it_did() {
    for (request, skip) in [(CREATE, 0), (CREATE, 1), (UPDATE, 0)] {
        let mut bench = Bench::new();
        let hub = Hub::beside(&mut bench);
        hub.model.fault(Fault { skip, ..Fault::once(request, Misbehaviour::SilentAfterEffect) });
        // It hangs in its request, and dies there.
        bench.whole_life(async |life| {
            let unanswered = async {
                while !hub.model.requests().iter().any(|request| request.fault) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                _ = story(life) => panic!("the request was answered"),
                () = unanswered => {}
                () = tokio::time::sleep(SOON) => panic!("{request} was never sent"),
            }
        });
        let when = format!("killed in {request} after {skip}");
        bench.whole_life(async |life| expect_published(&hub, life, &story(life).await, &when));
    }
}

#[test]
fn killed_at_every_moment_a_broken_glass_owes_one_review() {
    let break_it = async |life: &Life<'_>| {
        let run = match life.handle.runs().first() {
            Some(known) => known.id.clone(),
            None => life.try_start("move", Mode::Live).await.expect("it starts"),
        };
        life.settle().await;
        let broken = || !life.state(&run).reviews.is_empty();
        while !broken() && life.state(&run).open_gate().is_none_or(|(_, gate)| !gate.is_green()) {
            life.advance(60).await;
        }
        if !broken() {
            let reason = "nobody *answers*".to_owned();
            life.send(&run, RunInput::BreakGlass { by: lead(), reason, other_holders: true }).await.expect("the glass breaks");
        }
        life.advance(300).await;
        run
    };
    let mut bench = Bench::new();
    let hub = Hub::beside(&mut bench);
    let (run, points) = bench.live(None, async |life| {
        let run = break_it(life).await;
        let review = hub.only("review:");
        assert_eq!(life.state(&run).reviews[0].issue.as_ref().map(|at| at.number), Some(review.number));
        run
    });
    let review = hub.only("review:");
    assert_eq!(review.title, "Review of a broken glass: Move");
    assert_eq!(
        (review.labels.as_slice(), review.assignees.as_slice()),
        (&["break-glass".to_owned()][..], &["leo".to_owned()][..])
    );
    let run = run.expect("nothing kills it");
    for told in [run.as_str(), "Opened by: Edsger", "nobody \\*answers\\*", "`dba`", "`operations_lead`", "audit verify"] {
        assert!(review.body.contains(told), "{told} is not in:\n{}", review.body);
    }
    for moment in 1..=points.passed() {
        let mut bench = Bench::new();
        let hub = Hub::beside(&mut bench);
        let (_, points) = bench.live(Some(moment), async |life| break_it(life).await);
        bench.whole_life(async |life| {
            let run = break_it(life).await;
            assert!(life.state(&run).reviews[0].issue.is_some(), "killed at {}", points.last());
        });
        assert_eq!(hub.marked("review:").len(), 1, "killed at {}", points.last());
    }
}

#[test]
fn without_a_repository_the_channel_says_what_to_set_and_the_issue_stays_owed() {
    let mut bench = Bench::new();
    let hub = Hub::beside(&mut bench);
    let house = || House {
        guild: GuildId::new(7),
        labels: vec![],
        assignees: vec![],
        template: Template::shipped().clone(),
        mask: Mask::none(),
    };
    let configured = bench.tracker.replace(Box::new(move |_| Arc::new(GitHubTracker { github: None, house: house() })));
    let incident = bench.whole_life(async |life| {
        let incident = story(life).await;
        let delayed = incident_of(life, &incident).post_mortem.delayed.clone().expect("it is said");
        assert!(delayed.contains("github.repository") && delayed.contains("POINTSMAN_GITHUB_TOKEN"), "{delayed}");
        incident
    });
    bench.tracker = configured;
    bench.whole_life(async |life| {
        life.advance(600).await;
        expect_published(&hub, life, &incident, "once it is set up");
        assert!(bench.clock.now() > at(600));
    });
}
