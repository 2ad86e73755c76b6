//! The schema that a copy creates: types by SQLite's own rules, keys, indexes and foreign keys once the rows are in.

use std::collections::BTreeSet;

use super::cast::Cast;
use super::error::FaultCode;
use super::kind::Kind;
use super::plan::{ColumnPlan, Plan, TablePlan};
use super::source::{self, LeftOut, RowKey, quoted};
use super::sqlite_sql::{self, Definitions};

/// A statement that waits until the rows are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Deferred {
    /// Statements of one wave may run side by side; a wave starts when the one before it is done.
    pub(super) wave: i32,
    /// The table, quoted and with its schema.
    pub(super) table: String,
    /// What it brings, for people: `index a_idx`.
    pub(super) what: String,
    pub(super) sql: String,
    /// Takes it away again, where rows may have to go before it can be made.
    pub(super) reverse: Option<String>,
    /// Finds the rows that keep it from being made.
    pub(super) offenders: Option<Offenders>,
    /// Whether a refusal by PostgreSQL for its form (not for the data) is reported instead of ending the copy.
    pub(super) optional: bool,
}

/// How the rows that break a constraint are found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offenders {
    pub(super) code: FaultCode,
    /// A query for the `ctid`s, as text, of the rows that must go.
    pub(super) sql: String,
}

impl Offenders {
    /// Rows whose key occurred before; the first by `order` stays.
    pub(super) fn duplicates(table: &str, keys: &[String], filter: Option<&str>, order: &str) -> Self {
        let present = keys.iter().map(|key| format!("{key} IS NOT NULL")).chain(filter.map(|filter| format!("({filter})")));
        let present = present.collect::<Vec<_>>().join(" AND ");
        let sql = format!(
            "SELECT at FROM (SELECT ctid::text AS at, row_number() OVER (PARTITION BY {} ORDER BY {order}) AS occurrence FROM {table} WHERE {present}) d \
             WHERE occurrence > 1",
            keys.join(", ")
        );
        Self { code: FaultCode::DuplicateKey, sql }
    }

    /// Rows of `table` whose parent is missing.
    pub(super) fn orphans(table: &str, from: &[String], parent: &str, to: &[String]) -> Self {
        let present = from.iter().map(|column| format!("c.{column} IS NOT NULL")).collect::<Vec<_>>().join(" AND ");
        let matching = from.iter().zip(to).map(|(from, to)| format!("p.{to} = c.{from}")).collect::<Vec<_>>().join(" AND ");
        let sql = format!(
            "SELECT c.ctid::text FROM {table} c WHERE {present} AND NOT EXISTS (SELECT FROM {parent} p WHERE {matching})"
        );
        Self { code: FaultCode::Orphan, sql }
    }

    /// Rows for which a condition is false.
    pub(super) fn violations(table: &str, condition: &str) -> Self {
        Self { code: FaultCode::CheckViolation, sql: format!("SELECT ctid::text FROM {table} WHERE NOT ({condition})") }
    }
}

/// The longest name that PostgreSQL keeps.
/// Source: <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>
pub(super) const NAME_BYTES_MAX: usize = 63;

/// Indexes, built side by side.
pub(super) const WAVE_INDEXES: i32 = 0;
/// Keys and unique constraints that take over a finished index.
pub(super) const WAVE_KEYS: i32 = 1;
/// Foreign keys, not yet validated: quick, but each locks two tables.
pub(super) const WAVE_FOREIGN_KEYS: i32 = 2;
/// Validation of the foreign keys, side by side.
pub(super) const WAVE_VALIDATION: i32 = 3;
/// Triggers, after everything that touches rows.
pub(super) const WAVE_TRIGGERS: i32 = 4;

/// The type of a created column: the declared cast's, else by the declared type's name, else by SQLite's affinity.
pub(super) fn plan_column(table: &source::Table, index: usize, cast: Option<Cast>) -> ColumnPlan {
    let column = &table.columns[index];
    let (type_name, kind) = if is_rowid_column(table, index) {
        ("bigint", Kind::Int8)
    } else {
        cast.map_or_else(|| type_of(&column.declared), Cast::creates)
    };
    ColumnPlan {
        source: index,
        name: column.name.clone(),
        target: column.name.clone(),
        type_name: type_name.to_owned(),
        kind,
        not_null: column.not_null || table.primary_key.contains(&index),
        cast,
        ..ColumnPlan::default()
    }
}

