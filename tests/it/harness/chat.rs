//! A chat of channels, threads and reactions in memory. It outlives the engine, as Discord does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pointsman::domain::run::{GateRef, MessageKey, MessageKind, Owed, Place, ReactionVote, Vote};
use pointsman::domain::{ChannelId, MessageId, MessageRef, Person, RunId, UserId};
use pointsman::engine::{Chat, Freshness, PortError, Posted, Snapshot};

use super::points::Points;

/// What is wrong with the next post.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostFault {
    /// Nothing was posted.
    Before,
    /// It was posted, and the answer is lost.
    After,
    /// A person has to mend something first.
    Refused,
}

/// A message as people see it.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) run: RunId,
    pub(crate) key: MessageKey,
    pub(crate) generation: u32,
    pub(crate) at: MessageRef,
    pub(crate) deleted: bool,
    pub(crate) reactions: Vec<(UserId, Vote)>,
    /// The number of the run's last event when it was last brought up to date.
    pub(crate) shows_seq: u64,
}

/// Everything that is visible in chat.
#[derive(Default)]
pub(crate) struct ChatWorld {
    inner: Mutex<ChatInner>,
}

#[derive(Default)]
struct ChatInner {
    messages: Vec<Message>,
    /// Each run's threads, by the plan card on which they hang.
    threads: BTreeMap<MessageId, ChannelId>,
    gone: BTreeSet<ChannelId>,
    people: BTreeMap<UserId, Person>,
    next_id: u64,
    away: bool,
    post_faults: VecDeque<PostFault>,
    posts_asked: usize,
    votes_read: usize,
    away_after: Option<usize>,
    refused: BTreeMap<String, usize>,
}

impl ChatWorld {
    fn lock(&self) -> std::sync::MutexGuard<'_, ChatInner> {
        self.inner.lock().unwrap()
    }

    /// Makes a person known, or gives a known one other roles.
    pub(crate) fn person(&self, person: &Person) {
        self.lock().people.insert(person.id, person.clone());
    }

    /// Whether nothing can be reached.
    pub(crate) fn set_away(&self, away: bool) {
        self.lock().away = away;
    }

    /// Makes everything unreachable as soon as the votes have been read once more.
    pub(crate) fn be_away_after_votes(&self) {
        let mut inner = self.lock();
        inner.away_after = Some(inner.votes_read + 1);
    }

    /// What goes wrong with the next posts, in order.
    pub(crate) fn fail_posts(&self, faults: &[PostFault]) {
        self.lock().post_faults.extend(faults);
    }

    /// Refuses every message of this key, and counts how often that was necessary.
    pub(crate) fn refuse(&self, key: &str) {
        self.lock().refused.insert(key.to_owned(), 0);
    }

    /// Takes messages of this key again, and tells how often they were refused.
    pub(crate) fn accept(&self, key: &str) -> usize {
        self.lock().refused.remove(key).expect("it was refused")
    }

    /// How often messages of this key were refused.
    pub(crate) fn refused(&self, key: &str) -> usize {
        self.lock().refused[key]
    }

    /// How often anything was asked to be posted.
    pub(crate) fn posts_asked(&self) -> usize {
        self.lock().posts_asked
    }

    /// How often a card's votes were read.
    pub(crate) fn votes_read(&self) -> usize {
        self.lock().votes_read
    }

    /// What is visible, in the order in which it was posted.
    pub(crate) fn visible(&self) -> Vec<Message> {
        self.lock().messages.iter().filter(|message| !message.deleted).cloned().collect()
    }

    /// Every visible copy of a message.
    pub(crate) fn copies(&self, run: &RunId, key: &str) -> Vec<Message> {
        self.visible().into_iter().filter(|message| message.run == *run && message.key.as_str() == key).collect()
    }

    /// A person reacts, once.
    pub(crate) fn react(&self, at: MessageRef, person: &Person, vote: Vote) {
        self.person(person);
        let mut inner = self.lock();
        let message = inner.messages.iter_mut().find(|message| message.at == at).expect("the message exists");
        if !message.reactions.contains(&(person.id, vote)) {
            message.reactions.push((person.id, vote));
        }
    }

    /// A person takes a reaction back.
    pub(crate) fn unreact(&self, at: MessageRef, person: &Person, vote: Vote) {
        let mut inner = self.lock();
        let message = inner.messages.iter_mut().find(|message| message.at == at).expect("the message exists");
        message.reactions.retain(|reaction| *reaction != (person.id, vote));
    }

    /// Somebody deletes a thread with everything in it.
    pub(crate) fn delete_thread(&self, thread: ChannelId) {
        let mut inner = self.lock();
        inner.gone.insert(thread);
        inner.messages.iter_mut().filter(|message| message.at.channel == thread).for_each(|message| message.deleted = true);
    }

    /// Somebody deletes a message.
    pub(crate) fn delete(&self, at: MessageRef) {
        let mut inner = self.lock();
        inner.messages.iter_mut().find(|message| message.at == at).expect("the message exists").deleted = true;
    }
}

