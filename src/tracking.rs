//! Issues for incidents and runs: the engine's `Tracker`, GitHub's issues joined to the texts that stand in them.

use async_trait::async_trait;

use crate::domain::incident::{ActionItem, IssueKind, State};
use crate::domain::run::{Event, GateRef};
use crate::domain::{GuildId, IssueDraft, IssueRef, Mask, RunId, Timestamp};
use crate::engine::{Dossier, IncidentSnapshot, PortError, Snapshot, Tracker};
use crate::github::{GitHub, Trouble};
use crate::render;
use crate::render::post_mortem::{self, Template};

/// What happened to a run, in order.
type History = (RunId, Vec<(Timestamp, Event)>);

/// What the team has agreed on about its issues.
#[derive(Debug, Clone)]
pub struct House {
    /// The server that links lead to.
    pub guild: GuildId,
    /// The labels of every post-mortem, besides its severity.
    pub labels: Vec<String>,
    /// The GitHub accounts to which every post-mortem and review is assigned.
    pub assignees: Vec<String>,
    /// The form of post-mortems.
    pub template: Template,
    /// Hides the secrets of the settings in every text that leaves for GitHub. What is journalled holds none that were
    /// known then; the settings may know more by now.
    pub mask: Mask,
}

/// Publishes on GitHub.
pub struct GitHubTracker {
    /// `None` if the settings name no repository: every issue is refused then, with what to set.
    pub github: Option<GitHub>,
    /// What the team has agreed on.
    pub house: House,
}

/// The post-mortem as Markdown, as it stands now.
#[must_use]
pub fn post_mortem(dossier: &Dossier, house: &House) -> String {
    written(&dossier.incident, &dossier.histories, &dossier.journal_head, house)
}

/// The same from memory alone: what happened to the runs is left out, and the head is that of the incident's own records.
/// For when somebody must read it at once.
#[must_use]
pub fn draft(incident: &IncidentSnapshot, house: &House) -> String {
    written(incident, &[], &incident.head, house)
}

fn written(incident: &IncidentSnapshot, histories: &[History], journal_head: &str, house: &House) -> String {
    let runs: Vec<render::View<'_>> = incident.runs.iter().map(view).collect();
    let (state, guild) = (&*incident.state, house.guild);
    let view = render::incident::View { state, head: &incident.head, runs: &runs, guild, now: incident.now };
    house.mask.apply(&house.template.render(post_mortem::Dossier { incident: view, histories, journal_head }))
}

fn view(run: &Snapshot) -> render::View<'_> {
    render::View { state: &run.state, head: &run.head, progress: &run.progress, now: run.now }
}

impl GitHubTracker {
    fn github(&self) -> Result<&GitHub, PortError> {
        self.github.as_ref().ok_or_else(|| PortError::Refused {
            why: "GitHub is not set up: set `github.repository` in the settings and POINTSMAN_GITHUB_TOKEN, then start the bot again"
                .to_owned(),
        })
    }

    /// The draft with secrets hidden. Marker, labels and assignees are made of ids, settings and logins.
    fn masked(&self, draft: IssueDraft) -> IssueDraft {
        let IssueDraft { title, body, .. } = &draft;
        IssueDraft { title: self.house.mask.apply(title), body: self.house.mask.apply(body), ..draft }
    }

    fn post_mortem_draft(&self, dossier: &Dossier) -> IssueDraft {
        let state = &dossier.incident.state;
        let labels = self.house.labels.iter().cloned().chain([state.severity.as_str().to_owned()]).collect();
        IssueDraft {
            marker: format!("pointsman:post-mortem:{}", state.id()),
            title: format!("Post-mortem: {} ({})", state.opened.title, state.id()),
            body: post_mortem(dossier, &self.house),
            labels,
            assignees: self.house.assignees.clone(),
        }
    }

    fn action_draft(&self, dossier: &Dossier, action: &ActionItem) -> IssueDraft {
        let incident = &dossier.incident;
        let (state, guild) = (&*incident.state, self.house.guild);
        let view = render::incident::View { state, head: &incident.head, runs: &[], guild, now: incident.now };
        IssueDraft {
            marker: format!("pointsman:action-item:{}:{}", state.id(), action.number),
            title: action.title.clone(),
            body: post_mortem::action_item(view, action),
            labels: vec!["action-item".to_owned()],
            assignees: login(&action.owner).into_iter().collect(),
        }
    }
}

/// The longest GitHub login. Source: GitHub's form for new accounts.
const LOGIN_LEN_MAX: usize = 39;

/// An owner who may be a GitHub account. A name that is none stands in the text alone.
fn login(owner: &str) -> Option<String> {
    let login = owner.strip_prefix('@').unwrap_or(owner);
    let plain = login.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    (plain && !login.is_empty() && login.len() <= LOGIN_LEN_MAX).then(|| login.to_owned())
}

/// The number of an issue that is known already.
fn known(state: &State, issue: IssueKind) -> Option<u64> {
    match issue {
        IssueKind::PostMortem => state.post_mortem.published.as_ref().map(|published| published.at.number),
        IssueKind::Action(number) => {
            let action = state.post_mortem.actions.iter().find(|action| action.number == number);
            action.and_then(|action| action.issue.as_ref()).map(|issue| issue.number)
        }
    }
}

#[async_trait]
impl Tracker for GitHubTracker {
    async fn publish(&self, dossier: &Dossier, issue: IssueKind) -> Result<IssueRef, PortError> {
        let github = self.github()?;
        let state = &dossier.incident.state;
        let draft = match issue {
            IssueKind::PostMortem => self.post_mortem_draft(dossier),
            IssueKind::Action(number) => {
                let action = state.post_mortem.actions.iter().find(|action| action.number == number);
                let action = action.ok_or_else(|| PortError::Gone { why: format!("there is no action item {number}") })?;
                self.action_draft(dossier, action)
            }
        };
        github.publish(&self.masked(draft), known(state, issue), state.opened_at).await.map_err(trouble)
    }

    async fn publish_review(&self, run: &Snapshot, gate: &GateRef, card: u32) -> Result<IssueRef, PortError> {
        let github = self.github()?;
        let state = &run.state;
        let draft = IssueDraft {
            marker: format!("pointsman:review:{}:{}:{card}", state.id(), gate_id(gate)),
            title: format!("Review of a broken glass: {}", state.runbook().title),
            body: post_mortem::glass_review(state, gate, card, &run.head),
            labels: vec!["break-glass".to_owned()],
            assignees: self.house.assignees.clone(),
        };
        github.publish(&self.masked(draft), None, state.started_at).await.map_err(trouble)
    }
}

/// A gate in a marker: it is read for ever, and so does not follow how Rust shows it.
fn gate_id(gate: &GateRef) -> String {
    match gate {
        GateRef::Phase(phase) => format!("phase/{phase}"),
        GateRef::Rollback(rollback) => format!("rollback/{rollback}"),
    }
}

fn trouble(trouble: Trouble) -> PortError {
    let why = trouble.to_string();
    match trouble {
        Trouble::Later { after, .. } => PortError::Later { why, after },
        Trouble::Refused { .. } => PortError::Refused { why },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_a_login_is_assigned() {
        assert_eq!(login("@olivia-1").as_deref(), Some("olivia-1"));
        assert_eq!(login("Olivia Smith"), None);
        assert_eq!(login(""), None);
    }
}
