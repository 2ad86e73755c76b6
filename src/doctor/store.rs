//! The journal: whether it is there, can be read and written, and who acts on it.

use std::time::Duration;

use super::Finding;
use crate::config::Settings;
use crate::store::{self, Holder, LeaseError};

/// How long the lease is held while it is looked at; it is given back at once.
const LEASE: Duration = Duration::from_secs(5);

pub(super) async fn examine(settings: &Settings) -> Vec<Finding> {
    let journal = match store::open_existing(&settings.store).await {
        Ok(journal) => journal,
        Err(error) => {
            let mend = "if the bot has never run, its first start makes the journal; otherwise check `store` and the file or server it names";
            return vec![Finding::problem("store", error.to_string(), mend)];
        }
    };
    let reachable = match journal.head().await {
        Ok(head) => Finding::well("store", format!("it can be read, {} records", head.position)),
        Err(error) => return vec![Finding::problem("store", error.to_string(), "see docs/audit.md")],
    };
    // Taking the lease is what a start would do. It proves that the journal can be written too.
    let lease = match journal.acquire_lease(&Holder::this_process(), LEASE).await {
        Ok(lease) => match journal.release_lease(&lease).await {
            Ok(()) => Finding::well("store.lease", "it can be written, and nobody acts on it"),
            Err(error) => Finding::problem("store.lease", error.to_string(), "look again in a few seconds"),
        },
        Err(LeaseError::Held { by, until }) => {
            let until = until.format("%H:%M:%S UTC");
            Finding::well("store.lease", format!("{by} acts on it, until {until} unless it goes on"))
        }
        Err(error) => {
            let mend = "give the bot's user the right to write to the journal";
            Finding::problem("store.lease", format!("it cannot be written: {error}"), mend)
        }
    };
    vec![reachable, lease]
}
