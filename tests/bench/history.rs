//! What a bot has journalled of an incident that is open and in hand.

use std::collections::BTreeSet;

use chrono::{SubsecRound as _, TimeDelta};
use pointsman::domain::incident::{
    self, Delivery, Event, IncidentId, Input, MessageKind, OpenRequest, Opener, Policy, Severity, State,
};
use pointsman::domain::{ChannelId, MessageKey, MessageRef, Person, StreamId, Timestamp, UserId};
use pointsman::store::{Holder, Lease, NewRecord, SharedJournal};

/// The severity whose cadence is [`CADENCE`].
const SEVERITY: Severity = Severity::Sev1;
/// How often each incident owes an update.
pub(super) const CADENCE: TimeDelta = TimeDelta::minutes(15);

/// One incident's records in the making, all of them at the instant of its opening.
pub(super) struct History {
    /// Its id.
    pub(super) id: IncidentId,
    /// When it was opened: its updates are due every [`CADENCE`] from then on.
    pub(super) at: Timestamp,
    /// Where it stands.
    pub(super) state: State,
    events: Vec<Event>,
}

impl History {
    /// Incident `number` of `count`, whose openings are spread over the cadence before `now`.
    pub(super) fn open(number: u32, count: u32, now: Timestamp, policy: Policy) -> Self {
        let spread = CADENCE.num_milliseconds() * i64::from(number) / i64::from(count);
        // Whole milliseconds, as the journal keeps them.
        let at = (now - CADENCE + TimeDelta::milliseconds(spread)).trunc_subsecs(3);
        let day = at.date_naive() - chrono::Days::new(u64::from(number / incident::NUMBER_MAX));
        let id = IncidentId::new(day, number % incident::NUMBER_MAX + 1).unwrap();
        let request = OpenRequest {
            title: format!("Something is wrong with service {number}"),
            severity: SEVERITY,
            by: Opener::Person(olga()),
            customer_facing: false,
            private: false,
            asked_in: None,
            run: None,
        };
        let events = incident::open(id, policy, request).unwrap();
        let state = incident::begin(at, &events[0]).unwrap();
        Self { id, at, state, events }
    }

    /// It has its channel, nobody is to be paged, and somebody has it in hand.
    pub(super) fn begin(&mut self, channel: ChannelId) {
        self.take(Input::ChannelOpened { channel, fallback: None });
        self.take(Input::Paged { level: 0, outcome: Delivery::NotConfigured });
        self.take(Input::Acknowledge { by: olga() });
    }

    /// A message that it owes and that nobody has posted.
    pub(super) fn unposted(&self) -> Option<MessageKey> {
        self.state.owed.iter().find(|owed| owed.posted.is_none()).map(|owed| owed.key.clone())
    }

    /// A message stands; the card is pinned.
    pub(super) fn posted(&mut self, key: MessageKey, at: MessageRef) {
        let card = self.state.owed.iter().any(|owed| owed.key == key && owed.kind == MessageKind::Summary);
        self.take(Input::MessagePosted(key, at, 1));
        if card {
            self.take(Input::SummaryPinned(at));
        }
    }

    fn take(&mut self, input: Input) {
        for event in incident::decide(&self.state, self.at, input).unwrap() {
            self.state = incident::evolve(self.state.clone(), self.at, &event).unwrap();
            self.events.push(event);
        }
    }

    /// Appends it to the journal.
    pub(super) async fn journal(&self, journal: &SharedJournal, lease: &Lease) {
        let record = |event: &Event| NewRecord {
            at: self.at,
            kind: incident::kind_of(event).to_owned(),
            body: serde_json::to_string(event).unwrap(),
        };
        let records: Vec<NewRecord> = self.events.iter().map(record).collect();
        let stream = StreamId::new("incident", &self.id.to_string()).unwrap();
        journal.append(lease.fence(), &stream, 0, &records).await.unwrap();
    }
}

fn olga() -> Person {
    Person { id: UserId::new(1), name: "Olga".to_owned(), roles: BTreeSet::new(), bot: false }
}

/// A process of this machine that is proven dead: its id is greater than any that Linux gives.
pub(super) fn dead_holder() -> Holder {
    Holder { pid: 2_147_483_647, ..Holder::this_process() }
}
