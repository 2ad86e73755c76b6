//! A PostgreSQL cluster of the estate's own, on a free loopback port.
//!
//! PostgreSQL refuses to run as root: then it runs as the system's user `postgres`. Its data survives
//! [`Cluster::stop`] and [`Cluster::kill`], so that a runbook can meet a database that went away.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::supervised::Supervised;

/// From TERM to KILL. The supervisor signals the sessions too, so a shutdown does not wait for clients.
const GRACE: Duration = Duration::from_secs(5);
/// How long a start may take on a busy machine, recovery included.
const START_PATIENCE: Duration = Duration::from_secs(60);
/// Ports tried before giving up: another process may take a free one before PostgreSQL does.
const PORT_TRIES: u32 = 5;
/// The system's user that runs the server when this process is root.
const SERVER_USER: &str = "postgres";
/// The application's role and database.
const APPLICATION: &str = "ace";

/// Why the practice cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The server's programs are not installed.
    #[error("PostgreSQL is not installed (no /usr/lib/postgresql/*/bin/initdb); install the package `postgresql` and try again")]
    NotInstalled,
    /// A file or process could not be handled.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// `initdb` failed, or the server did not start.
    #[error("{what}: {output}")]
    Server {
        /// What was tried.
        what: &'static str,
        /// The end of what it printed.
        output: String,
    },
    /// The server refused a statement of the set-up.
    #[error("setting up the practice database: {0}")]
    Setup(#[from] sqlx::Error),
}

/// The cluster; running or not.
#[derive(Debug)]
pub struct Cluster {
    exe: PathBuf,
    programs: PathBuf,
    directory: PathBuf,
    /// What stands before every server program: nothing, or the change to an unprivileged user.
    prefix: Vec<String>,
    port: u16,
    password: String,
    server: Option<Supervised>,
}

impl Cluster {
    /// Makes a cluster in the new directory `directory`, starts it, and creates role and database `ace`.
    /// `exe` is the `pointsman` program that supervises. Parents that this process owns are made
    /// searchable where the server's user needs it.
    ///
    /// # Errors
    /// See [`ClusterError`]; nothing is left running.
    pub async fn create(exe: &Path, directory: &Path, password: &str) -> Result<Self, ClusterError> {
        let mut cluster = Self {
            exe: exe.to_owned(),
            programs: find_programs().ok_or(ClusterError::NotInstalled)?,
            directory: directory.to_owned(),
            prefix: Vec::new(),
            port: 0,
            password: password.to_owned(),
            server: None,
        };
        cluster.prepare_directory().map_err(failed(format!("preparing {}", directory.display())))?;
        cluster.initdb().await?;
        cluster.start().await?;
        cluster.create_application().await?;
        Ok(cluster)
    }

