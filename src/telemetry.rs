//! Logs. Set up once, by the process that runs; the rooms only emit events.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat};

/// Starts writing logs to standard error. A second call changes nothing.
///
/// # Errors
/// What is wrong with the filter.
pub fn init(log: &Log) -> Result<(), String> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| error.to_string())?;
    let colour = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // Another subscriber may be set already, by a test: then that one is kept.
    let _ = match log.format {
        LogFormat::Text => builder.with_target(false).finish().try_init(),
        LogFormat::Json => builder.json().with_current_span(false).finish().try_init(),
    };
    Ok(())
}
