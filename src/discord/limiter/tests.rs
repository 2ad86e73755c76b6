use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::*;

/// A table, and a time that the test moves.
struct Bench {
    limits: Limits,
    now: Instant,
}

/// The headers of an answer.
fn told(bucket: &str, limit: u32, remaining: u32, reset_after: &str) -> RateHeaders {
    let mut headers = HeaderMap::new();
    let pairs = [
        ("x-ratelimit-bucket", bucket.to_owned()),
        ("x-ratelimit-limit", limit.to_string()),
        ("x-ratelimit-remaining", remaining.to_string()),
        ("x-ratelimit-reset-after", reset_after.to_owned()),
    ];
    for (name, value) in pairs {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_str(&value).expect("a header"));
    }
    RateHeaders::of(&headers)
}

fn posting(channel: u64) -> RouteKey {
    RouteKey::of(&Method::POST, &format!("/channels/{channel}/messages"))
}

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

impl Bench {
    fn new() -> Self {
        Self { limits: Limits::default(), now: Instant::now() }
    }

    fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
    }

    fn enter(&mut self, key: RouteKey) -> Place {
        self.limits.enter(key)
    }

    fn ask(&mut self, place: &mut Place) -> Admission {
        self.limits.admit(place, self.now)
    }

    fn goes(&mut self, place: &mut Place) -> bool {
        self.ask(place) == Admission::Go
    }

    fn leave(&mut self, key: RouteKey) -> Place {
        let mut place = self.enter(key);
        assert_eq!(self.ask(&mut place), Admission::Go);
        place
    }

    fn answered(&mut self, place: &Place, headers: &RateHeaders) {
        self.limits.end(place, Some(Seen { headers, limited: None, invalid: false }), self.now);
    }

    fn limited(&mut self, place: &Place, after: f64, scope: Scope) {
        let limited = Some(Limited { after: seconds(after), scope });
        let seen = Seen { headers: &RateHeaders::default(), limited, invalid: scope != Scope::Shared };
        self.limits.end(place, Some(seen), self.now);
    }

    fn wait_of(&mut self, place: &mut Place) -> Option<Duration> {
        match self.ask(place) {
            Admission::Wait(until) => until.map(|until| until - self.now),
            other => panic!("not held back: {other:?}"),
        }
    }
}

#[test]
fn a_key_is_method_template_and_major_parameter() {
    let cases = [
        (Method::POST, "/channels/1/messages", "POST /channels/{id}/messages", "1"),
        (Method::PATCH, "/channels/1/messages/22", "PATCH /channels/{id}/messages/{id}", "1"),
        (
            Method::PUT,
            "/channels/1/messages/2/reactions/%E2%9C%85/@me",
            "PUT /channels/{id}/messages/{id}/reactions/{emoji}/@me",
            "1",
        ),
        (Method::GET, "/guilds/7/members/8", "GET /guilds/{id}/members/{id}", "7"),
        (Method::PATCH, "/webhooks/7/to-ken/messages/@original", "PATCH /webhooks/{id}/{token}/messages/@original", "7/to-ken"),
        (Method::POST, "/interactions/7/to-ken/callback", "POST /interactions/{id}/{token}/callback", "7/to-ken"),
        (Method::PUT, "/applications/7/guilds/8/commands", "PUT /applications/{id}/guilds/{id}/commands", ""),
        (Method::GET, "/users/@me", "GET /users/@me", ""),
    ];
    for (method, path, route, major) in cases {
        let key = RouteKey::of(&method, path);
        assert_eq!((key.route(), key.major.as_str()), (route, major));
        assert_eq!(key.counts_globally, !path.contains("to-ken"), "{path}");
    }
}

#[test]
fn an_unknown_bucket_takes_one_request_at_a_time() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    let mut second = bench.enter(posting(1));
    assert_eq!(bench.ask(&mut second), Admission::Wait(None));
    bench.leave(posting(2));
    bench.answered(&first, &RateHeaders::default());
    assert!(bench.goes(&mut second), "the first has ended");
}

