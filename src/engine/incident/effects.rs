//! Performing the effects of an incident.

use super::{Incident, with_runs};
use crate::domain::incident::{Delivery, Effect, Input, IssueKind};
use crate::domain::{MessageRef, Timestamp};
use crate::engine::activity::Active;
use crate::engine::dossier::dossier;
use crate::engine::flight::Flight;
use crate::engine::incident_ports::IncidentSnapshot;
use crate::engine::ports::PortError;

impl Flight<Incident> {
    /// Performs the effect and reports what came of it. `active` is empty while it waits to try again.
    pub(super) async fn perform(&self, active: &mut Option<Active>) {
        match self.effect.clone() {
            Effect::OpenChannel { .. } => self.open_channel(active).await,
            Effect::PostMessage { key, .. } => self.post_message(active, key).await,
            Effect::PinSummary { message } => self.pin_summary(active, message).await,
            Effect::Page { level } => self.page(active, level).await,
            Effect::TellStatusPage { sequence } => self.tell_status_page(active, sequence).await,
            Effect::PublishIssue { issue, .. } => self.publish_issue(active, issue).await,
            Effect::ScheduleReview { at } => self.schedule_review(active, at).await,
            Effect::ArchiveChannel => self.archive_channel(active).await,
            Effect::DeleteChannel => self.delete_channel(active).await,
        }
    }

    fn incident(&self) -> Option<IncidentSnapshot> {
        self.snapshot().map(|snapshot| with_runs(&self.shared, &snapshot))
    }

    async fn open_channel(&self, active: &mut Option<Active>) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            match self.shared.ports.incident_chat.open_channel(&incident).await {
                Ok(place) => return self.report(Input::ChannelOpened { channel: place.channel, fallback: place.fallback }),
                Err(error) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// A summary that cannot be pinned is still there to be read: it is tried again, and holds nothing up.
    async fn pin_summary(&self, active: &mut Option<Active>, message: MessageRef) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            match self.shared.ports.incident_chat.pin(&incident, message).await {
                Ok(()) => return self.report(Input::SummaryPinned(message)),
                Err(PortError::Gone { .. }) => {
                    let summary = incident.state.owed.iter().find(|owed| owed.posted == Some(message));
                    return summary.into_iter().for_each(|owed| self.report(Input::MessageLost(owed.key.clone(), message)));
                }
                Err(error) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    async fn page(&self, active: &mut Option<Active>, level: u32) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            let told = self.shared.ports.outside.page(&incident, level).await;
            match told_or_refused(told) {
                Ok(outcome) => return self.report(Input::Paged { level, outcome }),
                Err(error) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    async fn tell_status_page(&self, active: &mut Option<Active>, sequence: u32) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            let told = self.shared.ports.outside.tell_status_page(&incident, sequence).await;
            match told_or_refused(told) {
                Ok(outcome) => return self.report(Input::StatusPageTold { sequence, outcome }),
                Err(error) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// Tried for as long as it is owed: GitHub may be away for hours. That it is, is said in the channel.
    async fn publish_issue(&self, active: &mut Option<Active>, issue: IssueKind) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            let revision = incident.state.post_mortem.revision;
            let published = match dossier(&self.shared, incident).await {
                Ok(dossier) => self.shared.ports.tracker.publish(&dossier, issue).await,
                Err(error) => Err(PortError::Later { why: error.to_string(), after: None }),
            };
            match published {
                Ok(at) => return self.report(Input::IssuePublished { issue, at, revision }),
                Err(error) => {
                    self.report(Input::IssueDelayed { issue, why: error.to_string() });
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    /// A review that Discord refuses to put into its calendar is held all the same: people are told when it is.
    async fn schedule_review(&self, active: &mut Option<Active>, at: Timestamp) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            match self.shared.ports.incident_chat.schedule_review(&incident, at).await {
                Ok(event) => return self.report(Input::ReviewScheduled { at, event: Some(event), why: None }),
                Err(PortError::Refused { why } | PortError::Gone { why }) => {
                    return self.report(Input::ReviewScheduled { at, event: None, why: Some(why) });
                }
                Err(error @ PortError::Later { .. }) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    async fn archive_channel(&self, active: &mut Option<Active>) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            match self.shared.ports.incident_chat.archive_channel(&incident).await {
                Ok(()) | Err(PortError::Gone { .. }) => return self.report(Input::ChannelArchived),
                Err(error) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }

    async fn delete_channel(&self, active: &mut Option<Active>) {
        let mut pause = self.shared.pace.retry_first;
        while let Some(incident) = self.incident() {
            match self.shared.ports.incident_chat.delete_channel(&incident).await {
                Ok(()) | Err(PortError::Gone { .. }) => return self.report(Input::ChannelDeleted),
                Err(error) => {
                    if !self.later(active, &error, &mut pause).await {
                        return;
                    }
                }
            }
        }
    }
}

/// What a system outside refuses for good is told to people and not tried again: the next update tells it more.
fn told_or_refused(told: Result<Delivery, PortError>) -> Result<Delivery, PortError> {
    match told {
        Err(PortError::Refused { why } | PortError::Gone { why }) => Ok(Delivery::Refused { why }),
        told => told,
    }
}