    /// The application's database: `postgres://ace:PASSWORD@127.0.0.1:PORT/ace`. A secret.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(APPLICATION, APPLICATION)
    }

    /// The server's own database, as its superuser. A secret.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url_of(SERVER_USER, "postgres")
    }

    /// The loopback port; it stays the same over restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the server's and the client's programs (`psql`, `pg_dump`, ...).
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Starts a stopped or killed cluster again, on its port, and waits until it answers.
    /// Does nothing when it runs.
    ///
    /// # Errors
    /// It does not come up in time.
    pub async fn start(&mut self) -> Result<(), ClusterError> {
        if self.server.as_mut().is_some_and(|server| !server.has_ended()) {
            return Ok(());
        }
        let tries = if self.port == 0 { PORT_TRIES } else { 1 };
        let mut output = String::new();
        for _ in 0..tries {
            let port = if self.port == 0 { free_port().map_err(failed("looking for a free port"))? } else { self.port };
            let mut server = self.spawn(port).map_err(failed("starting postgres"))?;
            if self.answers(&mut server, port).await {
                self.port = port;
                self.server = Some(server);
                return Ok(());
            }
            server.stop().await;
            output = tail(&self.log());
        }
        Err(ClusterError::Server { what: "postgres did not start", output })
    }

    /// Shuts the cluster down in order; its data stay.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Kills the server with `kill -9`, as a crash would; its data stay and recover with [`Self::start`].
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&mut self) -> Result<(), ClusterError> {
        let not_running = || io::Error::new(io::ErrorKind::NotFound, "the server does not run");
        let mut server = self.server.take().ok_or_else(not_running).map_err(failed("killing postgres"))?;
        let pid =
            std::fs::read_to_string(self.data().join("postmaster.pid")).ok().and_then(|text| text.lines().next()?.parse().ok());
        let pid = pid.and_then(rustix::process::Pid::from_raw).ok_or_else(not_running).map_err(failed("killing postgres"))?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)
            .map_err(|error| failed("killing postgres")(error.into()))?;
        server.ended().await;
        Ok(())
    }

    fn url_of(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn prepare_directory(&mut self) -> io::Result<()> {
        std::fs::create_dir_all(&self.directory)?;
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let (user, group) = server_user()?;
        std::os::unix::fs::chown(&self.directory, Some(user), Some(group))?;
        self.prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"].map(str::to_owned).into();
        let parent = std::fs::canonicalize(&self.directory)?.parent().map(Path::to_owned);
        for ancestor in parent.iter().flat_map(|parent| parent.ancestors()) {
            let mode = std::fs::metadata(ancestor)?.permissions().mode();
            // Only the estate's own directory may be opened; further up it is for its owner to decide.
            if mode & 0o001 == 0 && Some(ancestor) == parent.as_deref() {
                std::fs::set_permissions(ancestor, std::fs::Permissions::from_mode(mode | 0o011))?;
            } else if mode & 0o001 == 0 {
                let reason = format!(
                    "the user `{SERVER_USER}`, as which PostgreSQL runs, cannot search {}; choose a directory elsewhere",
                    ancestor.display()
                );
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
            }
        }
        Ok(())
    }

    async fn initdb(&self) -> Result<(), ClusterError> {
        let password_file = self.directory.join("password");
        std::fs::write(&password_file, &self.password).map_err(failed("writing the password file"))?;
        let mut argv = self.prefix.clone();
        argv.extend([
            self.program("initdb"),
            format!("--pgdata={}", self.data().display()),
            format!("--pwfile={}", password_file.display()),
        ]);
        argv.extend(
            ["--username=postgres", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
                .map(str::to_owned),
        );
        let output = tokio::process::Command::new(&argv[0])
            .args(&argv[1..])
            .current_dir("/")
            .env_clear()
            .envs(environment())
            .output()
            .await;
        let output = output.map_err(failed("running initdb"))?;
        std::fs::remove_file(&password_file).map_err(failed("removing the password file"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ClusterError::Server { what: "initdb failed", output: String::from_utf8_lossy(&output.stderr).trim().to_owned() })
    }

    fn spawn(&self, port: u16) -> io::Result<Supervised> {
        let mut argv = self.prefix.clone();
        argv.extend([
            self.program("postgres"),
            "-D".to_owned(),
            self.data().display().to_string(),
            "-p".to_owned(),
            port.to_string(),
        ]);
        argv.extend(["-h", "127.0.0.1", "-k", ""].map(str::to_owned));
        // Nothing here must survive a power cut. A commit is still written before it is answered, so a
        // killed server comes back with all of them; `synchronous_commit=off` would lose the newest.
        for setting in ["fsync=off", "full_page_writes=off", "max_wal_size=4GB", "max_connections=100"] {
            argv.extend(["-c".to_owned(), setting.to_owned()]);
        }
        Supervised::start(&self.exe, GRACE, &argv, &environment(), &self.log())
    }

    /// Waits until the server takes a login; false when it ended or takes too long.
    async fn answers(&self, server: &mut Supervised, port: u16) -> bool {
        let url = format!("postgres://{SERVER_USER}:{}@127.0.0.1:{port}/postgres", self.password);
        let give_up = Instant::now() + START_PATIENCE;
        while Instant::now() < give_up && !server.has_ended() {
            if let Ok(connection) = PgConnection::connect(&url).await {
                // It proved what it was made for.
                let _ = connection.close().await;
                return !server.has_ended();
            }
            sleep(Duration::from_millis(50)).await;
        }
        false
    }

    async fn create_application(&self) -> Result<(), ClusterError> {
        let mut admin = PgConnection::connect(&self.admin_url()).await?;
        // The password is our own hexadecimal text; DDL takes no bind parameters.
        let role = format!("CREATE ROLE {APPLICATION} LOGIN CREATEDB PASSWORD '{}'", self.password.replace('\'', "''"));
        sqlx::query(sqlx::AssertSqlSafe(role)).execute(&mut admin).await?;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {APPLICATION} OWNER {APPLICATION}")))
            .execute(&mut admin)
            .await?;
        admin.close().await?;
        Ok(())
    }

    fn program(&self, name: &str) -> String {
        self.programs.join(name).display().to_string()
    }
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.into();
    move |source| ClusterError::System { what, source }
}

fn environment() -> Vec<(String, String)> {
    [("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"), ("LANG", "C.UTF-8"), ("TZ", "UTC")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// The newest version under `/usr/lib/postgresql`, where Debian keeps the server's programs.
fn find_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|entry| entry.path());
    let numbered = versions.filter_map(|path| Some((path.file_name()?.to_str()?.parse::<f32>().ok()?, path.join("bin"))));
    let installed = numbered.filter(|(_, programs)| programs.join("initdb").exists());
    installed.max_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, programs)| programs)
}

/// User and group id of the server's user, from `/etc/passwd`.
fn server_user() -> io::Result<(u32, u32)> {
    let passwd = std::fs::read_to_string("/etc/passwd")?;
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == SERVER_USER);
    let ids = entry.and_then(|fields| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)));
    ids.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no user `{SERVER_USER}`; install the package `postgresql`"))
    })
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The last lines of a log.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
