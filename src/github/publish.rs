//! Making and keeping an issue: known, found again by its marker, or made.

use chrono::{DateTime, SecondsFormat, TimeDelta};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::trouble::{Failure, mend_disabled, mend_rights};
use super::{GitHub, Reason, Trouble};
use crate::domain::{IssueDraft, IssueRef, RepositoryName, Timestamp};

/// Issues on one page of a list: GitHub's most.
/// Source: <https://docs.github.com/en/rest/issues/issues#list-repository-issues>.
const PAGE_LEN: usize = 100;
/// Pages that are read to find an issue: a thousand issues and pull requests since the incident began.
const PAGES_MAX: usize = 10;
/// How far GitHub's clock may be off ours.
const CLOCK_SKEW: TimeDelta = TimeDelta::hours(1);
/// How often a creation is tried with fewer and fewer assignees: as wished, without those that GitHub does not know,
/// without any.
const ASSIGNED_TRIES: usize = 3;

/// An issue as GitHub answers it, the part that we need.
#[derive(Debug, Clone)]
struct Found {
    number: u64,
    url: String,
    /// The repository that it is in now, if GitHub says so.
    repository: Option<RepositoryName>,
    title: String,
    body: String,
    labels: Vec<String>,
    assignees: Vec<String>,
    created_at: Option<Timestamp>,
    is_pull_request: bool,
}

impl Found {
    /// `None` if it lacks a number or an address: then it is no issue.
    fn parse(issue: &Value) -> Option<Self> {
        let text = |name: &str| issue[name].as_str().unwrap_or_default().to_owned();
        let names = |list: &str, name: &str| {
            let items = issue[list].as_array().into_iter().flatten();
            items.filter_map(|item| item[name].as_str().or(item.as_str()).map(str::to_owned)).collect()
        };
        let created_at = issue["created_at"].as_str().and_then(|at| DateTime::parse_from_rfc3339(at).ok());
        Some(Self {
            number: issue["number"].as_u64()?,
            url: issue["html_url"].as_str()?.to_owned(),
            repository: issue["repository_url"].as_str().and_then(repository_of),
            title: text("title"),
            body: text("body"),
            labels: names("labels", "name"),
            assignees: names("assignees", "login"),
            created_at: created_at.map(|at| at.to_utc()),
            is_pull_request: issue.get("pull_request").is_some(),
        })
    }

    fn reference(&self) -> IssueRef {
        IssueRef { number: self.number, url: self.url.clone() }
    }
}

/// The repository at the end of an address such as `https://api.github.com/repos/acme/ops`.
fn repository_of(url: &str) -> Option<RepositoryName> {
    let (rest, name) = url.rsplit_once('/')?;
    let (_, owner) = rest.rsplit_once('/')?;
    format!("{owner}/{name}").parse().ok()
}

impl GitHub {
    /// Makes the issue of `draft`, or brings it up to date: title, our part of the body, our labels.
    ///
    /// With `known`, its number, that issue is brought up to date and none is ever made. Without, it is looked for by its
    /// marker among the issues made from `since` on, the moment before which it cannot have been made; it is made if it
    /// is not there. A closed issue stays closed; one that people moved to another repository is followed there, and
    /// keeps the number that it had here.
    ///
    /// Assignees whom GitHub does not take do not hold the issue up: it says so at the end of its body.
    ///
    /// # Errors
    /// [`Trouble::Later`]: ask again, not before `after`; the issue may exist already and is then found.
    /// [`Trouble::Refused`]: somebody must mend something. With [`Reason::Gone`] and [`Reason::NotOurs`], publish without
    /// `known` if it shall be made anew.
    pub async fn publish(&self, draft: &IssueDraft, known: Option<u64>, since: Timestamp) -> Result<IssueRef, Trouble> {
        let _turn = self.turn.lock().await;
        if let Some(number) = known {
            return self.update_known(draft, number, since).await;
        }
        match self.find(draft, since).await?.into_iter().next() {
            Some(found) => self.update(draft, &found, found.number).await,
            None => self.create(draft, since).await,
        }
    }

