//! Buttons, and the forms that belong to them.

use std::collections::BTreeMap;

use serenity::all::{ComponentInteraction, ModalInteraction};

use super::forms;
use super::reply::Replier;
use super::{Caller, Interactions, carried, hiding};
use crate::discord::custom_id::CustomId;
use crate::discord::rest::Trouble;
use crate::domain::run::Input;
use crate::render::{IncidentPress, Message, Press, text};

impl Interactions {
    /// A button was pressed.
    pub(super) async fn component(&self, component: &ComponentInteraction) -> Result<(), Trouble> {
        let replier = self.replier(component.id.get(), component.application_id.get(), &component.token);
        let caller =
            match self.caller(component.guild_id, component.member.as_ref(), component.channel_id, component.channel.as_ref()) {
                Ok(caller) => caller,
                Err(refusal) => return replier.say(&refusal).await,
            };
        match carried(&component.data.custom_id) {
            Ok(CustomId::Press(press)) => self.press(&replier, &caller, press).await,
            Ok(CustomId::Form(form)) => self.next_page(&replier, form, &component.message).await,
            Ok(CustomId::Facts(_)) => replier.say(&unexpected()).await,
            Err(refusal) => replier.say(&refusal).await,
        }
    }

    async fn press(&self, replier: &Replier, caller: &Caller, press: Press) -> Result<(), Trouble> {
        match press {
            Press::Answer { run, question, answer } => {
                let id = CustomId::Press(Press::Answer { run, question, answer });
                replier.open(forms::reason(&id, question)).await
            }
            Press::Confirm { run, step, yes } => {
                replier.acknowledge().await?;
                let refusal = self.send(&run, caller, |by| Input::Confirm { step, yes, by }).await;
                self.object(replier, refusal).await
            }
            Press::Tick { run, list, item, ticked } => {
                replier.acknowledge().await?;
                let refusal = self.send(&run, caller, |by| Input::TickItem { list, item, ticked, by }).await;
                self.object(replier, refusal).await
            }
            Press::Incident { incident, press } => self.press_on_incident(replier, caller, incident, press).await,
        }
    }

    async fn object(&self, replier: &Replier, refusal: Option<Message>) -> Result<(), Trouble> {
        match refusal {
            Some(refusal) => replier.add(&refusal).await,
            None => Ok(()),
        }
    }

    /// A form was sent.
    pub(super) async fn modal(&self, modal: &ModalInteraction) -> Result<(), Trouble> {
        let replier = self.replier(modal.id.get(), modal.application_id.get(), &modal.token);
        let caller = match self.caller(modal.guild_id, modal.member.as_ref(), modal.channel_id, modal.channel.as_ref()) {
            Ok(caller) => caller,
            Err(refusal) => return replier.say(&refusal).await,
        };
        if let Ok(CustomId::Form(form)) = carried(&modal.data.custom_id) {
            return self.submitted(&replier, &caller, form, modal).await;
        }
        let (inputs, held) = self.hidden_inputs(modal);
        self.take_form(&replier, &caller, &modal.data.custom_id, inputs).await?;
        hiding::tell(&replier, held).await
    }

    /// A form with texts was sent.
    async fn take_form(
        &self,
        replier: &Replier,
        caller: &Caller,
        custom_id: &str,
        mut inputs: BTreeMap<String, String>,
    ) -> Result<(), Trouble> {
        match carried(custom_id) {
            Ok(CustomId::Press(Press::Answer { run, question, answer })) => {
                let reason = inputs.remove(forms::REASON).unwrap_or_default();
                replier.defer().await?;
                let refusal = self.send(&run, caller, |by| Input::Answer { question, answer, reason, by }).await;
                let done = || Message::plain(format!("👍 Noted for {}. Its thread says what follows.", text::code(run.as_str())));
                replier.then(&refusal.unwrap_or_else(done)).await
            }
            Ok(CustomId::Facts(told)) => self.facts_sent(replier, caller, told, &inputs).await,
            Ok(CustomId::Press(Press::Incident { incident, press: IncidentPress::Resolve })) => {
                self.resolution_sent(replier, caller, incident, inputs).await
            }
            Ok(CustomId::Form(_) | CustomId::Press(Press::Confirm { .. } | Press::Tick { .. } | Press::Incident { .. })) => {
                replier.say(&unexpected()).await
            }
            Err(refusal) => replier.say(&refusal).await,
        }
    }
}

fn unexpected() -> Message {
    crate::render::rejection::refused("this form asks for nothing", "Use the buttons of the newest message.")
}
