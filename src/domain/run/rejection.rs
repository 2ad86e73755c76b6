//! What a person may not do now: what, why, and what to do next. Not an error of ours, and not logged as one.

use crate::domain::{RoleName, RollbackName, RunId, Timestamp};

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The run is over.
    #[error("the run has ended ({end})")]
    AlreadyEnded {
        /// How.
        end: super::End,
    },
    /// The person has none of the roles that it takes.
    #[error("{what} takes one of the roles {}", list(roles))]
    RoleMissing {
        /// What they wanted.
        what: &'static str,
        /// Who may.
        roles: Vec<RoleName>,
    },
    /// The person who asked for the run may not settle this.
    #[error("you asked for this run, so somebody else must {what}")]
    Requester {
        /// What they wanted.
        what: &'static str,
    },
    /// A reason is required and was not given.
    #[error("a reason is required: it goes into the journal")]
    ReasonMissing,
    /// The run is paused already.
    #[error("the run is paused already")]
    AlreadyPaused,
    /// The run is neither paused nor at a closed gate.
    #[error("the run is not paused, and no gate of it is closed")]
    NotPaused,
    /// What is under way cannot be paused or aborted.
    #[error("a rollback is under way; leaving it half-way would be worse than either end")]
    RollbackUnderWay,
    /// The run was aborted already.
    #[error("the run is being aborted already")]
    AlreadyAborting,
    /// The run's work is over.
    #[error("the run's last step is over: it is closing")]
    AlreadyClosing,
    /// The run is not yet closing.
    #[error("the run is still at work, so it cannot be closed")]
    NotClosing,
    /// A dry run has nothing of the kind.
    #[error("this is a dry run: it changes nothing, so there is nothing to {what}")]
    DryRun {
        /// What they wanted.
        what: &'static str,
    },
    /// Nothing has been changed yet.
    #[error("the run has not changed anything yet, so there is nothing to roll back")]
    NothingToRollBack,
    /// There is no such rollback.
    #[error("the runbook has no rollback of that name; it has {}", list(known))]
    UnknownRollback {
        /// Those that it has.
        known: Vec<RollbackName>,
    },
    /// There are several and none was named.
    #[error("the runbook has several rollbacks and none of them alone is armed: name one of {}", list(known))]
    WhichRollback {
        /// Those that it has.
        known: Vec<RollbackName>,
    },
    /// It is too late for this rollback.
    #[error("the point of no return of rollback `{rollback}` has passed: {because}")]
    PastNoReturn {
        /// Which.
        rollback: RollbackName,
        /// Why, as the runbook says.
        because: String,
    },
    /// Somebody opened the gate without its signatures already.
    #[error("{by} has broken the glass of this gate already")]
    GlassBroken {
        /// Who.
        by: String,
    },
    /// It was carried out already.
    #[error("rollback `{rollback}` has been carried out already")]
    AlreadyRolledBack {
        /// Which.
        rollback: RollbackName,
    },
    /// Without Discord only an armed rollback can be started.
    #[error("rollback `{rollback}` is not armed, and its gate needs people in chat")]
    NotArmed {
        /// Which.
        rollback: RollbackName,
    },
    /// No gate waits.
    #[error("no gate of this run is waiting for sign-off")]
    NoOpenGate,
    /// The glass cannot be broken over a criterion.
    #[error("a criterion is red, and breaking the glass does not override it: {says}")]
    RedCriterion {
        /// Which.
        says: String,
    },
    /// The question is not open (any more).
    #[error("this question has been answered, or the run has gone on without it")]
    QuestionGone,
    /// The answer does not fit the question.
    #[error("this is not an answer to that question")]
    WrongAnswer,
    /// The list or step is not waiting.
    #[error("this step is not waiting for anybody (any more)")]
    NotWaiting,
    /// Somebody else holds the target.
    #[error("`{lock}` is held by {run}, started by {holder} {}", since.format("at %H:%M:%S UTC on %Y-%m-%d"))]
    Locked {
        /// What is held.
        lock: String,
        /// By which run.
        run: RunId,
        /// Who started that.
        holder: String,
        /// Since when.
        since: Timestamp,
    },
    /// A run's records cannot be read, so that nobody knows what it holds.
    #[error("the records of {run} cannot be read, so nobody can tell which lock it holds, and no live run starts beside it")]
    LockUnknown {
        /// Which.
        run: RunId,
    },
    /// The work would not fit.
    #[error("the forecast does not fit the window: {arithmetic}")]
    WindowTooShort {
        /// The sum, for people.
        arithmetic: String,
    },
    /// No rehearsal, or too old a one.
    #[error("a live run needs a green dry run of the same plan ({digest}) from the last {within}; {found}")]
    NotRehearsed {
        /// The plan's digest, short.
        digest: String,
        /// How old it may be.
        within: crate::domain::Duration,
        /// What there is, for people.
        found: String,
    },
    /// The start has passed.
    #[error("the first phase was due {} and cannot start by itself any more", due.format("at %H:%M:%S UTC on %Y-%m-%d"))]
    StartInThePast {
        /// When.
        due: Timestamp,
    },
}

