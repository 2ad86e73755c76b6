//! The gateway's sessions: who gets which event, numbered, kept for a Resume, and what faults do to it on the way.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use twilight_model::gateway::Intents;

/// Sessions that wait for a Resume; an older one is forgotten, as Discord does after some minutes.
const WAITING_MAX: usize = 4;

/// What a connection is told to do.
#[derive(Debug, Clone)]
pub(super) enum Out {
    /// Send this text.
    Text(Arc<str>),
    /// Send a close frame with this code and end.
    Close(u16, &'static str),
    /// End without a word: the peer sees a reset.
    Drop,
}

/// What shall go wrong with one kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventFault {
    /// It never arrives, not even by a Resume.
    Lose,
    /// It arrives twice.
    Repeat,
    /// It arrives after the event that follows it.
    Reorder,
    /// It arrives without the field that says where it happened, so that no client can read it whole.
    Garble,
}

/// How a deaf connection treats heartbeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Deaf {
    /// Heartbeats are acknowledged, so the client believes all is well.
    Acknowledging,
    /// Nothing comes back at all.
    Silent,
}

/// One logged-in session, connected or waiting for a Resume.
#[derive(Debug)]
struct Session {
    id: String,
    intents: Intents,
    seq: u64,
    kept: VecDeque<(u64, Arc<str>)>,
    /// The connection and its number; `None` between connections.
    out: Option<(u64, UnboundedSender<Out>)>,
    held: Option<Arc<str>>,
}

/// All sessions and the gateway's faults.
#[derive(Debug)]
pub(super) struct Sessions {
    list: Vec<Session>,
    kept_max: usize,
    event_faults: Vec<(String, EventFault, u32)>,
    deaf: Option<Deaf>,
    /// How many more RESUMEs are answered by op 9 false.
    pub(super) refuse_resumes: u32,
    /// How many more RESUMEs are never answered.
    pub(super) ignore_resumes: u32,
    /// How many connections there were.
    pub(super) connections: u64,
    /// How many IDENTIFYs succeeded.
    pub(super) identified: u64,
    /// How many RESUMEs succeeded.
    pub(super) resumed: u64,
}

impl Sessions {
    pub(super) fn new(kept_max: usize) -> Self {
        let (list, event_faults) = (Vec::new(), Vec::new());
        Self {
            list,
            kept_max,
            event_faults,
            deaf: None,
            refuse_resumes: 0,
            ignore_resumes: 0,
            connections: 0,
            identified: 0,
            resumed: 0,
        }
    }

    /// Whether no event arrives at present.
    pub(super) fn is_deaf(&self) -> bool {
        self.deaf.is_some()
    }

    /// Sends an event, its data made for each session's intents, to all that asked for `intent`.
    pub(super) fn dispatch(&mut self, name: &str, intent: Intents, data: impl Fn(Intents) -> Value) {
        for index in 0..self.list.len() {
            let intents = self.list[index].intents;
            if intent.is_empty() || intents.intersects(intent) {
                self.send(index, name, &data(intents));
            }
        }
    }

    fn send(&mut self, index: usize, name: &str, data: &Value) {
        let fault = self.take_fault(name);
        let deaf = self.deaf.is_some();
        let session = &mut self.list[index];
        session.seq += 1;
        let mut frame = json!({ "op": 0, "t": name, "s": session.seq, "d": data });
        if fault == Some(EventFault::Garble)
            && let Some(fields) = frame["d"].as_object_mut()
        {
            fields.retain(|field, _| field != "channel_id" && field != "session_id");
        }
        let text: Arc<str> = frame.to_string().into();
        if fault == Some(EventFault::Lose) {
            return;
        }
        session.kept.push_back((session.seq, text.clone()));
        while session.kept.len() > self.kept_max {
            session.kept.pop_front();
        }
        let Some((_, out)) = session.out.as_ref().filter(|_| !deaf) else {
            return;
        };
        // A connection that has just gone will resume and get the event then.
        match fault {
            Some(EventFault::Reorder) => session.held = Some(text),
            Some(EventFault::Repeat) => {
                let _ = out.send(Out::Text(text.clone()));
                let _ = out.send(Out::Text(text));
            }
            Some(EventFault::Lose | EventFault::Garble) | None => {
                let _ = out.send(Out::Text(text));
                if let Some(held) = session.held.take() {
                    let _ = out.send(Out::Text(held));
                }
            }
        }
    }

