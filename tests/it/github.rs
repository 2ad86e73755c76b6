//! The production client of GitHub against the model, over real sockets: one issue per marker, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta};
use pointsman::clock::FakeClock;
use pointsman::domain::{IssueDraft, IssueRef, Timestamp};
use pointsman::github::{GitHub, Reason, Settings, Trouble};
use pointsman::sandbox::github::{Access, Act, Fault, Issue, Misbehaviour, Model, REPOSITORY, TOKEN};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};

/// A backstop for everything that is awaited; nothing here takes that long unless it fails.
const SOON: Duration = Duration::from_secs(20);
const LIST: &str = "GET /repos/*/*/issues";
const CREATE: &str = "POST /repos/*/*/issues";
const UPDATE: &str = "PATCH /repos/*/*/issues/*";

fn start_of_incident() -> Timestamp {
    DateTime::from_timestamp(1_795_000_000, 0).expect("a valid instant")
}

/// A model half an hour into the incident.
async fn model() -> Model {
    let clock = FakeClock::at(start_of_incident() + TimeDelta::minutes(30));
    Model::start(Arc::new(clock), ([127, 0, 0, 1], 0).into()).await.expect("the model starts")
}

fn client(model: &Model) -> GitHub {
    patient_client(model, SOON)
}

fn patient_client(model: &Model, patience: Duration) -> GitHub {
    let settings = Settings {
        api_base: model.api_base(),
        token: SecretString::from(TOKEN),
        repository: REPOSITORY.parse().expect("a repository"),
    };
    GitHub::with_patience(settings, patience).expect("a client")
}

fn draft() -> IssueDraft {
    IssueDraft {
        marker: "pointsman:post-mortem:inc-20261121-001".to_owned(),
        title: "Post-mortem: checkout down".to_owned(),
        body: "## Summary\nThe cutover failed.".to_owned(),
        labels: vec!["post-mortem".to_owned(), "sev1".to_owned()],
        assignees: vec!["olivia".to_owned()],
    }
}

async fn publish(github: &GitHub, draft: &IssueDraft, known: Option<u64>) -> Result<IssueRef, Trouble> {
    github.publish(draft, known, start_of_incident()).await
}

fn marked(model: &Model) -> Vec<Issue> {
    model.issues().into_iter().filter(|issue| draft().is_in(&issue.body)).collect()
}

fn sent(model: &Model, method: &str) -> usize {
    model.requests().iter().filter(|request| request.method == method).count()
}

fn expect_modelled(model: &Model) {
    let strange: Vec<_> = model.requests().into_iter().filter(|request| !request.modelled).collect();
    assert!(strange.is_empty(), "{strange:?}");
}

fn refusal(result: Result<IssueRef, Trouble>) -> (Reason, String) {
    match result {
        Err(Trouble::Refused { reason, why, mend }) => (reason, format!("{why}; {mend}")),
        other => panic!("not refused: {other:?}"),
    }
}

fn wait(result: Result<IssueRef, Trouble>) -> (String, Option<Duration>) {
    match result {
        Err(Trouble::Later { why, after }) => (why, after),
        other => panic!("not put off: {other:?}"),
    }
}

#[tokio::test]
async fn an_issue_is_made_once_and_then_kept_up_to_date() {
    let model = model().await;
    let github = client(&model);
    let made = publish(&github, &draft(), None).await.unwrap();
    assert_eq!(made.url, format!("{}/{REPOSITORY}/issues/{}", model.base_url(), made.number));
    let issue = model.issue(made.number).unwrap();
    assert_eq!((issue.labels.as_slice(), issue.assignees.as_slice()), (draft().labels.as_slice(), draft().assignees.as_slice()));

    assert_eq!(publish(&github, &draft(), None).await.unwrap(), made, "found by its marker");
    assert_eq!(publish(&github, &draft(), Some(made.number)).await.unwrap(), made);
    assert_eq!((sent(&model, "POST"), sent(&model, "PATCH")), (1, 0), "nothing changed, so nothing is sent");

    let later =
        IssueDraft { body: "## Summary\nThe disk was full.".to_owned(), title: "Post-mortem: disk".to_owned(), ..draft() };
    publish(&github, &later, Some(made.number)).await.unwrap();
    let issue = model.issue(made.number).unwrap();
    assert!(issue.body.contains("The disk was full.") && !issue.body.contains("cutover"), "{}", issue.body);
    assert_eq!((issue.title.as_str(), model.issues().len()), ("Post-mortem: disk", 1));
    expect_modelled(&model);
}