    async fn update_known(&self, draft: &IssueDraft, number: u64, since: Timestamp) -> Result<IssueRef, Trouble> {
        let doing = format!("read issue #{number}");
        let answer = self.client.get(&self.path(&format!("/issues/{number}"))).await;
        let found = match answer {
            Ok(issue) => Found::parse(&issue).ok_or_else(|| not_an_issue(&doing))?,
            Err(failure) if matches!(failure.status(), Some(404 | 410)) => {
                // The same answers are given for a repository that is out of sight or without issues: the list tells.
                return match self.find(draft, since).await?.into_iter().next() {
                    Some(found) => self.update(draft, &found, found.number).await,
                    None => Err(gone(number, &self.repository)),
                };
            }
            Err(failure) => return Err(failure.into_trouble(&doing, &self.repository)),
        };
        if !draft.is_in(&found.body) {
            return Err(not_ours(number, &found.url));
        }
        self.update(draft, &found, number).await
    }

    /// Sends what is different, if anything is. `number` is what the issue is known by here.
    async fn update(&self, draft: &IssueDraft, found: &Found, number: u64) -> Result<IssueRef, Trouble> {
        let changes = changes(draft, found);
        if !changes.is_empty() {
            let home = found.repository.as_ref().unwrap_or(&self.repository);
            let path = format!("/repos/{home}/issues/{}", found.number);
            let doing = format!("bring issue #{number} ({}) up to date", found.url);
            let sent = self.client.patch(&path, &Value::Object(changes)).await;
            sent.map_err(|failure| failure.into_trouble(&doing, home))?;
        }
        Ok(IssueRef { number, url: found.url.clone() })
    }

    /// The issues that carry the draft's mark, the oldest first; there should be one at most.
    ///
    /// All issues made since are read, newest first, whatever their labels: people take labels away. If they are too many,
    /// those with the draft's first label are: it takes a thousand issues and a label taken away to be deceived.
    async fn find(&self, draft: &IssueDraft, since: Timestamp) -> Result<Vec<Found>, Trouble> {
        let doing = "look whether the issue is there already";
        let label = draft.fitting_labels().into_iter().next();
        for labels in std::iter::once(None).chain(label.map(Some)) {
            let listed = self.list_marked(draft, since, labels).await;
            if let Some(mut found) = listed.map_err(|failure| failure.into_trouble(doing, &self.repository))? {
                found.sort_by_key(|issue| issue.number);
                return Ok(found);
            }
        }
        Err(too_many(&self.repository))
    }

    /// `None` if there are more pages than are read, and none of those read has the mark.
    async fn list_marked(
        &self,
        draft: &IssueDraft,
        since: Timestamp,
        label: Option<String>,
    ) -> Result<Option<Vec<Found>>, Failure> {
        let from = since - CLOCK_SKEW;
        let mut marked = Vec::new();
        for page in 1..=PAGES_MAX {
            // `since` is about changes, which come after creation.
            let mut query = vec![
                ("state", "all".to_owned()),
                ("sort", "created".to_owned()),
                ("direction", "desc".to_owned()),
                ("since", from.to_rfc3339_opts(SecondsFormat::Secs, true)),
                ("per_page", PAGE_LEN.to_string()),
                ("page", page.to_string()),
            ];
            query.extend(label.clone().map(|label| ("labels", label)));
            let (issues, more) = self.client.page(&self.path("/issues"), &query).await?;
            let issues: Vec<Found> = issues.iter().filter_map(Found::parse).collect();
            let reached = issues.last().and_then(|issue| issue.created_at).is_some_and(|at| at < from);
            marked.extend(issues.into_iter().filter(|issue| !issue.is_pull_request && draft.is_in(&issue.body)));
            if !more || reached {
                return Ok(Some(marked));
            }
        }
        Ok((!marked.is_empty()).then_some(marked))
    }