fn is_rowid_column(table: &source::Table, index: usize) -> bool {
    matches!(&table.key, RowKey::Rowid(alias) if *alias == table.columns[index].name && table.primary_key == [index])
}

/// Names first, because SQLite's affinity rules would make `DATETIME`, `BOOLEAN` and `JSON` numeric.
/// Source of the rest: <https://www.sqlite.org/datatype3.html#determination_of_column_affinity>
fn type_of(declared: &str) -> (&'static str, Kind) {
    let upper = declared.to_ascii_uppercase();
    let name = upper.split('(').next().unwrap_or_default().trim();
    match name {
        "BOOLEAN" | "BOOL" => ("boolean", Kind::Bool),
        "TIMESTAMPTZ" | "TIMESTAMP WITH TIME ZONE" | "DATETIMEOFFSET" => ("timestamptz", Kind::TimestampTz(6)),
        "DATETIME" | "TIMESTAMP" | "DATETIME2" | "TIMESTAMP WITHOUT TIME ZONE" => ("timestamp", Kind::Timestamp(6)),
        "DATE" => ("date", Kind::Date),
        "TIME" => ("time", Kind::Time(6)),
        "UUID" | "GUID" | "UNIQUEIDENTIFIER" => ("uuid", Kind::Uuid),
        "JSON" | "JSONB" => ("jsonb", Kind::Jsonb),
        "DECIMAL" | "NUMERIC" | "NUMBER" | "MONEY" | "SMALLMONEY" => ("numeric", Kind::Numeric(None)),
        "BYTEA" | "VARBINARY" | "BINARY" | "IMAGE" => ("bytea", Kind::Bytea),
        _ if name.contains("INT") => ("bigint", Kind::Int8),
        _ if ["CHAR", "CLOB", "TEXT", "STRING", "ENUM"].iter().any(|part| name.contains(part)) => ("text", Kind::Text(None)),
        _ if name.contains("BLOB") => ("bytea", Kind::Bytea),
        _ if ["REAL", "FLOA", "DOUB"].iter().any(|part| name.contains(part)) => ("double precision", Kind::Float8),
        // No declared type, or one without a meaning of its own: text holds every number and every text.
        _ => ("text", Kind::Text(None)),
    }
}

/// The statements before the rows, and those after them; what cannot be carried over goes to `left_out`. `taken` are the names that
/// the target's schema holds already: indexes share them with tables, views and sequences.
pub(super) fn statements(plan: &Plan, taken: &[String], left_out: &mut Vec<LeftOut>) -> (Vec<String>, Vec<Deferred>) {
    let mut before = Vec::new();
    let mut after = Vec::new();
    let own = plan.tables.iter().flat_map(|table| std::iter::once(table.target.name.clone()).chain(identity_sequence(table)));
    let mut names = Names { relations: taken.iter().cloned().chain(own).collect(), constraints: BTreeSet::new() };
    for table in &plan.tables {
        before.push(create_table(table, left_out));
        let described = Described::new(table);
        names.constraints.clear();
        after.extend(described.keys_and_indexes(&mut names, left_out));
        after.extend(described.checks(&mut names, left_out));
        after.extend(described.foreign_keys(plan, &mut names, left_out));
        let collations = described.definitions.collations.iter();
        left_out.extend(collations.map(|(column, collation)| {
            let reason = format!("comparisons of `{column}` use {collation} in SQLite and tell every letter apart in PostgreSQL; unique constraints keep it");
            described.left_out("collation", column, reason)
        }));
    }
    (before, after)
}

/// The CREATE statement of a table; defaults that cannot be said go to `left_out`.
pub(super) fn create_table(table: &TablePlan, left_out: &mut Vec<LeftOut>) -> String {
    let mut lines = Vec::new();
    let computed = |column: &ColumnPlan| {
        table.computed.iter().find(|(own, _)| own.source == column.source).map(|(_, expression)| expression)
    };
    let mut columns: Vec<&ColumnPlan> = table.columns.iter().chain(table.computed.iter().map(|(column, _)| column)).collect();
    columns.sort_by_key(|column| column.source);
    for column in columns {
        let mut line = format!("{} {}", quoted(&column.target), column.type_name);
        if let Some(expression) = computed(column) {
            line.push_str(&format!(" GENERATED ALWAYS AS ({expression}) STORED"));
        } else if is_rowid_column(&table.source, column.source) {
            line.push_str(" GENERATED BY DEFAULT AS IDENTITY");
        } else if let Some(default) = &table.source.columns[column.source].default {
            match translate_default(default, column) {
                Some(default) => line.push_str(&format!(" DEFAULT {default}")),
                None => left_out.push(LeftOut {
                    kind: "default".to_owned(),
                    name: format!("{}.{}", table.name(), column.name),
                    reason: format!("`{default}` is SQLite's; set a default in the target by hand"),
                }),
            }
        }
        if column.not_null {
            line.push_str(" NOT NULL");
        }
        lines.push(line);
    }
    format!("CREATE TABLE {} ({})", table.target.qualified(), lines.join(", "))
}