#[tokio::test]
async fn requests_are_counted_by_how_they_came_out() {
    let model = model().await;
    let github = client(&model);
    let count = |wanted: &str| github.calls().counts().into_iter().find(|(outcome, _)| *outcome == wanted).unwrap().1;
    // Whether somebody can be assigned who cannot is answered with 404, which is an answer; a creation with them is refused.
    let draft = IssueDraft { assignees: vec!["olivia".to_owned(), "nobody-here".to_owned()], ..draft() };
    publish(&github, &draft, None).await.unwrap();
    let refused = model.requests().iter().filter(|request| request.status == 422).count() as u64;
    assert_eq!((refused, count("refused")), (1, 1));
    assert!(model.requests().iter().any(|request| request.status == 404));
    assert_eq!(count("done"), model.requests().len() as u64 - refused);
    for (misbehaviour, outcome) in [
        (Misbehaviour::TooManyRequests, "limited"),
        (Misbehaviour::Answer { status: 403, message: "no".to_owned() }, "refused"),
        (Misbehaviour::Answer { status: 502, message: "no".to_owned() }, "failed"),
        (Misbehaviour::GarbledAnswer, "failed"),
    ] {
        let before = count(outcome);
        model.fault(Fault::once(LIST, misbehaviour.clone()));
        publish(&github, &draft, None).await.unwrap_err();
        assert_eq!(count(outcome), before + 1, "{misbehaviour:?}");
    }
    let all: u64 = github.calls().counts().iter().map(|(_, count)| count).sum();
    assert_eq!(all, model.requests().len() as u64);
}

#[tokio::test]
async fn what_people_did_to_an_issue_stays() {
    let model = model().await;
    let github = client(&model);
    let number = publish(&github, &draft(), None).await.unwrap().number;
    let body = format!("{}\r\n\r\nOur own findings.", model.issue(number).unwrap().body);
    for act in [
        Act::EditBody { number, body },
        Act::AddLabel { number, label: "legal".to_owned() },
        Act::RemoveLabel { number, label: "post-mortem".to_owned() },
        Act::Close { number },
        Act::Lock { number },
    ] {
        model.act(act).unwrap();
    }
    let later = IssueDraft {
        body: "More is known.".to_owned(),
        labels: vec!["post-mortem".to_owned(), "sev2".to_owned()],
        assignees: vec!["dana".to_owned()],
        ..draft()
    };
    // Without the number too, although the label is gone.
    assert_eq!(publish(&github, &later, None).await.unwrap().number, number);
    let issue = model.issue(number).unwrap();
    assert!(issue.body.contains("More is known.") && issue.body.ends_with("Our own findings."), "{}", issue.body);
    assert_eq!(issue.labels, ["legal", "sev2"]);
    assert_eq!((issue.open, issue.assignees), (false, vec!["olivia".to_owned()]));
}

#[tokio::test]
async fn an_answer_that_is_lost_or_unreadable_makes_no_second_issue() {
    for misbehaviour in [Misbehaviour::AnswerLost, Misbehaviour::GarbledAnswer, Misbehaviour::EmptyAnswer] {
        let model = model().await;
        let github = client(&model);
        model.fault(Fault::once(CREATE, misbehaviour.clone()));
        let made = publish(&github, &draft(), None).await.unwrap_or_else(|trouble| panic!("{misbehaviour:?}: {trouble}"));
        assert_eq!(publish(&github, &draft(), None).await.unwrap(), made);
        assert_eq!((marked(&model).len(), sent(&model, "POST")), (1, 1), "{misbehaviour:?}");
    }
}

