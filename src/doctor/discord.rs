//! Discord: the token, the server, what the bot may do there, and whether the people exist whom gates wait for.

use std::collections::BTreeSet;

use chrono::DateTime;
use serde_json::Value;
use serenity::http::{LightMethod, Route};
use serenity::model::id as serenity_id;

use super::permissions::{
    ADMINISTRATOR, FOR_INCIDENTS, MENTION_EVERYONE, NEEDED, in_channel, in_guild, invited, missing, missing_for_incidents,
    missing_in_sight,
};
use super::{Finding, Patient};
use crate::catalog::Catalog;
use crate::config::Settings;
use crate::discord::rest::{Call, Trouble};
use crate::discord::{Access, Api, identify};
use crate::domain::runbook::Runbook;
use crate::domain::{GuildId, RoleName};

/// The bot's clock may be this far from Discord's before people are told: the header has whole seconds.
const SKEW_SECS_WARN: i64 = 3;
/// From here on T-0 and expiries are visibly wrong.
const SKEW_SECS_MAX: i64 = 30;
/// How many places a finding names.
const NAMED_MAX: usize = 5;
/// The kinds of channels in which the bot can be asked: text and announcements.
const TEXT_CHANNELS: [u64; 2] = [0, 5];
/// The flags of an application whose privileged intents are switched on, each in its two forms.
/// Source: <https://discord.com/developers/docs/resources/application#application-object-application-flags>.
const PRIVILEGED: [(&str, u64); 3] =
    [("Presence", 1 << 12 | 1 << 13), ("Server Members", 1 << 14 | 1 << 15), ("Message Content", 1 << 18 | 1 << 19)];

pub(super) async fn examine(patient: &Patient, catalog: Option<&Catalog>) -> Vec<Finding> {
    let settings = &patient.settings;
    let mut findings = vec![clock(patient).await];
    let (token, guild) = match settings.discord.credentials() {
        Ok(credentials) => credentials,
        Err(missing) => {
            findings.push(Finding::problem("discord", missing.to_string(), "docs/deployment.md tells where to get both"));
            return findings;
        }
    };
    let access = Access { api_base: settings.discord.api_base.clone(), token };
    let api = match Api::new(access) {
        Ok(api) => api,
        Err(error) => {
            findings.push(Finding::problem(
                "discord",
                format!("HTTP cannot be set up: {error}"),
                "check the machine's TLS certificates",
            ));
            return findings;
        }
    };
    let identity = match identify(&api).await {
        Ok(identity) => identity,
        Err(trouble) => {
            findings.push(not_known(&trouble));
            return findings;
        }
    };
    findings.push(Finding::well("discord.token", format!("it is that of the user {}", identity.bot)));
    findings.push(intents(&api).await);
    let server = match Server::read(&api, guild, identity.bot.get()).await {
        Ok(server) => server,
        Err(trouble) => {
            findings.push(not_there(&trouble, guild, identity.application));
            return findings;
        }
    };
    findings.push(Finding::well("discord.server", format!("the bot is a member of {}", server.name)));
    findings.push(server.permissions(identity.application));
    findings.push(server.channels());
    findings.push(commands(&api, guild, identity.application, catalog).await);
    findings.extend(server.roles(settings, catalog));
    findings.extend(holders(&api, settings, guild, catalog).await);
    findings
}

fn not_known(trouble: &Trouble) -> Finding {
    let mend = match trouble {
        Trouble::Refused { status: 401, .. } => {
            "set POINTSMAN_DISCORD_TOKEN(_FILE) to the token of *Bot, Reset Token* in Discord's developer portal"
        }
        Trouble::Refused { .. } => {
            "check `discord.api_base`, and whether a proxy stands in between: the token itself was not refused; the bot waits and tries again"
        }
        Trouble::Limited { .. } | Trouble::Server { .. } | Trouble::Unanswered { .. } => {
            "check that this machine reaches `discord.api_base`; the bot itself waits and tries again"
        }
    };
    Finding::problem("discord.token", trouble.to_string(), mend)
}

