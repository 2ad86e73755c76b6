//! Which table goes where and how each column is read: decided once, before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use super::cast::Cast;
use super::copy::{Options, SchemaMode};
use super::encode::Format;
use super::error::{Error, FaultCode, Mismatch};
use super::kind::Kind;
use super::policy::{Policies, Policy};
use super::source::{self, LeftOut, RowKey, quoted};
use super::{create, sqlite_sql, target};

/// Everything that a copy or a verification does, table by table, parents before children.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) tables: Vec<TablePlan>,
    /// Whether the tables are created by the copy.
    pub(super) creates: bool,
    pub(super) left_out: Vec<LeftOut>,
}

/// One table's way.
#[derive(Debug, Clone)]
pub(super) struct TablePlan {
    pub(super) source: source::Table,
    pub(super) target: target::Table,
    pub(super) columns: Vec<ColumnPlan>,
    /// Columns that the created table computes itself, each with its expression.
    pub(super) computed: Vec<(ColumnPlan, String)>,
    pub(super) format: Format,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Columns that the target computes are not sent.
    Copy,
    /// They are compared all the same.
    Compare,
}

/// One column's way.
#[derive(Debug, Clone, Default)]
pub(super) struct ColumnPlan {
    /// Index into the source table's columns.
    pub(super) source: usize,
    /// The name in the source.
    pub(super) name: String,
    /// The name in the target.
    pub(super) target: String,
    pub(super) type_name: String,
    pub(super) kind: Kind,
    pub(super) not_null: bool,
    pub(super) cast: Option<Cast>,
    /// What to do about values that do not fit.
    pub(super) policies: Policies,
    /// The sequence that must end up beyond the column's values.
    pub(super) sequence: Option<String>,
}

impl ColumnPlan {
    /// The policies that change values. Those that only decide between stopping and putting aside may differ on resume.
    fn changes(&self) -> Vec<(FaultCode, Policy)> {
        let all = self.policies.iter().map(|(code, policy)| (*code, *policy));
        all.filter(|(_, policy)| !matches!(policy, Policy::Fail | Policy::Quarantine)).collect()
    }
}

impl TablePlan {
    /// The table's name in the source.
    pub(super) fn name(&self) -> &str {
        &self.source.name
    }

    /// What to do about a row that the server refuses: the policy of the column that it names, else the strictest of all.
    pub(super) fn policy_for(&self, column: &str, code: FaultCode) -> Policy {
        let own = self.columns.iter().find(|found| found.name == column).and_then(|found| found.policies.get(&code));
        let mut all = self.columns.iter().filter_map(|found| found.policies.get(&code));
        let mut refused = || if all.any(|policy| *policy == Policy::Fail) { Policy::Fail } else { Policy::Quarantine };
        match own {
            Some(policy @ (Policy::Fail | Policy::Quarantine)) => *policy,
            Some(_) => Policy::Quarantine,
            None => refused(),
        }
    }

    /// The quoted names of the target's columns, in the order of the rows.
    pub(super) fn target_columns(&self) -> String {
        self.columns.iter().map(|column| quoted(&column.target)).collect::<Vec<_>>().join(", ")
    }

    /// Sends the values of computed columns instead, because PostgreSQL cannot compute them.
    pub(super) fn store_computed(&mut self) -> Vec<LeftOut> {
        let computed = std::mem::take(&mut self.computed);
        let left_out =
            computed.iter().map(|(column, expression)| not_computed(&self.source.name, &column.name, expression)).collect();
        self.columns.extend(computed.into_iter().map(|(column, _)| column));
        self.columns.sort_by_key(|column| column.source);
        self.format = format_of(&self.columns);
        left_out
    }

    /// The COPY statement.
    pub(super) fn copy_statement(&self) -> String {
        format!("COPY {} ({}) FROM STDIN (FORMAT {})", self.target.qualified(), self.target_columns(), self.format.as_sql())
    }

    /// Positions in `columns` of the source's primary key; `None` without one.
    pub(super) fn key_positions(&self) -> Option<Vec<usize>> {
        let position = |index: &usize| self.columns.iter().position(|column| column.source == *index);
        let positions = self.source.primary_key.iter().map(position).collect::<Option<Vec<_>>>()?;
        (!positions.is_empty()).then_some(positions)
    }
}