#[tokio::test]
async fn a_creation_of_unknown_outcome_is_looked_for_before_it_is_tried_again() {
    let model = model().await;
    let github = client(&model);
    model.fault(Fault::once(CREATE, Misbehaviour::AnswerLost));
    let away = Misbehaviour::Answer { status: 500, message: "oops".to_owned() };
    model.fault(Fault { skip: 1, ..Fault::once(LIST, away) });
    let (why, after) = wait(publish(&github, &draft(), None).await);
    assert!(after >= Some(Duration::from_secs(10)) && marked(&model).len() == 1, "{why}: {after:?}");
    publish(&github, &draft(), None).await.unwrap();
    assert_eq!((marked(&model).len(), sent(&model, "POST")), (1, 1));

    let other = IssueDraft { marker: "pointsman:action-item:1".to_owned(), ..draft() };
    model.fault(Fault::once(CREATE, Misbehaviour::Answer { status: 502, message: "Bad gateway".to_owned() }));
    let (why, after) = wait(publish(&github, &other, None).await);
    assert!(why.contains("502") && why.contains("looked for before it is tried again"), "{why}");
    assert!(after >= Some(Duration::from_secs(10)), "until GitHub itself has given up: {after:?}");
    assert_eq!(sent(&model, "POST"), 2, "a creation is sent once");
    publish(&github, &other, None).await.unwrap();
    assert_eq!(model.issues().len(), 2);
}

#[tokio::test]
async fn a_bot_killed_after_the_creation_finds_its_issue_again() {
    let model = model().await;
    model.fault(Fault::once(CREATE, Misbehaviour::SilentAfterEffect));
    let doomed = client(&model);
    let publishing = tokio::spawn(async move { publish(&doomed, &draft(), None).await });
    let made = async {
        while model.issues().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, made).await.expect("the issue is made");
    publishing.abort();
    let found = publish(&client(&model), &draft(), None).await.unwrap();
    assert_eq!((found.number, model.issues().len(), sent(&model, "POST")), (1, 1, 1));
}

#[tokio::test]
async fn silence_is_not_waited_for_without_end() {
    let model = model().await;
    let hasty = patient_client(&model, Duration::from_millis(300));
    model.fault(Fault::always("* /**", Misbehaviour::Silent));
    let (why, _) = wait(publish(&hasty, &draft(), None).await);
    assert!(why.contains("did not answer"), "{why}");
    model.stop();
    let (why, _) = wait(publish(&client(&model), &draft(), None).await);
    assert!(why.contains("did not answer"), "{why}");
}

#[tokio::test]
async fn limits_and_troubles_of_github_are_for_later_and_say_when() {
    let model = model().await;
    let github = client(&model);
    let cases = [
        (Misbehaviour::SecondaryLimit { retry_after_secs: 7 }, Some(7..=7)),
        (Misbehaviour::TooManyRequests, Some(60..=60)),
        (Misbehaviour::Answer { status: 500, message: "oops".to_owned() }, None),
        (Misbehaviour::Answer { status: 503, message: "<html>\n  unicorn</html>".to_owned() }, None),
        (Misbehaviour::GarbledAnswer, None),
        (Misbehaviour::AnswerLost, None),
        (Misbehaviour::PrimaryLimit { reset_in_secs: 600 }, Some(590..=602)),
    ];
    for (misbehaviour, expected) in cases {
        model.fault(Fault::once(LIST, misbehaviour.clone()));
        let (why, after) = wait(publish(&github, &draft(), None).await);
        let seconds = after.map(|after| after.as_secs());
        assert_eq!(
            expected.as_ref().is_some_and(|range| range.contains(&seconds.unwrap_or(0))),
            seconds.is_some(),
            "{why}: {after:?}"
        );
        assert_eq!(expected.is_some(), seconds.is_some(), "{why}: {after:?}");
    }
    assert_eq!(model.issues().len(), 0, "what cannot be looked for is not made");
    // The hourly limit stands until its reset.
    assert!(wait(publish(&github, &draft(), None).await).1.is_some());
}

