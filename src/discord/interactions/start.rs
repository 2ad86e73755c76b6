//! Starting and planning: from the command to the form, if something is missing, to the engine.

use indexmap::IndexMap;

use super::forms::{self, Entered};
use super::reply::Replier;
use super::{Caller, Interactions};
use crate::discord::custom_id::{Form, Purpose};
use crate::discord::instant::parse_instant;
use crate::discord::rest::Trouble;
use crate::domain::run::Mode;
use crate::domain::runbook::Runbook;
use crate::domain::{ParameterName, Timestamp};
use crate::engine::{PlanProblem, StartError, StartOrder};
use crate::render::{Message, plan, rejection, status};

/// A start as the command's texts came out.
pub(super) struct Wish {
    pub(super) runbook: String,
    pub(super) at: Option<String>,
    pub(super) mode: Option<String>,
    pub(super) parameters: IndexMap<ParameterName, String>,
}

/// Why a run cannot be started here; `None` if it can. Its plan card carries its thread, and a thread holds no other.
fn no_place(caller: &Caller) -> Option<Message> {
    caller.in_thread.then(|| {
        rejection::refused(
            "a run cannot be started inside a thread: it opens one of its own",
            "Use the channel above it. Nothing was started.",
        )
    })
}

impl Interactions {
    pub(super) async fn start_run(&self, replier: &Replier, caller: &Caller, wish: Wish) -> Result<(), Trouble> {
        let Some(runbook) = self.runbook(&wish.runbook) else { return replier.say(&self.no_runbook(&wish.runbook)).await };
        if let Some(refusal) = no_place(caller) {
            return replier.say(&refusal).await;
        }
        let purpose = match purpose(&wish, self.now()) {
            Ok(purpose) => purpose,
            Err(why) => return replier.say(&rejection::refused(&why, "Nothing was started.")).await,
        };
        self.asked_or_done(replier, caller, &runbook, purpose, wish.parameters).await
    }

    pub(super) async fn plan_run(
        &self,
        replier: &Replier,
        caller: &Caller,
        runbook: String,
        parameters: IndexMap<ParameterName, String>,
    ) -> Result<(), Trouble> {
        let Some(runbook) = self.runbook(&runbook) else { return replier.say(&self.no_runbook(&runbook)).await };
        self.asked_or_done(replier, caller, &runbook, Purpose::Plan, parameters).await
    }

    /// Opens the form if the command did not carry every parameter; goes on if it did.
    async fn asked_or_done(
        &self,
        replier: &Replier,
        caller: &Caller,
        runbook: &Runbook,
        purpose: Purpose,
        given: Entered,
    ) -> Result<(), Trouble> {
        let form = Form { purpose, runbook: runbook.runbook.clone() };
        match forms::missing(runbook, &given).is_empty() {
            true => {
                replier.defer().await?;
                self.finish(replier, caller, form, given).await
            }
            false => self.ask(replier, &form, runbook, &given).await,
        }
    }

    /// Does what the parameters were for. The interaction is deferred.
    pub(super) async fn finish(&self, replier: &Replier, caller: &Caller, form: Form, given: Entered) -> Result<(), Trouble> {
        let message = match form.purpose {
            Purpose::Plan => self.planned(&form, &given).await,
            Purpose::Start { mode, at } => self.started(caller, form, given, mode, at).await,
        };
        replier.then(&message).await
    }

    async fn planned(&self, form: &Form, given: &Entered) -> Message {
        match self.planning.plan(&form.runbook, given).await {
            Ok(made) => plan::message(&made),
            Err(problem) => self.no_plan(&problem),
        }
    }

    async fn started(&self, caller: &Caller, form: Form, parameters: Entered, mode: Mode, at: Option<Timestamp>) -> Message {
        let runbook = form.runbook;
        let name = runbook.to_string();
        if let Some(refusal) = no_place(caller) {
            return refusal;
        }
        let (requester, channel) = (caller.person.clone(), caller.channel);
        match self.runs.start(StartOrder { runbook, parameters, mode, at, requester, channel }).await {
            Ok(run) => {
                // As the plan has it: in the definition it may still be a template.
                let title = self.runs.snapshot(&run).map_or(name, |run| run.state.runbook().title.clone());
                status::started(&run, &title, mode == Mode::DryRun, at)
            }
            Err(StartError::Rejected(rejected)) => rejection::rejected(&rejected),
            Err(StartError::NoPlan(problem)) => self.no_plan(&problem),
            Err(error @ StartError::Unavailable(_)) => {
                rejection::refused(&error.to_string(), "Look at `/migrate status` before you try again.")
            }
        }
    }

    fn no_plan(&self, problem: &PlanProblem) -> Message {
        match problem {
            PlanProblem::UnknownRunbook(name) => self.no_runbook(name.as_str()),
            PlanProblem::Missing(names) => {
                let names: Vec<String> = names.iter().map(|name| format!("`{name}` is required")).collect();
                rejection::mistakes("No plan could be made:", &names, "Nothing was started. Use the command again.")
            }
            PlanProblem::Invalid(mistakes) => {
                rejection::mistakes("No plan could be made:", mistakes, "Nothing was started. Use the command again.")
            }
            PlanProblem::Unreachable(why) => rejection::refused(why, "Nothing was started. Mend it, then use the command again."),
        }
    }
}

fn purpose(wish: &Wish, now: Timestamp) -> Result<Purpose, String> {
    let mode = match wish.mode.as_deref() {
        None | Some("live") => Mode::Live,
        Some("dry_run") => Mode::DryRun,
        Some(other) => return Err(format!("`{}` is not a mode: `live` or `dry_run`", other.replace('`', "'"))),
    };
    let at = parse_instant(wish.at.as_deref().unwrap_or_default(), now)?;
    Ok(Purpose::Start { mode, at })
}
