//! The SX application: profiles of assets, one of which a runbook moves from SQLite to PostgreSQL.
//!
//! A small installation as an operations team would have it:
//!
//! | Part | What it really is |
//! |---|---|
//! | `api` | the service, a process per unit: `assets_1`, `assets_1.candidate`, `assets_2` |
//! | `units` | the manager that starts and stops them, each with an environment file |
//! | `tool` | `sx_db` and `sx-service`, the command lines that runbooks call |
//! | `registry` | which schema is whose, in a PostgreSQL database of its own |
//! | `data` | a SQLite file per profile |
//! | `faults` | what can be made to go wrong |
//! | `switchboard` | the faults as switches for people |
//!
//! `assets_1` lives in SQLite and is the one to move. `assets_2` was moved before: it lives in PostgreSQL, in the same
//! database, so that a row that gets from one profile into the other can be seen. The candidate is a second process of
//! `assets_1`, in PostgreSQL mode and without traffic, on which a cutover is tried before it happens.

mod api;
mod data;
mod faults;
mod registry;
mod store;
pub mod switchboard;
mod tool;
mod units;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};

use super::Setting;
use super::faults::Switches;
use registry::SourceId;
use units::{Definition, Manager};

pub use faults::{Faults, Place};

/// The profile that is to be moved.
pub const SOURCE: &str = "assets_1";
/// The profile that was moved before.
pub const NEIGHBOUR: &str = "assets_2";
/// What the candidate's unit is called after its profile.
pub const CANDIDATE: &str = ".candidate";
/// The SQLite file in a profile's directory.
pub const SQLITE_FILE: &str = "profile.sqlite";
/// How many searches fail with [`Faults::burst_on`].
pub const BURST: u32 = 4;
/// The hidden subcommand of the program.
pub const HIDDEN: &str = "practice-sx";

/// What an SX installation is made of.
#[derive(Debug, Clone)]
pub struct SxOptions {
    /// The `pointsman` program, which is supervisor, service and command line.
    pub exe: PathBuf,
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE` of a server, with the right to create roles and databases.
    pub admin_url: String,
    /// The database to create; its users are named after it.
    pub database: String,
    /// The users' password and the API's admin token: letters and digits.
    pub password: String,
    /// Items of the profile that is to be moved; the neighbour has a third.
    pub items: u32,
    /// The same seed gives the same data.
    pub seed: u64,
}

/// How the application keeps its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Sqlite,
    PostgresPrimary,
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "SQLITE" => Some(Self::Sqlite),
            "POSTGRES_PRIMARY" => Some(Self::PostgresPrimary),
            _ => None,
        }
    }

    /// The name in the application's answers.
    fn backend(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::PostgresPrimary => "postgres_primary",
        }
    }
}

/// A running installation. Dropping it ends its processes soon; [`Self::stop`] also waits.
#[derive(Debug)]
pub struct Sx {
    directory: PathBuf,
    exe: PathBuf,
    switches: Switches<Faults>,
    manager: Manager,
    dsn: String,
    admin_dsn: String,
    admin_token: String,
}

impl Sx {
    /// Makes an installation in the new directory `directory`, and starts both profiles.
    ///
    /// # Errors
    /// What could not be made; nothing is left running.
    pub async fn start(directory: &Path, options: SxOptions) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let directory = std::fs::canonicalize(directory)?;
        let (dsn, admin_dsn) = create_database(&options).await.map_err(io::Error::other)?;
        let switches = Switches::new(directory.join("faults.json"));
        let definitions = [SOURCE.to_owned(), format!("{SOURCE}{CANDIDATE}"), NEIGHBOUR.to_owned()];
        let definitions = definitions.map(|name| definition(&directory, &name)).into();
        let manager = Manager::open(options.exe.clone(), switches.clone(), definitions).await?;
        let admin_token = options.password.clone();
        let sx = Self { directory, exe: options.exe.clone(), switches, manager, dsn, admin_dsn, admin_token };
        sx.lay_out(SOURCE, Mode::Sqlite, options.items, options.seed).await?;
        sx.lay_out(NEIGHBOUR, Mode::PostgresPrimary, options.items.div_ceil(3), options.seed + 1).await?;
        sx.move_neighbour().await.map_err(io::Error::other)?;
        tokio::try_join!(sx.manager.start(SOURCE), sx.manager.start(NEIGHBOUR))?;
        Ok(sx)
    }

    /// A profile's directory: its SQLite file and its environment file.
    #[must_use]
    pub fn home(&self, source: &str) -> PathBuf {
        self.directory.join(source)
    }

    /// `http://127.0.0.1:PORT` of a unit (`assets_1`, `assets_1.candidate`, `assets_2`); empty if there is none.
    #[must_use]
    pub fn url_of(&self, unit: &str) -> String {
        self.manager.url_of(unit)
    }

    /// `http://127.0.0.1:PORT` of the unit manager, which also has the faults.
    #[must_use]
    pub fn manager_url(&self) -> String {
        self.manager.url()
    }

    /// What can be made to go wrong.
    #[must_use]
    pub fn switches(&self) -> &Switches<Faults> {
        &self.switches
    }

    /// The database, with the rights to make schemas. A secret.
    #[must_use]
    pub fn admin_dsn(&self) -> &str {
        &self.admin_dsn
    }

