//! Discord's limits as they apply to our own requests: a table that says go, wait or refuse.
//!
//! Invariants: in a bucket that is known no more requests are in flight than its last answer left; in one that is
//! not, one at a time; requests of one bucket leave in the order in which they came; those that the global limit alone
//! holds back leave by their [`Turn`], because after a restart with hundreds of open incidents a missed status update
//! must not wait behind every card that is looked at again. The table never waits and never reads a clock: instants
//! are given to it. It runs by the wall even where the bot's clock is sped up, because the other side's windows do.
//!
//! Sources: <https://discord.com/developers/docs/topics/rate-limits>; buckets, numbers and windows are read from
//! the answers' headers and never hard-coded, save for the two totals below, which no header tells.

mod headers;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use reqwest::Method;
use tokio::time::Instant;

use self::headers::Scope;
pub(super) use self::headers::{Limited, RateHeaders, is_invalid};

/// Requests of one bot within [`GLOBAL_WINDOW`]; answers to interactions and webhooks do not count.
const GLOBAL_MAX: usize = 50;
/// The documented second, and a tenth: requests that left a second apart may arrive closer together.
const GLOBAL_WINDOW: Duration = Duration::from_millis(1_100);
/// Refused requests within [`INVALID_WINDOW`] after which nothing more is sent. Discord bars the address at 10,000;
/// the rest is left to other programs behind the same address.
const INVALID_MAX: usize = 8_000;
/// The window of [`INVALID_MAX`].
const INVALID_WINDOW: Duration = Duration::from_secs(600);
/// Added to every reset, because the headers count in whole milliseconds.
const RESET_SLACK: Duration = Duration::from_millis(10);
/// Buckets and blocks in memory from which on those that say nothing any more are dropped: every interaction and
/// thread leaves one behind.
const BUCKETS_MAX: usize = 256;

/// A request as the limits see it: a method on a route template, and the parameter that Discord counts apart.
///
/// Not `Debug`: the major parameter of a webhook is a secret.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct RouteKey {
    /// `POST /channels/{id}/messages`.
    route: String,
    /// The channel, guild, or webhook with its token; else empty.
    major: String,
    /// Whether it counts towards the global limit.
    counts_globally: bool,
}

impl RouteKey {
    /// Reads the key off a path below `/api/v10`.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let family = segments.first().copied().unwrap_or_default();
        let carries_token = matches!(family, "webhooks" | "interactions");
        let majors = match family {
            "channels" | "guilds" => 1,
            _ if carries_token => 2,
            _ => 0,
        };
        let mut route = method.to_string() + " ";
        for (index, segment) in segments.iter().enumerate() {
            let after = index.checked_sub(1).map(|before| segments[before]);
            route += "/";
            route += match () {
                () if carries_token && index == 2 => "{token}",
                () if after == Some("reactions") => "{emoji}",
                () if segment.bytes().all(|byte| byte.is_ascii_digit()) => "{id}",
                () => segment,
            };
        }
        let major = segments.iter().skip(1).take(majors).copied().collect::<Vec<_>>().join("/");
        Self { route, major, counts_globally: !carries_token }
    }

    fn turn(&self) -> Turn {
        match &*self.route {
            route if route.starts_with("POST ") => Turn::Say,
            "PATCH /channels/{id}/messages/{id}" => Turn::Refresh,
            _ => Turn::Ask,
        }
    }

    /// Method and template, without any id: fit for logs and people.
    pub(super) fn route(&self) -> &str {
        &self.route
    }

    fn bucket(&self, name: &str) -> BucketKey {
        BucketKey { name: name.to_owned(), major: self.major.clone() }
    }
}

/// Who goes first when the global limit holds many back; among equals, who came first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// Something new: a message that is owed, a thread for it.
    Say,
    /// What is read, or changed in passing.
    Ask,
    /// A message that stands is brought up to date; the next edit makes up for a late one.
    Refresh,
}

/// A bucket: the name Discord gave it, or the route while it has none, for one major parameter.
#[derive(Clone, PartialEq, Eq, Hash)]
struct BucketKey {
    name: String,
    major: String,
}

/// A request's place in the table, from the queue to its end.
pub(super) struct Place {
    number: u64,
    key: RouteKey,
    bucket: BucketKey,
    in_flight: bool,
}

impl Place {
    fn turn(&self) -> (Turn, u64) {
        (self.key.turn(), self.number)
    }
}

/// What a request may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    /// Leave at once; it is counted as in flight.
    Go,
    /// Not yet: ask again at this instant, and whenever another request has ended.
    Wait(Option<Instant>),
    /// Too many requests were refused lately: not before this instant.
    Barred(Instant),
}

/// What the answer to a request said, as far as limits go.
#[derive(Debug)]
pub(super) struct Seen<'a> {
    /// The headers.
    pub(super) headers: &'a RateHeaders,
    /// Set if it was 429.
    pub(super) limited: Option<Limited>,
    /// Whether it counts towards the ban.
    pub(super) invalid: bool,
}

