//! The practice estate: real things for runbooks to work on.
//!
//! | Part | What it really is |
//! |---|---|
//! | [`sqlite`] | a generated SQLite file, the application's first database |
//! | [`postgres`] | a PostgreSQL cluster of its own, the database to migrate to |
//! | [`app`] | a small HTTP service, a process per pod |
//! | [`kubernetes`] | a model of the API that the real kubectl talks to, with a real rollout behind it |
//! | [`faults`] | what can be made to go wrong |
//! | [`sx`] | another application: profiles, one of which moves from SQLite to PostgreSQL |
//! | [`switchboard`] | the ACE application's faults as switches for people |
//!
//! Invariants: everything listens on loopback only, on free ports; everything lives in one directory; every
//! process runs under a supervisor, so that nothing outlives the sandbox, not even one killed with `kill -9`.

pub mod app;
mod entrance;
pub mod faults;
pub mod kubernetes;
pub mod postgres;
pub mod sqlite;
mod supervised;
pub mod switchboard;
pub mod sx;

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use faults::Switches;
use kubernetes::Kubernetes;
use postgres::{Cluster, ClusterError};
use sx::{Sx, SxOptions};

/// What an estate is made of.
#[derive(Debug, Clone)]
pub struct Options {
    /// The `pointsman` program, which is supervisor and application.
    pub exe: PathBuf,
    /// Rows of `playbook_entries`.
    pub rows: u32,
    /// The same seed gives the same data and passwords.
    pub seed: u64,
}

/// Why an estate could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum EstateError {
    /// The practice data could not be written.
    #[error("generating the practice database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The PostgreSQL cluster does not run.
    #[error(transparent)]
    Postgres(#[from] ClusterError),
    /// The Kubernetes model does not run, or the directory cannot be used.
    #[error("the practice estate in {}: {source}", directory.display())]
    System {
        /// Where the estate was to be.
        directory: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A value that a bot needs to reach the estate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The name under which runbooks know it.
    pub name: &'static str,
    /// Its value.
    pub value: String,
    /// Whether it may be shown.
    pub secret: bool,
}

/// A running estate. Dropping it ends everything soon; [`Self::stop`] also waits.
#[derive(Debug)]
pub struct Estate {
    directory: PathBuf,
    switches: Switches,
    postgres: Cluster,
    kubernetes: Kubernetes,
    sx: Sx,
    generated: sqlite::Generated,
}

/// Items of the SX profile that is to be moved: enough to be real, few enough not to be waited for.
const SX_ITEMS: u32 = 1_500;

impl Estate {
    /// Makes an estate in the new or empty directory `directory`, and starts it. The application's first pod
    /// becomes ready soon after.
    ///
    /// # Errors
    /// See [`EstateError`].
    pub async fn start(directory: &Path, options: Options) -> Result<Self, EstateError> {
        let system = |source| EstateError::System { directory: directory.to_owned(), source };
        std::fs::create_dir_all(directory).map_err(system)?;
        let directory = std::fs::canonicalize(directory).map_err(system)?;
        let sqlite = directory.join("ace.sqlite");
        let path = sqlite.clone();
        let generated = tokio::task::spawn_blocking(move || sqlite::generate(&path, options.rows, options.seed));
        let password = derive(options.seed, "postgres");
        let postgres = Cluster::create(&options.exe, &directory.join("postgres"), &password).await?;
        let generated = generated.await.map_err(|error| system(io::Error::other(error)))??;
        let switches = Switches::new(directory.join("faults.json"));
        let cluster = directory.join("kubernetes");
        std::fs::create_dir_all(&cluster).map_err(system)?;
        let sx = SxOptions {
            exe: options.exe.clone(),
            admin_url: postgres.admin_url(),
            database: "sx".to_owned(),
            password: derive(options.seed, "sx"),
            items: SX_ITEMS,
            seed: options.seed,
        };
        // Before the cluster's controller has work: each login gives way to it hundreds of times.
        let sx = Sx::start(&directory.join("sx"), sx).await.map_err(system)?;
        let kubernetes = Kubernetes::start(kubernetes::Options {
            exe: options.exe,
            directory: cluster,
            database_url: format!("sqlite:{}", sqlite.display()),
            token: derive(options.seed, "kubernetes"),
            switches: switches.clone(),
        });
        let kubernetes = kubernetes.await.map_err(system)?;
        Ok(Self { directory, switches, postgres, kubernetes, sx, generated })
    }

    /// The application's SQLite file.
    #[must_use]
    pub fn sqlite(&self) -> PathBuf {
        self.directory.join("ace.sqlite")
    }

    /// How many rows the SQLite file began with.
    #[must_use]
    pub fn generated(&self) -> sqlite::Generated {
        self.generated
    }

    /// The PostgreSQL cluster.
    #[must_use]
    pub fn postgres(&self) -> &Cluster {
        &self.postgres
    }

    /// The PostgreSQL cluster, to stop, kill and start it.
    pub fn postgres_mut(&mut self) -> &mut Cluster {
        &mut self.postgres
    }

    /// The Kubernetes model and the application in it.
    #[must_use]
    pub fn kubernetes(&self) -> &Kubernetes {
        &self.kubernetes
    }

    /// The SX application.
    #[must_use]
    pub fn sx(&self) -> &Sx {
        &self.sx
    }

    /// What can be made to go wrong with the ACE application and its cluster.
    #[must_use]
    pub fn switches(&self) -> &Switches {
        &self.switches
    }

    /// Everything that a bot needs to reach the estate, as environment variables or parameters.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let setting = |name, value: String, secret| Setting { name, value, secret };
        let mut settings = vec![
            setting("ACE_SQLITE", self.sqlite().display().to_string(), false),
            setting("ACE_POSTGRES_DSN", self.postgres.url(), true),
            setting("ACE_SERVICE_URL", self.kubernetes.service_url(), false),
            setting("KUBECONFIG", self.kubernetes.kubeconfig().display().to_string(), false),
            setting("POSTGRES_BIN", self.postgres.programs().display().to_string(), false),
        ];
        settings.extend(self.sx.settings());
        settings
    }

    /// Ends everything and waits until it is gone. The files stay.
    pub async fn stop(mut self) {
        self.kubernetes.stop().await;
        self.sx.stop().await;
        self.postgres.stop().await;
    }
}

/// A password for practice: hard to hit by chance, the same for the same seed.
fn derive(seed: u64, purpose: &str) -> String {
    hex::encode(Sha256::digest(format!("pointsman practice {purpose} {seed}")))[..32].to_owned()
}

/// Writes a file that only its owner may read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