/// The engine's side of [`ChatWorld`].
pub(crate) struct FakeChat {
    pub(crate) world: Arc<ChatWorld>,
    pub(crate) points: Arc<Points>,
}

fn away() -> PortError {
    PortError::Later { why: "chat is away".to_owned(), after: None }
}

fn owed<'a>(run: &'a Snapshot, key: &MessageKey) -> &'a Owed {
    run.state.owed.iter().find(|owed| owed.key == *key).expect("only what is owed is asked for")
}

impl FakeChat {
    fn make(&self, run: &Snapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        let owed = owed(run, key);
        let mut inner = self.world.lock();
        inner.posts_asked += 1;
        let fault = inner.post_faults.pop_front();
        if inner.away || fault == Some(PostFault::Before) {
            return Err(away());
        }
        if let Some(times) = inner.refused.get_mut(key.as_str()) {
            *times += 1;
            return Err(PortError::Refused { why: "no permission for this one".to_owned() });
        }
        if fault == Some(PostFault::Refused) {
            return Err(PortError::Refused { why: "no permission".to_owned() });
        }
        let channel = match owed.place {
            Place::Channel => run.state.started.channel,
            Place::Thread => run.state.thread.ok_or_else(away)?,
        };
        if inner.gone.contains(&channel) {
            return Err(PortError::Gone { why: "the thread is gone".to_owned() });
        }
        let same = |message: &&Message| {
            message.run == *run.state.id() && message.key == *key && message.generation == owed.generation && !message.deleted
        };
        let found = inner.messages.iter().find(same).filter(|_| search).map(|message| message.at);
        let at = found.unwrap_or_else(|| {
            inner.next_id += 1;
            MessageRef { channel, message: MessageId::new(inner.next_id) }
        });
        if let Some(former) = inner.messages.iter_mut().find(|message| Some(message.at) == owed.former) {
            former.deleted = true;
        }
        if found.is_none() {
            let (run, generation, shows_seq) = (run.state.id().clone(), owed.generation, run.state.seq);
            inner.messages.push(Message { run, key: key.clone(), generation, at, deleted: false, reactions: vec![], shows_seq });
        }
        if fault == Some(PostFault::After) { Err(away()) } else { Ok(Posted { at, told: owed.kind.stands_for() }) }
    }
}

#[async_trait]
impl Chat for FakeChat {
    async fn open_thread(&self, run: &Snapshot) -> Result<ChannelId, PortError> {
        self.points.alive().await;
        let thread = {
            let mut inner = self.world.lock();
            if inner.away {
                return Err(away());
            }
            let plan = run.state.owed[0].posted.expect("a thread is opened on a posted card");
            if inner.messages.iter().any(|message| message.at == plan && message.deleted) {
                return Err(PortError::Gone { why: "the plan card is gone".to_owned() });
            }
            let fresh = ChannelId::new(1_000 + inner.threads.len() as u64);
            *inner.threads.entry(plan.message).or_insert(fresh)
        };
        self.points.pass("thread opened").await;
        Ok(thread)
    }

    async fn post(&self, run: &Snapshot, key: &MessageKey, search: bool) -> Result<Posted, PortError> {
        self.points.alive().await;
        let made = self.make(run, key, search);
        self.points.pass(&format!("posted {key}")).await;
        made
    }

    async fn refresh(&self, run: &Snapshot, key: &MessageKey) -> Result<Freshness, PortError> {
        self.points.alive().await;
        let at = owed(run, key).posted.expect("only what is posted is refreshed");
        let mut inner = self.world.lock();
        if inner.away {
            return Err(away());
        }
        let message = inner.messages.iter_mut().find(|message| message.at == at).expect("the message exists");
        if message.deleted {
            return Ok(Freshness::Lost);
        }
        message.shows_seq = run.state.seq;
        Ok(Freshness::Current)
    }

    async fn read_votes(&self, run: &Snapshot, gate: &GateRef, card: u32) -> Result<Vec<ReactionVote>, PortError> {
        self.points.alive().await;
        let mut inner = self.world.lock();
        inner.votes_read += 1;
        if inner.away {
            return Err(PortError::Later { why: "chat is away".to_owned(), after: Some(Duration::ZERO) });
        }
        let is_card = |owed: &&Owed| owed.kind == MessageKind::GateCard { gate: gate.clone(), card };
        let at = run.state.owed.iter().find(is_card).and_then(|owed| owed.posted);
        let message = inner.messages.iter().find(|message| Some(message.at) == at && !message.deleted);
        let Some(message) = message else { return Err(PortError::Gone { why: "the card is gone".to_owned() }) };
        let vote = |(user, vote): &(UserId, Vote)| ReactionVote { person: inner.people[user].clone(), vote: *vote };
        let votes: Vec<ReactionVote> = message.reactions.iter().map(vote).collect();
        if inner.away_after.is_some_and(|reads| reads <= inner.votes_read) {
            (inner.away, inner.away_after) = (true, None);
        }
        Ok(votes)
    }
}