#[derive(Default)]
struct Bucket {
    /// What the last answer said; `None` until one did.
    window: Option<Window>,
    in_flight: u32,
    waiting: BTreeSet<u64>,
}

#[derive(Clone, Copy)]
struct Window {
    limit: u32,
    remaining: u32,
    /// `None` once it has passed and no answer has come since.
    resets_at: Option<Instant>,
}

/// Every limit that is known.
#[derive(Default)]
pub(super) struct Limits {
    /// Route to the name of its bucket. Bounded by the number of routes that the bot uses.
    names: HashMap<String, String>,
    buckets: HashMap<BucketKey, Bucket>,
    /// Routes that a 429 closed. Kept apart from the buckets: a limit of a single field (a channel's name) closes
    /// the route for minutes, but not what else shares its bucket.
    blocks: HashMap<BucketKey, Instant>,
    /// When the requests of the last [`GLOBAL_WINDOW`] left.
    sent: VecDeque<Instant>,
    /// The requests that nothing but the global limit held back when they last asked.
    held: BTreeSet<(Turn, u64)>,
    global_block: Option<Instant>,
    /// Set while the address itself is refused: then nothing is exempt.
    address_block: Option<Instant>,
    invalid: VecDeque<Instant>,
    next: u64,
}

impl Limits {
    /// Puts a request at the end of its bucket's queue. It must be ended by [`Limits::end`].
    pub(super) fn enter(&mut self, key: RouteKey) -> Place {
        let number = self.next;
        self.next += 1;
        let bucket = self.bucket_of(&key);
        self.buckets.entry(bucket.clone()).or_default().waiting.insert(number);
        Place { number, key, bucket, in_flight: false }
    }

    /// Whether the request may leave.
    pub(super) fn admit(&mut self, place: &mut Place, now: Instant) -> Admission {
        self.forget(now);
        if let Some(&oldest) = self.invalid.front().filter(|_| self.invalid.len() >= INVALID_MAX) {
            return Admission::Barred(oldest + INVALID_WINDOW);
        }
        self.follow_bucket(place);
        let closed = self.blocks.get(&place.key.bucket(&place.key.route)).copied();
        let global = self.global_block.filter(|_| place.key.counts_globally);
        let bucket = self.buckets.entry(place.bucket.clone()).or_default();
        let room = bucket.room(place.number, now);
        let shut = [closed, global, self.address_block].into_iter().flatten().max();
        if shut.is_some() || room.is_err() {
            // Whoever cannot leave anyhow takes nobody's turn.
            self.held.remove(&place.turn());
            return Admission::Wait(shut.or(room.err().flatten()));
        }
        if let Err(until) = self.global_turn(place, now) {
            return Admission::Wait(Some(until));
        }
        let bucket = self.buckets.entry(place.bucket.clone()).or_default();
        bucket.waiting.remove(&place.number);
        bucket.in_flight += 1;
        place.in_flight = true;
        Admission::Go
    }

    /// Ends a request's stay. Without an answer it counts as used up if it had left: it may have arrived.
    pub(super) fn end(&mut self, place: &Place, seen: Option<Seen<'_>>, now: Instant) {
        self.held.remove(&place.turn());
        // The queue may have moved since the request last looked.
        for key in [self.bucket_of(&place.key), place.bucket.clone()] {
            if let Some(bucket) = self.buckets.get_mut(&key) {
                bucket.waiting.remove(&place.number);
            }
        }
        if let Some(bucket) = self.buckets.get_mut(&place.bucket).filter(|_| place.in_flight) {
            bucket.in_flight = bucket.in_flight.saturating_sub(1);
            if let (None, Some(window)) = (&seen, &mut bucket.window) {
                window.remaining = window.remaining.saturating_sub(1);
            }
        }
        if let Some(seen) = seen {
            self.learn(&place.key, &seen, now);
        }
        self.prune(now);
    }

    /// How many refused requests count towards the ban at present.
    pub(super) fn invalid(&mut self, now: Instant) -> usize {
        self.forget(now);
        self.invalid.len()
    }

    fn bucket_of(&self, key: &RouteKey) -> BucketKey {
        key.bucket(self.names.get(&key.route).unwrap_or(&key.route))
    }

    /// The bucket's name may have been learnt while the request waited; its number keeps its turn there.
    fn follow_bucket(&mut self, place: &mut Place) {
        let bucket = self.bucket_of(&place.key);
        if bucket == place.bucket {
            return;
        }
        if let Some(former) = self.buckets.get_mut(&place.bucket) {
            former.waiting.remove(&place.number);
        }
        self.buckets.entry(bucket.clone()).or_default().waiting.insert(place.number);
        place.bucket = bucket;
    }