fn list<T: std::fmt::Display>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "(none)".to_owned() } else { names.join(", ") }
}

impl Rejection {
    /// A stable code for logs, tests and people who search for it.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyEnded { .. } => "already-ended",
            Self::RoleMissing { .. } => "role-missing",
            Self::Requester { .. } => "requester",
            Self::ReasonMissing => "reason-missing",
            Self::AlreadyPaused => "already-paused",
            Self::NotPaused => "not-paused",
            Self::RollbackUnderWay => "rollback-under-way",
            Self::AlreadyAborting => "already-aborting",
            Self::AlreadyClosing => "already-closing",
            Self::NotClosing => "not-closing",
            Self::DryRun { .. } => "dry-run",
            Self::NothingToRollBack => "nothing-to-roll-back",
            Self::UnknownRollback { .. } => "unknown-rollback",
            Self::WhichRollback { .. } => "which-rollback",
            Self::PastNoReturn { .. } => "past-no-return",
            Self::AlreadyRolledBack { .. } => "already-rolled-back",
            Self::NotArmed { .. } => "not-armed",
            Self::NoOpenGate => "no-open-gate",
            Self::GlassBroken { .. } => "glass-broken",
            Self::RedCriterion { .. } => "red-criterion",
            Self::QuestionGone => "question-gone",
            Self::WrongAnswer => "wrong-answer",
            Self::NotWaiting => "not-waiting",
            Self::Locked { .. } => "locked",
            Self::LockUnknown { .. } => "lock-unknown",
            Self::WindowTooShort { .. } => "window-too-short",
            Self::NotRehearsed { .. } => "not-rehearsed",
            Self::StartInThePast { .. } => "start-in-the-past",
        }
    }

    /// What to do next, for people.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::AlreadyEnded { .. } => "Start a new run with `/migrate start`.",
            Self::RoleMissing { .. } => "Ask somebody who holds one of them; `/whoami` shows what you may do.",
            Self::Requester { .. } => "Ask a colleague who holds one of the roles on the card.",
            Self::ReasonMissing => "Give a `reason:` and try again.",
            Self::AlreadyPaused => "`/migrate resume` lets it go on.",
            Self::NotPaused => "`/migrate status` shows what it waits for.",
            Self::RollbackUnderWay => "Watch its progress; if a step of it fails, you will be asked.",
            Self::AlreadyAborting => "It ends as soon as its current step has been cancelled.",
            Self::AlreadyClosing => "`/rollback now` is still possible; `/migrate close` ends the run.",
            Self::NotClosing => "`/migrate abort` ends it early.",
            Self::DryRun { .. } => "`/migrate abort` ends a dry run.",
            Self::NothingToRollBack => "`/migrate abort` ends the run.",
            Self::UnknownRollback { .. } | Self::WhichRollback { .. } => "Name it with `rollback:`.",
            Self::PastNoReturn { .. } => "Another rollback of the runbook may still be possible; `/migrate status` shows which.",
            Self::AlreadyRolledBack { .. } => "`/migrate status` shows what else is possible.",
            Self::NotArmed { .. } => "Use `/rollback now` in the run's thread, where the roles can sign.",
            Self::NoOpenGate | Self::GlassBroken { .. } => "`/migrate status` shows where the run stands and what it waits for.",
            Self::RedCriterion { .. } => "Mend what it measures, or `/migrate abort`.",
            Self::QuestionGone | Self::NotWaiting => "Look at the newest message in the run's thread.",
            Self::WrongAnswer => "Use one of the buttons on the question.",
            Self::Locked { .. } => "Wait until that run is closed, or close it with `/migrate close`.",
            Self::LockUnknown { .. } => {
                "If a newer version of the bot has written it, start that one again; if not, see `pointsman audit verify`."
            }
            Self::WindowTooShort { .. } => "Start earlier, or agree on a longer `window:` in the runbook.",
            Self::NotRehearsed { .. } => "Run `/migrate start` with `mode: dry_run` first.",
            Self::StartInThePast { .. } => "Give a later `at:`, or leave it out to start now.",
        }
    }
}