    async fn create(&self, draft: &IssueDraft, since: Timestamp) -> Result<IssueRef, Trouble> {
        let doing = format!("make the issue \"{}\"", draft.fitting_title());
        let place = self.locate(&doing).await?;
        refuse_closed_doors(&place, &doing)?;
        let made = match self.create_assigned(draft, &place.name).await {
            Ok(issue) => Found::parse(&issue),
            Err(failure) if failure.may_have_happened() => {
                return self.find_made(draft, since).await.unwrap_or_else(|| Err(failure.into_unknown(&doing, &place.name)));
            }
            Err(failure) => return Err(failure.into_trouble(&doing, &place.name)),
        };
        let Some(made) = made else {
            let unread = Failure::Unanswered { why: "GitHub's answer is not an issue".to_owned() };
            return self.find_made(draft, since).await.unwrap_or_else(|| Err(unread.into_unknown(&doing, &place.name)));
        };
        if let Some(older) = self.older_twin(draft, &made, since).await {
            self.retire(&made, &older, &place.name).await;
            return Ok(older.reference());
        }
        self.tell_unassigned(draft, &made, &place.name).await;
        Ok(made.reference())
    }

    /// Creates it, with those of the assignees whom GitHub takes.
    async fn create_assigned(&self, draft: &IssueDraft, place: &RepositoryName) -> Result<Value, Failure> {
        let wished = draft.fitting_assignees();
        let mut assignees = wished.clone();
        for attempt in 1..=ASSIGNED_TRIES {
            let left_out: Vec<&String> = wished.iter().filter(|login| !assignees.contains(login)).collect();
            let issue = json!({
                "title": draft.fitting_title(),
                "body": draft.compose(&unassigned_note(&left_out)),
                "labels": draft.fitting_labels(),
                "assignees": assignees,
            });
            match self.client.post(&format!("/repos/{place}/issues"), &issue).await {
                // The list is refused as a whole; nothing was made.
                Err(failure) if failure.status() == Some(422) && !assignees.is_empty() && attempt < ASSIGNED_TRIES => {
                    assignees = if attempt == 1 { self.assignable(&assignees, place).await } else { Vec::new() };
                }
                answer => return answer,
            }
        }
        unreachable!("the last attempt returns its answer")
    }

    /// Those whom GitHub would take, as far as it tells.
    async fn assignable(&self, logins: &[String], place: &RepositoryName) -> Vec<String> {
        let mut taken = Vec::new();
        for login in logins.iter().filter(|login| login.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
            if self.client.exists(&format!("/repos/{place}/assignees/{login}")).await.unwrap_or(false) {
                taken.push(login.clone());
            }
        }
        taken
    }

    /// After a creation without a clear answer. `None` if it is not there, or cannot be looked for: nobody knows then.
    async fn find_made(&self, draft: &IssueDraft, since: Timestamp) -> Option<Result<IssueRef, Trouble>> {
        let found = self.find(draft, since).await.ok()?.into_iter().next()?;
        Some(Ok(found.reference()))
    }

    /// An issue with the same mark that somebody else made just before `made`, which was not in the list a moment ago.
    async fn older_twin(&self, draft: &IssueDraft, made: &Found, since: Timestamp) -> Option<Found> {
        match self.find(draft, since).await {
            Ok(found) => found.into_iter().find(|issue| issue.number < made.number),
            Err(trouble) => {
                warn!(issue = made.number, %trouble, "it could not be seen whether somebody else made the same issue");
                None
            }
        }
    }

    /// Takes the mark from the issue that was just made, and closes it. The API does not delete issues.
    async fn retire(&self, twin: &Found, original: &Found, place: &RepositoryName) {
        let body = format!("This was made twice at the same moment. The issue is #{}.", original.number);
        let change = json!({ "state": "closed", "state_reason": "not_planned", "body": body, "labels": [], "assignees": [] });
        if let Err(failure) = self.client.patch(&format!("/repos/{place}/issues/{}", twin.number), &change).await {
            let trouble = failure.into_trouble("close it", place);
            warn!(issue = twin.number, original = original.number, %trouble, "an issue was made twice; close this one by hand");
        }
    }