fn not_there(trouble: &Trouble, guild: GuildId, application: u64) -> Finding {
    let invitation = invitation(application);
    let mend = format!("check `discord.guild`, and invite the bot: {invitation}");
    Finding::problem("discord.server", format!("the server {guild} cannot be read: {trouble}"), mend)
}

fn invitation(application: u64) -> String {
    let permissions = invited();
    format!(
        "https://discord.com/oauth2/authorize?client_id={application}&scope=bot+applications.commands&permissions={permissions}"
    )
}

/// The clock against the `Date` of any answer.
async fn clock(patient: &Patient) -> Finding {
    let about = "clock";
    let url = format!("{}/api/v10/gateway", patient.settings.discord.api_base);
    let unknown = |why: String| {
        Finding::warning(
            about,
            format!("it cannot be compared with Discord's: {why}"),
            "check that this machine reaches `discord.api_base`",
        )
    };
    let before = patient.clock.now();
    let answer = match reqwest::Client::builder().timeout(std::time::Duration::from_secs(10)).build() {
        Ok(client) => client.get(url).send().await,
        Err(error) => return unknown(error.to_string()),
    };
    let after = patient.clock.now();
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => return unknown(error.without_url().to_string()),
    };
    let date = answer.headers().get("date").and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
    let Some(date) = date else { return unknown("its answer has no date".to_owned()) };
    let ours = before + (after - before) / 2;
    let skew = (ours - date.to_utc()).num_seconds();
    let mend = "let chrony, systemd-timesyncd or the hypervisor keep the clock";
    match skew.abs() {
        0..=SKEW_SECS_WARN => Finding::well(about, "it agrees with Discord's"),
        apart if apart <= SKEW_SECS_MAX => Finding::warning(about, format!("it is {skew} s off Discord's"), mend),
        _ => Finding::problem(about, format!("it is {skew} s off Discord's: T-0 and expiries would be wrong"), mend),
    }
}

async fn intents(api: &Api) -> Finding {
    let about = "discord.intents";
    let application = match api.call(Call::new(LightMethod::Get, Route::Oauth2ApplicationCurrent)).await {
        Ok(application) => application,
        Err(trouble) => {
            return Finding::warning(about, format!("they cannot be read: {trouble}"), "none needs to be switched on");
        }
    };
    let flags = application["flags"].as_u64().unwrap_or(0);
    let on: Vec<&str> = PRIVILEGED.iter().filter(|(_, bits)| flags & bits != 0).map(|(name, _)| *name).collect();
    if on.is_empty() {
        return Finding::well(about, "no privileged intent is switched on, and none is needed");
    }
    let mend = "switch them off in the developer portal under *Bot*: the bot does not ask for them";
    Finding::warning(about, format!("switched on without need: {}", on.join(", ")), mend)
}

/// Whether the commands may be registered, and are.
async fn commands(api: &Api, guild: GuildId, application: u64, catalog: Option<&Catalog>) -> Finding {
    let about = "discord.commands";
    let route = Route::GuildCommands {
        application_id: serenity_id::ApplicationId::new(application),
        guild_id: serenity_id::GuildId::new(guild.get()),
    };
    let registered = match api.call(Call::new(LightMethod::Get, route)).await {
        Ok(registered) => registered,
        Err(trouble) => {
            let mend = format!("invite the bot once more with the scope `applications.commands`: {}", invitation(application));
            return Finding::problem(about, format!("slash commands cannot be registered: {trouble}"), mend);
        }
    };
    let there: BTreeSet<&str> =
        registered.as_array().into_iter().flatten().filter_map(|command| command["name"].as_str()).collect();
    let wanted = catalog.map(Catalog::commands).unwrap_or_default().iter().map(|loaded| loaded.definition.command.as_str());
    let absent: Vec<&str> = wanted.filter(|name| !there.contains(name)).collect();
    if absent.is_empty() {
        return Finding::well(about, format!("{} registered", there.len()));
    }
    let found = format!("may be registered; not there yet: /{}", absent.join(", /"));
    Finding::warning(about, found, "the next start or `/runbook reload` registers them")
}

