//! Misbehaviour on demand.

use serde::{Deserialize, Serialize};

use crate::sandbox::discord::matches;

/// What goes wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "fault")]
pub enum Misbehaviour {
    /// This status and these words instead of the effect.
    Answer {
        /// 401, 403, 404, 410, 422, 500, ...
        status: u16,
        /// GitHub's words.
        #[serde(default)]
        message: String,
    },
    /// A secondary limit: 403 with `retry-after` instead of the effect.
    SecondaryLimit {
        /// How long the client shall wait, seconds.
        retry_after_secs: u64,
    },
    /// The hourly limit: 403 with nothing remaining, until the reset.
    PrimaryLimit {
        /// When the limit is reset, seconds from now.
        reset_in_secs: u32,
    },
    /// 429 without any word on how long.
    TooManyRequests,
    /// No effect, and no answer ever.
    Silent,
    /// The effect happens; the answer never comes.
    SilentAfterEffect,
    /// The effect happens; the connection breaks in the answer.
    AnswerLost,
    /// The effect happens; the answer is not JSON.
    GarbledAnswer,
    /// The effect happens; the answer is JSON that lacks everything.
    EmptyAnswer,
    /// A list without the newest issue, as from a replica that lags behind.
    StaleList,
}

/// A fault and the requests it hits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// `METHOD /path/pattern` without `/api/v3`: `*` for any method, any one segment; `**` for any rest.
    /// For example `POST /repos/*/*/issues`, `* /**`.
    pub on: String,
    /// How many matching requests pass unharmed first.
    #[serde(default)]
    pub skip: u32,
    /// How many it hits; `None` until cleared.
    #[serde(default)]
    pub times: Option<u32>,
    /// What happens to them.
    #[serde(flatten)]
    pub misbehaviour: Misbehaviour,
}

impl Fault {
    /// Hits the next request that matches `on`.
    #[must_use]
    pub fn once(on: &str, misbehaviour: Misbehaviour) -> Self {
        Self { on: on.to_owned(), skip: 0, times: Some(1), misbehaviour }
    }

    /// Hits every request that matches `on` until cleared.
    #[must_use]
    pub fn always(on: &str, misbehaviour: Misbehaviour) -> Self {
        Self { on: on.to_owned(), skip: 0, times: None, misbehaviour }
    }
}

/// The faults that stand.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) list: Vec<Fault>,
}

impl Faults {
    /// The fault for this request, if one hits it. The first that matches counts, and only it.
    pub(super) fn take(&mut self, method: &str, segments: &[String]) -> Option<Misbehaviour> {
        let index = self.list.iter().position(|fault| matches(&fault.on, method, segments))?;
        let fault = &mut self.list[index];
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let misbehaviour = fault.misbehaviour.clone();
        if let Some(times) = &mut fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                self.list.remove(index);
            }
        }
        Some(misbehaviour)
    }
}
