//! What the bot and the supervisor say to each other over the supervisor's standard input.
//!
//! The order is binary (arguments need not be UTF-8): fields of a 4-byte length and the bytes.
//! Environment and input travel here and not in the supervisor's own arguments or environment,
//! where every user of the machine could read them. Reports are lines of JSON.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest single field of an order: an argument, a value, or the whole standard input.
pub(super) const FIELD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most arguments, and the most variables, of an order; beyond the kernel's own limit in practice.
const FIELDS_MAX: usize = 65_536;

/// What the supervisor is to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// The program and its arguments; never empty.
    pub(super) argv: Vec<OsString>,
    /// The whole environment; `None` hands on the supervisor's own.
    pub(super) env: Option<Vec<(OsString, OsString)>>,
    /// `None` stays where the supervisor is.
    pub(super) cwd: Option<PathBuf>,
    /// `None` reads from `/dev/null`.
    pub(super) stdin: Option<Vec<u8>>,
    /// From TERM to KILL.
    pub(super) grace: Duration,
}

/// How a command ended, exactly as the kernel told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself with this status, 0 to 255.
    Code(i32),
    /// This signal killed it.
    Signal(i32),
}

impl Exit {
    /// Whether the command ended by itself with status 0.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(formatter, "exit status {code}"),
            Self::Signal(signal) => write!(formatter, "signal {signal}"),
        }
    }
}

/// What the supervisor tells the bot, in this order: `NotStarted` alone, or `Ended` and then `Cleaned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The command could not be started; nothing has run.
    NotStarted { reason: String },
    /// The command itself has ended; what it left behind is being ended now.
    Ended { exit: Exit },
    /// Nothing is left of the group and the descendants, but for `survivors`.
    Cleaned { left_behind: u32, survivors: u32 },
}

/// The order as bytes.
///
/// # Errors
/// A field is longer than [`FIELD_BYTES_MAX`], or there are too many.
pub(super) fn encode_order(order: &Order) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let grace_millis = u64::try_from(order.grace.as_millis()).unwrap_or(u64::MAX);
    put(&mut bytes, &grace_millis.to_be_bytes())?;
    put(&mut bytes, order.cwd.as_deref().map_or(b"", |path| path.as_os_str().as_bytes()))?;
    put_count(&mut bytes, order.argv.len())?;
    for argument in &order.argv {
        put(&mut bytes, argument.as_bytes())?;
    }
    let env = order.env.as_deref().unwrap_or_default();
    put_count(&mut bytes, env.len())?;
    for (name, value) in env {
        put(&mut bytes, name.as_bytes())?;
        put(&mut bytes, value.as_bytes())?;
    }
    put_count(&mut bytes, usize::from(order.stdin.is_some()))?;
    if let Some(stdin) = &order.stdin {
        put(&mut bytes, stdin)?;
    }
    Ok(bytes)
}

/// Reads one order; the environment of a read order is always given.
///
/// # Errors
/// The other end closed before the order was complete (`UnexpectedEof`), or it is malformed.
pub(super) fn read_order(from: &mut impl Read) -> io::Result<Order> {
    let grace: [u8; 8] = get(from)?.try_into().map_err(|_| malformed())?;
    let cwd = get(from)?;
    let argv = (0..get_count(from)?).map(|_| Ok(OsString::from_vec(get(from)?))).collect::<io::Result<_>>()?;
    let env = (0..get_count(from)?)
        .map(|_| Ok((OsString::from_vec(get(from)?), OsString::from_vec(get(from)?))))
        .collect::<io::Result<_>>()?;
    let stdin = if get_count(from)? == 0 { None } else { Some(get(from)?) };
    Ok(Order {
        argv,
        env: Some(env),
        cwd: (!cwd.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(&cwd))),
        stdin,
        grace: Duration::from_millis(u64::from_be_bytes(grace)),
    })
}

fn put(bytes: &mut Vec<u8>, field: &[u8]) -> io::Result<()> {
    if field.len() > FIELD_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("a field of more than {FIELD_BYTES_MAX} bytes")));
    }
    put_number(bytes, field.len())?;
    bytes.extend_from_slice(field);
    Ok(())
}

fn put_count(bytes: &mut Vec<u8>, count: usize) -> io::Result<()> {
    if count > FIELDS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("more than {FIELDS_MAX} fields")));
    }
    put_number(bytes, count)
}

fn put_number(bytes: &mut Vec<u8>, number: usize) -> io::Result<()> {
    let number = u32::try_from(number).map_err(|_| malformed())?;
    bytes.extend_from_slice(&number.to_be_bytes());
    Ok(())
}

fn get(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut field = vec![0; get_number(from, FIELD_BYTES_MAX)?];
    from.read_exact(&mut field)?;
    Ok(field)
}

fn get_count(from: &mut impl Read) -> io::Result<usize> {
    get_number(from, FIELDS_MAX)
}

fn get_number(from: &mut impl Read, most: usize) -> io::Result<usize> {
    let mut bytes = [0; 4];
    from.read_exact(&mut bytes)?;
    usize::try_from(u32::from_be_bytes(bytes)).ok().filter(|number| *number <= most).ok_or_else(malformed)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            argv: vec!["psql".into(), OsString::from_vec(vec![0xff, 0x20])],
            env: Some(vec![("PATH".into(), "/bin".into()), ("EMPTY".into(), "".into())]),
            cwd: Some("/tmp".into()),
            stdin: Some(b"select 1\n\0".to_vec()),
            grace: Duration::from_millis(1_500),
        }
    }

    #[test]
    fn an_order_arrives_as_it_was_sent() {
        let bytes = encode_order(&order()).expect("encodes");
        assert_eq!(read_order(&mut bytes.as_slice()).expect("decodes"), order());
    }

    #[test]
    fn no_part_of_an_order_is_an_order() {
        let bytes = encode_order(&order()).expect("encodes");
        for cut in 0..bytes.len() {
            assert!(read_order(&mut &bytes[..cut]).is_err(), "{cut} of {} bytes", bytes.len());
        }
    }
}