#[tokio::test]
async fn what_a_person_must_mend_is_said_with_the_mend() {
    let cases = [
        (Act::Token { valid: false }, Reason::Token, "POINTSMAN_GITHUB_TOKEN_FILE"),
        (Act::Grant { access: Access::Hidden }, Reason::NotFound, "may not read"),
        (Act::Grant { access: Access::Read }, Reason::Forbidden, "Issues: read and write"),
        (Act::Archive { archived: true }, Reason::Archived, "out of the archive"),
        (Act::Issues { enabled: false }, Reason::IssuesDisabled, "turn issues on"),
    ];
    for (act, reason, mend) in cases {
        let model = model().await;
        let github = client(&model);
        model.act(act).unwrap();
        let (told, text) = refusal(publish(&github, &draft(), None).await);
        assert_eq!(told, reason, "{text}");
        assert!(text.contains(mend) && text.contains("could not") && !text.contains(TOKEN), "{text}");
        assert_eq!(model.issues().len(), 0);
    }
}

#[tokio::test]
async fn a_refused_change_leaves_the_issue_and_says_why() {
    let model = model().await;
    let github = client(&model);
    let number = publish(&github, &draft(), None).await.unwrap().number;
    let later = IssueDraft { body: "More is known.".to_owned(), ..draft() };
    model.act(Act::Archive { archived: true }).unwrap();
    assert_eq!(refusal(publish(&github, &later, Some(number)).await).0, Reason::Archived);
    model.act(Act::Archive { archived: false }).unwrap();
    for (status, reason) in [(403, Reason::Forbidden), (422, Reason::Invalid), (410, Reason::IssuesDisabled)] {
        model.fault(Fault::once(UPDATE, Misbehaviour::Answer { status, message: "no".to_owned() }));
        assert_eq!(refusal(publish(&github, &later, Some(number)).await).0, reason);
    }
    model.fault(Fault::once(UPDATE, Misbehaviour::AnswerLost));
    wait(publish(&github, &later, Some(number)).await);
    publish(&github, &later, Some(number)).await.unwrap();
    assert!(model.issue(number).unwrap().body.contains("More is known."));
    assert_eq!(model.issues().len(), 1);
}

#[tokio::test]
async fn the_token_is_in_no_text_even_if_github_says_it() {
    let model = model().await;
    let github = client(&model);
    assert!(!format!("{github:?}").contains(TOKEN));
    for status in [403, 500] {
        model.fault(Fault::once(LIST, Misbehaviour::Answer { status, message: format!("you sent Bearer {TOKEN}") }));
        let trouble = publish(&github, &draft(), None).await.unwrap_err();
        let text = format!("{trouble} {trouble:?}");
        assert!(text.contains("***") && !text.contains(TOKEN), "{text}");
    }
}

#[tokio::test]
async fn a_deleted_issue_is_not_made_again_by_itself() {
    let model = model().await;
    let github = client(&model);
    let number = publish(&github, &draft(), None).await.unwrap().number;
    model.act(Act::Delete { number }).unwrap();
    let (reason, text) = refusal(publish(&github, &draft(), Some(number)).await);
    assert_eq!((reason, model.issues().len()), (Reason::Gone, 0), "{text}");
    model.act(Act::Issues { enabled: false }).unwrap();
    assert_eq!(refusal(publish(&github, &draft(), Some(number)).await).0, Reason::IssuesDisabled);
    model.act(Act::Issues { enabled: true }).unwrap();
    let anew = publish(&github, &draft(), None).await.unwrap();
    assert_eq!((anew.number, marked(&model).len()), (2, 1));
}

