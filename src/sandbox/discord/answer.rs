//! Waiting for the bot's answer to what a person did.

use std::time::Duration;

use super::chat::{Choice, Message, Modal, Response};
use super::ids::InteractionId;
use super::{Model, TimedOut};

/// An interaction that waits for its answer. Dropping it changes nothing.
#[derive(Debug, Clone)]
pub struct Pending {
    pub(super) model: Model,
    /// The interaction.
    pub id: InteractionId,
}

/// Why there is no such answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotAnswered {
    /// Nothing came in time: the person reads "The application did not respond".
    #[error("the application did not respond: not answered within 3 s")]
    InTime,
    /// Another kind of answer came.
    #[error("the answer is not {wanted}: {got:?}")]
    Otherwise {
        /// What was awaited.
        wanted: &'static str,
        /// What came.
        got: Box<Response>,
    },
    /// It was acknowledged, but the message did not follow in time.
    #[error("acknowledged, but no message followed: {0}")]
    NotFollowed(#[from] TimedOut),
}

impl Pending {
    /// The first answer.
    ///
    /// # Errors
    /// [`NotAnswered::InTime`] when the 3 s have passed.
    pub async fn first(&self) -> Result<Response, NotAnswered> {
        // The time-out is the model's: after it the response is `NotAnswered`. This one is a backstop.
        let long = Duration::from_secs(60);
        let response = self
            .model
            .wait_for(long, |chat| {
                let response = &chat.interactions.get(&self.id)?.response;
                (*response != Response::Waiting).then(|| response.clone())
            })
            .await?;
        match response {
            Response::NotAnswered => Err(NotAnswered::InTime),
            response => Ok(response),
        }
    }

    /// The message that answers, once it has content: at once, or `within` after "is thinking".
    ///
    /// # Errors
    /// When nothing, something else, or no content came.
    pub async fn message(&self, within: Duration) -> Result<Message, NotAnswered> {
        let first = self.first().await?;
        let message = match first {
            Response::Message(message) | Response::Deferred(message) | Response::Updated(message) => message,
            got => {
                return Err(NotAnswered::Otherwise { wanted: "a message", got: Box::new(got) });
            }
        };
        let ready = |chat: &super::Chat| chat.find_message(message).filter(|found| !found.is_loading()).cloned();
        Ok(self.model.wait_for(within, ready).await?)
    }

    /// The dialogue that opened.
    ///
    /// # Errors
    /// When nothing or something else came.
    pub async fn modal(&self) -> Result<Modal, NotAnswered> {
        match self.first().await? {
            Response::Modal(modal) => Ok(modal),
            got => Err(NotAnswered::Otherwise { wanted: "a modal", got: Box::new(got) }),
        }
    }

    /// The completions offered, possibly none.
    ///
    /// # Errors
    /// When nothing or something else came.
    pub async fn choices(&self) -> Result<Vec<Choice>, NotAnswered> {
        match self.first().await? {
            Response::Choices(choices) => Ok(choices),
            got => Err(NotAnswered::Otherwise { wanted: "choices", got: Box::new(got) }),
        }
    }

    /// The messages that followed the first answer, oldest first.
    #[must_use]
    pub fn followups(&self) -> Vec<Message> {
        self.model.read(|chat| {
            let followups = chat.interactions.get(&self.id).map(|interaction| interaction.followups.clone());
            followups.into_iter().flatten().filter_map(|id| chat.find_message(id).cloned()).collect()
        })
    }

    /// How long the first answer took, once there is one: wall time.
    #[must_use]
    pub fn answered_after(&self) -> Option<Duration> {
        let millis = self.model.read(|chat| chat.interactions.get(&self.id)?.answered_millis)?;
        Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
    }
}
