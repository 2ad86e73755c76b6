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

/// Time runs so fast here that an update may fall due while the one before is still on its way, so that what was passed
/// over is not counted; the bench counts it.
#[tokio::test]
async fn a_program_killed_twice_doubles_no_update_and_catches_up() {
    let course = Course { speed: 600, minutes: 30, restarts: 2, away: 5 };
    let findings = with_discord::play(12, &course).await;
    let tally = &findings.tally;
    assert!(tally.expected >= 24 && tally.unsaid < tally.expected && tally.messages >= 12, "{findings}");
    assert_eq!((tally.doubled, tally.behind), (0, 0), "{findings}");
    assert!(findings.limited < findings.requests.values().sum(), "{findings}");
    assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
}