    /// Everything that a bot needs to reach the installation, as secrets or parameters.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let setting = |name, value: String, secret| Setting { name, value, secret };
        vec![
            setting("SX_SOURCE_ID", SOURCE.to_owned(), false),
            setting("SX_HOME", self.home(SOURCE).display().to_string(), false),
            setting("SX_SERVICE_URL", self.url_of(SOURCE), false),
            setting("SX_CANDIDATE_URL", self.url_of(&format!("{SOURCE}{CANDIDATE}")), false),
            setting("SX_MANAGER_URL", self.manager_url(), false),
            setting("SX_POSTGRES_DSN", self.dsn.clone(), true),
            setting("SX_POSTGRES_ADMIN_DSN", self.admin_dsn.clone(), true),
            setting("SX_ADMIN_TOKEN", self.admin_token.clone(), true),
        ]
    }

    /// Writes `sx_db` and `sx-service` into `directory`, for whoever has it in the PATH; those of another installation
    /// are replaced.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write_programs(&self, directory: &Path) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::create_dir_all(directory)?;
        let exe = quoted(&self.exe.display().to_string());
        let faults = quoted(&self.switches.path().display().to_string());
        let manager = quoted(&self.manager_url());
        for (name, text) in [
            ("sx_db", format!("exec env FAULTS_FILE={faults} {exe} {HIDDEN} db \"$@\"")),
            ("sx-service", format!("exec {exe} {HIDDEN} service --manager {manager} \"$@\"")),
        ] {
            let (path, new) = (directory.join(name), directory.join(format!(".{name}.new")));
            std::fs::write(&new, format!("#!/bin/sh\n# Written by the sandbox.\n{text}\n"))?;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755))?;
            std::fs::rename(new, path)?;
        }
        Ok(())
    }

    /// Ends everything and waits until it is gone. Files and database stay.
    pub async fn stop(self) {
        self.manager.stop().await;
    }

    /// A profile's directory with data and environment, as whoever installs it would make it.
    async fn lay_out(&self, source: &str, mode: Mode, items: u32, seed: u64) -> io::Result<()> {
        let home = self.home(source);
        std::fs::create_dir_all(&home)?;
        let (file, owner) = (home.join(SQLITE_FILE), source.to_owned());
        let generated = tokio::task::spawn_blocking(move || data::generate(&file, &owner, items, seed)).await;
        generated.map_err(io::Error::other)?.map_err(io::Error::other)?;
        let mode = if mode == Mode::Sqlite { "SQLITE" } else { "POSTGRES_PRIMARY" };
        let lines = [
            ("SX_DB_BACKEND_MODE", mode.to_owned()),
            ("SX_SOURCE_ID", source.to_owned()),
            ("SX_HOME", home.display().to_string()),
            ("SX_POSTGRES_DSN", self.dsn.clone()),
            ("SX_POSTGRES_ADMIN_DSN", self.admin_dsn.clone()),
            ("SX_ADMIN_TOKEN", self.admin_token.clone()),
        ];
        let text: String = lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        super::write_private(&home.join("api.env"), &text)
    }

    /// Moves the neighbour's data, as its own cutover did.
    async fn move_neighbour(&self) -> Result<(), registry::Refused> {
        let (source, faults) = (SourceId::parse(NEIGHBOUR)?, Faults::default());
        registry::bootstrap(&self.admin_dsn, &self.dsn, &source, &faults).await?;
        registry::import(&self.dsn, &source, &self.home(NEIGHBOUR).join(SQLITE_FILE), &faults).await.map(drop)
    }
}

fn definition(directory: &Path, unit: &str) -> Definition {
    let home = directory.join(unit.trim_end_matches(CANDIDATE));
    let file = if unit.ends_with(CANDIDATE) { "candidate.env" } else { "api.env" };
    Definition { name: unit.to_owned(), environment_file: home.join(file), log: directory.join(format!("{unit}.log")) }
}

/// One word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Creates the database, its owner and the application's user; returns the addresses of user and owner.
async fn create_database(options: &SxOptions) -> Result<(String, String), sqlx::Error> {
    let server: PgConnectOptions = options.admin_url.parse()?;
    let mut admin = server.connect().await?;
    let (database, password) = (&options.database, options.password.replace('\'', "''"));
    // DDL takes no bind parameters; names and password are the sandbox's own.
    for statement in [
        format!("CREATE ROLE {database}_app LOGIN PASSWORD '{password}'"),
        format!("CREATE ROLE {database}_admin LOGIN CREATEDB PASSWORD '{password}'"),
        format!("CREATE DATABASE {database} OWNER {database}_admin"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut admin).await?;
    }
    admin.close().await?;
    let url = |user: &str| {
        let (password, host, port) = (&options.password, server.get_host(), server.get_port());
        format!("postgres://{database}_{user}:{password}@{host}:{port}/{database}")
    };
    let (dsn, admin_dsn) = (url("app"), url("admin"));
    PgConnection::connect(&dsn).await?.close().await?;
    Ok((dsn, admin_dsn))
}

/// Runs the hidden subcommand `practice-sx`: `api`, `db ...` or `service ...`.
#[must_use]
pub fn practice_sx_main(
    arguments: impl Iterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> ExitCode {
    let text = |value: OsString| value.to_string_lossy().into_owned();
    let environment: BTreeMap<String, String> = environment.into_iter().map(|(name, value)| (text(name), text(value))).collect();
    let mut arguments = arguments.map(text);
    let word = arguments.next().unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.map_err(|error| error.to_string()).and_then(|runtime| {
        runtime.block_on(async {
            match word.as_str() {
                "api" => api::serve(&environment).await.map_err(|error| error.to_string()),
                "db" => tool::sx_db(arguments.collect(), &environment).await.map_err(|error| error.to_string()),
                "service" => tool::sx_service(arguments.collect()).await.map_err(|error| error.to_string()),
                _ => Err("it is `api`, `db` or `service`".to_owned()),
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{word}: {error}");
            ExitCode::FAILURE
        }
    }
}
