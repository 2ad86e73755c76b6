//! An issue as we want it on GitHub: which text it has, how it is found again, what of it is ours.
//!
//! The body that is sent begins with a hidden mark and ends, as far as it is ours, with another:
//!
//! ```text
//! <!-- pointsman:post-mortem:inc-20261121-001 -->
//! the text of the draft
//! <!-- pointsman:end labels=post-mortem,sev1 -->
//! what people wrote below, which stays when ours is written again
//! ```
//!
//! The first mark tells which issue this is, so that none is made twice. The second tells where our text ends, and which
//! labels were set by us: a label that people add stays, and one that they take away does not come back.

use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::InvalidName;

/// The longest title, in characters: GitHub answers "title is too long (maximum is 256 characters)" to a longer one.
pub const TITLE_CHARS_MAX: usize = 256;
/// The longest body, in characters: GitHub answers "body is too long (maximum is 65536 characters)" to a longer one.
pub const BODY_CHARS_MAX: usize = 65_536;
/// The longest label, in characters: GitHub answers "name is too long (maximum is 50 characters)" to a longer one.
pub const LABEL_CHARS_MAX: usize = 50;
/// The most labels of one issue.
/// Source: <https://docs.github.com/en/issues/using-labels-and-milestones-to-track-work/managing-labels>.
pub const LABELS_MAX: usize = 100;
/// The most assignees of one issue.
/// Source: <https://docs.github.com/en/rest/issues/assignees#add-assignees-to-an-issue>.
pub const ASSIGNEES_MAX: usize = 10;

/// What stands behind a text of which a part did not fit.
const CUT: &str = "*The text ends here because an issue on GitHub holds 65536 characters. \
                   The rest of it was left out; the journal has all the facts.*";

/// An issue as it shall be. It is made open; whether it stays so is up to people. Texts that are too long for GitHub are cut when they are sent, never refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueDraft {
    /// What tells this issue from all others, for ever: `pointsman:post-mortem:inc-20261121-001`. It stands in the body,
    /// hidden. One issue at most carries it.
    pub marker: String,
    /// The title, one line.
    pub title: String,
    /// The text, GitHub's Markdown, without marks.
    pub body: String,
    /// Labels by name; GitHub makes those that it does not know.
    pub labels: Vec<String>,
    /// GitHub accounts, without `@`. They are assigned when the issue is made; afterwards people decide.
    pub assignees: Vec<String>,
}

/// Where an issue is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueRef {
    /// Its number in the repository that it was made in.
    pub number: u64,
    /// Its page for people. It leads to another repository if people have moved the issue.
    pub url: String,
}

/// What an issue's body tells of our part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The labels that we set when we wrote it last.
    pub labels: Vec<String>,
    /// What people wrote below our text; may be empty.
    pub below: String,
}

impl IssueDraft {
    /// The title as GitHub takes it: one line, not empty, at most [`TITLE_CHARS_MAX`] characters.
    #[must_use]
    pub fn fitting_title(&self) -> String {
        let line = self.title.split_whitespace().collect::<Vec<_>>().join(" ");
        if line.is_empty() { self.marker.clone() } else { cut_line(&line, TITLE_CHARS_MAX) }
    }

    /// The labels as GitHub takes them, in the given order: none empty, none twice (GitHub ignores case), each at most
    /// [`LABEL_CHARS_MAX`] characters, at most [`LABELS_MAX`].
    #[must_use]
    pub fn fitting_labels(&self) -> Vec<String> {
        let mut labels: Vec<String> = Vec::new();
        for label in &self.labels {
            let label = cut_line(label.trim(), LABEL_CHARS_MAX);
            if !label.is_empty() && !contains_label(&labels, &label) {
                labels.push(label);
            }
        }
        labels.truncate(LABELS_MAX);
        labels
    }

    /// The accounts to assign, in the given order, each once, at most [`ASSIGNEES_MAX`].
    #[must_use]
    pub fn fitting_assignees(&self) -> Vec<String> {
        let mut logins: Vec<String> = Vec::new();
        for login in self.assignees.iter().map(|login| login.trim().trim_start_matches('@')) {
            if !login.is_empty() && !contains_label(&logins, login) {
                logins.push(login.to_owned());
            }
        }
        logins.truncate(ASSIGNEES_MAX);
        logins
    }

