//! The issues as people see them in a browser: a list, and a page for each. They can be looked at, not changed.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::state::{Issue, Repository};
use super::{Model, REPOSITORY};
use crate::domain::Timestamp;

pub(super) async fn home() -> Redirect {
    Redirect::to(&format!("/{REPOSITORY}/issues"))
}

pub(super) async fn list(State(model): State<Model>, Path((owner, name)): Path<(String, String)>) -> Response {
    let Some(repository) = model.repository(&format!("{owner}/{name}")) else { return not_found() };
    let content = html! {
        h1 { "Issues" }
        @if repository.issues.is_empty() { p.quiet { "There are no issues yet." } }
        ul.issues {
            @for issue in repository.issues.values().rev() {
                li {
                    span.state.closed[!issue.open] { (state_of(issue)) }
                    a href={ "/" (repository.name) "/issues/" (issue.number) } { (issue.title) }
                    (labels(issue))
                    div.quiet { "#" (issue.number) " opened " (instant(issue.created_at)) " by " (issue.author) }
                }
            }
        }
    };
    page(&repository, "Issues", &content).into_response()
}

pub(super) async fn issue(State(model): State<Model>, Path((owner, name, number)): Path<(String, String, String)>) -> Response {
    let Some(repository) = model.repository(&format!("{owner}/{name}")) else { return not_found() };
    let Some(issue) = number.parse().ok().and_then(|number: u64| repository.issues.get(&number)) else { return not_found() };
    let content = html! {
        h1 { (issue.title) " " span.quiet { "#" (issue.number) } }
        p {
            span.state.closed[!issue.open] { (state_of(issue)) }
            " " b { (issue.author) } " opened this " (instant(issue.created_at))
            @if issue.locked { " · conversation locked" }
        }
        p { (labels(issue)) @if !issue.assignees.is_empty() { span.quiet { "Assigned to " (issue.assignees.join(", ")) } } }
        article { (markdown(&repository, &issue.body)) }
        @for comment in &issue.comments {
            article {
                p.quiet { b { (comment.author) } " wrote " (instant(comment.created_at)) }
                (markdown(&repository, &comment.body))
            }
        }
        p { a href={ "/" (repository.name) "/issues" } { "All issues" } }
    };
    page(&repository, &issue.title, &content).into_response()
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "There is no such page in this model of GitHub.").into_response()
}

fn state_of(issue: &Issue) -> &'static str {
    if issue.open { "Open" } else { "Closed" }
}

fn labels(issue: &Issue) -> Markup {
    html! { @for label in &issue.labels { span.label { (label) } } }
}

fn instant(at: Timestamp) -> String {
    at.format("%Y-%m-%d %H:%M UTC").to_string()
}

/// Markdown as GitHub shows it, the part that matters here: tables, task lists, issue numbers as links. HTML in it is shown as
/// text, except comments, which are hidden; addresses other than those of the web lead nowhere.
fn markdown(repository: &Repository, text: &str) -> Markup {
    let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS | Options::ENABLE_STRIKETHROUGH;
    let mut in_code_or_link = 0_u32;
    let events = Parser::new_ext(text, options).flat_map(|event| {
        match &event {
            Event::Start(Tag::CodeBlock(_) | Tag::Link { .. }) => in_code_or_link += 1,
            Event::End(TagEnd::CodeBlock | TagEnd::Link) => in_code_or_link = in_code_or_link.saturating_sub(1),
            _ => {}
        }
        match event {
            Event::Html(html) | Event::InlineHtml(html) if html.trim_start().starts_with("<!--") => vec![],
            Event::Html(html) | Event::InlineHtml(html) => vec![Event::Text(html)],
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let dest_url = if is_web(&dest_url) { dest_url } else { "#".into() };
                vec![Event::Start(Tag::Link { link_type, dest_url, title, id })]
            }
            // Nothing is fetched from elsewhere; what an image shows instead is its text.
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => vec![],
            Event::Text(text) if in_code_or_link == 0 => with_issue_links(repository, &text),
            event => vec![event],
        }
    });
    let mut html = String::new();
    pulldown_cmark::html::push_html(&mut html, events);
    PreEscaped(html)
}

fn is_web(url: &str) -> bool {
    ["https://", "http://", "/", "#"].iter().any(|start| url.starts_with(start))
}

