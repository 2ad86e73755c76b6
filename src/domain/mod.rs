//! Vocabulary and rules: ids, definitions, plans, sign-off, and the aggregates *run* and *incident*.
//!
//! No async, no I/O, no clock, no logging: time, ids and chance arrive as data, and every decision
//! here can be tested without a runtime. Imports: `std`, `serde`, `serde_json` (values), `schemars`
//! (schemas of the definitions), `sha2`/`hex` (digests), `indexmap` (ordered maps), `regex`
//! (parameter patterns), `strsim` (near names), `thiserror`, `chrono`.

mod action;
pub mod beat;
pub mod command;
mod corrupt;
mod digest;
mod duration;
mod gist;
mod hash;
mod ids;
pub mod incident;
pub mod issue;
mod mask;
mod message;
mod plan;
pub mod run;
pub mod runbook;
pub mod sign_off;
mod spelling;
mod stream;

pub use action::{ActionSpec, Effect};
pub use corrupt::CorruptJournal;
pub use digest::{Digest, canonical_json};
pub use duration::{Duration, Offset};
pub use gist::gist;
pub use hash::{Hash, InvalidHash};
pub use ids::{
    ActionName, ChannelId, GuildId, InvalidName, MessageId, MessageRef, ParameterName, Person, PhaseName, RoleId, RoleName,
    RollbackName, RunId, RunbookName, StepName, TargetName, UserId,
};
pub use issue::{IssueDraft, IssueRef, RepositoryName};
pub use mask::Mask;
pub use message::MessageKey;
pub use plan::{Interruption, PinnedFile, Plan, StepKind, StepTraits, TargetIdentity};
pub use spelling::{nearest, with_suggestion};
pub use stream::{InvalidStreamId, STREAM_ID_LENGTH_MAX, StreamId};

/// An instant, always UTC.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
