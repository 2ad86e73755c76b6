//! From two addresses to a plan that may be carried out: reading both schemas, refusing what does not fit, and the
//! first checkpoint.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use sqlx::postgres::PgConnection;

use super::options::{Options, SchemaMode};
use crate::transfer::checkpoint::{self, Beginning, Begun, Part};
use crate::transfer::create::{self, Deferred, WAVE_FOREIGN_KEYS, WAVE_TRIGGERS};
use crate::transfer::error::Error;
use crate::transfer::plan::{self, Plan, Purpose, TablePlan};
use crate::transfer::source::{LeftOut, RowKey, Schema, Snapshot, failure, quoted};
use crate::transfer::target::{self, execute};

/// Tables with fewer rows are read by one stream.
const PART_ROWS_MIN: u64 = 50_000;
/// Parts per stream, so that streams that finish early find more to do.
const PARTS_PER_STREAM: usize = 4;

/// Both sides read, the plan made, nothing written.
pub(super) struct Prepared {
    path: PathBuf,
    pub(super) snapshot: Snapshot,
    pub(super) plan: Plan,
    /// Names that the target's schema holds, if tables are created in it now.
    pub(super) taken: Vec<String>,
}

impl Prepared {
    /// Opens the snapshot and decides the plan.
    pub(super) async fn read(
        source: &Path,
        control: &mut PgConnection,
        options: &Options,
        begun: Option<&Begun>,
    ) -> Result<Self, Error> {
        let (path, streams) = (source.to_owned(), options.streams);
        let (snapshot, schema) = blocking(move || {
            let snapshot = Snapshot::open(&path, streams)?;
            let schema = snapshot.schema()?;
            Ok((snapshot, schema))
        })
        .await?;
        let existing = target::read_tables(control, &options.target_schema).await?;
        let plan = match begun {
            Some(Begun { creates: true, tables, .. }) => plan_again(schema, existing, tables, options)?,
            Some(_) => plan::decide(schema, &existing, &Options { schema: SchemaMode::Fill, ..options.clone() }, Purpose::Copy)?,
            None => plan::decide(schema, &existing, options, Purpose::Copy)?,
        };
        // A copy that was begun has given its names already.
        let taken =
            if plan.creates && begun.is_none() { target::read_names(control, &options.target_schema).await? } else { Vec::new() };
        if plan.creates {
            plan::refuse_taken(&plan, &taken)?;
        }
        Ok(Self { path: source.to_owned(), snapshot, plan, taken })
    }

    /// Refuses target tables that hold rows.
    pub(super) async fn refuse_rows(&self, control: &mut PgConnection, options: &Options) -> Result<(), Error> {
        if self.plan.creates {
            return Ok(());
        }
        let mut filled = Vec::new();
        for table in &self.plan.tables {
            if target::has_rows(control, &table.target).await? {
                filled.push(format!("`{}`", table.target.name));
            }
        }
        if filled.is_empty() {
            Ok(())
        } else {
            Err(Error::NotEmpty { tables: filled.join(", "), copy_id: options.copy_id.clone() })
        }
    }

    /// Writes the first checkpoint, and either creates the tables or lays foreign keys and triggers to rest.
    pub(super) async fn begin(&mut self, control: &mut PgConnection, options: &Options) -> Result<Vec<Part>, Error> {
        self.refuse_rows(control, options).await?;
        self.probe_computed(control, options).await?;
        let parts = self.fresh_parts(options).await?;
        let mut left_out = Vec::new();
        let (before, deferred) =
            if self.plan.creates { self.creation(options, &mut left_out) } else { self.resting(control).await? };
        let tables: Vec<String> = self.plan.tables.iter().map(|table| table.target.qualified()).collect();
        let beginning = Beginning {
            copy_id: &options.copy_id,
            digest: &self.plan.digest(),
            creates: self.plan.creates,
            tables: &tables,
            parts: &parts,
            before: &before,
            deferred: &deferred,
            left_out: &left_out,
        };
        checkpoint::begin(control, &beginning).await?;
        Ok(parts)
    }

    /// Takes a begun copy over; returns its parts and the new epoch.
    pub(super) async fn resume(
        &mut self,
        control: &mut PgConnection,
        options: &Options,
        begun: &Begun,
    ) -> Result<(Vec<Part>, i64), Error> {
        if begun.digest != self.plan.digest() {
            let says = "tables, columns, types or casts differ from those of its beginning".to_owned();
            return Err(Error::PlanChanged { copy_id: options.copy_id.clone(), says });
        }
        let epoch = checkpoint::take_over(control, &options.copy_id).await?;
        Ok((checkpoint::parts(control, &options.copy_id).await?, epoch))
    }

    /// Fails when somebody wrote to the source since the snapshot was taken, unless that is allowed.
    pub(super) async fn check_unchanged(&self, options: &Options) -> Result<(), Error> {
        if options.source_may_change || !self.snapshot.has_changed()? {
            return Ok(());
        }
        let says =
            "the rows in the target are one consistent state, that of the copy's beginning, and later writes are missing. \
            Stop what writes to it, undo the copy and begin anew; or set `source_may_change` if that state is wanted"
                .to_owned();
        Err(Error::SourceChanged { when: "during the copy", says })
    }

