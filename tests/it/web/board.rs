//! The run board: who may see it, what it shows, and how it stays true.

use futures_util::StreamExt as _;
use pointsman::domain::incident::{IncidentId, Input, OpenRequest, Opener, ResponderRole, Severity};
use pointsman::domain::run::{self, Mode, Vote};
use pointsman::domain::{MessageId, MessageRef, RunId};
use pointsman::engine::Incidents as _;
use reqwest::header::{COOKIE, LOCATION, SET_COOKIE};

use super::{Site, TOKEN};
use crate::harness::browser::Browser;
use crate::harness::engine::{Bench, Life, cutover, dba, dead_holder, lead, operator, team};
use crate::harness::points::Points;

/// Shows the token and keeps the cookie.
async fn sign_in(site: &Site) -> String {
    let answer = site.client.get(format!("{}/", site.base)).query(&[("token", TOKEN)]).send().await.unwrap();
    assert_eq!(answer.status(), 303);
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn page(site: &Site, cookie: &str, path: &str) -> (u16, String) {
    let answer = site.client.get(format!("{}{path}", site.base)).header(COOKIE, cookie).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[test]
fn nothing_of_the_board_is_shown_without_its_token() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let site = Site::of(life).await;
        for path in
            ["/".to_owned(), format!("/runs/{run}"), "/live".to_owned(), format!("/live/runs/{run}"), "/?token=wrong".to_owned()]
        {
            let (status, body) = site.get(&path).await;
            assert_eq!(status, 401, "{path}");
            assert!(!body.contains(run.as_str()) || path.contains(run.as_str()), "{path}: {body}");
            assert!(!body.contains("Ada"), "{path}: {body}");
            assert!(body.contains("type=\"password\""), "{path}: {body}");
        }
        let (status, _) = page(&site, "pointsman_board=0123", "/").await;
        assert_eq!(status, 401);

        // The form does the same as the address.
        let send = async |token: &str, next: &str| {
            let form = [("token", token), ("next", next)];
            site.client.post(format!("{}/login", site.base)).form(&form).send().await.unwrap()
        };
        assert_eq!(send("wrong", "/").await.status(), 401);
        let answer = send(TOKEN, &format!("/runs/{run}")).await;
        assert_eq!(
            (answer.status().as_u16(), answer.headers()[LOCATION].to_str().unwrap()),
            (303, format!("/runs/{run}").as_str())
        );
        assert_eq!(send(TOKEN, "https://elsewhere.example/").await.headers()[LOCATION], "/");
    });
}

#[test]
fn the_token_does_not_stay_in_the_address() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let site = Site::of(life).await;
        let query = [("q", "ace"), ("token", TOKEN)];
        let answer = site.client.get(format!("{}/", site.base)).query(&query).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()[LOCATION].to_str().unwrap()), (303, "/?q=ace"));
        let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && !cookie.contains("token"), "{cookie}");
        assert_eq!(page(&site, &sign_in(&site).await, "/?q=ace").await.0, 200);
    });
}

#[test]
fn a_page_shows_who_is_missing_what_is_measured_and_the_way_back_and_nothing_to_change() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        life.react(life.card(&run, &cutover()), &dba(), Vote::Sign).await;
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        let (status, body) = page(&site, &cookie, &format!("/runs/{run}")).await;
        assert_eq!(status, 200);
        let thread = life.state(&run).thread.unwrap();
        for words in [
            "dba: Grace",
            "operations_lead: <strong>missing</strong>",
            "all is well",
            "not armed: operations_lead sign",
            "Grace (dba) signed cutover",
            &format!("https://chat.example/channels/77/{thread}"),
            "<svg",
            &format!("data-stream=\"/live/runs/{run}\""),
        ] {
            assert!(body.contains(words), "{words}\nis not in\n{body}");
        }
        let (_, first) = page(&site, &cookie, "/").await;
        assert!(first.contains(&format!("href=\"/runs/{run}\"")) && first.contains("sign-off: cutover"), "{first}");
        for text in [&body, &first] {
            for changing in ["method=\"post\"", "<script>", " onclick", " style="] {
                assert!(!text.contains(changing), "{changing}\n{text}");
            }
        }
    });
}