#[test]
fn no_more_are_in_flight_than_the_last_answer_left() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    bench.answered(&first, &told("b", 5, 2, "4"));
    let (second, third) = (bench.leave(posting(1)), bench.leave(posting(1)));
    let mut fourth = bench.enter(posting(1));
    assert_eq!(bench.wait_of(&mut fourth), Some(seconds(4.01)));
    // The answers overtake each other: the lower count stands.
    bench.answered(&third, &told("b", 5, 0, "3.9"));
    bench.answered(&second, &told("b", 5, 1, "3.9"));
    assert!(!bench.goes(&mut fourth));
    bench.pass(4.02);
    assert!(bench.goes(&mut fourth), "the window is whole again");
    for _ in 0..4 {
        bench.leave(posting(1));
    }
    let mut tenth = bench.enter(posting(1));
    assert!(!bench.goes(&mut tenth), "but only five fit");
}

#[test]
fn requests_of_a_bucket_leave_in_the_order_they_came() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    let (mut second, mut third) = (bench.enter(posting(1)), bench.enter(posting(1)));
    bench.answered(&first, &told("b", 5, 4, "5"));
    assert!(!bench.goes(&mut third), "the second is before it");
    assert!(bench.goes(&mut second));
    assert!(bench.goes(&mut third));
}

#[test]
fn a_request_that_gives_up_in_the_queue_blocks_nobody() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    let (second, mut third) = (bench.enter(posting(1)), bench.enter(posting(1)));
    bench.answered(&first, &told("b", 5, 4, "5"));
    // It has not noticed that its queue moved when the bucket's name was learnt.
    bench.limits.end(&second, None, bench.now);
    assert!(bench.goes(&mut third));
}

#[test]
fn a_request_without_an_answer_counts_as_used_up() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    bench.answered(&first, &told("b", 2, 1, "5"));
    let second = bench.leave(posting(1));
    bench.limits.end(&second, None, bench.now);
    let mut third = bench.enter(posting(1));
    assert!(!bench.goes(&mut third));
    bench.pass(5.02);
    assert!(bench.goes(&mut third));
}

#[test]
fn routes_that_share_a_bucket_share_its_count_for_one_channel_only() {
    let mut bench = Bench::new();
    let path = |channel: u64| format!("/channels/{channel}/messages/2/reactions/x/@me");
    let put = bench.leave(RouteKey::of(&Method::PUT, &path(1)));
    bench.answered(&put, &told("reactions", 1, 1, "0.3"));
    let delete = bench.leave(RouteKey::of(&Method::DELETE, &path(1)));
    bench.answered(&delete, &told("reactions", 1, 0, "0.3"));
    let mut again = bench.enter(RouteKey::of(&Method::PUT, &path(1)));
    assert!(!bench.goes(&mut again), "the deletion used it up");
    bench.leave(RouteKey::of(&Method::PUT, &path(2)));
}

#[test]
fn a_429_closes_its_route_for_one_channel_until_then() {
    let mut bench = Bench::new();
    let renaming = |channel: u64| RouteKey::of(&Method::PATCH, &format!("/channels/{channel}"));
    let first = bench.leave(renaming(1));
    bench.limited(&first, 580.0, Scope::Route);
    let mut second = bench.enter(renaming(1));
    assert_eq!(bench.wait_of(&mut second), Some(seconds(580.01)));
    bench.leave(renaming(2));
    bench.leave(RouteKey::of(&Method::GET, "/channels/1"));
    bench.leave(posting(1));
    bench.pass(580.02);
    assert!(bench.goes(&mut second));
}

#[test]
fn a_global_429_closes_all_but_answers_to_interactions() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    bench.limited(&first, 2.0, Scope::Global);
    let mut other = bench.enter(posting(2));
    assert_eq!(bench.wait_of(&mut other), Some(seconds(2.01)));
    bench.leave(RouteKey::of(&Method::POST, "/interactions/1/t/callback"));
    bench.leave(RouteKey::of(&Method::POST, "/webhooks/1/t"));
    bench.pass(2.02);
    assert!(bench.goes(&mut other));
}

#[test]
fn an_address_that_is_refused_sends_nothing_at_all() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    bench.limited(&first, 30.0, Scope::Address);
    let mut callback = bench.enter(RouteKey::of(&Method::POST, "/interactions/1/t/callback"));
    assert_eq!(bench.wait_of(&mut callback), Some(seconds(30.01)));
}