impl Plan {
    /// A digest of everything that decides how rows are read and written, for the comparison on resume.
    pub(super) fn digest(&self) -> String {
        let mut hasher = Sha256::new();
        for table in &self.tables {
            hasher.update(format!(
                "{}\0{}\0{}\0{:?}\0",
                table.source.name,
                table.source.sql,
                table.target.qualified(),
                table.format
            ));
            for column in &table.columns {
                hasher.update(format!(
                    "{}\0{}\0{:?}\0{:?}\0{:?}\0",
                    column.name,
                    column.target,
                    column.kind,
                    column.cast,
                    (column.not_null, column.changes())
                ));
            }
        }
        hex::encode(&hasher.finalize()[..16])
    }
}

/// Decides how `schema` fills `existing`, or what is created.
///
/// # Errors
/// [`Error::Schema`] with every mismatch at once; [`Error::Options`] for a table or cast that names nothing.
pub(super) fn decide(
    schema: source::Schema,
    existing: &[target::Table],
    options: &Options,
    purpose: Purpose,
) -> Result<Plan, Error> {
    let selected = select(&schema, options)?;
    check_casts(&selected, options)?;
    check_policies(&selected, options)?;
    let ordered = parents_first(selected);
    let creates = match options.schema {
        SchemaMode::Fill => false,
        SchemaMode::Create => true,
        SchemaMode::Auto => !ordered.iter().any(|table| matches!(target::find_table(existing, &table.name), Ok(Some(_)))),
    };
    let mut mismatches = Vec::new();
    let mut left_out = schema.left_out;
    let mut tables = Vec::new();
    for table in ordered {
        let planned = if creates {
            plan_created(table, existing, options, &mut left_out)
        } else {
            plan_filled(table, existing, options, purpose, &mut left_out)
        };
        match planned {
            Ok(planned) => tables.push(planned),
            Err(mut found) => mismatches.append(&mut found),
        }
    }
    if !creates && options.tables.is_none() {
        mismatches.extend(unexpected_tables(&tables, &mismatches, existing, options, purpose));
    }
    if mismatches.is_empty() { Ok(Plan { tables, creates, left_out }) } else { Err(Error::Schema(mismatches)) }
}

fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