/// A default as PostgreSQL writes it, or `None` when it cannot be said there.
fn translate_default(sql: &str, column: &ColumnPlan) -> Option<String> {
    let mut text = sql.trim();
    while let Some(inner) = text.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        text = inner.trim();
    }
    let upper: String = text.to_ascii_uppercase().split_whitespace().collect();
    let is_number = text.parse::<f64>().is_ok_and(f64::is_finite)
        && text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match (&column.kind, upper.as_str()) {
        (_, "NULL") => Some("NULL".to_owned()),
        (Kind::Bool, "0" | "FALSE" | "'0'" | "'FALSE'" | "'F'") => Some("false".to_owned()),
        (Kind::Bool, "1" | "TRUE" | "'1'" | "'TRUE'" | "'T'") => Some("true".to_owned()),
        (Kind::Int8 | Kind::Float8 | Kind::Numeric(_), "TRUE") => Some("1".to_owned()),
        (Kind::Int8 | Kind::Float8 | Kind::Numeric(_), "FALSE") => Some("0".to_owned()),
        (Kind::Int8 | Kind::Float8 | Kind::Numeric(_), _) if is_number => Some(text.to_owned()),
        (Kind::Text(_), _) if is_number => Some(format!("'{text}'")),
        (kind, now) if is_now(now) => now_as(kind).map(ToOwned::to_owned),
        (Kind::Bytea, _) => hex_literal(text).map(|hex| format!("'\\x{hex}'")),
        (kind, _) if !matches!(kind, Kind::Bool) => string_literal(text),
        _ => None,
    }
}

fn is_now(upper: &str) -> bool {
    matches!(
        upper,
        "CURRENT_TIMESTAMP"
            | "CURRENT_DATE"
            | "CURRENT_TIME"
            | "DATETIME('NOW')"
            | "DATE('NOW')"
            | "TIME('NOW')"
            | "UNIXEPOCH()"
            | "STRFTIME('%S','NOW')"
    )
}

/// SQLite's clock is UTC.
fn now_as(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::TimestampTz(_) => Some("CURRENT_TIMESTAMP"),
        Kind::Timestamp(_) => Some("(now() AT TIME ZONE 'utc')"),
        Kind::Date => Some("((now() AT TIME ZONE 'utc')::date)"),
        Kind::Time(_) => Some("((now() AT TIME ZONE 'utc')::time)"),
        Kind::Int8 => Some("(extract(epoch FROM now())::bigint)"),
        Kind::Text(_) => Some("to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD HH24:MI:SS')"),
        _ => None,
    }
}

fn hex_literal(text: &str) -> Option<String> {
    let digits = text.strip_prefix(['x', 'X'])?.strip_prefix('\'')?.strip_suffix('\'')?;
    hex::decode(digits).ok().map(hex::encode)
}

/// One quoted string and nothing else; double quotes, which SQLite lets pass for a string, become single ones.
fn string_literal(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let doubled = format!("{quote}{quote}");
    let content = inner.replace(&doubled, "\u{0}");
    if content.contains(quote) {
        return None;
    }
    Some(format!("'{}'", content.replace('\u{0}', &quote.to_string()).replace('\'', "''")))
}

/// The name that PostgreSQL gives to the sequence behind a created table's identity.
pub(super) fn identity_sequence(table: &TablePlan) -> Option<String> {
    let column = table.columns.iter().find(|column| is_rowid_column(&table.source, column.source))?;
    Some(format!("{}_{}_seq", table.target.name, column.target))
}