#[test]
fn fifty_requests_leave_in_a_second_and_the_next_waits() {
    let mut bench = Bench::new();
    for channel in 1..=50 {
        bench.leave(posting(channel));
    }
    let mut next = bench.enter(posting(51));
    assert_eq!(bench.wait_of(&mut next), Some(GLOBAL_WINDOW));
    bench.leave(RouteKey::of(&Method::POST, "/interactions/1/t/callback"));
    bench.pass(1.1);
    assert!(bench.goes(&mut next));
}

#[test]
fn what_is_new_is_said_before_what_is_read_and_what_is_only_refreshed() {
    let mut bench = Bench::new();
    bench.leave(posting(1));
    bench.pass(0.5);
    for channel in 2..=50 {
        bench.leave(posting(channel));
    }
    let editing = RouteKey::of(&Method::PATCH, "/channels/51/messages/1");
    let reading = RouteKey::of(&Method::GET, "/channels/52/messages");
    let (mut edit, mut read) = (bench.enter(editing), bench.enter(reading));
    let (mut given_up, mut first, mut second) = (bench.enter(posting(53)), bench.enter(posting(54)), bench.enter(posting(55)));
    for place in [&mut edit, &mut read, &mut given_up, &mut second, &mut first] {
        assert_eq!(bench.wait_of(place), Some(seconds(0.6)));
    }
    bench.limits.end(&given_up, None, bench.now);
    bench.pass(0.6);
    assert!(!bench.goes(&mut edit) && !bench.goes(&mut read) && !bench.goes(&mut second), "one place is free");
    assert!(bench.goes(&mut first));
    bench.pass(0.5);
    for place in [&mut edit, &mut read, &mut second] {
        assert!(bench.goes(place), "there is room for all");
    }
}

#[test]
fn who_is_held_back_by_its_own_bucket_too_takes_nobodys_turn() {
    let mut bench = Bench::new();
    let first = bench.leave(posting(1));
    bench.pass(0.5);
    for channel in 2..=50 {
        bench.leave(posting(channel));
    }
    bench.answered(&first, &told("b", 5, 1, "5"));
    let (mut second, mut edit) = (bench.enter(posting(1)), bench.enter(RouteKey::of(&Method::PATCH, "/channels/2/messages/1")));
    assert!(!bench.goes(&mut second) && !bench.goes(&mut edit));
    bench.answered(&first, &told("b", 5, 0, "5"));
    bench.pass(0.6);
    assert!(!bench.goes(&mut second), "its channel has had its five");
    assert!(bench.goes(&mut edit));
}

#[test]
fn eight_thousand_refusals_in_ten_minutes_stop_everything_save_shared_ones() {
    let mut bench = Bench::new();
    for refused in 0..INVALID_MAX {
        let place = bench.leave(RouteKey::of(&Method::GET, &format!("/guilds/{refused}/members/1")));
        let scope = if refused == 0 { Scope::Shared } else { Scope::Route };
        bench.limited(&place, 0.0, scope);
        bench.pass(0.05);
    }
    let place = bench.leave(posting(1));
    assert_eq!(bench.limits.invalid(bench.now), INVALID_MAX - 1, "the shared one does not count");
    bench.limited(&place, 0.0, Scope::Route);
    let mut callback = bench.enter(RouteKey::of(&Method::POST, "/interactions/1/t/callback"));
    let Admission::Barred(until) = bench.ask(&mut callback) else { panic!("it was let through") };
    bench.now = until;
    assert!(bench.goes(&mut callback));
}

#[test]
fn buckets_that_say_nothing_any_more_are_forgotten() {
    let mut bench = Bench::new();
    let held = bench.leave(posting(1));
    for interaction in 0..10_000 {
        let place = bench.leave(RouteKey::of(&Method::POST, &format!("/interactions/{interaction}/t/callback")));
        bench.answered(&place, &RateHeaders::default());
    }
    assert!(bench.limits.buckets.len() <= BUCKETS_MAX + 1, "{}", bench.limits.buckets.len());
    let mut behind = bench.enter(posting(1));
    assert!(!bench.goes(&mut behind), "what is in flight is remembered");
    bench.answered(&held, &RateHeaders::default());
    assert!(bench.goes(&mut behind));
}
