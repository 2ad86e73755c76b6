//! Targets: how a step reaches one, and which system exactly it is.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

use super::action::Trouble;
use super::process::{Command, Spawner, run};
use super::redact::Redactor;
use super::secrets::{SecretError, Secrets};
use crate::domain::TargetIdentity;
use crate::domain::runbook::Target;

/// How long a connection may take to come about.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How a step reaches a target.
#[derive(Debug, Clone)]
pub enum Address {
    /// A SQLite file.
    Sqlite(PathBuf),
    /// A PostgreSQL database.
    Postgres(PostgresAddress),
    /// A namespace of a Kubernetes cluster.
    Kubernetes(KubernetesAddress),
    /// An HTTP service: its base address.
    Http(url::Url),
}

/// How to reach a PostgreSQL database.
#[derive(Clone)]
pub struct PostgresAddress {
    /// The whole URL.
    pub url: SecretString,
    /// The host as the URL names it.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// The password, if the URL holds one.
    pub password: Option<SecretString>,
    /// `sslmode` and the like, for programs that speak libpq.
    pub tls: Vec<(&'static str, String)>,
    // Large, and an address travels by value.
    options: Box<PgConnectOptions>,
}

impl std::fmt::Debug for PostgresAddress {
    /// Shows no password, unlike sqlx's options.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PostgresAddress({})", self.display())
    }
}

/// How to reach a namespace by kubectl.
#[derive(Debug, Clone)]
pub struct KubernetesAddress {
    /// The kubeconfig file; kubectl's default without it.
    pub kubeconfig: Option<SecretString>,
    /// The context; the current one without it.
    pub context: Option<String>,
    /// The namespace.
    pub namespace: String,
}

/// Resolves how a target is reached. `secret` gives a secret's value by its name.
///
/// # Errors
/// A secret that is missing or is no address. The message holds no part of it.
pub(super) fn resolve(target: &Target, secret: impl Fn(&str) -> Result<SecretString, SecretError>) -> Result<Address, Trouble> {
    let secret = |name: &str| secret(name).map_err(|error| Trouble::lasting(error.to_string()));
    match target {
        Target::Sqlite { path } => Ok(Address::Sqlite(PathBuf::from(path))),
        Target::Postgres { dsn } => {
            PostgresAddress::parse(&secret(dsn)?).map(Address::Postgres).map_err(|why| Trouble::lasting(not_a_dsn(dsn, &why)))
        }
        Target::Kubernetes { context, namespace, kubeconfig } => Ok(Address::Kubernetes(KubernetesAddress {
            kubeconfig: kubeconfig.as_deref().map(secret).transpose()?,
            context: context.clone(),
            namespace: namespace.clone(),
        })),
        Target::Http { url } => http_address(url).map(Address::Http),
    }
}

fn not_a_dsn(secret: &str, why: &str) -> String {
    format!(
        "the secret `{secret}` is not the address of a PostgreSQL database: {why}; \
         set it to `postgres://user:password@host:port/database`"
    )
}