#[tokio::test]
async fn an_issue_of_others_is_never_written_to() {
    let model = model().await;
    let github = client(&model);
    model.act(Act::Open { by: "leo".to_owned(), title: "Mine".to_owned(), body: "my words".to_owned() }).unwrap();
    let (reason, text) = refusal(publish(&github, &draft(), Some(1)).await);
    assert_eq!(reason, Reason::NotOurs, "{text}");
    assert_eq!((sent(&model, "PATCH"), model.issue(1).unwrap().body.as_str()), (0, "my words"));
    assert_eq!(publish(&github, &draft(), None).await.unwrap().number, 2);
}

#[tokio::test]
async fn an_issue_that_people_moved_is_followed() {
    let model = model().await;
    let github = client(&model);
    let number = publish(&github, &draft(), None).await.unwrap().number;
    model.act(Act::Transfer { number, to: "acme/archive".to_owned() }).unwrap();
    let later = IssueDraft { body: "More is known.".to_owned(), labels: Vec::new(), ..draft() };
    let moved = publish(&github, &later, Some(number)).await.unwrap();
    assert_eq!(moved, IssueRef { number, url: format!("{}/acme/archive/issues/1", model.base_url()) });
    assert!(model.repository("acme/archive").unwrap().issues[&1].body.contains("More is known."));
    assert_eq!(publish(&github, &later, Some(number)).await.unwrap(), moved, "by the number that it had here");
    assert_eq!(model.issues().len(), 0);
}

#[tokio::test]
async fn a_renamed_repository_is_followed() {
    let model = model().await;
    let github = client(&model);
    let number = publish(&github, &draft(), None).await.unwrap().number;
    model.act(Act::Rename { to: "acme/ops".to_owned() }).unwrap();
    let later = IssueDraft { body: "More is known.".to_owned(), ..draft() };
    let url = format!("{}/acme/ops/issues/{number}", model.base_url());
    assert_eq!(publish(&github, &later, None).await.unwrap(), IssueRef { number, url });
    let other = IssueDraft { marker: "pointsman:action-item:1".to_owned(), ..draft() };
    assert_eq!(publish(&github, &other, None).await.unwrap().number, 2, "made under the new name");
    let rights = github.check_rights().await.unwrap();
    assert!(rights.shortcomings()[0].contains("acme/ops"), "{rights:?}");
}

#[tokio::test]
async fn assignees_that_github_refuses_do_not_lose_the_issue() {
    let model = model().await;
    let github = client(&model);
    let draft = IssueDraft { assignees: vec!["olivia".to_owned(), "nobody-here".to_owned(), "../x".to_owned()], ..draft() };
    let number = publish(&github, &draft, None).await.unwrap().number;
    let issue = model.issue(number).unwrap();
    assert_eq!(issue.assignees, ["olivia"]);
    assert!(issue.body.contains("Could not be assigned: `nobody-here`, `../x`."), "{}", issue.body);
    let later = IssueDraft { body: "More is known.".to_owned(), ..draft.clone() };
    publish(&github, &later, Some(number)).await.unwrap();
    assert!(model.issue(number).unwrap().body.contains("`nobody-here`"), "the note stays");

    // Without the right to push, GitHub leaves them out and says nothing.
    model.act(Act::Grant { access: Access::NoPush }).unwrap();
    let other = IssueDraft { marker: "pointsman:action-item:1".to_owned(), assignees: vec!["dana".to_owned()], ..draft };
    let number = publish(&github, &other, None).await.unwrap().number;
    let issue = model.issue(number).unwrap();
    assert!(issue.assignees.is_empty() && issue.body.contains("Could not be assigned: `dana`"), "{}", issue.body);
    expect_modelled(&model);
}