/// How many people hold the roles that each gate waits for, by Discord's own count.
async fn holders(api: &Api, settings: &Settings, guild: GuildId, catalog: Option<&Catalog>) -> Vec<Finding> {
    let about = "gates";
    let Some(catalog) = catalog else { return Vec::new() };
    let route = Route::GuildRoleMemberCounts { guild_id: serenity_id::GuildId::new(guild.get()) };
    let counts = match api.call(Call::new(LightMethod::Get, route)).await {
        Ok(counts) => counts,
        Err(trouble) => {
            let found = format!("how many people hold each role cannot be read: {trouble}");
            return vec![Finding::warning(about, found, "look in the server's settings whether enough people hold the roles")];
        }
    };
    let holders = |role: &RoleName| -> Option<u64> {
        let ids = settings.roles.get(role)?;
        ids.iter().map(|id| counts.get(id.to_string()).and_then(Value::as_u64)).sum()
    };
    let mut findings = Vec::new();
    for loaded in catalog.runbooks() {
        for (gate, role, wanted) in demands(&loaded.definition) {
            let name = &loaded.definition.runbook;
            let Some(count) = holders(role) else { continue };
            let mend = format!("give more people a Discord role that `roles.{role}` names");
            if count < u64::from(wanted) {
                let found = format!("{name}, {gate}: {wanted} × {role} must sign, and {count} hold it: it can never open");
                findings.push(Finding::problem(about, found, mend));
            } else if count == u64::from(wanted) {
                let found = format!("{name}, {gate}: {count} hold {role}, and all must sign: none of them may ask for the run");
                findings.push(Finding::warning(about, found, mend));
            }
        }
    }
    if findings.is_empty() {
        findings.push(Finding::well(about, "enough people hold the roles that each gate waits for"));
    }
    findings
}

/// What each gate of a runbook waits for: where, who, how many.
fn demands(runbook: &Runbook) -> Vec<(String, &RoleName, u8)> {
    let mut demands = Vec::new();
    for phase in &runbook.phases {
        let sign_off = phase.gate.iter().flat_map(|gate| &gate.sign_off);
        demands.extend(sign_off.map(|(role, wanted)| (format!("gate of {}", phase.phase), role, *wanted)));
    }
    for (name, rollback) in &runbook.rollback {
        demands.extend(rollback.sign_off.iter().map(|(role, wanted)| (format!("rollback {name}"), role, *wanted)));
    }
    demands
}

/// What Discord tells of the server.
struct Server {
    id: String,
    name: String,
    bot: String,
    roles: Vec<Value>,
    held: Vec<String>,
    channels: Vec<Value>,
}

