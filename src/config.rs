//! Settings: `pointsman.yaml`, overridden by `POINTSMAN_*`; secrets by environment or by file.
//!
//! Everything is read and checked once, at the start; no other room reads the environment. What is wrong is told
//! with its place in the file and how to mend it. A secret is never written in the file itself: the file names
//! where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;

use crate::clock::{SPEED_MAX, ScaledClock};
use crate::domain::incident::{EscalationLevel, Policy, Severity};
use crate::domain::{ChannelId, Duration, GuildId, RepositoryName, RoleId, RoleName, Timestamp};

/// The settings as they are used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How Discord is reached.
    pub discord: Discord,
    /// Where issues are made; `None` if GitHub is not used.
    pub github: Option<GitHub>,
    /// What holds for incidents.
    pub incidents: Incidents,
    /// Which Discord roles each of the runbooks' role names means.
    pub roles: BTreeMap<RoleName, Vec<RoleId>>,
    /// The journal's address: `sqlite:FILE` or `postgres://...`.
    pub store: SecretString,
    /// Where runs keep their files.
    pub data_dir: PathBuf,
    /// The folders with `commands/` and `runbooks/` in them.
    pub definitions: Vec<PathBuf>,
    /// The secrets that runbooks may name.
    pub secrets: BTreeMap<String, SecretSource>,
    /// The clock that the bot goes by.
    pub clock: ScaledClock,
    /// How logs are written.
    pub log: Log,
    /// Health, metrics and the run board over HTTP; `None` if it is off.
    pub web: Option<Web>,
}

/// Health, metrics and the run board over HTTP.
#[derive(Debug, Clone)]
pub struct Web {
    /// Where it listens; an address of this machine unless a token is given.
    pub listen: SocketAddr,
    /// What opens the run board. Without one there is no board, and health and metrics alone are served.
    pub board_token: Option<SecretString>,
    /// Under which address people reach it, without a slash at its end; for links, and for cookies that only travel over TLS.
    pub public_url: Option<String>,
}

/// How Discord is reached.
#[derive(Debug, Clone)]
pub struct Discord {
    /// The bot's token; only the bot itself needs it.
    pub token: Option<SecretString>,
    /// The server that the bot serves; only the bot itself needs it. Commands from anywhere else are refused.
    pub guild: Option<GuildId>,
    /// Where Discord's API is: `https://discord.com`, or a model's address.
    pub api_base: String,
    /// After how long without a sign of life the gateway connection is rebuilt.
    pub deaf_after: Duration,
}

impl Discord {
    /// What living on Discord takes: the token, and the server.
    ///
    /// # Errors
    /// [`ConfigError::Missing`], for the first that is not set.
    pub fn credentials(&self) -> Result<(SecretString, GuildId), ConfigError> {
        let token = self.token.clone().ok_or(ConfigError::Missing {
            what: "the bot's token",
            how: "set POINTSMAN_DISCORD_TOKEN, or POINTSMAN_DISCORD_TOKEN_FILE to a file that holds it",
        })?;
        let guild = self.guild.ok_or(ConfigError::Missing {
            what: "the Discord server",
            how: "set discord.guild in the settings, or POINTSMAN_DISCORD_GUILD, to its id",
        })?;
        Ok((token, guild))
    }
}

/// Where issues are made, and as whom.
#[derive(Debug, Clone)]
pub struct GitHub {
    /// Where GitHub's API is: `https://api.github.com`, that of an Enterprise Server, or a model's address.
    pub api_base: String,
    /// The repository whose issues they are.
    pub repository: RepositoryName,
    /// A token that may read and write them.
    pub token: SecretString,
}