#[tokio::test]
async fn what_is_too_long_is_cut_and_published() {
    let model = model().await;
    let long = IssueDraft {
        title: "t".repeat(1_000),
        body: "A line of the timeline.\n".repeat(20_000),
        labels: vec!["l".repeat(80)],
        assignees: Vec::new(),
        ..draft()
    };
    let number = publish(&client(&model), &long, None).await.unwrap().number;
    assert!(model.issue(number).unwrap().body.contains("The text ends here because"));
}

#[tokio::test]
async fn two_publishers_at_once_leave_one_issue() {
    let model = model().await;
    let github = client(&model);
    let (here, draft) = (&github, draft());
    let (first, second) = tokio::join!(publish(here, &draft, None), publish(here, &draft, None));
    assert_eq!((first.unwrap(), marked(&model).len()), (second.unwrap(), 1), "within one process they wait for each other");

    // Another process looked when the issue was not to be seen yet.
    model.fault(Fault::once(LIST, Misbehaviour::StaleList));
    let late = publish(&client(&model), &draft, None).await.unwrap();
    assert_eq!((late.number, marked(&model).len()), (1, 1));
    let twin = model.issue(2).unwrap();
    assert!(!twin.open && twin.body.contains("#1") && twin.labels.is_empty(), "{twin:?}");
    assert!(marked(&model)[0].open);
}

#[tokio::test]
async fn an_old_issue_is_found_behind_a_thousand_newer_ones() {
    let model = model().await;
    let github = client(&model);
    let number = publish(&github, &draft(), None).await.unwrap().number;
    for index in 0..1_001 {
        model.act(Act::Open { by: "leo".to_owned(), title: format!("Other {index}"), body: String::new() }).unwrap();
    }
    assert_eq!(publish(&github, &draft(), None).await.unwrap().number, number, "by its label");
    // Without a label to go by it cannot be told, and nothing is made.
    let unlabelled = IssueDraft { labels: Vec::new(), ..draft() };
    let (reason, text) = refusal(publish(&github, &unlabelled, None).await);
    assert_eq!((reason, marked(&model).len()), (Reason::TooMany, 1), "{text}");
    assert_eq!(publish(&github, &draft(), Some(number)).await.unwrap().number, number, "a known one needs no search");
}

#[tokio::test]
async fn the_rights_of_the_token_are_told_without_making_anything() {
    let model = model().await;
    let github = client(&model);
    let rights = github.check_rights().await.unwrap();
    assert_eq!((rights.shortcomings(), rights.may_write), (Vec::new(), true));
    for (act, undo, mend) in [
        (Act::Grant { access: Access::Read }, Act::Grant { access: Access::Write }, "Issues: read and write"),
        (Act::Archive { archived: true }, Act::Archive { archived: false }, "archive"),
        (Act::Issues { enabled: false }, Act::Issues { enabled: true }, "turn issues on"),
    ] {
        model.act(act).unwrap();
        let shortcomings = github.check_rights().await.unwrap().shortcomings();
        assert!(shortcomings.len() == 1 && shortcomings[0].contains(mend), "{shortcomings:?}");
        model.act(undo).unwrap();
    }
    model.act(Act::Token { valid: false }).unwrap();
    assert!(matches!(github.check_rights().await, Err(Trouble::Refused { reason: Reason::Token, .. })));
    model.act(Act::Token { valid: true }).unwrap();
    model.fault(Fault::once(CREATE, Misbehaviour::SecondaryLimit { retry_after_secs: 3 }));
    assert!(matches!(github.check_rights().await, Err(Trouble::Later { after: Some(_), .. })), "a limit is no refusal");
    assert_eq!(model.issues().len(), 0);
}