#[test]
fn what_people_type_stays_text() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let hostile = "<script>alert(1)</script>\" onload=\"x";
        let input = run::Input::Pause { by: operator(), reason: hostile.to_owned() };
        life.send(&run, input).await.unwrap();
        let site = Site::of(life).await;
        let (_, body) = page(&site, &sign_in(&site).await, &format!("/runs/{run}")).await;
        assert!(body.contains("&lt;script&gt;alert(1)") && !body.contains("<script>alert"), "{body}");
        assert!(!body.contains("\" onload=\"x"), "{body}");
    });
}

#[test]
fn the_archive_can_be_searched_and_an_ended_run_has_the_same_page() {
    let bench = Bench::new();
    let (moved, poked) = bench.whole_life(async |life| {
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        let (_, empty) = page(&site, &cookie, "/").await;
        assert!(empty.contains("No run is at work") && empty.contains("No run has ended yet"), "{empty}");
        let moved = life.begin("move", Mode::Live).await;
        life.play(&moved, &team).await;
        let poked = life.begin("tiny", Mode::DryRun).await;
        life.play(&poked, &team).await;
        site.tell().await;
        let shown = async |query: &str| {
            let (_, body) = page(&site, &cookie, query).await;
            [&moved, &poked].map(|run| body.contains(&format!("/runs/{run}")))
        };
        assert_eq!(shown("/").await, [true, true]);
        assert_eq!(shown("/?q=MOVE").await, [true, false]);
        assert_eq!(shown(&format!("/?q={poked}")).await, [false, true]);
        assert_eq!(shown("/?status=failed").await, [false, false]);
        assert_eq!(shown("/?status=succeeded&q=tiny").await, [false, true]);
        (moved, poked)
    });
    // From the journal alone: an engine that has not started remembers nothing.
    bench.whole_life(async |life| {
        let journal = std::sync::Arc::clone(&life.journal);
        let site = Site::over(None, journal, std::sync::Arc::new(bench.clock.clone())).await;
        let cookie = sign_in(&site).await;
        for (run, words) in [(&moved, "The run ended: succeeded"), (&poked, "REHEARSAL")] {
            let (status, body) = page(&site, &cookie, &format!("/runs/{run}")).await;
            assert!(status == 200 && body.contains(words) && !body.contains("data-stream"), "{body}");
        }
        for path in ["/runs/run-aaaaaaaa", "/runs/..%2f", "/runs/RUN"] {
            assert_eq!(page(&site, &cookie, path).await.0, 404, "{path}");
        }
        assert!(page(&site, &cookie, "/").await.1.contains("The bot is starting"));
    });
}

/// The data of the next event of that name.
async fn next(
    stream: &mut (impl futures_util::Stream<Item = reqwest::Result<bytes::Bytes>> + Unpin),
    buffer: &mut String,
    name: &str,
) -> String {
    loop {
        if let Some((event, rest)) = buffer.split_once("\n\n") {
            let (event, rest) = (event.to_owned(), rest.to_owned());
            *buffer = rest;
            if event.contains(&format!("event: {name}")) {
                return event.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            }
            continue;
        }
        let piece = tokio::time::timeout(std::time::Duration::from_secs(20), stream.next()).await.expect("in time");
        buffer.push_str(std::str::from_utf8(&piece.expect("the stream lives").unwrap()).unwrap());
    }
}

#[test]
fn a_page_follows_the_journal_without_being_loaded_again() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        for path in [format!("/live/runs/{run}"), "/live".to_owned()] {
            let answer = site.client.get(format!("{}{path}", site.base)).header(COOKIE, &cookie).send().await.unwrap();
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            let (mut stream, mut buffer) = (answer.bytes_stream(), String::new());
            let first = next(&mut stream, &mut buffer, "page").await;
            let (voter, absent) = if path == "/live" { (lead(), "Missing") } else { (dba(), "dba: <strong>missing") };
            assert!(first.contains(absent), "{first}");
            life.react(life.card(&run, &cutover()), &voter, Vote::Sign).await;
            site.tell().await;
            let second = next(&mut stream, &mut buffer, "page").await;
            assert!(!second.contains(absent), "{second}");
            let page: String = serde_json::from_str(&second).unwrap();
            assert!(page.contains("<section"), "{page}");
        }
    });
}