/// Names that are given away. PostgreSQL would cut a longer one without a word, and refuse the second of two that are equal then, when
/// the rows are in.
struct Names {
    /// Tables, views, sequences and indexes of one schema.
    relations: BTreeSet<String>,
    /// Constraints of one table.
    constraints: BTreeSet<String>,
}

impl Names {
    fn index(&mut self, wanted: &str) -> String {
        give(wanted, &mut [&mut self.relations])
    }

    /// For a constraint that takes over an index with its name.
    fn key(&mut self, wanted: &str) -> String {
        give(wanted, &mut [&mut self.relations, &mut self.constraints])
    }

    fn constraint(&mut self, wanted: &str) -> String {
        give(wanted, &mut [&mut self.constraints])
    }
}

/// `wanted`, if it is short enough and free everywhere, else the first that is: its beginning, and a number.
fn give(wanted: &str, namespaces: &mut [&mut BTreeSet<String>]) -> String {
    let start = |bytes: usize| &wanted[..wanted.floor_char_boundary(bytes)];
    let numbered = (2_u64..).map(|number| format!("_{number}")).map(|end| format!("{}{end}", start(NAME_BYTES_MAX - end.len())));
    let mut candidates = std::iter::once(start(NAME_BYTES_MAX).to_owned()).chain(numbered);
    let free = candidates.find(|name| !namespaces.iter().any(|names| names.contains(name))).unwrap_or_default();
    for names in namespaces {
        names.insert(free.clone());
    }
    free
}

/// A table with what its CREATE statement says beyond the pragmas.
struct Described<'a> {
    table: &'a TablePlan,
    qualified: String,
    definitions: Definitions,
}

impl<'a> Described<'a> {
    fn new(table: &'a TablePlan) -> Self {
        Self { table, qualified: table.target.qualified(), definitions: Definitions::read(&table.source.sql) }
    }

    fn left_out(&self, kind: &str, name: &str, reason: String) -> LeftOut {
        LeftOut { kind: kind.to_owned(), name: format!("{} of {}", name, self.table.name()), reason }
    }

    /// The target's name of a copied column, quoted.
    fn column(&self, name: &str) -> Option<String> {
        let columns = self.table.columns.iter().chain(self.table.computed.iter().map(|(column, _)| column));
        columns.into_iter().find(|column| column.name.eq_ignore_ascii_case(name)).map(|column| quoted(&column.target))
    }

    /// A column as an index sees it under a collation: SQLite's NOCASE folds the 26 letters of ASCII only.
    fn collated(&self, column: &str, collation: Option<&str>) -> Option<String> {
        match collation {
            None | Some("BINARY") => Some(column.to_owned()),
            Some("NOCASE") => Some(format!("lower({column} COLLATE \"C\")")),
            Some("RTRIM") => Some(format!("rtrim({column}, ' ')")),
            Some(_) => None,
        }
    }

    /// The order in which of several equal rows the first is the one that stays.
    fn order(&self) -> String {
        let names = self.table.source.primary_key.iter().filter_map(|index| self.column(&self.table.source.columns[*index].name));
        names.chain(std::iter::once("ctid".to_owned())).collect::<Vec<_>>().join(", ")
    }

    fn unique_index(&self, name: &str, keys: &[String]) -> Deferred {
        let name = quoted(name);
        Deferred {
            wave: WAVE_INDEXES,
            table: self.qualified.clone(),
            what: format!("unique index {name}"),
            sql: format!("CREATE UNIQUE INDEX {name} ON {} ({})", self.qualified, keys.join(", ")),
            reverse: None,
            offenders: Some(Offenders::duplicates(&self.qualified, keys, None, &self.order())),
            optional: false,
        }
    }

    /// A unique index, and the constraint that takes it over: the index can be built beside others of the table, the
    /// constraint needs the table for an instant only.
    fn constraint(
        &self,
        wanted: &str,
        kind: &str,
        columns: &[&str],
        names: &mut Names,
        left_out: &mut Vec<LeftOut>,
    ) -> Vec<Deferred> {
        let keys: Option<Vec<String>> = columns.iter().map(|column| self.column(column)).collect();
        let Some(keys) = keys else {
            left_out.push(self.left_out("constraint", wanted, "a column of it is not copied".to_owned()));
            return Vec::new();
        };
        let name = names.key(wanted);
        let mut deferred = vec![self.unique_index(&name, &keys)];
        deferred.push(Deferred {
            wave: WAVE_KEYS,
            what: format!("constraint {}", quoted(&name)),
            sql: format!("ALTER TABLE {} ADD CONSTRAINT {name} {kind} USING INDEX {name}", self.qualified, name = quoted(&name)),
            offenders: None,
            ..deferred[0].clone()
        });
        let folded: Option<Vec<String>> =
            columns.iter().zip(&keys).map(|(column, key)| self.collated(key, self.definitions.collation(column))).collect();
        if let Some(folded) = folded.filter(|folded| *folded != keys) {
            // The constraint tells apart what SQLite's collation does not; a second index keeps the stricter rule.
            deferred.push(self.unique_index(&names.index(&format!("{name}_collated")), &folded));
        }
        deferred
    }