    /// The body as it is sent: our text between its marks, then what people wrote `below`. At most [`BODY_CHARS_MAX`]
    /// characters: if it is longer, our text is cut at the end of a line and says so.
    #[must_use]
    pub fn compose(&self, below: &str) -> String {
        let begin = mark(&self.marker);
        let end = end_mark(&self.fitting_labels());
        let below = if below.trim().is_empty() { String::new() } else { format!("\n{}", below.trim_start_matches('\n')) };
        let frame = begin.chars().count() + end.chars().count() + below.chars().count() + "\n\n".len();
        let text = cut_text(defused(&self.body).trim_end(), BODY_CHARS_MAX.saturating_sub(frame));
        let body = format!("{begin}\n{text}\n{end}{below}");
        // Only people's own text can still be too long; the end of it goes, GitHub's history of edits keeps it.
        body.chars().take(BODY_CHARS_MAX).collect()
    }

    /// Whether `body` is that of the issue which this draft is about.
    #[must_use]
    pub fn is_in(&self, body: &str) -> bool {
        body.contains(&mark(&self.marker))
    }

    /// What `body` tells of our part; `None` if it does not carry the draft's mark.
    #[must_use]
    pub fn written_in(&self, body: &str) -> Option<Written> {
        if !self.is_in(body) {
            return None;
        }
        // An end mark that people took away takes with it the knowledge of what was theirs; all of it is ours then.
        let Some((_, rest)) = body.split_once(END) else { return Some(Written { labels: Vec::new(), below: String::new() }) };
        let (labels, below) = rest.split_once(CLOSE).unwrap_or((rest, ""));
        let labels = labels.split(',').filter(|label| !label.is_empty()).map(decoded).collect();
        Some(Written { labels, below: below.replace("\r\n", "\n").trim_start_matches('\n').to_owned() })
    }

    /// The labels that an issue shall have which has `present` and on which we set `ours` last time: what people added
    /// stays, what they took away stays away, and ours follow the draft. Sorted as `present`, new ones last.
    #[must_use]
    pub fn merge_labels(&self, present: &[String], ours: &[String]) -> Vec<String> {
        let wanted = self.fitting_labels();
        let stays = |label: &&String| !contains_label(ours, label) || contains_label(&wanted, label);
        let mut merged: Vec<String> = present.iter().filter(stays).cloned().collect();
        for label in wanted {
            if !contains_label(ours, &label) && !contains_label(&merged, &label) {
                merged.push(label);
            }
        }
        merged.truncate(LABELS_MAX);
        merged
    }
}

/// Text of people as it may stand in an issue's Markdown: it stays text, and neither notifies anybody nor links to an issue.
/// Lines stay lines.
#[must_use]
pub fn quiet_markdown(text: &str) -> String {
    let mut quiet = String::with_capacity(text.len());
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let inside_a_word = before.is_alphanumeric() && rest.peek().is_some_and(|next| next.is_alphanumeric());
        match c {
            '<' => quiet.push_str("&lt;"),
            '>' => quiet.push_str("&gt;"),
            '&' => quiet.push_str("&amp;"),
            // GitHub looks for mentions in what was rendered, so that no escape helps; a comment in between does.
            '@' | '#' => {
                let _ = write!(quiet, "{c}<!-- -->");
            }
            '_' if inside_a_word => quiet.push(c),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' => {
                let _ = write!(quiet, "\\{c}");
            }
            c => quiet.push(c),
        }
        before = c;
    }
    quiet
}

const OPEN: &str = "<!-- pointsman:";
const END: &str = "<!-- pointsman:end labels=";
const CLOSE: &str = " -->";

/// The hidden mark of an issue.
fn mark(marker: &str) -> String {
    format!("<!-- {}{CLOSE}", encoded(marker))
}

fn end_mark(labels: &[String]) -> String {
    let labels: Vec<String> = labels.iter().map(|label| encoded(label)).collect();
    format!("{END}{}{CLOSE}", labels.join(","))
}

/// A text as it may stand in a comment: everything that could end the comment or a list is written as `%` and hex digits.
fn encoded(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        let plain =
            byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'.' | b'_' | b'/') || (byte == b'-' && !safe.ends_with('-'));
        if plain {
            safe.push(char::from(byte));
        } else {
            let _ = write!(safe, "%{byte:02X}");
        }
    }
    safe
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = (first == b'%').then(|| behind.get(..2)).flatten().and_then(|pair| std::str::from_utf8(pair).ok());
        match hex.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The text without anything that could be taken for a mark of ours, whoever wrote it.