    /// Without the right to push, GitHub leaves assignees out and says nothing; the issue shall say it.
    async fn tell_unassigned(&self, draft: &IssueDraft, made: &Found, place: &RepositoryName) {
        let assigned = |login: &&String| made.assignees.iter().any(|other| other.eq_ignore_ascii_case(login));
        let wished = draft.fitting_assignees();
        let missing: Vec<&String> = wished.iter().filter(|login| !assigned(login)).collect();
        let below = draft.written_in(&made.body).map(|written| written.below).unwrap_or_default();
        // What was said at the creation needs no second time.
        if missing.is_empty() || !below.is_empty() {
            return;
        }
        let change = json!({ "body": draft.compose(&unassigned_note(&missing)) });
        if let Err(failure) = self.client.patch(&format!("/repos/{place}/issues/{}", made.number), &change).await {
            let trouble = failure.into_trouble("note it in the issue", place);
            warn!(issue = made.number, ?missing, %trouble, "some people could not be assigned");
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/repos/{}{rest}", self.repository)
    }
}

/// What has to be sent so that the issue is as the draft says; empty if it is already.
fn changes(draft: &IssueDraft, found: &Found) -> Map<String, Value> {
    let written = draft.written_in(&found.body);
    let (ours, below) = written.map(|written| (written.labels, written.below)).unwrap_or_default();
    let (title, body, labels) = (draft.fitting_title(), draft.compose(&below), draft.merge_labels(&found.labels, &ours));
    let mut changes = Map::new();
    if title != found.title {
        changes.insert("title".to_owned(), title.into());
    }
    if body.trim_end() != found.body.replace("\r\n", "\n").trim_end() {
        changes.insert("body".to_owned(), body.into());
    }
    if labels != found.labels {
        changes.insert("labels".to_owned(), labels.into());
    }
    changes
}

/// Not a mention: whom GitHub does not take, it shall not notify either.
fn unassigned_note(logins: &[&String]) -> String {
    if logins.is_empty() {
        return String::new();
    }
    let list: Vec<String> = logins.iter().map(|login| format!("`{}`", login.replace('`', "'"))).collect();
    format!(
        "\n> Could not be assigned: {}. GitHub assigns only people with access to this repository, and only on behalf of a \
         token that may push to it.\n",
        list.join(", ")
    )
}

fn refuse_closed_doors(place: &super::rights::Place, doing: &str) -> Result<(), Trouble> {
    let name = &place.name;
    let refused =
        |reason, what: &str, mend| Err(Trouble::Refused { reason, why: format!("could not {doing}: {name} {what}"), mend });
    if place.archived {
        let mend = format!("take {name} out of the archive, or name another repository in `github.repository`");
        return refused(Reason::Archived, "is archived", mend);
    }
    if !place.issues_enabled {
        return refused(Reason::IssuesDisabled, "has no issues", mend_disabled(name));
    }
    Ok(())
}

fn not_an_issue(doing: &str) -> Trouble {
    Trouble::Later { why: format!("could not {doing}: GitHub's answer is not an issue"), after: None }
}

fn gone(number: u64, repository: &RepositoryName) -> Trouble {
    Trouble::Refused {
        reason: Reason::Gone,
        why: format!("issue #{number} of {repository} is gone: it was deleted, or moved to where the token cannot see it"),
        mend: format!("it is not made again by itself; publish it anew if it shall be, or {}", mend_rights(repository)),
    }
}

fn not_ours(number: u64, url: &str) -> Trouble {
    Trouble::Refused {
        reason: Reason::NotOurs,
        why: format!("issue #{number} ({url}) does not carry our hidden mark, so nothing was written to it"),
        mend: "put the comment `<!-- pointsman:... -->` back from the history of its edits, or publish the issue anew".to_owned(),
    }
}

fn too_many(repository: &RepositoryName) -> Trouble {
    Trouble::Refused {
        reason: Reason::TooMany,
        why: format!(
            "{repository} has more than {} new issues since then, and ours is not among the newest; nothing was made",
            PAGES_MAX * PAGE_LEN
        ),
        mend: "name a quieter repository in `github.repository`, or give such issues a label of their own".to_owned(),
    }
}
