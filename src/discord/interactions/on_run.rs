//! Verbs that look at a run: status, sign-off.

use super::reply::Replier;
use super::{Caller, Interactions};
use crate::discord::chat::view;
use crate::discord::rest::Trouble;
use crate::domain::command::OnRun;
use crate::engine::RunSummary;
use crate::render::{sign_off_status, status};

impl Interactions {
    /// Where a run stands; without a name, and where no single run is meant by the place, all of them.
    pub(super) async fn status(&self, replier: &Replier, caller: &Caller, on: OnRun) -> Result<(), Trouble> {
        let named = on.run.as_deref();
        let stuck = self.runs.stuck();
        if named.is_none() && self.run_here(caller.channel).is_err() {
            // In an incident's channel with several live runs, those.
            let here = self.runs_here(caller.channel);
            let wanted = |run: &RunSummary| here.is_empty() || here.contains(&run.id);
            let runs: Vec<RunSummary> = self.runs.runs().into_iter().filter(wanted).collect();
            let (open, ended): (Vec<&RunSummary>, Vec<&RunSummary>) = runs.iter().partition(|run| !run.ended);
            let line = |run: &&RunSummary| (run.snapshot.state.clone(), run.snapshot.now);
            let rows: Vec<_> = open.iter().chain(&ended).map(line).collect();
            let lines: Vec<status::Line<'_>> = rows.iter().map(|(state, now)| status::Line { state, now: *now }).collect();
            let set_aside: Vec<_> = stuck.iter().map(|stuck| status::SetAside { run: &stuck.run, why: &stuck.why }).collect();
            return replier.say(&status::list(&lines, &set_aside)).await;
        }
        match self.run_meant(named, caller.channel) {
            Ok(run) => match self.runs.snapshot(&run) {
                Some(snapshot) => {
                    let why = stuck.iter().find(|stuck| stuck.run == run).map(|stuck| stuck.why.as_str());
                    replier.say(&status::one(view(&snapshot), why)).await
                }
                None => replier.say(&gone(&run)).await,
            },
            Err(refusal) => replier.say(&refusal).await,
        }
    }

    /// Who has signed and who is missing.
    pub(super) async fn sign_off_status(&self, replier: &Replier, caller: &Caller, on: OnRun) -> Result<(), Trouble> {
        match self.run_meant(on.run.as_deref(), caller.channel) {
            Ok(run) => match self.runs.snapshot(&run) {
                Some(snapshot) => replier.say(&sign_off_status(view(&snapshot))).await,
                None => replier.say(&gone(&run)).await,
            },
            Err(refusal) => replier.say(&refusal).await,
        }
    }
}

/// A run that was forgotten between two looks.
pub(super) fn gone(run: &crate::domain::RunId) -> crate::render::Message {
    let next = "`pointsman audit export` shows what it did.";
    crate::render::rejection::refused(&format!("`{run}` is over and no longer kept in memory"), next)
}