    fn keys_and_indexes(&self, names: &mut Names, left_out: &mut Vec<LeftOut>) -> Vec<Deferred> {
        let source = &self.table.source;
        let mut deferred = Vec::new();
        if !source.primary_key.is_empty() {
            let columns: Vec<&str> = source.primary_key.iter().map(|index| source.columns[*index].name.as_str()).collect();
            let wanted = format!("{}_pkey", self.table.name());
            deferred.extend(self.constraint(&wanted, "PRIMARY KEY", &columns, names, left_out));
        }
        for index in source.indexes.iter().filter(|index| index.origin != "pk") {
            let columns: Option<Vec<&str>> = index.columns.iter().map(Option::as_deref).collect();
            match columns {
                Some(columns) if index.origin == "u" => {
                    let wanted = format!("{}_{}_key", self.table.name(), columns.join("_"));
                    deferred.extend(self.constraint(&wanted, "UNIQUE", &columns, names, left_out));
                }
                _ => match self.index(index, names) {
                    Some((made, name)) => {
                        left_out.extend(self.renamed("index", &index.name, &name));
                        deferred.push(made);
                    }
                    None => {
                        let sql = index.sql.as_deref().unwrap_or_default();
                        left_out.push(self.left_out(
                            "index",
                            &index.name,
                            format!("it cannot be said in PostgreSQL; create it by hand: {sql}"),
                        ));
                    }
                },
            }
        }
        deferred
    }

    /// What is said of an index or constraint that could not keep its name.
    fn renamed(&self, what: &str, from: &str, to: &str) -> Option<LeftOut> {
        let reason = || {
            format!(
                "the {what} is called `{to}`: PostgreSQL keeps {NAME_BYTES_MAX} bytes of a name, and an index shares its names with the tables, views and indexes of the schema"
            )
        };
        (from != to).then(|| self.left_out("name", from, reason()))
    }

    /// An index made by CREATE INDEX, with its name; `None` when a part of it means something else in PostgreSQL.
    fn index(&self, index: &source::Index, names: &mut Names) -> Option<(Deferred, String)> {
        let (keys, condition) = sqlite_sql::read_index(index.sql.as_deref()?)?;
        let condition = match condition {
            Some(tokens) => Some(sqlite_sql::translate(&tokens, &self.table.columns)?),
            None => None,
        };
        let (mut plain, mut directed) = (Vec::new(), Vec::new());
        for key in &keys {
            let column = sqlite_sql::as_column(&key.tokens, &self.table.columns);
            let expression = match column {
                Some(column) => {
                    let collation = key.collation.as_deref().or_else(|| self.definitions.collation(&column.name));
                    self.collated(&quoted(&column.target), collation)?
                }
                None => format!("({})", sqlite_sql::translate(&key.tokens, &self.table.columns)?),
            };
            directed.push(format!("{expression}{}", if key.descending { " DESC" } else { "" }));
            plain.push(expression);
        }
        let given = names.index(&index.name);
        let name = quoted(&given);
        let unique = if index.unique { "UNIQUE " } else { "" };
        let filter = condition.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
        let made = Deferred {
            wave: WAVE_INDEXES,
            table: self.qualified.clone(),
            what: format!("index {name}"),
            sql: format!("CREATE {unique}INDEX {name} ON {} ({}){filter}", self.qualified, directed.join(", ")),
            reverse: None,
            offenders: index.unique.then(|| Offenders::duplicates(&self.qualified, &plain, condition.as_deref(), &self.order())),
            optional: true,
        };
        Some((made, given))
    }

