//! Status updates whatever happens to the bot: what `bin/bench beat` measures against the model, in small.

#[path = "../bench/course.rs"]
mod course;
#[path = "../bench/history.rs"]
mod history;
#[path = "../bench/lateness.rs"]
mod lateness;
#[path = "../bench/with_discord.rs"]
mod with_discord;

use self::course::Course;

/// Time runs so fast here that updates fall due while the one before is still on its way.
#[tokio::test]
async fn a_program_killed_twice_leaves_no_update_unsaid_and_doubles_none() {
    let course = Course { speed: 600, minutes: 30, restarts: 2, away: 5 };
    let findings = with_discord::play(12, &course).await;
    let tally = &findings.tally;
    assert!(tally.expected >= 24 && tally.messages >= 12, "{findings}");
    assert_eq!((tally.unsaid, tally.doubled, tally.behind), (0, 0, 0), "{findings}");
    assert!(findings.limited < findings.requests.values().sum(), "{findings}");
    assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
}