/// What holds for incidents.
#[derive(Debug, Clone)]
pub struct Incidents {
    /// The category in which their channels are made; `None`: outside any.
    pub category: Option<ChannelId>,
    /// The category to which the channels of ended ones move; `None`: they stay.
    pub archive_category: Option<ChannelId>,
    /// Where one lives whose channel cannot be made; `None`: nowhere, until people mend what is wrong.
    pub fallback_channel: Option<ChannelId>,
    /// Cadences, escalation, roles and times, pinned in each incident when it opens.
    pub policy: Policy,
    /// How severe the incident is that a run calls for which goes badly; `None`: it calls for none.
    pub open_for_runs: Option<Severity>,
    /// How often a live run gives a status update in its thread; `None`: never.
    pub run_beat: Option<Duration>,
    /// Who is woken; `None`: nobody.
    pub pager: Option<Webhook>,
    /// Where the public reads; `None`: nowhere.
    pub status_page: Option<Webhook>,
    /// The labels of every post-mortem, besides its severity.
    pub labels: Vec<String>,
    /// The GitHub accounts that every post-mortem and review is assigned to.
    pub assignees: Vec<String>,
    /// The form of post-mortems; `None`: the shipped one.
    pub post_mortem_template: Option<PathBuf>,
}

/// An address that is called, and the secret that proves who calls.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Its address.
    pub url: String,
    /// The secret; `None`: none is sent.
    pub token: Option<SecretString>,
}

/// Where a secret's value is.
#[derive(Debug, Clone)]
pub enum SecretSource {
    /// Given by environment.
    Value(SecretString),
    /// In a file, read each time it is needed.
    File(PathBuf),
}

/// How logs are written.
#[derive(Debug, Clone)]
pub struct Log {
    /// Text for people or JSON lines for machines.
    pub format: LogFormat,
    /// Which events, as `tracing` filters are written.
    pub filter: String,
}

/// Text for people or JSON lines for machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