fn defused(text: &str) -> String {
    text.replace("\r\n", "\n").replace(OPEN, "<!-- pointsman ")
}

fn contains_label(labels: &[String], label: &str) -> bool {
    labels.iter().any(|other| other.to_lowercase() == label.to_lowercase())
}

fn cut_line(line: &str, chars_max: usize) -> String {
    if line.chars().count() <= chars_max {
        return line.to_owned();
    }
    let kept: String = line.chars().take(chars_max.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The text if it fits, else its whole lines that do, a code block closed, and the sentence that says so.
fn cut_text(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    const FENCE: &str = "```";
    let room = chars_max.saturating_sub(CUT.chars().count() + "\n\n".len() + FENCE.len() + "\n".len());
    let kept: String = text.chars().take(room).collect();
    // One endless line is cut where it must be.
    let kept = kept.rsplit_once('\n').map_or(kept.as_str(), |(lines, _)| lines);
    let open = kept.lines().filter(|line| line.trim_start().starts_with(FENCE)).count() % 2 == 1;
    format!("{kept}{}\n\n{CUT}", if open { "\n```" } else { "" })
}

const REPOSITORY_RULE: &str = "write OWNER/NAME as in the address of its page: letters, digits, `-`, `_` and `.`, one `/`";
/// The longest owner. Source: GitHub's form for new accounts.
const OWNER_LEN_MAX: usize = 39;
/// The longest name. Source: GitHub's form for new repositories.
const REPOSITORY_LEN_MAX: usize = 100;

/// A repository on GitHub: `owner/name`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RepositoryName(String);

impl RepositoryName {
    /// `owner/name`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether both name the same repository; GitHub ignores case.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

fn is_repository(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split_once('/').is_some_and(|(owner, name)| {
        let owner_is_good = (1..=OWNER_LEN_MAX).contains(&owner.len()) && owner.chars().all(plain) && !owner.starts_with('-');
        let name_is_good = (1..=REPOSITORY_LEN_MAX).contains(&name.len())
            && name.chars().all(|c| plain(c) || c == '.')
            && !matches!(name, "." | "..")
            && !name.ends_with(".git");
        owner_is_good && name_is_good
    })
}

impl FromStr for RepositoryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if is_repository(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidName { what: "repository", text: text.to_owned(), rule: REPOSITORY_RULE })
    }
}

impl TryFrom<String> for RepositoryName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<RepositoryName> for String {
    fn from(repository: RepositoryName) -> Self {
        repository.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft() -> IssueDraft {
        IssueDraft {
            marker: "pointsman:post-mortem:inc-20261121-001".to_owned(),
            title: "Post-mortem".to_owned(),
            body: "What happened.".to_owned(),
            labels: vec!["post-mortem".to_owned(), "sev 1".to_owned()],
            assignees: Vec::new(),
        }
    }

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_body_tells_whose_it_is_and_what_people_wrote_below() {
        let body = draft().compose("");
        assert_eq!(
            body,
            "<!-- pointsman:post-mortem:inc-20261121-001 -->\nWhat happened.\n<!-- pointsman:end labels=post-mortem,sev%201 -->"
        );
        let edited = format!("{body}\r\n\r\nOur own words.\r\n");
        let written = draft().written_in(&edited).unwrap();
        assert_eq!((written.labels, written.below.as_str()), (strings(&["post-mortem", "sev 1"]), "Our own words.\n"));
        let again = IssueDraft { body: "More is known.".to_owned(), ..draft() }.compose(&written.below);
        assert!(again.contains("More is known.\n<!-- pointsman:end") && again.ends_with("-->\nOur own words.\n"), "{again}");
        // A marker that only begins alike is another.
        let other = IssueDraft { marker: "pointsman:post-mortem:inc-20261121-00".to_owned(), ..draft() };
        assert_eq!(other.written_in(&body), None);
    }

    #[test]
    fn no_text_can_pass_for_a_mark() {
        let mut forged = IssueDraft { marker: "pointsman:x".to_owned(), ..draft() };
        forged.body = format!("quoted: {}", draft().compose("stolen"));
        let body = forged.compose("");
        assert!(!draft().is_in(&body), "{body}");
        assert_eq!(forged.written_in(&body).unwrap().below, "");
        for marker in ["a --> b", "a--b", "a%2Db", "ä,ö"] {
            let odd = IssueDraft { marker: marker.to_owned(), labels: strings(&["x, y --> z", "ü"]), ..draft() };
            let body = odd.compose("");
            assert_eq!(body.matches(CLOSE).count(), 2, "{body}");
            assert_eq!(odd.written_in(&body).unwrap().labels, odd.labels);
        }
    }

    #[test]
    fn a_long_text_is_cut_at_a_line_and_says_so() {
        let fits = IssueDraft { body: "x".repeat(60_000), ..draft() };
        assert!(!fits.compose("").contains(CUT));
        let long = IssueDraft { body: format!("```\n{}", "ä line of output\n".repeat(10_000)), ..draft() };
        let body = long.compose("people's words");
        assert!(body.chars().count() <= BODY_CHARS_MAX && body.chars().count() > BODY_CHARS_MAX - 200);
        assert!(body.contains("of output\n```\n\n*The text ends here"), "the code block is closed");
        assert!(body.ends_with("-->\npeople's words"));
        assert_eq!(long.written_in(&body).unwrap().labels, draft().labels);
        let endless = IssueDraft { body: "x".repeat(200_000), ..draft() };
        assert!(endless.compose("").chars().count() <= BODY_CHARS_MAX);
        assert!(long.compose(&"y".repeat(65_000)).chars().count() <= BODY_CHARS_MAX);
    }

    #[test]
    fn titles_labels_and_assignees_are_made_to_fit() {
        let draft = IssueDraft {
            title: format!("a\nb {}", "ö".repeat(300)),
            labels: vec!["SEV1".to_owned(), "sev1".to_owned(), " ".to_owned(), "l".repeat(60)],
            assignees: strings(&["@octocat", "Octocat", "", "hubot"]),
            ..draft()
        };
        let title = draft.fitting_title();
        assert!(title.starts_with("a b ö") && title.ends_with('…') && title.chars().count() == TITLE_CHARS_MAX);
        let labels = draft.fitting_labels();
        assert_eq!((labels[0].as_str(), labels[1].chars().count(), labels.len()), ("SEV1", LABEL_CHARS_MAX, 2));
        assert_eq!(draft.fitting_assignees(), ["octocat", "hubot"]);
        assert_eq!(IssueDraft { title: " \n".to_owned(), ..draft.clone() }.fitting_title(), draft.marker);
    }

    #[test]
    fn labels_of_people_stay_and_ours_follow_the_draft() {
        let draft = IssueDraft { labels: strings(&["post-mortem", "sev2", "data"]), ..draft() };
        let ours = strings(&["post-mortem", "sev1", "data"]);
        // People added `legal` and took `data` away; we go from `sev1` to `sev2`.
        let merged = draft.merge_labels(&strings(&["Post-Mortem", "sev1", "legal"]), &ours);
        assert_eq!(merged, ["Post-Mortem", "legal", "sev2"]);
    }

    #[test]
    fn text_of_people_stays_text() {
        let quiet = quiet_markdown("@here see #12, <b>*no* `x` a_b _c_\n> & [y](z)");
        assert_eq!(quiet, "@<!-- -->here see #<!-- -->12, &lt;b&gt;\\*no\\* \\`x\\` a_b \\_c\\_\n&gt; &amp; \\[y\\](z)");
    }

    #[test]
    fn a_repository_has_an_owner_and_a_name() {
        for good in ["acme/ops", "a/.github", "acme-inc/post.mortems_2"] {
            assert_eq!(good.parse::<RepositoryName>().unwrap().to_string(), good);
        }
        let long = format!("{}/x", "a".repeat(40));
        for bad in
            ["", "ops", "acme/", "/ops", "acme/ops/x", "acme/..", "acme/ops.git", "acme/o ps", "-a/b", "acme/ops?x=1", &long]
        {
            assert!(bad.parse::<RepositoryName>().is_err(), "{bad:?}");
        }
        let name = |text: &str| text.parse::<RepositoryName>().unwrap();
        assert!(name("Acme/Ops").is_same(&name("acme/ops")));
    }
}
