//! How punctual the beat is: many open incidents, a fast clock, and a bot that is killed again and again.
//!
//! `bin/bench beat` runs it, in two parts: the engine alone with very many incidents, and the whole program against the
//! model of Discord with Discord's limits. Time runs `--speed` times as fast as the wall's; lateness is told in the
//! incidents' own time.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on has nothing to tell")]

mod course;
mod engine_alone;
mod history;
mod lateness;
mod with_discord;

use clap::Parser as _;

use self::course::Course;
use self::lateness::Tally;

/// Lateness of the incidents' status updates.
///
/// Two parts, one after the other: the engine alone, whose chat is a list in memory, and the whole program as a process of
/// its own against the model of Discord. With the defaults each takes about four minutes, its preparation included.
#[derive(Debug, clap::Parser)]
struct Arguments {
    /// Only the engine alone.
    #[arg(long, conflicts_with = "model")]
    engine: bool,
    /// Only the program against the model of Discord, with Discord's limits.
    #[arg(long)]
    model: bool,
    /// Open incidents, their updates due at moments spread over the cadence [default: 10000 for the engine alone, 400
    /// against the model, which takes 450].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    incidents: Option<u32>,
    /// How many times as fast as the wall's the incidents' time runs. Discord's limits count the wall's seconds: the faster,
    /// the tighter they are for the incidents.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    speed: u32,
    /// For how long, in minutes of the incidents' time.
    #[arg(long, default_value_t = 60)]
    minutes: i64,
    /// How often the bot is killed and started again.
    #[arg(long, default_value_t = 3)]
    restarts: u32,
    /// For how long it is away each time, in minutes of the incidents' time.
    #[arg(long, default_value_t = 5)]
    away: i64,
    /// Given by `cargo bench`; means nothing.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Open incidents for the engine alone.
const ENGINE_INCIDENTS: u32 = 10_000;
/// Open incidents against the model: a server takes five hundred channels.
const MODEL_INCIDENTS: u32 = 400;

fn main() {
    let arguments = Arguments::parse();
    let Arguments { speed, minutes, restarts, away, .. } = arguments;
    let course = Course { speed, minutes, restarts, away };
    let with_discord = arguments.incidents.unwrap_or(MODEL_INCIDENTS);
    if !arguments.engine && with_discord > with_discord::INCIDENTS_MAX {
        let most = with_discord::INCIDENTS_MAX;
        let why = format!("the model's server takes {most} incidents: ask for fewer, or for --engine alone");
        clap::Command::new("beat").error(clap::error::ErrorKind::ValueValidation, why).exit();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if !arguments.model {
            println!("── the engine alone");
            let tally = engine_alone::play(arguments.incidents.unwrap_or(ENGINE_INCIDENTS), &course).await;
            println!("{tally}\npeak memory of the engine and the bench: {}", course::peak_memory("self"));
            expect_each_said_once(&tally);
        }
        if !arguments.engine {
            println!("── the program, before the model of Discord");
            let findings = with_discord::play(with_discord, &course).await;
            println!("{findings}");
            expect_each_said_once(&findings.tally);
        }
    });
}

fn expect_each_said_once(tally: &Tally) {
    assert_eq!((tally.unsaid, tally.doubled), (0, 0), "an update was left unsaid or said twice");
}