    fn take_fault(&mut self, name: &str) -> Option<EventFault> {
        let found = self.event_faults.iter().position(|(wanted, ..)| wanted == name || wanted == "*")?;
        let (_, fault, left) = &mut self.event_faults[found];
        let fault = *fault;
        *left -= 1;
        if *left == 0 {
            self.event_faults.remove(found);
        }
        Some(fault)
    }

    /// Makes the next `times` events called `name` (or any, for `*`) go wrong.
    pub(super) fn spoil(&mut self, name: &str, fault: EventFault, times: u32) {
        if times > 0 {
            self.event_faults.push((name.to_owned(), fault, times));
        }
    }

    /// Whether heartbeats are answered.
    pub(super) fn acknowledges(&self) -> bool {
        self.deaf != Some(Deaf::Silent)
    }

    /// Opens a new session on a connection.
    pub(super) fn open(&mut self, id: String, intents: Intents, connection: u64, out: UnboundedSender<Out>) {
        self.identified += 1;
        let waiting = self.list.iter().filter(|session| session.out.is_none()).count();
        if let Some(oldest) = self.list.iter().position(|session| session.out.is_none()).filter(|_| waiting >= WAITING_MAX) {
            self.list.remove(oldest);
        }
        let out = Some((connection, out));
        self.list.push(Session { id, intents, seq: 0, kept: VecDeque::new(), out, held: None });
    }

    /// Sends an event to the one session of this id.
    pub(super) fn send_to(&mut self, session: &str, name: &str, data: &Value) {
        if let Some(index) = self.list.iter().position(|known| known.id == session) {
            self.send(index, name, data);
        }
    }

    /// Sends an event to the session on this connection.
    pub(super) fn send_on(&mut self, connection: u64, name: &str, data: &Value) {
        let on = |session: &Session| session.out.as_ref().is_some_and(|(number, _)| *number == connection);
        if let Some(index) = self.list.iter().position(on) {
            self.send(index, name, data);
        }
    }

    /// Whether a fault leaves this RESUME without an answer. Its session stays, and waits for another.
    pub(super) fn ignores_resume(&mut self) -> bool {
        let ignored = self.ignore_resumes > 0;
        self.ignore_resumes = self.ignore_resumes.saturating_sub(1);
        ignored
    }

    /// Takes a session up again on a new connection and replays what came after `seq`.
    /// `false` if the session is not known, refused by a fault, or `seq` is not one that it reached.
    pub(super) fn resume(&mut self, id: &str, seq: u64, connection: u64, out: UnboundedSender<Out>) -> bool {
        if self.refuse_resumes > 0 {
            self.refuse_resumes -= 1;
            self.list.retain(|session| session.id != id);
            return false;
        }
        let Some(session) = self.list.iter_mut().find(|session| session.id == id) else {
            return false;
        };
        let oldest = session.kept.front().map_or(session.seq + 1, |(seq, _)| *seq);
        if seq > session.seq || (seq + 1 < oldest && session.kept.len() >= self.kept_max) {
            return false;
        }
        for (_, text) in session.kept.iter().filter(|(kept, _)| *kept > seq) {
            let _ = out.send(Out::Text(text.clone()));
        }
        session.held = None;
        session.out = Some((connection, out));
        self.resumed += 1;
        true
    }

    /// Notes that a connection has gone; its session waits for a Resume. A clean end (1000, 1001) ends it.
    pub(super) fn disconnected(&mut self, connection: u64, clean: bool) {
        let on = |session: &Session| session.out.as_ref().is_some_and(|(number, _)| *number == connection);
        if clean {
            self.list.retain(|session| !on(session));
        }
        for session in self.list.iter_mut().filter(|session| on(session)) {
            session.out = None;
        }
    }

    /// Tells every open connection.
    pub(super) fn tell_all(&mut self, out: &Out) {
        for (_, connection) in self.list.iter().filter_map(|session| session.out.as_ref()) {
            let _ = connection.send(out.clone());
        }
    }

    /// Forgets every session, so that no Resume can succeed.
    pub(super) fn forget(&mut self) {
        self.list.clear();
    }

    /// How many sessions have an open connection.
    pub(super) fn connected(&self) -> usize {
        self.list.iter().filter(|session| session.out.is_some()).count()
    }

    /// Makes the gateway deaf, or lets it hear again; what came meanwhile arrives only by a Resume.
    pub(super) fn set_deaf(&mut self, deaf: Option<Deaf>) {
        self.deaf = deaf;
    }

    /// Ends all event faults and deafness.
    pub(super) fn clear_faults(&mut self) {
        self.event_faults.clear();
        self.deaf = None;
        self.refuse_resumes = 0;
        self.ignore_resumes = 0;
    }
}