/// Why the settings cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the settings {}: {why}; write one after `deploy/pointsman.example.yaml`, or name it with --config", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("the settings {} cannot be used:\n{why}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Where and why.
        why: String,
    },
    /// Something is required and given nowhere.
    #[error("{what} is not set: {how}")]
    Missing {
        /// What.
        what: &'static str,
        /// How to set it.
        how: &'static str,
    },
    /// A value is given and cannot be used.
    #[error("{what}: {why}")]
    Value {
        /// Where it was given.
        what: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The environment as the settings see it: a map, so that tests need not touch the real one.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// The process's environment; values that are not text are left out.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this module is the one place that reads the environment")]
    pub fn of_process() -> Self {
        Self(std::env::vars().collect())
    }

    /// An environment with just these variables.
    pub fn of(variables: impl IntoIterator<Item = (&'static str, String)>) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// A variable that is set and not empty.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// A value given as `NAME`, or in the file that `NAME_FILE` names.
    fn get_or_file(&self, name: &str) -> Result<Option<String>, ConfigError> {
        if let Some(value) = self.get(name) {
            return Ok(Some(value.to_owned()));
        }
        let variable = format!("{name}_FILE");
        let Some(path) = self.get(&variable) else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Value { what: variable, why: format!("cannot read {path}: {error}") })?;
        Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()))
    }
}

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    discord: DiscordFile,
    github: GitHubFile,
    incidents: IncidentsFile,
    roles: BTreeMap<RoleName, OneOrMore>,
    store: Option<String>,
    data_dir: Option<PathBuf>,
    definitions: Vec<PathBuf>,
    secrets: BTreeMap<String, SecretFile>,
    clock: Option<ClockFile>,
    log: LogFile,
    web: WebFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebFile {
    listen: Option<String>,
    public_url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DiscordFile {
    guild: Option<GuildId>,
    api_base: Option<String>,
    deaf_after: Option<Duration>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct GitHubFile {
    api_base: Option<String>,
    repository: Option<RepositoryName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IncidentsFile {
    category: Option<ChannelId>,
    archive_category: Option<ChannelId>,
    fallback_channel: Option<ChannelId>,
    beats: BTreeMap<Severity, OrOff<Duration>>,
    pages: Option<BTreeSet<Severity>>,
    escalation: Option<Vec<EscalationFile>>,
    private_roles: Vec<RoleName>,
    archive_after: Option<Duration>,
    delete_after: Option<Duration>,
    review_after: Option<Duration>,
    review_reminder: Option<Duration>,
    open_for_runs: Option<OrOff<Severity>>,
    run_beat: Option<OrOff<Duration>>,
    pager: WebhookFile,
    status_page: WebhookFile,
    labels: Option<Vec<String>>,
    assignees: Vec<String>,
    post_mortem_template: Option<PathBuf>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EscalationFile {
    after: Duration,
    roles: Vec<RoleName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct WebhookFile {
    url: Option<String>,
}

/// A value, or `off`, which some readers of YAML take for `false`.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OrOff<T> {
    Off(Off),
    No(bool),
    Value(T),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Off {
    Off,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "expected a Discord role's id in quotes, or a list of them")]
enum OneOrMore {
    One(RoleId),
    More(Vec<RoleId>),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum SecretFile {
    Env(String),
    File(PathBuf),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockFile {
    speed: u32,
    anchor: Timestamp,
    shows: Option<Timestamp>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogFile {
    format: LogFormat,
    filter: Option<String>,
}

/// Discord's own address.
pub const DISCORD: &str = "https://discord.com";

/// GitHub's own API.
pub const GITHUB: &str = "https://api.github.com";

/// Where the settings are looked for when no place is named.
pub const SETTINGS_FILE: &str = "pointsman.yaml";

/// serenity's spans carry interaction tokens at INFO, so it speaks from WARN on.
const LOG_FILTER: &str = "info,serenity=warn,h2=warn,hyper=warn,sqlx=warn";

impl Settings {
    /// Reads the settings of `path`, or of `pointsman.yaml` if that exists, and of the environment.
    ///
    /// # Errors
    /// [`ConfigError`], for a file that was named and cannot be read as well.
    pub fn load(path: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let named = path.map(Path::to_path_buf).or_else(|| environment.get("POINTSMAN_CONFIG").map(PathBuf::from));
        let path = named.clone().unwrap_or_else(|| PathBuf::from(SETTINGS_FILE));
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(why) => return Err(ConfigError::Unreadable { path, why }),
        };
        Self::parse(&path, &text, environment)
    }

    /// Reads the settings of a text, as if it stood in `path`: relative folders are relative to its folder.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn parse(path: &Path, text: &str, environment: &Environment) -> Result<Self, ConfigError> {
        let file: File = if text.trim().is_empty() {
            File::default()
        } else {
            serde_saphyr::from_str(text)
                // The parser does not know where the text came from.
                .map_err(|error| error.to_string().replace("<input>", &path.display().to_string()))
                .map_err(|why| ConfigError::Invalid { path: path.to_owned(), why })?
        };
        let base = path.parent().unwrap_or(Path::new("")).to_owned();
        let data_dir = environment.get("POINTSMAN_DATA_DIR").map(PathBuf::from);
        let data_dir = data_dir.or(file.data_dir.map(|dir| base.join(dir))).unwrap_or_else(|| base.join("data"));
        let store = environment.get_or_file("POINTSMAN_STORE")?.or(file.store);
        let store = store.unwrap_or_else(|| format!("sqlite:{}", data_dir.join("journal.db").display()));
        let definitions = match environment.get("POINTSMAN_DEFINITIONS") {
            Some(list) => list.split(':').map(PathBuf::from).collect(),
            None if file.definitions.is_empty() => vec![base.clone()],
            None => file.definitions.iter().map(|dir| base.join(dir)).collect(),
        };
        let roles: BTreeMap<RoleName, Vec<RoleId>> = file.roles.into_iter().map(|(name, ids)| (name, ids.into())).collect();
        Ok(Self {
            discord: discord(file.discord, environment)?,
            github: github(file.github, environment)?,
            incidents: incidents(file.incidents, &roles, &base, environment)?,
            roles,
            store: SecretString::from(store),
            data_dir,
            definitions,
            secrets: secrets(file.secrets, &base, environment)?,
            clock: scaled_clock(file.clock)?,
            log: Log {
                format: if environment.get("POINTSMAN_LOG_FORMAT") == Some("json") { LogFormat::Json } else { file.log.format },
                filter: environment
                    .get("POINTSMAN_LOG")
                    .map(str::to_owned)
                    .or(file.log.filter)
                    .unwrap_or_else(|| LOG_FILTER.to_owned()),
            },
            web: web(file.web, environment)?,
        })
    }
}

impl From<OneOrMore> for Vec<RoleId> {
    fn from(ids: OneOrMore) -> Self {
        match ids {
            OneOrMore::One(id) => vec![id],
            OneOrMore::More(ids) => ids,
        }
    }
}

fn discord(file: DiscordFile, environment: &Environment) -> Result<Discord, ConfigError> {
    let guild = match environment.get("POINTSMAN_DISCORD_GUILD") {
        Some(id) => Some(id.parse().map_err(|error: crate::domain::InvalidName| ConfigError::Value {
            what: "POINTSMAN_DISCORD_GUILD".to_owned(),
            why: error.to_string(),
        })?),
        None => file.guild,
    };
    let api_base = environment.get("POINTSMAN_DISCORD_API_BASE").map(str::to_owned).or(file.api_base);
    let api_base = private_base("discord.api_base", api_base.unwrap_or_else(|| DISCORD.to_owned()))?;
    Ok(Discord {
        token: environment.get_or_file("POINTSMAN_DISCORD_TOKEN")?.map(SecretString::from),
        guild,
        api_base,
        deaf_after: file.deaf_after.unwrap_or(DEAF_AFTER),
    })
}

/// Longer than Discord's heartbeat interval of 41 s can explain twice over.
const DEAF_AFTER: Duration = Duration::from_secs(150);

/// Either the token or the repository alone is half of an intention, and is told so.
fn github(file: GitHubFile, environment: &Environment) -> Result<Option<GitHub>, ConfigError> {
    let token = environment.get_or_file("POINTSMAN_GITHUB_TOKEN")?;
    let repository = match environment.get("POINTSMAN_GITHUB_REPOSITORY") {
        Some(name) => Some(name.parse().map_err(|error: crate::domain::InvalidName| ConfigError::Value {
            what: "POINTSMAN_GITHUB_REPOSITORY".to_owned(),
            why: error.to_string(),
        })?),
        None => file.repository,
    };
    let api_base = environment.get("POINTSMAN_GITHUB_API_BASE").map(str::to_owned).or(file.api_base);
    if token.is_none() && repository.is_none() && api_base.is_none() {
        return Ok(None);
    }
    Ok(Some(GitHub {
        api_base: private_base("github.api_base", api_base.unwrap_or_else(|| GITHUB.to_owned()))?,
        repository: repository.ok_or(ConfigError::Missing {
            what: "the repository for issues",
            how: "set github.repository in the settings, or POINTSMAN_GITHUB_REPOSITORY, to OWNER/NAME",
        })?,
        token: SecretString::from(token.ok_or(ConfigError::Missing {
            what: "the token for GitHub",
            how: "set POINTSMAN_GITHUB_TOKEN, or POINTSMAN_GITHUB_TOKEN_FILE to a file that holds it; without GitHub, \
                  leave `github` out",
        })?),
    }))
}

/// The labels of a post-mortem unless others are set.
const LABELS: [&str; 1] = ["post-mortem"];

fn incidents(
    mut file: IncidentsFile,
    roles: &BTreeMap<RoleName, Vec<RoleId>>,
    base: &Path,
    environment: &Environment,
) -> Result<Incidents, ConfigError> {
    let open_for_runs = off("incidents.open_for_runs", file.open_for_runs.take(), Some(Severity::Sev2))?;
    let run_beat = off("incidents.run_beat", file.run_beat.take(), Some(Duration::from_minutes(15)))?;
    let post_mortem_template = file.post_mortem_template.as_ref().map(|path| base.join(path));
    let pager = webhook("incidents.pager.url", "POINTSMAN_PAGER", file.pager.url.clone(), environment)?;
    let status_page = webhook("incidents.status_page.url", "POINTSMAN_STATUS_PAGE", file.status_page.url.clone(), environment)?;
    Ok(Incidents {
        category: file.category,
        archive_category: file.archive_category,
        fallback_channel: file.fallback_channel,
        open_for_runs,
        run_beat,
        pager,
        status_page,
        labels: file.labels.clone().unwrap_or_else(|| LABELS.map(str::to_owned).to_vec()),
        assignees: file.assignees.clone(),
        post_mortem_template,
        policy: policy(file, roles)?,
    })
}

fn policy(file: IncidentsFile, roles: &BTreeMap<RoleName, Vec<RoleId>>) -> Result<Policy, ConfigError> {
    let mut policy = Policy { roles: roles.clone(), private_roles: file.private_roles, ..Policy::default() };
    for (severity, every) in file.beats {
        match off("incidents.beats", Some(every), None)? {
            Some(every) => policy.beats.insert(severity, every),
            None => policy.beats.remove(&severity),
        };
    }
    if let Some(levels) = file.escalation {
        policy.escalation = levels.into_iter().map(|level| EscalationLevel { after: level.after, roles: level.roles }).collect();
    }
    policy.pages = file.pages.unwrap_or(policy.pages);
    policy.archive_after = file.archive_after.unwrap_or(policy.archive_after);
    policy.delete_after = file.delete_after;
    policy.review_after = file.review_after.unwrap_or(policy.review_after);
    policy.review_reminder = file.review_reminder.unwrap_or(policy.review_reminder);
    check_policy(&policy)?;
    Ok(policy)
}

/// A level that tells nobody because of a slip of the pen, or comes before the one below it, is found now and not at night.
fn check_policy(policy: &Policy) -> Result<(), ConfigError> {
    let mistake = |what: &str, why: String| Err(ConfigError::Value { what: what.to_owned(), why });
    let named = policy.escalation.iter().flat_map(|level| &level.roles).chain(&policy.private_roles);
    if let Some(unknown) = named.into_iter().find(|role| !policy.roles.contains_key(*role)) {
        return mistake("incidents", format!("the role `{unknown}` is not in `roles`: nobody would be told or see anything"));
    }
    if !policy.escalation.is_sorted_by(|lower, higher| lower.after < higher.after) {
        return mistake("incidents.escalation", "each level must come later than the one before it".to_owned());
    }
    if policy.delete_after.is_some_and(|delete| delete <= policy.archive_after) {
        return mistake(
            "incidents.delete_after",
            "a channel is deleted after it was archived: set it longer than `archive_after`".to_owned(),
        );
    }
    Ok(())
}

fn off<T>(what: &str, given: Option<OrOff<T>>, unless_set: Option<T>) -> Result<Option<T>, ConfigError> {
    match given {
        None => Ok(unless_set),
        Some(OrOff::Value(value)) => Ok(Some(value)),
        Some(OrOff::Off(Off::Off) | OrOff::No(false)) => Ok(None),
        Some(OrOff::No(true)) => {
            Err(ConfigError::Value { what: what.to_owned(), why: "`true` is no value: give one, or `off`".to_owned() })
        }
    }
}

/// The address from the file or `PREFIX_URL`, the secret from `PREFIX_TOKEN` or the file that `PREFIX_TOKEN_FILE` names.
fn webhook(what: &str, prefix: &str, url: Option<String>, environment: &Environment) -> Result<Option<Webhook>, ConfigError> {
    let url = environment.get_or_file(&format!("{prefix}_URL"))?.or(url);
    let token = environment.get_or_file(&format!("{prefix}_TOKEN"))?.map(SecretString::from);
    let Some(url) = url else { return Ok(None) };
    Ok(Some(Webhook { url: private_base(what, url)?, token }))
}

/// An address to which a token may be sent, without the slash at its end.
fn private_base(what: &str, base: String) -> Result<String, ConfigError> {
    if !base.starts_with("https://") && !is_loopback(&base) {
        return Err(ConfigError::Value {
            what: what.to_owned(),
            why: format!("`{base}` would send the token in the clear: use https, or an address of this machine"),
        });
    }
    Ok(base.trim_end_matches('/').to_owned())
}

/// The shortest token that opens the run board, in characters: what `openssl rand -hex 16` gives has 32.
const BOARD_TOKEN_CHARS_MIN: usize = 16;

fn web(file: WebFile, environment: &Environment) -> Result<Option<Web>, ConfigError> {
    let Some(listen) = environment.get("POINTSMAN_WEB_LISTEN").map(str::to_owned).or(file.listen) else { return Ok(None) };
    let wrong = |what: &str, why: String| ConfigError::Value { what: what.to_owned(), why };
    let listen: SocketAddr = listen
        .parse()
        .map_err(|_| wrong("web.listen", format!("`{listen}` is not an address and a port, as in `127.0.0.1:9464`")))?;
    let board_token = environment.get_or_file("POINTSMAN_WEB_TOKEN")?;
    match &board_token {
        None if !listen.ip().is_loopback() => {
            return Err(wrong(
                "web.listen",
                format!(
                    "{listen} can be reached from other machines, and no token is set: set POINTSMAN_WEB_TOKEN or \
                     POINTSMAN_WEB_TOKEN_FILE, or listen on 127.0.0.1"
                ),
            ));
        }
        Some(token) if token.chars().count() < BOARD_TOKEN_CHARS_MIN => {
            return Err(wrong(
                "POINTSMAN_WEB_TOKEN",
                format!(
                    "it is shorter than {BOARD_TOKEN_CHARS_MIN} characters and could be guessed; `openssl rand -hex 16` makes one"
                ),
            ));
        }
        Some(_) | None => {}
    }
    let public_url = environment.get("POINTSMAN_WEB_PUBLIC_URL").map(str::to_owned).or(file.public_url);
    if let Some(url) = public_url.as_ref().filter(|url| !url.starts_with("https://") && !url.starts_with("http://")) {
        return Err(wrong("web.public_url", format!("`{url}` is not an address: write https://... as people type it")));
    }
    let public_url = public_url.map(|url| url.trim_end_matches('/').to_owned());
    Ok(Some(Web { listen, board_token: board_token.map(SecretString::from), public_url }))
}

fn is_loopback(base: &str) -> bool {
    let host = base.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or_default());
    let address = host.and_then(|host| host.parse::<SocketAddr>().ok());
    address.is_some_and(|address| address.ip().is_loopback())
        || host.is_some_and(|host| host.split(':').next() == Some("localhost"))
}

fn secrets(
    file: BTreeMap<String, SecretFile>,
    base: &Path,
    environment: &Environment,
) -> Result<BTreeMap<String, SecretSource>, ConfigError> {
    let mut secrets = BTreeMap::new();
    for (name, source) in file {
        let source = match source {
            SecretFile::File(path) => SecretSource::File(base.join(path)),
            SecretFile::Env(variable) => {
                let value = environment.get_or_file(&variable)?.ok_or_else(|| ConfigError::Value {
                    what: format!("secrets.{name}"),
                    why: format!("neither {variable} nor {variable}_FILE is set"),
                })?;
                SecretSource::Value(SecretString::from(value))
            }
        };
        secrets.insert(name, source);
    }
    Ok(secrets)
}

fn scaled_clock(file: Option<ClockFile>) -> Result<ScaledClock, ConfigError> {
    match file {
        None => Ok(ScaledClock::real()),
        Some(clock) if (1..=SPEED_MAX).contains(&clock.speed) => {
            Ok(ScaledClock::showing(clock.anchor, clock.shows.unwrap_or(clock.anchor), clock.speed))
        }
        Some(clock) => Err(ConfigError::Value {
            what: "clock.speed".to_owned(),
            why: format!("{} is not between 1 and {SPEED_MAX}", clock.speed),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn environment() -> Environment {
        Environment::of([("POINTSMAN_DISCORD_TOKEN", "t0ken".to_owned()), ("ACE_DSN", "postgres://u@h/d".to_owned())])
    }

    const TEXT: &str = "
discord: { guild: '1000', api_base: 'http://127.0.0.1:4000/' }
roles: { dba: '11', operator: ['12', '13'] }
secrets: { ACE_POSTGRES_DSN: { env: ACE_DSN }, KUBECONFIG: { file: kube.yaml } }
";

    #[test]
    fn the_file_and_the_environment_make_the_settings() {
        let settings = Settings::parse(Path::new("/etc/pointsman/pointsman.yaml"), TEXT, &environment()).unwrap();
        assert_eq!(settings.discord.api_base, "http://127.0.0.1:4000");
        assert_eq!(settings.roles.values().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(settings.store.expose_secret(), "sqlite:/etc/pointsman/data/journal.db");
        assert!(matches!(&settings.secrets["KUBECONFIG"], SecretSource::File(path) if path.ends_with("kube.yaml")));
    }

    #[test]
    fn the_shipped_example_can_be_used_as_it_stands() {
        let example = include_str!("../deploy/pointsman.example.yaml");
        let environment = Environment::of([
            ("POINTSMAN_DISCORD_TOKEN", "t0ken".to_owned()),
            ("ACE_POSTGRES_DSN", "postgres://u@h/d".to_owned()),
            ("ACE_KUBECONFIG", "/etc/pointsman/secrets/ace-kubeconfig".to_owned()),
        ]);
        let settings = Settings::parse(Path::new("/etc/pointsman/pointsman.yaml"), example, &environment).unwrap();
        assert_eq!(settings.discord.api_base, DISCORD);
        assert_eq!(settings.discord.deaf_after, DEAF_AFTER);
        assert_eq!(settings.log.filter, LOG_FILTER);
        assert_eq!(settings.roles.len(), 4);
        assert!(settings.github.is_none());
        assert_eq!(settings.web.unwrap().listen.to_string(), "127.0.0.1:9464");
        // The keys that are commented out can be used as they stand.
        let whole = example.replace("# clock:", "clock:").replace("# github:", "github:").replace("# incidents:", "incidents:");
        let environment =
            Environment(environment.0.into_iter().chain([("POINTSMAN_GITHUB_TOKEN".into(), "gh".into())]).collect());
        let settings = Settings::parse(Path::new("/etc/pointsman/pointsman.yaml"), &whole, &environment).unwrap();
        assert_eq!(settings.clock.speed(), 60);
        assert_eq!(settings.github.unwrap().api_base, GITHUB);
    }

    #[test]
    fn github_is_set_whole_or_not_at_all() {
        let parse = |github: &str, variables: &[(&'static str, &str)]| {
            let more = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
            let environment = Environment(environment().0.into_iter().chain(more).collect());
            Settings::parse(Path::new("p.yaml"), &format!("discord: {{ guild: '1' }}\n{github}"), &environment)
        };
        let token = ("POINTSMAN_GITHUB_TOKEN", "ghp_secret");
        assert!(parse("", &[]).unwrap().github.is_none());
        let section = "github: { repository: acme/ops, api_base: 'https://git.acme.example/api/v3/' }";
        let github = parse(section, &[token]).unwrap().github.unwrap();
        assert_eq!((github.repository.as_str(), github.api_base.as_str()), ("acme/ops", "https://git.acme.example/api/v3"));
        let overridden = parse(section, &[token, ("POINTSMAN_GITHUB_REPOSITORY", "acme/other")]).unwrap().github.unwrap();
        assert_eq!(overridden.repository.as_str(), "acme/other");
        assert!(!format!("{overridden:?}").contains("ghp_secret"));
        let mistake = |github: &str, variables: &[(&'static str, &str)]| parse(github, variables).unwrap_err().to_string();
        assert!(mistake("github: { repository: acme/ops }", &[]).contains("POINTSMAN_GITHUB_TOKEN_FILE"));
        assert!(mistake("", &[token]).contains("github.repository"));
        assert!(mistake("github: { repository: ops }", &[token]).contains("OWNER/NAME"));
        assert!(mistake("github: { repository: a/b, api_base: 'http://git.acme.example' }", &[token]).contains("in the clear"));
        assert!(mistake("github: { repo: a/b }", &[token]).contains("repo"));
    }

    #[test]
    fn only_the_bot_itself_needs_a_token_and_a_server() {
        let lacks = |text: &str, environment: Environment| {
            let settings = Settings::parse(Path::new("p.yaml"), text, &environment).unwrap();
            settings.discord.credentials().unwrap_err().to_string()
        };
        let without_token = Environment::of([("ACE_DSN", "postgres://u@h/d".to_owned())]);
        assert!(lacks(TEXT, without_token).contains("POINTSMAN_DISCORD_TOKEN_FILE"));
        assert!(lacks("roles: {}", environment()).contains("discord.guild"));
    }

    #[test]
    fn the_web_is_off_by_default_and_never_open_to_others_without_a_token() {
        let parse = |listen: &str, token: Option<&str>| {
            let text =
                format!("discord: {{ guild: '1' }}\nweb: {{ listen: '{listen}', public_url: 'https://board.example.org/' }}");
            let token = token.map(|token| ("POINTSMAN_WEB_TOKEN", token.to_owned()));
            let environment = Environment::of([("POINTSMAN_DISCORD_TOKEN", "t0ken".to_owned())].into_iter().chain(token));
            Settings::parse(Path::new("p.yaml"), &text, &environment).map(|settings| settings.web.unwrap())
        };
        assert!(Settings::parse(Path::new("p.yaml"), TEXT, &environment()).unwrap().web.is_none());
        assert!(parse("127.0.0.1:9464", None).unwrap().board_token.is_none());
        assert!(parse("[::1]:9464", None).is_ok());
        let long = "0123456789abcdef";
        assert_eq!(parse("0.0.0.0:9464", Some(long)).unwrap().public_url.unwrap(), "https://board.example.org");
        for (listen, token, words) in [
            ("0.0.0.0:9464", None, "POINTSMAN_WEB_TOKEN_FILE"),
            ("10.0.0.7:9464", None, "can be reached from other machines"),
            ("127.0.0.1:9464", Some("short"), "could be guessed"),
            ("localhost", None, "127.0.0.1:9464"),
        ] {
            let error = parse(listen, token).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("short is"), "{listen}: {error}");
        }
    }

    #[test]
    fn incidents_have_sane_rules_unless_others_are_set() {
        let parse = |incidents: &str| {
            let more = [("POINTSMAN_PAGER_TOKEN".to_owned(), "p4ger".to_owned())];
            let environment = Environment(environment().0.into_iter().chain(more).collect());
            let text = format!("discord: {{ guild: '1' }}\nroles: {{ on_call: '7' }}\nincidents: {incidents}");
            Settings::parse(Path::new("/etc/p.yaml"), &text, &environment).map(|settings| settings.incidents)
        };
        let unset = parse("{}").unwrap();
        assert_eq!((unset.policy.beats.len(), unset.policy.escalation.len()), (3, 2));
        assert_eq!((unset.open_for_runs, unset.run_beat), (Some(Severity::Sev2), Some(Duration::from_minutes(15))));
        assert!(unset.pager.is_none() && unset.status_page.is_none());
        let set = parse(
            "{ category: '5', beats: { sev1: 5m, sev2: off }, pages: [sev1], escalation: [{ after: 10m, roles: [on_call] }], \
             open_for_runs: off, run_beat: off, pager: { url: 'https://pager.example/hook' }, post_mortem_template: pm.md }",
        )
        .unwrap();
        assert_eq!(
            set.policy.beats,
            [(Severity::Sev1, Duration::from_minutes(5)), (Severity::Sev3, Duration::from_minutes(60))].into()
        );
        assert_eq!((set.open_for_runs, set.run_beat, set.category), (None, None, Some(ChannelId::new(5))));
        assert_eq!(set.policy.roles.len(), 1);
        assert!(!format!("{:?}", set.pager).contains("p4ger"));
        assert_eq!(set.pager.unwrap().token.unwrap().expose_secret(), "p4ger");
        assert_eq!(set.post_mortem_template, Some(PathBuf::from("/etc/pm.md")));
        let mistake = |incidents: &str| parse(incidents).unwrap_err().to_string();
        assert!(mistake("{ escalation: [{ after: 1m, roles: [nobody] }] }").contains("nobody"));
        assert!(mistake("{ escalation: [{ after: 2m, roles: [] }, { after: 1m, roles: [] }] }").contains("later"));
        assert!(mistake("{ delete_after: 1h }").contains("archive_after"));
        assert!(mistake("{ pager: { url: 'http://pager.example' } }").contains("in the clear"));
        assert!(mistake("{ catgory: '5' }").contains("catgory"));
    }

    #[test]
    fn mistakes_are_named() {
        let parse = |text: &str, environment| Settings::parse(Path::new("p.yaml"), text, &environment).unwrap_err().to_string();
        let guld = parse("discord: { guld: '1' }", environment());
        assert!(guld.contains("guld") && guld.contains("p.yaml:1:12"), "{guld}");
        let role = parse("roles: { dba: x }", environment());
        assert!(role.contains("a Discord role's id in quotes") && role.contains("p.yaml:1:15"), "{role}");
        assert!(parse("discord: { guild: '1', api_base: 'http://example.org' }", environment()).contains("in the clear"));
        assert!(parse("discord: { guild: '1' }\nsecrets: { A: { env: NOPE } }", environment()).contains("NOPE_FILE"));
    }
}