fn select(schema: &source::Schema, options: &Options) -> Result<Vec<source::Table>, Error> {
    let known = || schema.tables.iter().map(|table| table.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut tables = schema.tables.clone();
    if let Some(names) = &options.tables {
        if let Some(missing) = names.iter().find(|name| !tables.iter().any(|table| same(&table.name, name))) {
            let says = format!("the SQLite database has no table `{missing}`; it has: {}", known());
            return Err(Error::Options { option: "tables".to_owned(), says });
        }
        tables.retain(|table| names.iter().any(|name| same(&table.name, name)));
    }
    tables.retain(|table| !options.exclude.iter().any(|name| same(&table.name, name)));
    if tables.is_empty() {
        return Err(Error::Options {
            option: "tables".to_owned(),
            says: "no table is left: the SQLite database has none, or `exclude` names them all".to_owned(),
        });
    }
    Ok(tables)
}

fn check_casts(tables: &[source::Table], options: &Options) -> Result<(), Error> {
    for name in options.casts.keys() {
        let known = name.split_once('.').is_some_and(|(table, column)| {
            tables
                .iter()
                .filter(|found| same(&found.name, table))
                .any(|found| found.columns.iter().any(|c| same(&c.name, column)))
        });
        if !known {
            let says = "names no `table.column` of the tables that are copied".to_owned();
            return Err(Error::Options { option: format!("casts `{name}`"), says });
        }
    }
    Ok(())
}

fn check_policies(tables: &[source::Table], options: &Options) -> Result<(), Error> {
    for (name, policies) in &options.policies {
        let option = || format!("policies `{name}`");
        let known = name == "*"
            || tables.iter().any(|table| table.columns.iter().any(|c| same(name, &format!("{}.{}", table.name, c.name))));
        if !known {
            let says = "names neither `*` nor a `table.column` of the tables that are copied".to_owned();
            return Err(Error::Options { option: option(), says });
        }
        if let Some((code, policy)) = policies.iter().find(|(code, policy)| !policy.applies_to(**code)) {
            return Err(Error::Options {
                option: option(),
                says: format!("`{}` can do nothing about `{code}`", policy.as_str()),
            });
        }
    }
    Ok(())
}

/// A column's own policies before those for all columns, and the general rule for whatever is not named.
fn policies_of(table: &source::Table, column: &source::Column, options: &Options) -> Policies {
    let wanted = format!("{}.{}", table.name, column.name);
    let general = options.on_fault.as_policy();
    let mut policies: Policies = FaultCode::ALL.into_iter().map(|code| (code, general)).collect();
    for matches in [|name: &str, _: &str| name == "*", same] {
        let found = options.policies.iter().filter(|(name, _)| matches(name, &wanted));
        policies.extend(found.flat_map(|(_, policies)| policies.iter().map(|(code, policy)| (*code, *policy))));
    }
    policies
}

fn declared_cast(table: &source::Table, column: &source::Column, options: &Options) -> Option<Cast> {
    let wanted = format!("{}.{}", table.name, column.name);
    options.casts.iter().find(|(name, _)| same(name, &wanted)).map(|(_, cast)| *cast)
}

/// Tables in an order in which a foreign key's parent comes before its children; members of a cycle by name.
fn parents_first(tables: Vec<source::Table>) -> Vec<source::Table> {
    let mut waiting: BTreeMap<String, source::Table> =
        tables.into_iter().map(|table| (table.name.to_lowercase(), table)).collect();
    let mut ordered = Vec::new();
    while !waiting.is_empty() {
        let is_free = |table: &source::Table| {
            let name = table.name.to_lowercase();
            !table
                .foreign_keys
                .iter()
                .map(|key| key.parent.to_lowercase())
                .any(|parent| parent != name && waiting.contains_key(&parent))
        };
        let mut free: Vec<String> = waiting.iter().filter(|(_, table)| is_free(table)).map(|(name, _)| name.clone()).collect();
        if free.is_empty() {
            free.extend(waiting.keys().next().cloned());
        }
        ordered.extend(free.iter().filter_map(|name| waiting.remove(name)));
    }
    ordered
}

fn check_walkable(table: &source::Table) -> Result<(), Vec<Mismatch>> {
    match &table.key {
        RowKey::Rowid(alias) if alias.is_empty() => Err(vec![Mismatch {
            what: table.name.clone(),
            says: "its columns hide all three names of the rowid, so its rows cannot be told apart; rename one of `rowid`, `_rowid_`, `oid`".to_owned(),
        }]),
        RowKey::Rowid(_) | RowKey::Primary => Ok(()),
    }
}

fn plan_created(
    table: source::Table,
    existing: &[target::Table],
    options: &Options,
    left_out: &mut Vec<LeftOut>,
) -> Result<TablePlan, Vec<Mismatch>> {
    check_walkable(&table)?;
    let is_copied = |index: &usize| {
        let what = format!("{}.{}", table.name, table.columns[*index].name);
        !options.exclude.iter().any(|name| same(name, &what))
    };
    let copied: Vec<usize> = (0..table.columns.len()).filter(is_copied).collect();
    let mut mismatches = unnameable(&table, &copied);
    if existing.iter().any(|found| found.name == table.name) {
        mismatches.push(Mismatch {
            what: table.name.clone(),
            says: "is to be created, but the target has it already; use `schema: fill`, or drop it".to_owned(),
        });
    }
    if !mismatches.is_empty() {
        return Err(mismatches);
    }
    let plan_column = |index: usize| {
        let column = &table.columns[index];
        let planned = create::plan_column(&table, index, declared_cast(&table, column, options));
        ColumnPlan { policies: policies_of(&table, column, options), ..planned }
    };
    let columns: Vec<ColumnPlan> = copied.into_iter().map(plan_column).collect();
    let target = target::Table {
        schema: options.target_schema.clone(),
        name: table.name.clone(),
        oid: 0,
        partitioned: false,
        columns: Vec::new(),
    };
    let mut planned = finish(table, target, columns);
    compute(&mut planned, left_out);
    Ok(planned)
}

/// Columns that every table of PostgreSQL has by itself.
/// Source: <https://www.postgresql.org/docs/current/ddl-system-columns.html>
const SYSTEM_COLUMNS: [&str; 6] = ["tableoid", "xmin", "cmin", "xmax", "cmax", "ctid"];
/// Source: <https://www.postgresql.org/docs/current/limits.html>
const COLUMNS_MAX: usize = 1_600;

/// What SQLite lets a table be and PostgreSQL does not, whatever its rows hold.
fn unnameable(table: &source::Table, copied: &[usize]) -> Vec<Mismatch> {
    let refused = |what: String, says: &str| Mismatch {
        what,
        says: format!("{says}; rename it in the source, or leave it out with `exclude`"),
    };
    let columns = copied.iter().map(|index| &table.columns[*index].name);
    let mut mismatches: Vec<Mismatch> = columns
        .clone()
        .filter_map(|name| {
            let reserved =
                SYSTEM_COLUMNS.contains(&name.as_str()).then_some("every table of PostgreSQL has a system column of this name");
            unusable(name).or(reserved).map(|says| refused(format!("{}.{name}", table.name), says))
        })
        .collect();
    mismatches.extend(unusable(&table.name).map(|says| refused(table.name.clone(), says)));
    if copied.len() > COLUMNS_MAX {
        mismatches.push(Mismatch {
            what: table.name.clone(),
            says: format!(
                "it has {} columns, and PostgreSQL ends at {COLUMNS_MAX}; leave some out with `exclude`, or split the table",
                copied.len()
            ),
        });
    }
    mismatches
}

fn unusable(name: &str) -> Option<&'static str> {
    match name {
        "" => Some("PostgreSQL has no empty names"),
        _ if name.contains('\0') => Some("PostgreSQL has no zero bytes in names"),
        _ if name.len() > create::NAME_BYTES_MAX => Some("the name is longer than the 63 bytes that PostgreSQL keeps"),
        _ => None,
    }
}