    fn checks(&self, names: &mut Names, left_out: &mut Vec<LeftOut>) -> Vec<Deferred> {
        let mut deferred = Vec::new();
        for (number, (own, tokens)) in self.definitions.checks.iter().enumerate() {
            let wanted = own.clone().unwrap_or_else(|| format!("{}_check{number}", self.table.name()));
            let name = names.constraint(&wanted);
            left_out.extend(own.as_ref().and_then(|own| self.renamed("check", own, &name)));
            let Some(condition) = sqlite_sql::translate(tokens, &self.table.columns) else {
                left_out.push(self.left_out(
                    "check",
                    &name,
                    "it uses what PostgreSQL has not; add it by hand if it matters".to_owned(),
                ));
                continue;
            };
            deferred.push(Deferred {
                wave: WAVE_KEYS,
                table: self.qualified.clone(),
                what: format!("check {}", quoted(&name)),
                sql: format!("ALTER TABLE {} ADD CONSTRAINT {} CHECK ({condition})", self.qualified, quoted(&name)),
                reverse: None,
                offenders: Some(Offenders::violations(&self.qualified, &condition)),
                optional: true,
            });
        }
        deferred
    }

    fn foreign_keys(&self, plan: &Plan, names: &mut Names, left_out: &mut Vec<LeftOut>) -> Vec<Deferred> {
        let mut deferred = Vec::new();
        for (number, key) in self.table.source.foreign_keys.iter().enumerate() {
            let parent = plan.tables.iter().find(|parent| parent.name().eq_ignore_ascii_case(&key.parent));
            let not_copied = || format!("its parent `{}` or a column of it is not copied", key.parent);
            let made = parent.ok_or_else(not_copied).and_then(|parent| {
                let parent = Described::new(parent);
                let (from, to) = self.ends(&parent, key).ok_or_else(not_copied)?;
                if !parent.is_unique(&to) {
                    let columns = to.join(", ");
                    return Err(format!(
                        "no unique constraint covers {columns} of `{}`, as PostgreSQL demands; add one, and the foreign key, by hand",
                        key.parent
                    ));
                }
                let name = names.constraint(&format!("{}_{}_fkey{number}", self.table.name(), key.from.join("_")));
                Ok(self.foreign_key(&parent, key, &quoted(&name), &from, &to))
            });
            match made {
                Ok(made) => deferred.extend(made),
                Err(reason) => left_out.push(self.left_out("foreign key", &format!("({})", key.from.join(", ")), reason)),
            }
        }
        deferred
    }

    /// The columns of a foreign key on both sides, quoted; `None` when one of them is not copied.
    fn ends(&self, parent: &Described<'_>, key: &source::ForeignKey) -> Option<(Vec<String>, Vec<String>)> {
        let from = key.from.iter().map(|name| self.column(name)).collect::<Option<Vec<_>>>()?;
        let parent_key =
            || parent.table.source.primary_key.iter().map(|index| parent.table.source.columns[*index].name.clone()).collect();
        let to: Vec<String> = if key.to.is_empty() { parent_key() } else { key.to.clone() };
        let to = to.iter().map(|name| parent.column(name)).collect::<Option<Vec<_>>>()?;
        Some((from, to))
    }

    /// Whether the created table has a unique index over just these columns (quoted), which a foreign key can refer to.
    fn is_unique(&self, columns: &[String]) -> bool {
        let wanted: BTreeSet<&String> = columns.iter().collect();
        let key =
            self.table.source.primary_key.iter().map(|index| self.column(&self.table.source.columns[*index].name)).collect();
        let unique = self.table.source.indexes.iter().filter(|index| index.unique && index.origin != "pk");
        let mut keys = unique.map(|index| self.plain_columns(index)).chain(std::iter::once(key)).flatten();
        keys.any(|key: Vec<String>| !key.is_empty() && key.iter().collect::<BTreeSet<_>>() == wanted)
    }

    /// The columns of an index (quoted), if it has no condition, no expression, and compares byte by byte.
    fn plain_columns(&self, index: &source::Index) -> Option<Vec<String>> {
        if index.origin == "u" {
            return index.columns.iter().map(|column| self.column(column.as_deref()?)).collect();
        }
        let (keys, condition) = sqlite_sql::read_index(index.sql.as_deref()?)?;
        let plain = |key: &sqlite_sql::IndexKey| {
            let column = sqlite_sql::as_column(&key.tokens, &self.table.columns)?;
            let name = quoted(&column.target);
            let collation = key.collation.as_deref().or_else(|| self.definitions.collation(&column.name));
            self.collated(&name, collation).filter(|compared| *compared == name)
        };
        if condition.is_some() { None } else { keys.iter().map(plain).collect() }
    }