/// An HTTP address that holds no password.
pub(super) fn http_address(text: &str) -> Result<url::Url, Trouble> {
    let url = url::Url::parse(text).map_err(|error| Trouble::lasting(format!("`{text}` is not an HTTP address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Trouble::lasting(format!("`{text}` is not an HTTP address: it begins with neither http:// nor https://")));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Trouble::lasting("an HTTP address must hold no user or password: use `secret_headers`"));
    }
    Ok(url)
}

impl PostgresAddress {
    /// Reads a URL.
    ///
    /// # Errors
    /// Which part is missing or wrong, without showing any.
    pub fn parse(dsn: &SecretString) -> Result<Self, String> {
        let text = dsn.expose_secret().trim();
        let url = url::Url::parse(text).map_err(|error| error.to_string())?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            return Err("it does not begin with postgres://".to_owned());
        }
        // Without a user, sqlx would log in as "anonymous" (its issue #4277).
        let user = decoded(url.username());
        if user.is_empty() {
            return Err("it names no user".to_owned());
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or("it names no host")?.to_owned();
        let database = decoded(url.path().trim_start_matches('/'));
        if database.is_empty() {
            return Err("it names no database".to_owned());
        }
        let options = PgConnectOptions::from_str(text).map_err(|_| "it has a part that PostgreSQL does not know".to_owned())?;
        Ok(Self {
            url: SecretString::from(text),
            host,
            port: url.port().unwrap_or(5432),
            database,
            user,
            password: url.password().map(|password| SecretString::from(decoded(password))),
            tls: tls_of(&url),
            options: Box::new(options.application_name("pointsman").disable_statement_logging()),
        })
    }

    /// The same server, another database.
    #[must_use]
    pub fn with_database(&self, database: &str) -> Self {
        let mut other = self.clone();
        other.options = Box::new(self.options.as_ref().clone().database(database));
        other.database = database.to_owned();
        if let Ok(mut url) = url::Url::parse(self.url.expose_secret()) {
            url.set_path(database);
            other.url = SecretString::from(String::from(url));
        }
        other
    }

    /// `user@host:port/database`, for people.
    #[must_use]
    pub fn display(&self) -> String {
        format!("{}@{}:{}/{}", self.user, self.host, self.port, self.database)
    }

    /// Connects.
    ///
    /// # Errors
    /// Which database does not answer and why; retryable unless it answered and refused.
    pub async fn connect(&self) -> Result<PgConnection, Trouble> {
        let silent = || {
            let secs = CONNECT_TIMEOUT.as_secs();
            Trouble::passing(format!("PostgreSQL {} does not answer: no connection within {secs} s", self.display()))
        };
        let connected = tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(self.options.as_ref())).await;
        connected.map_err(|_| silent())?.map_err(|error| self.explain("connecting to", &error))
    }

    /// An error of this database for people: what was tried, where, and what the server said.
    #[must_use]
    pub(super) fn explain(&self, doing: &str, error: &sqlx::Error) -> Trouble {
        let place = self.display();
        match error {
            sqlx::Error::Database(database) => {
                let code = database.code().unwrap_or_default();
                let shown = if code.is_empty() { String::new() } else { format!(" ({code})") };
                let message = format!("{doing} PostgreSQL {place}: {}{shown}{}", database.message(), mend(&code));
                let refused = is_lasting(&code);
                Trouble::Failed { message, retryable: !refused }
            }
            sqlx::Error::Io(io) => Trouble::passing(format!(
                "{doing} PostgreSQL {place}: {io}; is the server up, and does the network let us through?"
            )),
            other => Trouble::passing(format!("{doing} PostgreSQL {place}: {other}")),
        }
    }
}

/// What to do about a refused login. The server's own words name the user or the database, and no more.
fn mend(code: &str) -> &'static str {
    match code.get(..2) {
        Some("28") => "; check the user and the password in its address, and the server's pg_hba.conf",
        Some("3D") => "; check the database's name in its address, or create the database",
        _ => "",
    }
}

/// Whether PostgreSQL will say the same again: syntax, access rules, login, constraint, data and catalog errors.
/// Source: <https://www.postgresql.org/docs/current/errcodes-appendix.html>
fn is_lasting(code: &str) -> bool {
    ["22", "23", "25", "28", "3D", "3F", "42"].iter().any(|class| code.starts_with(class))
}