/// Refuses tables that are to be created under a name that something else has: a view, an index, a sequence or a type of the target's
/// schema (`taken`), or the sequence behind another created table.
pub(super) fn refuse_taken(plan: &Plan, taken: &[String]) -> Result<(), Error> {
    let sequences: BTreeSet<String> = plan.tables.iter().filter_map(create::identity_sequence).collect();
    let clash = |table: &TablePlan| {
        let name = &table.target.name;
        let says = if taken.contains(name) {
            "something else in the target's schema has this name (a view, an index, a sequence or a type); rename or drop that, or choose another schema"
        } else if sequences.contains(name) {
            "PostgreSQL gives this name to the sequence of another table's key; rename the table in the source, or leave it out with `exclude`"
        } else {
            return None;
        };
        Some(Mismatch { what: table.name().to_owned(), says: says.to_owned() })
    };
    let mismatches: Vec<Mismatch> = plan.tables.iter().filter_map(clash).collect();
    if mismatches.is_empty() { Ok(()) } else { Err(Error::Schema(mismatches)) }
}

/// Leaves to PostgreSQL what it can compute: expressions over stored columns that mean the same there.
fn compute(table: &mut TablePlan, left_out: &mut Vec<LeftOut>) {
    let definitions = sqlite_sql::Definitions::read(&table.source.sql);
    let is_computed = |column: &ColumnPlan| definitions.generated.iter().any(|(name, _)| same(name, &column.name));
    let stored: Vec<ColumnPlan> = table.columns.iter().filter(|column| !is_computed(column)).cloned().collect();
    for (name, tokens) in &definitions.generated {
        let Some(at) = table.columns.iter().position(|column| same(name, &column.name)) else { continue };
        match sqlite_sql::translate(tokens, &stored) {
            Some(expression) => {
                let column = table.columns.remove(at);
                table.computed.push((column, expression));
            }
            None => left_out.push(not_computed(&table.source.name, name, "its expression")),
        }
    }
    table.format = format_of(&table.columns);
}

fn not_computed(table: &str, column: &str, expression: &str) -> LeftOut {
    LeftOut {
        kind: "generated column".to_owned(),
        name: format!("{column} of {table}"),
        reason: format!("{expression} cannot be computed by PostgreSQL; its values are copied into a plain column"),
    }
}

fn plan_filled(
    table: source::Table,
    existing: &[target::Table],
    options: &Options,
    purpose: Purpose,
    left_out: &mut Vec<LeftOut>,
) -> Result<TablePlan, Vec<Mismatch>> {
    check_walkable(&table)?;
    let found = target::find_table(existing, &table.name).map_err(|mismatch| vec![mismatch])?;
    let Some(target) = found.cloned() else {
        let mend = match purpose {
            Purpose::Copy => "create it there, leave it out with `exclude`, or use `schema: create`",
            Purpose::Compare => "copy it there first, or leave it out with `exclude`",
        };
        let says = format!("the target's schema `{}` has no such table; {mend}", options.target_schema);
        return Err(vec![Mismatch { what: table.name.clone(), says }]);
    };
    let (mut columns, mut mismatches) = (Vec::new(), Vec::new());
    for (index, column) in table.columns.iter().enumerate() {
        match fill_column(&table, index, &target, options, purpose) {
            Ok(Some(planned)) => columns.push(planned),
            Ok(None) => left_out.push(LeftOut {
                kind: "column".to_owned(),
                name: format!("{}.{}", table.name, column.name),
                reason: "the target computes it, or the options leave it out".to_owned(),
            }),
            Err(mismatch) => mismatches.push(mismatch),
        }
    }
    mismatches.extend(unfilled_columns(&table, &target, &columns, options));
    if mismatches.is_empty() { Ok(finish(table, target, columns)) } else { Err(mismatches) }
}

