//! Answers to one interaction: the first one, and what follows it.

use std::sync::Arc;

use serde_json::{Value, json};
use serenity::http::{LightMethod, Route};
use serenity::model::id as serenity_id;

use crate::discord::encode;
use crate::discord::rest::{Api, Call, File, Trouble};
use crate::render::{Attachment, Message};

/// Message flag: only the caller sees it.
const EPHEMERAL: u32 = 1 << 6;

/// Kinds of first answers.
/// Source: <https://discord.com/developers/docs/interactions/receiving-and-responding#interaction-response-object-interaction-callback-type>.
mod kind {
    pub(super) const MESSAGE: u8 = 4;
    pub(super) const DEFER_MESSAGE: u8 = 5;
    pub(super) const DEFER_UPDATE: u8 = 6;
    pub(super) const CHOICES: u8 = 8;
    pub(super) const MODAL: u8 = 9;
}

/// Answers one interaction. Only the caller sees the answers: what others must know is said by the run itself.
pub(super) struct Replier {
    api: Arc<Api>,
    id: u64,
    application: u64,
    token: String,
}

impl Replier {
    pub(super) fn new(api: Arc<Api>, id: u64, application: u64, token: String) -> Self {
        Self { api, id, application, token }
    }

    /// First answer: a message.
    pub(super) async fn say(&self, message: &Message) -> Result<(), Trouble> {
        let mut data = encode::creatable(message);
        data["flags"] = EPHEMERAL.into();
        self.first(kind::MESSAGE, data).await
    }

    /// First answer: a message with one more row below it.
    pub(super) async fn say_with(&self, message: &Message, components: Value) -> Result<(), Trouble> {
        let mut data = encode::creatable(message);
        data["flags"] = EPHEMERAL.into();
        data["components"] = components;
        self.first(kind::MESSAGE, data).await
    }

    /// First answer: "thinking", for [`Self::then`].
    pub(super) async fn defer(&self) -> Result<(), Trouble> {
        self.first(kind::DEFER_MESSAGE, json!({ "flags": EPHEMERAL })).await
    }

    /// First answer to a button: nothing visible; the card itself will change.
    pub(super) async fn acknowledge(&self) -> Result<(), Trouble> {
        self.first(kind::DEFER_UPDATE, Value::Null).await
    }

    /// First answer: choices.
    pub(super) async fn offer(&self, choices: Value) -> Result<(), Trouble> {
        self.first(kind::CHOICES, json!({ "choices": choices })).await
    }

    /// First answer: a form.
    pub(super) async fn open(&self, modal: Value) -> Result<(), Trouble> {
        self.first(kind::MODAL, modal).await
    }

    async fn first(&self, kind: u8, data: Value) -> Result<(), Trouble> {
        let route = Route::InteractionResponse { interaction_id: serenity_id::InteractionId::new(self.id), token: &self.token };
        let mut body = json!({ "type": kind });
        if !data.is_null() {
            body["data"] = data;
        }
        match self.api.call(Call::new(LightMethod::Post, route).body(body)).await {
            Ok(_) => Ok(()),
            // The answer to our answer was lost: most likely it arrived, and the work must not be lost with it.
            Err(Trouble::Unanswered { why }) => {
                tracing::warn!(why, "no answer to an interaction's first answer");
                Ok(())
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// What came of it, in place of "thinking".
    pub(super) async fn then(&self, message: &Message) -> Result<(), Trouble> {
        let route = Route::WebhookOriginalInteractionResponse {
            application_id: serenity_id::ApplicationId::new(self.application),
            token: &self.token,
        };
        let files = texts(message);
        let names: Vec<String> = files.iter().map(|file| file.name.clone()).collect();
        let body = encode::with_files(encode::editable(message), &names);
        self.api.call(Call::new(LightMethod::Patch, route).body(body).files(files)).await.map(drop)
    }

    /// One more message, after [`Self::acknowledge`].
    pub(super) async fn add(&self, message: &Message) -> Result<(), Trouble> {
        let route = Route::WebhookFollowupMessages {
            application_id: serenity_id::ApplicationId::new(self.application),
            token: &self.token,
        };
        let mut body = encode::creatable(message);
        body["flags"] = EPHEMERAL.into();
        self.api.call(Call::new(LightMethod::Post, route).body(body)).await.map(drop)
    }
}

fn texts(message: &Message) -> Vec<File> {
    let text = |attachment: &Attachment| match attachment {
        Attachment::Text { name, text } => Some(File { name: name.clone(), bytes: text.clone().into_bytes() }),
        // Step outputs belong to a run's own messages, and drafts to an incident's.
        Attachment::Output { .. } | Attachment::PostMortem { .. } => None,
    };
    message.attachments.iter().filter_map(text).collect()
}