fn decoded(text: &str) -> String {
    let plus_kept = text.replace('+', "%2B");
    url::form_urlencoded::parse(format!("v={plus_kept}").as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

fn tls_of(url: &url::Url) -> Vec<(&'static str, String)> {
    let variable = |key: &str| match key {
        "sslmode" | "ssl-mode" => Some("PGSSLMODE"),
        "sslrootcert" | "ssl-root-cert" | "ssl-ca" => Some("PGSSLROOTCERT"),
        "sslcert" | "ssl-cert" => Some("PGSSLCERT"),
        "sslkey" | "ssl-key" => Some("PGSSLKEY"),
        _ => None,
    };
    url.query_pairs().filter_map(|(key, value)| Some((variable(&key)?, value.into_owned()))).collect()
}

/// Reads which systems targets are. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TargetReader {
    secrets: Secrets,
    spawner: Spawner,
}

impl TargetReader {
    /// A reader that resolves secrets from the settings and runs kubectl by `spawner`.
    #[must_use]
    pub fn new(secrets: Secrets, spawner: Spawner) -> Self {
        Self { secrets, spawner }
    }

    /// Which system exactly the target is now.
    ///
    /// # Errors
    /// Why it cannot be told, for people, without any secret.
    pub async fn identify(&self, target: &Target) -> Result<TargetIdentity, String> {
        let seen = std::sync::Mutex::new(Vec::new());
        let resolved = resolve(target, |name| {
            let secret = self.secrets.resolve(name)?;
            seen.lock().expect("no code panics while it holds this").push(secret.clone());
            Ok(secret)
        });
        let redactor = Redactor::new(seen.into_inner().expect("no code panics while it holds this"));
        let identity = match resolved {
            Ok(address) => identity(&address, &self.spawner).await.map_err(|why| format!("{why}{}", whence(target))),
            Err(trouble) => Err(trouble.to_string()),
        };
        identity.map_err(|message| redactor.redact(&message))
    }
}

/// Where a target's address stands, for who has to mend it.
fn whence(target: &Target) -> String {
    match target {
        Target::Postgres { dsn } => format!(" (its address is the secret `{dsn}`)"),
        Target::Sqlite { .. } => " (its path is in the runbook, under `targets`)".to_owned(),
        Target::Kubernetes { .. } | Target::Http { .. } => String::new(),
    }
}

async fn identity(address: &Address, spawner: &Spawner) -> Result<TargetIdentity, String> {
    match address {
        Address::Sqlite(path) => sqlite_identity(path),
        Address::Postgres(postgres) => postgres_identity(postgres).await,
        Address::Kubernetes(cluster) => kubernetes_identity(cluster, spawner).await,
        Address::Http(url) => Ok(TargetIdentity::Http { url: url.to_string() }),
    }
}

fn sqlite_identity(path: &Path) -> Result<TargetIdentity, String> {
    let unreadable = |why: String| format!("the SQLite file {} cannot be read: {why}", path.display());
    let canonical = path.canonicalize().map_err(|error| unreadable(error.to_string()))?;
    if !canonical.is_file() {
        return Err(unreadable("it is not a file".to_owned()));
    }
    // Only to see whether it may be read: better found out now than behind a gate.
    std::fs::File::open(&canonical).map_err(|error| unreadable(error.to_string()))?;
    let text = canonical.to_str().ok_or_else(|| unreadable("its name is not UTF-8".to_owned()))?;
    Ok(TargetIdentity::Sqlite { path: text.to_owned() })
}

async fn postgres_identity(address: &PostgresAddress) -> Result<TargetIdentity, String> {
    let mut connection = address.connect().await.map_err(|trouble| trouble.to_string())?;
    let read = sqlx::query_as::<_, (String, String, String)>(
        "SELECT system_identifier::text, current_database()::text, session_user::text FROM pg_control_system()",
    );
    let (system_identifier, database, user) = read.fetch_one(&mut connection).await.map_err(|error| {
        let trouble = address.explain("reading the system identifier of", &error);
        format!("{trouble}; the user needs EXECUTE on pg_control_system()")
    })?;
    // It was only read from: closing it politely or not makes no difference.
    let _ = connection.close().await;
    Ok(TargetIdentity::Postgres { host: address.host.clone(), port: address.port, database, user, system_identifier })
}

async fn kubernetes_identity(address: &KubernetesAddress, spawner: &Spawner) -> Result<TargetIdentity, String> {
    let command = address.kubectl().args(["config", "view", "--minify", "--output", "jsonpath={.clusters[0].cluster.server}"]);
    let nothing_to_record = async |_| Ok::<_, std::convert::Infallible>(());
    let finished = run(spawner, command, nothing_to_record, &mut |_| {}, &CancellationToken::new()).await;
    let finished = finished.map_err(|error| format!("reading the kubeconfig by kubectl: {error}"))?;
    let server = finished.stdout.text().trim().to_owned();
    if !finished.exit.is_success() || server.is_empty() {
        let said = finished.stderr.text();
        return Err(format!("kubectl knows no cluster to talk to ({}): {}", finished.exit, said.trim()));
    }
    Ok(TargetIdentity::Kubernetes { server, namespace: address.namespace.clone() })
}

impl KubernetesAddress {
    /// kubectl, told explicitly where to work.
    #[must_use]
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new("kubectl");
        if let Some(kubeconfig) = &self.kubeconfig {
            command = command.arg(format!("--kubeconfig={}", kubeconfig.expose_secret()));
        }
        if let Some(context) = &self.context {
            command = command.arg(format!("--context={context}"));
        }
        command.arg(format!("--namespace={}", self.namespace))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<PostgresAddress, String> {
        PostgresAddress::parse(&SecretString::from(text))
    }

    #[test]
    fn a_url_is_taken_apart() {
        let address = parse("postgres://ace:p%40ss+w@db.example:6432/ace_db?sslmode=require").unwrap();
        assert_eq!(address.display(), "ace@db.example:6432/ace_db");
        assert_eq!(address.password.as_ref().unwrap().expose_secret(), "p@ss+w");
        assert_eq!(address.tls, [("PGSSLMODE", "require".to_owned())]);
        let scratch = address.with_database("scratch");
        assert_eq!(scratch.url.expose_secret(), "postgres://ace:p%40ss+w@db.example:6432/scratch?sslmode=require");
        assert!(!format!("{address:?}").contains("p@ss") && !format!("{address:?}").contains("p%40ss"));
    }

    #[test]
    fn a_wrong_dsn_is_explained_without_showing_it() {
        for (text, why) in [
            ("hunter2", "relative URL"),
            ("mysql://u:hunter2@h/d", "postgres://"),
            ("postgres://:hunter2@h/d", "no user"),
            ("postgres://u:hunter2@h", "no database"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why) && !error.contains("hunter2"), "{text}: {error}");
        }
    }

    #[test]
    fn http_addresses_hold_no_password() {
        assert!(http_address("https://u:p@h/").unwrap_err().to_string().contains("secret_headers"));
        assert!(http_address("ftp://h/").is_err());
        assert_eq!(http_address("http://h:1/a").unwrap().as_str(), "http://h:1/a");
    }
}