fn fill_column(
    table: &source::Table,
    index: usize,
    target: &target::Table,
    options: &Options,
    purpose: Purpose,
) -> Result<Option<ColumnPlan>, Mismatch> {
    let column = &table.columns[index];
    let what = format!("{}.{}", table.name, column.name);
    let is_left_out = options.exclude.iter().any(|name| same(name, &what));
    let found = target::find_column(&target.columns, &column.name)?;
    let Some(found) = found.filter(|_| !is_left_out) else {
        if is_left_out {
            return Ok(None);
        }
        let says = "the target's table has no such column; add it there, or leave it out with `exclude`".to_owned();
        return Err(Mismatch { what, says });
    };
    if found.generated && purpose == Purpose::Copy {
        return Ok(None);
    }
    let cast = declared_cast(table, column, options);
    if let Some(cast) = cast.filter(|cast| !cast.fits(&found.kind)) {
        let word = serde_json::to_string(&cast).unwrap_or_default();
        return Err(Mismatch { what, says: format!("the cast {word} does not give the target's type {}", found.type_name) });
    }
    Ok(Some(ColumnPlan {
        source: index,
        name: column.name.clone(),
        target: found.name.clone(),
        type_name: found.type_name.clone(),
        kind: found.kind.clone(),
        not_null: found.not_null,
        cast,
        policies: policies_of(table, column, options),
        sequence: found.sequence.clone(),
    }))
}

fn unfilled_columns(table: &source::Table, target: &target::Table, columns: &[ColumnPlan], options: &Options) -> Vec<Mismatch> {
    let filled: BTreeSet<&str> = columns.iter().map(|column| column.target.as_str()).collect();
    let is_expected = |column: &&target::Column| {
        let what = format!("{}.{}", table.name, column.name);
        column.generated
            || filled.contains(column.name.as_str())
            || table.columns.iter().any(|found| same(&found.name, &column.name))
            || options.exclude.iter().any(|name| same(name, &what))
    };
    let missing = target.columns.iter().filter(|column| !is_expected(column));
    missing
        .map(|column| {
            let default = if column.has_default || !column.not_null {
                "it would get its default"
            } else {
                "it is NOT NULL and has no default"
            };
            let what = format!("{}.{}", table.name, column.name);
            Mismatch {
                says: format!(
                    "the target has this column and the source has not ({default}); name it in `exclude` if that is meant"
                ),
                what,
            }
        })
        .collect()
}

/// Tables of the target that nothing fills.
fn unexpected_tables(
    tables: &[TablePlan],
    failed: &[Mismatch],
    existing: &[target::Table],
    options: &Options,
    purpose: Purpose,
) -> Vec<Mismatch> {
    let is_expected = |table: &&target::Table| {
        tables.iter().any(|planned| planned.target.oid == table.oid)
            || failed.iter().any(|mismatch| same(mismatch.what.split('.').next().unwrap_or_default(), &table.name))
            || options.exclude.iter().any(|name| same(name, &table.name))
    };
    let wanted = match purpose {
        Purpose::Copy => "copy",
        Purpose::Compare => "compare",
    };
    let says = format!(
        "the target has this table and the source has not; name it in `exclude`, or name the tables to {wanted} in `tables`"
    );
    existing
        .iter()
        .filter(|table| !is_expected(table))
        .map(|table| Mismatch { what: table.name.clone(), says: says.clone() })
        .collect()
}

fn finish(source: source::Table, target: target::Table, columns: Vec<ColumnPlan>) -> TablePlan {
    TablePlan { format: format_of(&columns), source, target, columns, computed: Vec::new() }
}

fn format_of(columns: &[ColumnPlan]) -> Format {
    if columns.iter().all(|column| column.kind.is_binary_safe()) { Format::Binary } else { Format::Text }
}