#[test]
fn a_page_opened_twice_shows_the_same_in_both() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        let mut pages = Vec::new();
        for _ in 0..2 {
            let address = format!("{}/live/runs/{run}", site.base);
            let answer = site.client.get(address).header(COOKIE, &cookie).send().await.unwrap();
            let (mut stream, mut buffer) = (answer.bytes_stream(), String::new());
            next(&mut stream, &mut buffer, "page").await;
            pages.push((stream, buffer));
        }
        life.react(life.card(&run, &cutover()), &dba(), Vote::Sign).await;
        site.tell().await;
        let mut shown = Vec::new();
        for (stream, buffer) in &mut pages {
            shown.push(next(stream, buffer, "page").await);
        }
        assert_eq!(shown[0], shown[1]);
        assert!(!shown[0].contains("dba: <strong>missing"), "{}", shown[0]);
    });
}

#[test]
fn an_open_incident_page_hears_of_every_change_of_it_and_of_its_runs() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let incident = open_incident(life, Some(run.clone()), false).await;
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        let answer = site.client.get(format!("{}/live/incidents/{incident}", site.base)).header(COOKIE, &cookie).send().await;
        let (mut stream, mut buffer) = (answer.unwrap().bytes_stream(), String::new());
        let first = next(&mut stream, &mut buffer, "page").await;
        assert!(first.contains("sign-off: cutover") && !first.contains("Grace is on it"), "{first}");
        life.handle.tell(&incident, Input::Acknowledge { by: dba() }).await.unwrap();
        site.tell().await;
        assert!(next(&mut stream, &mut buffer, "page").await.contains("Grace is on it"));
        let pause = run::Input::Pause { by: operator(), reason: "lunch".to_owned() };
        life.send(&run, pause).await.unwrap();
        site.tell().await;
        assert!(next(&mut stream, &mut buffer, "page").await.contains("paused"));
    });
}

#[test]
fn an_open_page_says_when_it_is_not_live_and_is_live_again_by_itself() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let site = Site::of(life).await;
        let page = Browser::start().await;
        page.visit(&format!("{}/runs/{run}?token={}", site.base, TOKEN.replace(' ', "+"))).await;
        let mark = "document.querySelector('#live-mark')";
        let shows = |text: &str| format!("document.querySelector('#board').textContent.includes('{text}')");
        page.fact(&format!("{mark}.dataset.state === 'live'")).await;
        page.fact(&shows("dba: missing")).await;
        page.run("window.kept = true").await;
        life.react(life.card(&run, &cutover()), &dba(), Vote::Sign).await;
        site.tell().await;
        page.fact(&shows("dba: Grace")).await;

        let address = site.go_away().await;
        page.fact(&format!("{mark}.textContent.startsWith('not live since')")).await;
        page.fact("document.querySelector('#board').classList.contains('stale')").await;
        let pause = run::Input::Pause { by: operator(), reason: "while nobody looked".to_owned() };
        life.send(&run, pause).await.unwrap();
        let (engine, journal) = (life.handle.clone(), std::sync::Arc::clone(&life.journal));
        let site = Site::at(address, Some(engine), journal, std::sync::Arc::new(bench.clock.clone())).await;
        page.fact(&format!("{mark}.dataset.state === 'live'")).await;
        page.fact(&shows("while nobody looked")).await;
        assert_eq!(page.run("return window.kept").await, true, "it was not loaded again");
        page.close().await;
        site.go_away().await;
    });
}

#[test]
fn a_glance_costs_the_board_nothing_for_ever() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        let open = async || site.client.get(format!("{}/live", site.base)).header(COOKIE, &cookie).send().await.unwrap();
        let mut streams = Vec::new();
        while streams.len() < 64 {
            streams.push(open().await);
            assert_eq!(streams.last().unwrap().status(), 200);
        }
        assert_eq!(open().await.status(), 503, "the number of open pages is bounded");
    });
}

/// An incident about a run, opened in chat.
async fn open_incident(life: &Life<'_>, run: Option<RunId>, private: bool) -> IncidentId {
    let (title, severity) = ("Checkout is <down>".to_owned(), Severity::Sev1);
    let (by, customer_facing) = (Opener::Person(operator()), true);
    let request = OpenRequest { title, severity, by, customer_facing, private, asked_in: None, run };
    let incident = life.handle.open(request).await.unwrap();
    life.settle().await;
    incident
}