/// What can befall one request. A list that lags is not among them: two in a row would deceive anybody.
fn any_fault() -> impl Strategy<Value = Fault> {
    let answers = prop::sample::select(vec![401, 403, 404, 410, 422, 429, 500, 502, 503]);
    let misbehaviour = prop_oneof![
        answers.prop_map(|status| Misbehaviour::Answer { status, message: "no".to_owned() }),
        (1_u64..100).prop_map(|retry_after_secs| Misbehaviour::SecondaryLimit { retry_after_secs }),
        Just(Misbehaviour::TooManyRequests),
        Just(Misbehaviour::AnswerLost),
        Just(Misbehaviour::GarbledAnswer),
        Just(Misbehaviour::EmptyAnswer),
    ];
    let on = prop::sample::select(vec![LIST, CREATE, UPDATE, "GET /repos/*/*", "GET /repos/*/*/issues/*", "* /**"]);
    (on, misbehaviour).prop_map(|(on, misbehaviour)| Fault::once(on, misbehaviour))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever goes wrong, in whatever order, and however often it is tried again.
    #[test]
    fn there_is_at_most_one_issue_per_marker(faults in prop::collection::vec(any_fault(), 0..8), rounds in 1_usize..6) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let model = model().await;
            faults.into_iter().for_each(|fault| model.fault(fault));
            let github = client(&model);
            let mut known = None;
            for round in 0..rounds {
                let draft = IssueDraft { body: format!("version {round}"), ..draft() };
                known = publish(&github, &draft, known).await.map_or(known, |made| Some(made.number));
                assert!(marked(&model).len() <= 1 && model.issues().len() <= 1);
            }
            model.clear_faults();
            let last = publish(&github, &draft(), known).await.expect("nothing is in the way any more");
            assert_eq!((last.number, marked(&model).len()), (1, 1));
            // A note on people who could not be assigned may follow.
            assert!(model.issue(1).expect("it is there").body.starts_with(&draft().compose("")));
        });
    }
}

#[tokio::test]
async fn the_model_is_switched_over_http_and_shows_its_issues_as_pages() {
    let model = model().await;
    let github = client(&model);
    let item = IssueDraft { marker: "pointsman:action-item:1".to_owned(), title: "Watch <the> disk".to_owned(), ..draft() };
    let number = publish(&github, &item, None).await.unwrap().number;
    let list = IssueDraft { body: format!("| what | who |\n|---|---|\n| disk | dana |\n\n- [ ] #{number}"), ..draft() };
    publish(&github, &list, None).await.unwrap();

    let web = reqwest::Client::new();
    let page = async |path: &str| {
        let answer = web.get(format!("{}{path}", model.base_url())).send().await.expect("answered");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    let (status, index) = page("/").await;
    assert!(status == 200 && index.contains("Watch &lt;the&gt; disk") && index.contains("sev1"), "{index}");
    let (_, issue) = page(&format!("/{REPOSITORY}/issues/2")).await;
    assert!(issue.contains("<td>dana</td>") && issue.contains(&format!("/{REPOSITORY}/issues/1\">#1</a>")), "{issue}");
    assert!(!issue.contains("pointsman:post-mortem"), "marks are hidden");
    assert_eq!(page(&format!("/{REPOSITORY}/issues/3")).await.0, 404);

    let control = async |path: &str, body: Value| {
        let request = web.post(format!("{}/sandbox/v1/github{path}", model.base_url())).json(&body);
        let answer = request.send().await.expect("answered");
        (answer.status().as_u16(), answer.text().await.expect("text"))
    };
    assert_eq!(control("/act", json!({ "act": "close", "number": 2 })).await.0, 200);
    assert!(!model.issue(2).unwrap().open);
    let (status, refused) = control("/act", json!({ "act": "close", "number": 9 })).await;
    assert_eq!((status, refused.as_str()), (400, "{\"refused\":\"there is no issue #9\"}"));
    let fault = json!({ "on": LIST, "fault": "secondary_limit", "retry_after_secs": 9 });
    assert_eq!(control("/faults", fault).await.0, 200);
    assert_eq!(wait(publish(&github, &list, None).await).1, Some(Duration::from_secs(9)));
    let (_, state) = page("/sandbox/v1/github/state").await;
    assert!(state.contains("Watch <the> disk"), "{state}");
}
