//! Starting a run: what is refused before anything exists.

use super::event::{Event, Mode, Started};
use super::rejection::Rejection;
use super::schedule::planned;
use crate::domain::incident::{IncidentId, Severity};
use crate::domain::{ChannelId, Digest, Duration, Person, Plan, RunId, Timestamp};

/// A wish to start a run, with everything that the decision needs.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRequest {
    /// The new run's id.
    pub run: RunId,
    /// Live or rehearsal.
    pub mode: Mode,
    /// Who asks.
    pub requester: Person,
    /// Where they ask.
    pub channel: ChannelId,
    /// What is to run.
    pub plan: Plan,
    /// The cutover instant; `None` to start the first phase now.
    pub at: Option<Timestamp>,
    /// Who holds the plan's lock, if anybody.
    pub held_by: Option<Holder>,
    /// A run that has not ended, as far as can be told, and may hold any lock, because its records cannot be read; if
    /// there is one.
    pub unreadable: Option<RunId>,
    /// The newest green dry run of the same digest, if any.
    pub rehearsal: Option<Rehearsal>,
    /// How often a status update is due from the first effect on; `None`: never.
    pub beat: Option<Duration>,
    /// How severe the incident is that is opened by itself if the run goes badly after its first effect; `None`: none is.
    pub opens_incident: Option<Severity>,
    /// The incident in whose channel it is asked for.
    pub incident: Option<IncidentId>,
}

/// A run that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Which.
    pub run: RunId,
    /// Who started it.
    pub requester: String,
    /// Since when.
    pub since: Timestamp,
}

/// A dry run that ended green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rehearsal {
    /// Which.
    pub run: RunId,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Of what.
    pub digest: Digest,
}

/// The first event of a new run.
///
/// # Errors
/// [`Rejection::Locked`], [`Rejection::LockUnknown`], [`Rejection::NotRehearsed`], [`Rejection::WindowTooShort`],
/// [`Rejection::StartInThePast`]. Nothing exists then.
pub fn start(now: Timestamp, request: StartRequest) -> Result<Vec<Event>, Rejection> {
    let StartRequest { run, mode, requester, channel, plan, at, held_by, unreadable, rehearsal, beat, opens_incident, incident } =
        request;
    let digest = plan.digest();
    let live = mode == Mode::Live;
    if let (Some(holder), true) = (held_by, live) {
        return Err(Rejection::Locked { lock: plan.lock, run: holder.run, holder: holder.requester, since: holder.since });
    }
    if let (Some(run), true) = (unreadable, live) {
        return Err(Rejection::LockUnknown { run });
    }
    let (starts_at, t_zero) = times(&plan, at, now);
    if live && starts_at + plan.runbook.grace.delta() < now {
        return Err(Rejection::StartInThePast { due: starts_at });
    }
    let window_ends_at = starts_at + plan.runbook.window.delta();
    if live {
        expect_rehearsal(&plan, &digest, rehearsal.as_ref(), now)?;
        expect_window(&plan, starts_at, t_zero, window_ends_at)?;
    }
    let beat = beat.filter(|every| live && every.as_secs() > 0);
    let started = Started {
        run,
        mode,
        requester,
        channel,
        plan,
        digest,
        t_zero,
        starts_at,
        window_ends_at,
        beat,
        opens_incident,
        incident,
    };
    Ok(vec![Event::Started(Box::new(started))])
}

/// The start of the first phase and the cutover instant.
fn times(plan: &Plan, at: Option<Timestamp>, now: Timestamp) -> (Timestamp, Timestamp) {
    let first = plan.runbook.phases.first().and_then(|phase| phase.at).unwrap_or_default();
    match at {
        Some(t_zero) => (t_zero + first.delta(), t_zero),
        None => (now, now - first.delta()),
    }
}

fn expect_rehearsal(plan: &Plan, digest: &Digest, rehearsal: Option<&Rehearsal>, now: Timestamp) -> Result<(), Rejection> {
    let Some(policy) = &plan.runbook.dry_run else { return Ok(()) };
    let refused = |found: String| Err(Rejection::NotRehearsed { digest: digest.short(), within: policy.required_within, found });
    match rehearsal.filter(|rehearsal| rehearsal.digest == *digest) {
        None => refused("there is none".to_owned()),
        Some(rehearsal) if rehearsal.ended_at + policy.required_within.delta() < now => {
            refused(format!("the newest, {}, ended {} ago", rehearsal.run, Duration::between(rehearsal.ended_at, now)))
        }
        Some(_) => Ok(()),
    }
}

fn expect_window(plan: &Plan, starts_at: Timestamp, t_zero: Timestamp, window_ends_at: Timestamp) -> Result<(), Rejection> {
    let rows = planned(&plan.runbook, starts_at, t_zero);
    let ends_at = rows.last().map_or(starts_at, |(_, _, end)| *end);
    if ends_at <= window_ends_at {
        return Ok(());
    }
    let sum: Vec<String> =
        rows.iter().map(|(phase, start, end)| format!("{phase} {}", Duration::between(*start, *end))).collect();
    let arithmetic = format!(
        "{} from {} gives {}; the window of {} ends {} (UTC)",
        sum.join(" + "),
        starts_at.format("%Y-%m-%d %H:%M:%S"),
        ends_at.format("%Y-%m-%d %H:%M:%S"),
        plan.runbook.window,
        window_ends_at.format("%Y-%m-%d %H:%M:%S")
    );
    Err(Rejection::WindowTooShort { arithmetic })
}