/// `#12` becomes a link if there is an issue of that number.
fn with_issue_links(repository: &Repository, text: &str) -> Vec<Event<'static>> {
    let mut events = Vec::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once('#') {
        let digits = behind.len() - behind.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = behind.split_at(digits);
        let known = number.parse().ok().filter(|number: &u64| repository.issues.contains_key(number));
        events.push(Event::Text(before.to_owned().into()));
        let link = match known {
            Some(number) => Event::InlineHtml(
                html! { a href={ "/" (repository.name) "/issues/" (number) } { "#" (number) } }.into_string().into(),
            ),
            None => Event::Text(format!("#{number}").into()),
        };
        events.push(link);
        rest = after;
    }
    events.push(Event::Text(rest.to_owned().into()));
    events
}

fn page(repository: &Repository, title: &str, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (repository.name) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    a href={ "/" (repository.name) "/issues" } { (repository.name) }
                    @if repository.archived { span.label { "archived" } }
                    span.quiet { "a model of GitHub, not GitHub" }
                }
                main { (content) }
            }
        }
    }
}

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1f2328; --quiet: #59636e; --paper: #fff; --line: #d1d9e0; --shade: #f6f8fa;
  --link: #0757ba; --open: #1a7f37; --closed: #7d4bd0; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --quiet: #9198a1; --paper: #0d1117; --line: #3d444d;
  --shade: #151b23; --link: #58a6ff; --open: #238636; --closed: #8957e5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .75rem; align-items: baseline; padding: .75rem 1rem; background: var(--shade);
  border-bottom: 1px solid var(--line); font-weight: 600; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
.quiet { color: var(--quiet); font-weight: 400; font-size: .875rem; }
.issues { list-style: none; padding: 0; border: 1px solid var(--line); border-radius: 6px; }
.issues:empty { display: none; }
.issues li { padding: .6rem 1rem; border-bottom: 1px solid var(--line); }
.issues li:last-child { border-bottom: 0; }
.issues a { color: var(--ink); font-weight: 600; margin: 0 .5rem; }
.state { background: var(--open); color: #fff; border-radius: 2em; padding: .1rem .7rem; font-size: .8rem; font-weight: 600; }
.state.closed { background: var(--closed); }
.label { border: 1px solid var(--line); background: var(--shade); border-radius: 2em; padding: .05rem .6rem; margin-right: .4rem;
  font-size: .8rem; font-weight: 400; }
article { border: 1px solid var(--line); border-radius: 6px; padding: .25rem 1rem; margin: 1rem 0; }
article :is(h1, h2) { border-bottom: 1px solid var(--line); padding-bottom: .3rem; }
article h1 { font-size: 1.5rem; } article h2 { font-size: 1.25rem; } article h3 { font-size: 1.05rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
th, td { border: 1px solid var(--line); padding: .3rem .7rem; text-align: left; }
code, pre { font: .875em ui-monospace, monospace; background: var(--shade); border-radius: 6px; }
code { padding: .15em .35em; } pre { padding: .8rem; overflow-x: auto; } pre code { padding: 0; background: none; }
blockquote { margin: 0; padding: 0 1rem; color: var(--quiet); border-left: .25rem solid var(--line); }
";

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str) -> String {
        let mut repository = Repository::new("acme/ops", &[]);
        repository.open("x", "One", "", chrono::DateTime::UNIX_EPOCH);
        markdown(&repository, text).into_string()
    }

    #[test]
    fn nothing_in_a_text_runs_or_leads_astray() {
        let html = rendered("<script>alert(1)</script>\n\n[x](javascript:alert(1)) <b onclick=y> ![pixel](https://e.org/p.png)");
        assert!(
            !html.contains("<script") && !html.contains("javascript:") && !html.contains("<b ") && !html.contains("<img"),
            "{html}"
        );
        assert!(html.contains("&lt;script&gt;") && html.contains("pixel"), "{html}");
    }

    #[test]
    fn marks_are_hidden_and_known_issues_are_links() {
        let html = rendered("<!-- pointsman:x -->\n- [ ] #1 first\n- [x] #2 `#1`");
        assert!(!html.contains("pointsman"), "{html}");
        assert!(html.contains("<a href=\"/acme/ops/issues/1\">#1</a> first"), "{html}");
        assert!(html.contains("#2 <code>#1</code>") && html.contains("checkbox"), "{html}");
    }
}
