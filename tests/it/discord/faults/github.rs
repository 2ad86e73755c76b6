//! GitHub refuses, limits, fails and is silent while a post-mortem is owed: the channel tells it once with what to do,
//! has the text itself, and one issue follows.

use pointsman::domain::incident::{IncidentId, Input, Severity};
use pointsman::sandbox::github::{Fault, Misbehaviour};

use super::super::quiet;
use super::{Life, Rig, person};

/// Resolves an incident and wants its post-mortem on GitHub.
async fn publish(life: &Life<'_>) -> IncidentId {
    let incident = life.incident(Severity::Sev3).await;
    let by = || person(&life.rig.discord, "leo", &["operations_lead"]);
    life.tell(&incident, Input::Resolve { by: by(), summary: "mended".to_owned() }).await;
    life.tell(&incident, Input::Publish { by: by() }).await;
    incident
}

fn answer(status: u16, message: &str) -> Misbehaviour {
    Misbehaviour::Answer { status, message: message.to_owned() }
}

/// What goes wrong, and what the channel must say of it.
fn troubles() -> Vec<(Misbehaviour, &'static str)> {
    vec![
        (answer(401, "Bad credentials"), "make a new one"),
        (answer(403, "Resource not accessible by personal access token"), "Issues: read and write"),
        (answer(404, "Not Found"), "that the token may see it"),
        (answer(410, "Issues are disabled for this repo"), "turn issues on"),
        (answer(422, "Validation Failed"), "see what GitHub says"),
        (answer(500, "oops"), "GitHub answers 500"),
        (answer(502, "Bad gateway"), "GitHub answers 502"),
        (answer(503, "unicorn"), "GitHub answers 503"),
        (Misbehaviour::TooManyRequests, "GitHub answers 429"),
        (Misbehaviour::SecondaryLimit { retry_after_secs: 900 }, "secondary rate limit"),
        (Misbehaviour::Silent, "did not answer"),
    ]
}

#[test]
fn whatever_github_does_is_told_once_with_the_text_attached_and_one_issue_follows() {
    for (trouble, words) in troubles() {
        let rig = Rig::new(quiet());
        // These say for how long to wait, in real time; the next process asks again at once.
        let names_a_time = matches!(trouble, Misbehaviour::TooManyRequests | Misbehaviour::SecondaryLimit { .. });
        let told = |life: &Life<'_>, incident: &IncidentId| rig.telling(life.channel(incident), "is not on GitHub yet");
        let incident = rig.live(async |life| {
            rig.github.fault(Fault::always("* /**", trouble.clone()));
            let incident = publish(life).await;
            life.advance(90).await;
            let notes = told(life, &incident);
            assert_eq!(notes.len(), 1, "{trouble:?}");
            let text = notes[0].text().replace('\\', "");
            assert!(text.contains(words) && text.contains("follows by itself"), "{trouble:?}: {text}");
            let attached = rig.discord.attachment(notes[0].attachments[0].id).expect("the post-mortem");
            assert!(String::from_utf8_lossy(&attached).contains("Checkout is down"));
            assert_eq!(rig.github.issues().len(), 0);
            rig.github.clear_faults();
            if !names_a_time {
                life.advance(120).await;
                assert_eq!(rig.github.issues().len(), 1, "{trouble:?}");
            }
            incident
        });
        rig.live(async |life| {
            life.settle().await;
            assert_eq!(rig.github.issues().len(), 1, "{trouble:?}");
            assert_eq!(told(life, &incident).len(), 1, "{trouble:?}");
            let url = rig.github.issues()[0].number.to_string();
            let linked = |rig: &Rig| rig.telling(life.channel(&incident), &format!("/issues/{url})")).len() == 1;
            rig.until("the card with the link", linked).await;
            life.expect_said_once(&incident);
        });
    }
}

#[test]
fn an_issue_whose_answer_was_lost_is_found_by_the_next_process() {
    for lost in [Misbehaviour::AnswerLost, Misbehaviour::SilentAfterEffect, Misbehaviour::GarbledAnswer] {
        let rig = Rig::new(quiet());
        let incident = rig.live(async |life| {
            rig.github.fault(Fault::once("POST /repos/*/*/issues", lost.clone()));
            // Whatever it asks after that is not answered any more, until it is killed.
            rig.github.fault(Fault { skip: 1, ..Fault::always("GET /repos/*/*/issues", Misbehaviour::Silent) });
            publish(life).await
        });
        rig.github.clear_faults();
        assert_eq!(rig.github.issues().len(), 1, "{lost:?}: it was made");
        rig.live(async |life| {
            life.settle().await;
            assert!(life.state(&incident).post_mortem.published.is_some(), "{lost:?}");
            assert_eq!(rig.github.issues().len(), 1, "{lost:?}");
            life.expect_said_once(&incident);
        });
    }
}

#[test]
fn that_each_failure_names_another_request_is_no_news() {
    let rig = Rig::new(quiet());
    rig.live(async |life| {
        rig.github.fault(Fault::once("* /**", answer(500, "oops, request C0DE:1F2A")));
        rig.github.fault(Fault::once("* /**", answer(500, "oops, request BEEF:9A01")));
        rig.github.fault(Fault::once("* /**", answer(503, "unicorn")));
        rig.github.fault(Fault::always("* /**", answer(500, "oops, request 77")));
        let incident = publish(life).await;
        life.advance(1_200).await;
        let told = rig.telling(life.channel(&incident), "is not on GitHub yet");
        assert_eq!(told.len(), 2, "each kind of trouble once");
    });
}