    /// Tries tables with computed columns in a transaction that is rolled back: only PostgreSQL knows whether it takes the expressions.
    async fn probe_computed(&mut self, control: &mut PgConnection, options: &Options) -> Result<(), Error> {
        for table in self.plan.tables.iter_mut().filter(|table| !table.computed.is_empty()) {
            let doing = format!("trying the computed columns of table `{}`", table.name());
            let schema = format!("BEGIN; CREATE SCHEMA IF NOT EXISTS {}", quoted(&options.target_schema));
            execute(control, &doing, schema).await?;
            let tried = execute(control, &doing, create::create_table(table, &mut Vec::new())).await;
            execute(control, &doing, "ROLLBACK").await?;
            match tried {
                Ok(()) => {}
                Err(Error::Server { sqlstate, .. }) if sqlstate.starts_with("42") => {
                    self.plan.left_out.extend(table.store_computed())
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn creation(&self, options: &Options, left_out: &mut Vec<LeftOut>) -> (Vec<(String, String)>, Vec<Deferred>) {
        let (statements, deferred) = create::statements(&self.plan, &self.taken, left_out);
        let schema = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(&options.target_schema));
        let named =
            statements.into_iter().zip(&self.plan.tables).map(|(sql, table)| (format!("creating table `{}`", table.name()), sql));
        (std::iter::once((format!("creating schema `{}`", options.target_schema), schema)).chain(named).collect(), deferred)
    }

    /// Foreign keys and triggers would reject or change rows in mid-load, and cycles could not be loaded at all. They are taken
    /// away with the beginning and come back, as they were, with the end.
    async fn resting(&self, control: &mut PgConnection) -> Result<(Vec<(String, String)>, Vec<Deferred>), Error> {
        let oids: Vec<i64> = self.plan.tables.iter().map(|table| table.target.oid).collect();
        let resting = target::read_resting(control, &oids).await?;
        let before = resting
            .iter()
            .map(|item| (format!("laying {} {} of {} to rest", item.what, item.name, item.table), item.drop.clone()))
            .collect();
        let deferred = resting
            .into_iter()
            .map(|item| Deferred {
                wave: if item.what == "trigger" { WAVE_TRIGGERS } else { WAVE_FOREIGN_KEYS },
                what: format!("{} {}", item.what, item.name),
                table: item.table,
                sql: item.restore,
                reverse: item.offenders.is_some().then_some(item.drop),
                offenders: item.offenders,
                optional: false,
            })
            .collect();
        Ok((before, deferred))
    }

    /// Parts that nothing was read of yet.
    pub(super) async fn fresh_parts(&mut self, options: &Options) -> Result<Vec<Part>, Error> {
        let (path, plan, streams) = (self.path.clone(), self.plan.clone(), options.streams);
        let connections = self.snapshot.take_connections();
        let (connections, parts) = blocking(move || {
            let mut parts = Vec::new();
            for table in &plan.tables {
                parts.extend(split(&path, &connections[0], table, streams)?);
            }
            Ok((connections, parts))
        })
        .await?;
        self.snapshot.give_back(connections);
        Ok(parts)
    }
}

/// A copy that created its tables plans as if they were not there yet, so that the digest stays the same. Which columns
/// PostgreSQL computes was found out at the beginning, and shows in the tables.
fn plan_again(schema: Schema, existing: Vec<target::Table>, created: &[String], options: &Options) -> Result<Plan, Error> {
    let (own, others): (Vec<_>, Vec<_>) = existing.into_iter().partition(|table| created.contains(&table.qualified()));
    let mut plan = plan::decide(schema, &others, &Options { schema: SchemaMode::Create, ..options.clone() }, Purpose::Copy)?;
    for table in &mut plan.tables {
        let found = own.iter().find(|found| found.name == table.target.name);
        let is_computed =
            |name: &str| found.is_some_and(|found| found.columns.iter().any(|column| column.generated && column.name == name));
        if !table.computed.iter().all(|(column, _)| is_computed(&column.target)) {
            plan.left_out.extend(table.store_computed());
        }
    }
    Ok(plan)
}

/// Splits a table into ranges of its rowid of equal width. Ranges of uneven fill cost speed, never rows: together they
/// cover every rowid, because the first and the last are open.
fn split(path: &Path, connection: &Connection, table: &TablePlan, streams: usize) -> Result<Vec<Part>, Error> {
    let name = table.name();
    let count = usize::try_from(table.source.rows / PART_ROWS_MIN).unwrap_or(usize::MAX).clamp(1, streams * PARTS_PER_STREAM);
    let RowKey::Rowid(alias) = &table.source.key else {
        return Ok(vec![Part::fresh(name, 0, None, None)]);
    };
    if count == 1 || streams == 1 {
        return Ok(vec![Part::fresh(name, 0, None, None)]);
    }
    let sql = format!("SELECT min({0}), max({0}) FROM {1}", quoted(alias), quoted(name));
    let (min, max): (i64, i64) = connection
        .query_row(&sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|error| failure(path, &format!("measuring table `{name}`"), &error))?;
    let width = (i128::from(max) - i128::from(min)) / i128::try_from(count).unwrap_or(1) + 1;
    let border = |number: usize| i64::try_from(i128::from(min) + width * i128::try_from(number).unwrap_or(0)).unwrap_or(i64::MAX);
    let parts = (0..count).map(|number| {
        let low = (number > 0).then(|| border(number));
        let high = (number + 1 < count).then(|| border(number + 1) - 1);
        Part::fresh(name, number, low, high)
    });
    Ok(parts.collect())
}

/// Runs blocking work and waits for it.
pub(in crate::transfer) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Defect(error.to_string()))?
}