impl Server {
    async fn read(api: &Api, guild: GuildId, bot: u64) -> Result<Self, Trouble> {
        let id = guild.get();
        let guild_id = serenity_id::GuildId::new(id);
        let get = async |route: Route<'static>| api.call(Call::new(LightMethod::Get, route)).await;
        let guild = get(Route::Guild { guild_id }).await?;
        let roles = get(Route::GuildRoles { guild_id }).await?;
        let member = get(Route::GuildMember { guild_id, user_id: serenity_id::UserId::new(bot) }).await?;
        let channels = get(Route::GuildChannels { guild_id }).await?;
        let list = |value: Value| value.as_array().cloned().unwrap_or_default();
        let held = member["roles"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        Ok(Self {
            id: id.to_string(),
            name: guild["name"].as_str().unwrap_or("the server").to_owned(),
            bot: bot.to_string(),
            roles: list(roles),
            held,
            channels: list(channels),
        })
    }

    fn held(&self) -> Vec<&str> {
        self.held.iter().map(String::as_str).collect()
    }

    fn base(&self) -> u64 {
        in_guild(&self.id, &self.roles, &self.held())
    }

    fn permissions(&self, application: u64) -> Finding {
        let about = "discord.permissions";
        let (base, lacks) = (self.base(), missing(self.base()));
        if !lacks.is_empty() {
            let mend = format!("grant them to the bot's role, or invite it once more: {}", invitation(application));
            return Finding::problem(about, format!("missing in the server: {}", lacks.join(", ")), mend);
        }
        if base & ADMINISTRATOR != 0 {
            let mend = "take *Administrator* away from the bot's role; docs/settings.md lists what it needs";
            return Finding::warning(about, "the bot is an administrator, which it need not be", mend);
        }
        let lacks = missing_for_incidents(base);
        if !lacks.is_empty() {
            let mend = format!("grant them to the bot's role, or invite it once more: {}", invitation(application));
            let found = format!("missing for incidents: {}; without them they live in the fallback channel", lacks.join(", "));
            return Finding::warning(about, found, mend);
        }
        Finding::well(about, format!("all {} that it needs", NEEDED.len() + FOR_INCIDENTS.len()))
    }

    /// The channels that the bot sees, and in which it cannot do its work.
    fn channels(&self) -> Finding {
        let about = "discord.channels";
        let (base, held) = (self.base(), self.held());
        let text = |channel: &&Value| channel["type"].as_u64().is_some_and(|kind| TEXT_CHANNELS.contains(&kind));
        let lacking = |channel: &Value| {
            let lacks = missing_in_sight(in_channel(&self.id, base, &self.bot, &held, channel));
            (!lacks.is_empty()).then(|| format!("#{} ({})", channel["name"].as_str().unwrap_or("?"), lacks.join(", ")))
        };
        let lacking: Vec<String> = self.channels.iter().filter(text).filter_map(lacking).collect();
        if lacking.is_empty() {
            return Finding::well(about, "in every channel that it sees it may do what it needs");
        }
        let named = lacking.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
        let more = if lacking.len() > NAMED_MAX { format!(" and {} more", lacking.len() - NAMED_MAX) } else { String::new() };
        let mend = "where runs are to be asked for, allow them to the bot in the channel's permissions";
        Finding::warning(about, format!("channels override what it needs: {named}{more}"), mend)
    }

    /// Whether the roles of the settings exist, and can be pinged when a gate opens.
    fn roles(&self, settings: &Settings, catalog: Option<&Catalog>) -> Vec<Finding> {
        let about = "roles";
        let signing: BTreeSet<&RoleName> = catalog
            .map(Catalog::runbooks)
            .unwrap_or_default()
            .iter()
            .flat_map(|loaded| demands(&loaded.definition))
            .map(|(_, role, _)| role)
            .collect();
        let mut findings = Vec::new();
        for (name, ids) in &settings.roles {
            for id in ids {
                let found = self.roles.iter().find(|role| role["id"].as_str().is_some_and(|known| known == id.to_string()));
                match found {
                    None => findings.push(Finding::problem(
                        about,
                        format!("`{name}` means the Discord role {id}, which does not exist in the server"),
                        format!(
                            "set `roles.{name}` to an existing role: Developer mode on, right click on the role, Copy Role ID"
                        ),
                    )),
                    Some(role) if signing.contains(name) && !self.can_ping(role) => findings.push(Finding::warning(
                        about,
                        format!(
                            "@{} cannot be pinged by the bot: those who must sign are not notified",
                            role["name"].as_str().unwrap_or("?")
                        ),
                        "in the role's settings, let anyone mention it; or grant the bot *Mention Everyone*",
                    )),
                    Some(_) => {}
                }
            }
        }
        if settings.roles.is_empty() {
            let mend = "map the role names of the runbooks to Discord roles under `roles`";
            findings.push(Finding::problem(about, "none is mapped: nobody may do anything", mend));
        }
        if findings.is_empty() {
            findings
                .push(Finding::well(about, format!("all {} exist, and those who must sign can be pinged", settings.roles.len())));
        }
        findings
    }

    fn can_ping(&self, role: &Value) -> bool {
        role["mentionable"].as_bool().unwrap_or(false) || self.base() & MENTION_EVERYONE != 0
    }
}