#[test]
fn an_open_incident_stands_on_top_with_who_has_it_and_what_comes_next() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let incident = open_incident(life, Some(run.clone()), false).await;
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        let address = format!("/incidents/{incident}");
        let expect = async |path: &str, words: &[&str]| {
            let (status, body) = page(&site, &cookie, path).await;
            assert_eq!(status, 200);
            for words in words {
                assert!(body.contains(words), "{words}\nis not in\n{body}");
            }
            for changing in ["method=\"post\"", "<script>", " onclick", " style=", "<down>"] {
                assert!(!body.contains(changing), "{changing}\n{body}");
            }
            body
        };
        let channel = life.handle.incident(&incident).unwrap().state.channel.unwrap();
        let link = format!("https://chat.example/channels/77/{channel}");
        let run_link = format!("href=\"/runs/{run}\"");
        let nobody =
            ["Checkout is &lt;down&gt;", "SEV1", "<strong class=\"bad\">nobody</strong>; level 1 is told", &link, &run_link];
        let first = expect("/", &nobody).await;
        assert!(first.find("Open incidents") < first.find("<h2>Runs"), "{first}");
        expect(&address, &nobody).await;

        for input in [
            Input::Acknowledge { by: dba() },
            Input::TakeRole { role: ResponderRole::Commander, person: lead(), by: lead() },
            Input::Note { by: dba(), text: "the <disk> is full".to_owned() },
        ] {
            life.handle.tell(&incident, input).await.unwrap();
        }
        bench.incidents.set_away(true);
        life.advance(16 * 60).await;
        let taken =
            ["<span class=\"good\">Grace</span> since", "the &lt;disk&gt; is full", "not visible in chat yet", "every 15m"];
        expect("/", &taken).await;
        expect(&address, &taken).await;
        bench.incidents.set_away(false);
        life.advance(600).await;
        let seen = expect(&address, &["in chat", &format!("data-stream=\"/live{address}\"")]).await;
        assert!(!seen.contains("not visible"), "{seen}");

        life.handle.tell(&incident, Input::Resolve { by: lead(), summary: "mended".to_owned() }).await.unwrap();
        site.tell().await;
        let past = expect("/?q=CHECKOUT", &["<th>Lasted</th>", &incident.to_string()]).await;
        assert!(!past.contains("Open incidents"), "{past}");
        assert!(!page(&site, &cookie, "/?q=elsewhere").await.1.contains(&incident.to_string()));
        expect(&address, &["Resolved", "mended"]).await;
        assert_eq!(page(&site, &cookie, "/incidents/inc-20270115-999").await.0, 404);
        assert_eq!(site.get(&address).await.0, 401);
    });
}

#[test]
fn a_run_and_its_incident_lead_to_each_other() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let incident = open_incident(life, Some(run.clone()), false).await;
        life.send(&run, run::Input::IncidentOpened(incident)).await.unwrap();
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        let (_, body) = page(&site, &cookie, &format!("/runs/{run}")).await;
        assert!(body.contains(&format!("href=\"/incidents/{incident}\"")), "{body}");
        let (_, body) = page(&site, &cookie, &format!("/incidents/{incident}")).await;
        assert!(body.contains(&format!("href=\"/runs/{run}\"")), "{body}");
    });
}

#[test]
fn of_a_private_incident_the_board_tells_no_more_than_that_it_is_there() {
    let bench = Bench::new();
    bench.whole_life(async |life| {
        let incident = open_incident(life, None, true).await;
        life.handle.tell(&incident, Input::Note { by: dba(), text: "a leak".to_owned() }).await.unwrap();
        life.handle.tell(&incident, Input::Acknowledge { by: dba() }).await.unwrap();
        let site = Site::of(life).await;
        let cookie = sign_in(&site).await;
        for path in ["/".to_owned(), format!("/incidents/{incident}"), "/?q=checkout".to_owned()] {
            let (status, body) = page(&site, &cookie, &path).await;
            assert!(status == 200 && body.contains(&incident.to_string()) && body.contains("SEV1"), "{body}");
            for secret in ["Checkout", "a leak", "Grace"] {
                assert!(!body.contains(secret), "{secret} at {path}\n{body}");
            }
        }
        life.handle.tell(&incident, Input::Resolve { by: lead(), summary: "the key was turned".to_owned() }).await.unwrap();
        site.tell().await;
        assert!(!page(&site, &cookie, "/?q=checkout").await.1.contains(&incident.to_string()));
        assert!(page(&site, &cookie, "/?q=private").await.1.contains(&format!("/incidents/{incident}")));
        let (_, body) = page(&site, &cookie, &format!("/incidents/{incident}")).await;
        assert!(body.contains("Resolved") && !body.contains("the key was turned"), "{body}");
    });
}

