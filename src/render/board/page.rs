//! The frame around every page.

use maud::{DOCTYPE, Markup, html};

/// The part of a page that changes, and where its changes come from.
#[derive(Debug)]
pub struct Live {
    /// What stands there now.
    pub body: Markup,
    /// The address of the stream of updates; `None` if nothing changes any more.
    pub stream: Option<String>,
}

/// A whole page.
#[must_use]
pub fn shell(title: &str, live: &Live) -> Markup {
    page(
        title,
        &html! {
            header.top {
                a.home href="/" { "Pointsman" }
                span.crumb { (title) }
                span.space {}
                @if live.stream.is_some() {
                    span #live-mark .live role="status" data-state="waiting" { "connecting …" }
                }
                span.now { span #now {} }
            }
            main #board data-stream=[live.stream.as_ref()] { (live.body) }
            footer { "A view of the journal. Nothing here changes anything: act in chat." }
        },
    )
}

/// The form that asks for the token; `next` is where it leads afterwards.
#[must_use]
pub fn login(wrong: bool, next: &str) -> Markup {
    page(
        "Sign in",
        &html! {
            main.login {
                form method="post" action="/login" {
                    h1 { "Pointsman run board" }
                    @if wrong { p.wrong role="alert" { "That is not the board's token." } }
                    input type="hidden" name="next" value=(next);
                    label for="token" { "Token" }
                    input #token name="token" type="password" autocomplete="current-password" required autofocus;
                    button { "Open the board" }
                    p.hint { "Whoever runs the bot has set it as POINTSMAN_WEB_TOKEN." }
                }
            }
        },
    )
}

/// Nothing is where somebody looked.
#[must_use]
pub fn missing(what: &str) -> Markup {
    html! {
        div.empty {
            h2 { "Nothing here" }
            p { (what) }
            p { a href="/" { "To the board" } }
        }
    }
}

fn page(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · Pointsman" }
                link rel="stylesheet" href="/assets/board.css";
                script src="/assets/board.js" defer {}
            }
            body { (body) }
        }
    }
}