    fn foreign_key(
        &self,
        parent: &Described<'_>,
        key: &source::ForeignKey,
        name: &str,
        from: &[String],
        to: &[String],
    ) -> [Deferred; 2] {
        let late = key
            .from
            .first()
            .is_some_and(|first| self.definitions.deferred_keys.iter().any(|late| late.eq_ignore_ascii_case(first)));
        let add = format!(
            "ALTER TABLE {} ADD CONSTRAINT {name} FOREIGN KEY ({}) REFERENCES {} ({}) ON UPDATE {} ON DELETE {}{} NOT VALID",
            self.qualified,
            from.join(", "),
            parent.qualified,
            to.join(", "),
            key.on_update,
            key.on_delete,
            if late { " DEFERRABLE INITIALLY DEFERRED" } else { "" },
        );
        let added = Deferred {
            wave: WAVE_FOREIGN_KEYS,
            table: self.qualified.clone(),
            what: format!("foreign key {name}"),
            sql: add,
            reverse: Some(format!("ALTER TABLE {} DROP CONSTRAINT IF EXISTS {name}", self.qualified)),
            offenders: Some(Offenders::orphans(&self.qualified, from, &parent.qualified, to)),
            optional: true,
        };
        let validated = Deferred {
            wave: WAVE_VALIDATION,
            what: format!("validation of foreign key {name}"),
            sql: format!("ALTER TABLE {} VALIDATE CONSTRAINT {name}", self.qualified),
            ..added.clone()
        };
        [added, validated]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(kind: Kind) -> ColumnPlan {
        ColumnPlan { kind, ..ColumnPlan::default() }
    }

    #[test]
    fn types_follow_names_and_then_affinity() {
        for (declared, expected) in [
            ("INTEGER", "bigint"),
            ("unsigned big int", "bigint"),
            ("VARCHAR(20)", "text"),
            ("", "text"),
            ("DATETIME", "timestamp"),
            ("BOOLEAN", "boolean"),
            ("DECIMAL(10,2)", "numeric"),
            ("double precision", "double precision"),
            ("BLOB", "bytea"),
            ("json", "jsonb"),
            ("GEOMETRY", "text"),
        ] {
            assert_eq!(type_of(declared).0, expected, "{declared}");
        }
    }

    #[test]
    fn each_name_is_given_once_within_its_length() {
        let mut taken = BTreeSet::from(["t_pkey".to_owned(), "t_pkey_2".to_owned()]);
        assert_eq!(give("t_a_key", &mut [&mut taken]), "t_a_key");
        assert_eq!(give("t_pkey", &mut [&mut taken]), "t_pkey_3");
        let long = "ä".repeat(40);
        let first = give(&long, &mut [&mut taken]);
        let second = give(&format!("{long}x"), &mut [&mut taken]);
        assert_eq!((first.as_str(), second), ("ä".repeat(31).as_str(), format!("{}_2", "ä".repeat(30))));
        let mut other = BTreeSet::from(["b".to_owned()]);
        assert_eq!(give("b", &mut [&mut taken, &mut other]), "b_2");
        assert!(taken.contains("b_2") && other.contains("b_2"));
    }

    #[test]
    fn defaults_are_translated_or_reported() {
        for (sql, kind, expected) in [
            ("0", Kind::Bool, Some("false")),
            ("(-1.5)", Kind::Numeric(None), Some("-1.5")),
            ("'it''s'", Kind::Text(None), Some("'it''s'")),
            ("\"draft\"", Kind::Text(None), Some("'draft'")),
            ("CURRENT_TIMESTAMP", Kind::TimestampTz(6), Some("CURRENT_TIMESTAMP")),
            ("datetime('now')", Kind::Timestamp(6), Some("(now() AT TIME ZONE 'utc')")),
            ("x'00FF'", Kind::Bytea, Some("'\\x00ff'")),
            ("random()", Kind::Int8, None),
            ("'a' || 'b'", Kind::Text(None), None),
            ("7", Kind::Text(None), Some("'7'")),
        ] {
            assert_eq!(translate_default(sql, &column(kind)).as_deref(), expected, "{sql}");
        }
    }
}