#[test]
fn an_incident_is_told_from_the_journal_by_a_bot_that_has_forgotten_it() {
    let bench = Bench::new();
    let (run, incident, beat, mark) = bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let incident = open_incident(life, Some(run.clone()), false).await;
        life.advance(16 * 60).await;
        let mark = MessageRef {
            channel: life.handle.incident(&incident).unwrap().state.channel.unwrap(),
            message: MessageId::new(4711),
        };
        for input in [
            Input::MarkMessage { by: dba(), message: mark, author: "Ada".to_owned(), text: Some("look here".to_owned()) },
            Input::Resolve { by: lead(), summary: "a bigger disk".to_owned() },
            Input::AddAction {
                by: lead(),
                title: "Watch it".to_owned(),
                owner: "grace".to_owned(),
                due: "2027-02-01".parse().unwrap(),
            },
            Input::Publish { by: dba() },
        ] {
            life.handle.tell(&incident, input).await.unwrap();
            life.settle().await;
        }
        life.play(&run, &team).await;
        let beat = life.handle.incident(&incident).unwrap().state.newest_beat().unwrap().posted.unwrap();
        (run, incident, beat, mark)
    });
    bench.whole_life(async |life| {
        // An engine over an empty journal has nothing of it in memory.
        let elsewhere = Bench::new();
        let forgetful = elsewhere.start(&std::sync::Arc::new(Points::new(None)), &dead_holder()).await.unwrap();
        let clock = std::sync::Arc::new(bench.clock.clone());
        let site = Site::over(Some(forgetful.handle.clone()), std::sync::Arc::clone(&life.journal), clock).await;
        let cookie = sign_in(&site).await;
        let in_chat =
            |message: MessageRef| format!("href=\"https://chat.example/channels/77/{}/{}\"", message.channel, message.message);
        let (status, body) = page(&site, &cookie, &format!("/incidents/{incident}")).await;
        assert_eq!(status, 200);
        for words in [
            "Checkout is &lt;down&gt;",
            "Opened as SEV1 by Barbara",
            "Status update",
            &in_chat(beat),
            "📌 Ada: look here",
            &in_chat(mark),
            "a bigger disk",
            "Edsger added action item 1: Watch it",
            "href=\"https://github.example/issues/1\"",
            "href=\"https://github.example/issues/2\"",
            &format!("href=\"/runs/{run}\""),
            "<span class=\"pill good\">succeeded",
        ] {
            assert!(body.contains(words), "{words}\nis not in\n{body}");
        }
        let (_, first) = page(&site, &cookie, "/?q=checkout").await;
        assert!(first.contains(&format!("href=\"/incidents/{incident}\"")) && first.contains("<th>Lasted</th>"), "{first}");
        let (_, first) = page(&site, &cookie, "/?status=succeeded").await;
        assert!(first.contains(&format!("href=\"/runs/{run}\"")), "{first}");
    });
}

#[test]
fn a_run_leads_to_its_thread_its_updates_and_the_issues_that_it_left_behind() {
    let mut bench = Bench::new();
    bench.policies.runs.beat = Some("15m".parse().unwrap());
    bench.whole_life(async |life| {
        let run = life.begin("move", Mode::Live).await;
        let incident = open_incident(life, Some(run.clone()), false).await;
        let opened = run::Input::IncidentOpened(incident);
        life.send(&run, opened).await.unwrap();
        life.advance(16 * 60).await;
        for input in [Input::Resolve { by: lead(), summary: "mended".to_owned() }, Input::Publish { by: dba() }] {
            life.handle.tell(&incident, input).await.unwrap();
            life.settle().await;
        }
        let site = Site::of(life).await;
        let (_, body) = page(&site, &sign_in(&site).await, &format!("/runs/{run}")).await;
        let state = life.state(&run);
        let is_beat = |owed: &&run::Owed| matches!(owed.kind, run::MessageKind::Beat { .. });
        let beat = state.owed.iter().find(is_beat).unwrap().posted.unwrap();
        for link in [
            format!("https://chat.example/channels/77/{}", state.thread.unwrap()),
            format!("https://chat.example/channels/77/{}/{}", beat.channel, beat.message),
            "https://github.example/issues/1".to_owned(),
        ] {
            assert!(body.contains(&format!("href=\"{link}\"")), "{link}\nis not in\n{body}");
        }
    });
}