    /// Notes the bucket's name. The queues of the nameless route move there at once, so that nobody overtakes;
    /// should a name ever change, each request moves when it looks, because others may share the former bucket.
    fn rename(&mut self, route: &str, name: &str) {
        if self.names.insert(route.to_owned(), name.to_owned()).is_some() {
            return;
        }
        let queues: Vec<_> = (self.buckets.iter_mut())
            .filter(|(key, bucket)| key.name == route && !bucket.waiting.is_empty())
            .map(|(key, bucket)| (key.major.clone(), std::mem::take(&mut bucket.waiting)))
            .collect();
        for (major, mut queue) in queues {
            let bucket = self.buckets.entry(BucketKey { name: name.to_owned(), major }).or_default();
            bucket.waiting.append(&mut queue);
        }
    }

    /// Whether the global limit lets the request leave now, which is then as good as gone; if not, when to ask again. Every
    /// request that is held asks when the next place becomes free, so that no place waits for one that sleeps.
    fn global_turn(&mut self, place: &Place, now: Instant) -> Result<(), Instant> {
        if !place.key.counts_globally {
            return Ok(());
        }
        self.held.insert(place.turn());
        let free = GLOBAL_MAX.saturating_sub(self.sent.len());
        if !self.held.iter().take(free).any(|held| *held == place.turn()) {
            return Err(self.sent.front().map_or(now + RESET_SLACK, |&oldest| oldest + GLOBAL_WINDOW));
        }
        self.held.remove(&place.turn());
        self.sent.push_back(now);
        Ok(())
    }

    fn learn(&mut self, key: &RouteKey, seen: &Seen<'_>, now: Instant) {
        if let Some(name) = &seen.headers.bucket
            && self.names.get(&key.route) != Some(name)
        {
            self.rename(&key.route, name);
        }
        if let Some((limit, remaining, reset_after)) = seen.headers.window() {
            let resets_at = now + reset_after + RESET_SLACK;
            let bucket = self.buckets.entry(self.bucket_of(key)).or_default();
            bucket.observe(Window { limit, remaining, resets_at: Some(resets_at) }, now);
        }
        if let Some(limited) = seen.limited {
            let until = now + limited.after + RESET_SLACK;
            match limited.scope {
                Scope::Global => self.global_block = self.global_block.max(Some(until)),
                Scope::Address => self.address_block = self.address_block.max(Some(until)),
                Scope::Route | Scope::Shared => {
                    let block = self.blocks.entry(key.bucket(&key.route)).or_insert(until);
                    *block = until.max(*block);
                }
            }
        }
        if seen.invalid {
            self.invalid.push_back(now);
        }
    }

    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|&at| at + GLOBAL_WINDOW <= now) {
            self.sent.pop_front();
        }
        while self.invalid.front().is_some_and(|&at| at + INVALID_WINDOW <= now) {
            self.invalid.pop_front();
        }
        self.global_block = self.global_block.filter(|&until| until > now);
        self.address_block = self.address_block.filter(|&until| until > now);
        self.blocks.retain(|_, until| *until > now);
    }

    fn prune(&mut self, now: Instant) {
        if self.buckets.len() > BUCKETS_MAX {
            self.buckets.retain(|_, bucket| !bucket.is_idle(now));
        }
    }
}

impl Bucket {
    /// Whether request `number` may leave now; if not, when time alone will let it.
    fn room(&mut self, number: u64, now: Instant) -> Result<(), Option<Instant>> {
        let window = self.window.as_mut().map(|window| {
            if window.resets_at.is_some_and(|at| at <= now) {
                *window = Window { remaining: window.limit, resets_at: None, ..*window };
            }
            *window
        });
        let resets_at = window.and_then(|window| window.resets_at);
        let alone = self.in_flight == 0;
        let fits = match window {
            // A window that is used up and has no end that we know of is probed by one request at a time.
            Some(window) => window.remaining > self.in_flight || (window.resets_at.is_none() && alone),
            None => alone,
        };
        let first = self.waiting.first().is_none_or(|&first| first >= number);
        if fits && first { Ok(()) } else { Err(resets_at) }
    }

    /// Takes in what an answer said. Answers of one window may overtake each other: the least of them counts.
    fn observe(&mut self, seen: Window, now: Instant) {
        let current = self.window.filter(|window| window.resets_at.is_some_and(|at| at > now));
        self.window = Some(match current {
            Some(window) => Window {
                limit: seen.limit,
                remaining: seen.remaining.min(window.remaining),
                resets_at: seen.resets_at.max(window.resets_at),
            },
            None => seen,
        });
    }

    fn is_idle(&self, now: Instant) -> bool {
        let open = self.window.and_then(|window| window.resets_at).is_some_and(|at| at > now);
        self.in_flight == 0 && self.waiting.is_empty() && !open
    }
}

#[cfg(test)]
mod tests;
