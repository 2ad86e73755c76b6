//! Every cast and every rule against PostgreSQL itself: what arrives in a column is what PostgreSQL makes of the same value by
//! its own means, and what it could not keep in full is put aside.
//!
//! Each value reaches PostgreSQL twice: through the copy, and bound by the driver, as it is, into the table `given`. An expression over
//! the latter (`i`, `r`, `t`, `b` for the storage classes) says what has to stand in the column; NULL says that the row is put aside.
//! Everything is copied in both of COPY's formats.

use std::collections::BTreeMap;

use pointsman::transfer::copy::{OnFault, Options, SchemaMode};
use pointsman::transfer::{Cast, Error, FaultCode, Policy};
use proptest::strategy::{Strategy, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use rusqlite::types::ValueRef;
use sqlx::AssertSqlSafe;

use super::Pair;

/// How many values each pattern gives.
const VALUES: usize = 80;

/// Where values come from: patterns, whose texts are taken as the storage class says.
#[derive(Debug, Clone, Copy)]
enum Values {
    Integers(&'static str),
    /// Integers times a factor.
    Multiples(i64, &'static str),
    Reals(&'static str),
    Texts(&'static str),
    Blobs(&'static str),
    /// Texts that hold zero bytes or are not UTF-8, as patterns of bytes; given to PostgreSQL as bytes.
    Spoilt(&'static str),
}

use Values::{Blobs, Integers, Multiples, Reals, Spoilt, Texts};

/// One value in the columns of `given`, and whether its bytes are text in SQLite.
#[derive(Debug, Default)]
struct Given {
    integer: Option<i64>,
    real: Option<f64>,
    text: Option<String>,
    bytes: Option<Vec<u8>>,
    spoilt: bool,
}

impl Given {
    fn as_sqlite(&self) -> ValueRef<'_> {
        match self {
            Self { integer: Some(number), .. } => ValueRef::Integer(*number),
            Self { real: Some(number), .. } => ValueRef::Real(*number),
            Self { text: Some(text), .. } => ValueRef::Text(text.as_bytes()),
            Self { bytes: Some(bytes), spoilt: true, .. } => ValueRef::Text(bytes),
            Self { bytes: Some(bytes), .. } => ValueRef::Blob(bytes),
            Self { .. } => ValueRef::Null,
        }
    }
}

impl Values {
    fn generate(self) -> Vec<Given> {
        match self {
            Self::Integers(pattern) => texts(pattern)
                .map(|text| Given { integer: Some(text.parse().expect("an integer")), ..Given::default() })
                .collect(),
            Self::Multiples(factor, pattern) => texts(pattern)
                .map(|text| Given { integer: Some(text.parse::<i64>().expect("an integer") * factor), ..Given::default() })
                .collect(),
            Self::Reals(pattern) => {
                texts(pattern).map(|text| Given { real: Some(text.parse().expect("a number")), ..Given::default() }).collect()
            }
            Self::Texts(pattern) => texts(pattern).map(|text| Given { text: Some(text), ..Given::default() }).collect(),
            Self::Blobs(pattern) => bytes(pattern).map(|bytes| Given { bytes: Some(bytes), ..Given::default() }).collect(),
            Self::Spoilt(pattern) => {
                bytes(pattern).map(|bytes| Given { bytes: Some(bytes), spoilt: true, ..Given::default() }).collect()
            }
        }
    }
}

/// The same values in every run, so that a failure can be looked into.
fn drawn<T>(strategy: impl Strategy<Value = T>) -> impl Iterator<Item = T> {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    (0..VALUES).map(move |_| strategy.new_tree(&mut runner).expect("a value").current())
}

fn texts(pattern: &str) -> impl Iterator<Item = String> {
    drawn(proptest::string::string_regex(pattern).expect("a pattern"))
}

fn bytes(pattern: &str) -> impl Iterator<Item = Vec<u8>> {
    drawn(proptest::string::bytes_regex(pattern).expect("a pattern"))
}

/// A way into one column.
struct Case {
    cast: Option<Cast>,
    rules: &'static [(FaultCode, Policy)],
    target: &'static str,
    /// What PostgreSQL is asked about the column, which is called `v`.
    found: &'static str,
    /// Patterns with what PostgreSQL makes of their values.
    given: Vec<(Values, String)>,
}

/// `TYPE` in an expression stands for the target's type.
fn case(cast: Option<Cast>, target: &'static str, given: &[(Values, &str)]) -> Case {
    let given = given.iter().map(|(values, reading)| (*values, reading.replace("TYPE", target))).collect();
    Case { cast, rules: &[], target, found: "v::text", given }
}

impl Case {
    fn asked(self, found: &'static str) -> Self {
        Self { found, ..self }
    }

    fn ruled(self, rules: &'static [(FaultCode, Policy)]) -> Self {
        Self { rules, ..self }
    }

    /// Whether a value that cannot be read becomes NULL instead of putting its row aside.
    fn keeps_nulls(&self) -> bool {
        self.rules.iter().any(|(_, policy)| *policy == Policy::SetNull)
    }

    fn name(&self) -> String {
        format!("{:?} to {} under {:?}", self.cast, self.target, self.rules)
    }
}

/// PostgreSQL's own readings, NULL where it refuses: as any type, from bytes, and of microseconds since 1970 in the years 1 to 9999.
const READINGS: &str = r"
CREATE FUNCTION reads(value text, type text) RETURNS text LANGUAGE plpgsql AS
  'DECLARE found text; BEGIN EXECUTE format(''SELECT ($1::%s)::text'', type) INTO found USING value; RETURN found; EXCEPTION WHEN OTHERS THEN RETURN NULL; END';
CREATE FUNCTION casts(value float8, type text) RETURNS text LANGUAGE plpgsql AS
  'DECLARE found text; BEGIN EXECUTE format(''SELECT ($1::%s)::text'', type) INTO found USING value; RETURN found; EXCEPTION WHEN OTHERS THEN RETURN NULL; END';
CREATE FUNCTION decodes(value text, form text) RETURNS bytea LANGUAGE plpgsql AS
  'BEGIN RETURN decode(value, form); EXCEPTION WHEN OTHERS THEN RETURN NULL; END';
CREATE FUNCTION utf8(value bytea) RETURNS text LANGUAGE plpgsql AS
  'BEGIN RETURN convert_from(value, ''UTF8''); EXCEPTION WHEN OTHERS THEN RETURN NULL; END';
CREATE FUNCTION instead(value bytea, wrong bytea, better bytea) RETURNS bytea LANGUAGE sql AS
  'SELECT coalesce(string_agg(CASE WHEN substr(value, n, 1) = wrong THEN better ELSE substr(value, n, 1) END, '''' ORDER BY n), '''') FROM generate_series(1, length(value)) n';
CREATE FUNCTION at_us(us numeric) RETURNS timestamptz LANGUAGE sql AS
  'SELECT CASE WHEN us BETWEEN -62135596800000000 AND 253402300799999999
     THEN timestamptz ''epoch'' + div(us, 86400000000)::int * interval ''1 day'' + mod(us, 86400000000)::float8 * interval ''1 microsecond'' END';
CREATE TYPE mood AS ENUM ('ok', 'bad', 'it''s', '7');
CREATE DOMAIN code AS varchar(4) CHECK (VALUE <> 'bad');
CREATE TABLE given (c int, g int, id bigint, i bigint, r float8, t text, b bytea, PRIMARY KEY (c, id));
CREATE SCHEMA as_binary; CREATE SCHEMA as_text;
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''UTC''', current_database()); END $$;";

/// Copies the values of all cases and compares what stands in the target with PostgreSQL's readings.
async fn expect_postgresqls_readings(cases: &[Case]) {
    let pair = Pair::new("").await;
    let mut setup = READINGS.to_owned();
    for (number, case) in cases.iter().enumerate() {
        // A numeric key makes the whole table travel as text.
        setup.push_str(&format!("CREATE TABLE as_binary.t{number} (id bigint PRIMARY KEY, v {0}); CREATE TABLE as_text.t{number} (id numeric PRIMARY KEY, v {0});", case.target));
    }
    pair.postgres(&setup).await;
    give(&pair, cases).await;
    for schema in ["as_binary", "as_text"] {
        let mut options = Options { on_fault: OnFault::Quarantine, target_schema: schema.to_owned(), ..Options::new(schema) };
        for (number, case) in cases.iter().enumerate() {
            let column = format!("t{number}.v");
            options.casts.extend(case.cast.map(|cast| (column.clone(), cast)));
            options.policies.insert(column, case.rules.iter().copied().collect());
        }
        pair.copy(&options).await.expect("copies");
        let mut wrong = Vec::new();
        for (number, case) in cases.iter().enumerate() {
            wrong.extend(case.differences(&pair, schema, number).await);
        }
        assert!(wrong.is_empty(), "{schema}:\n{}", wrong.join("\n"));
        pair.expect_verified(&options).await;
    }
}

/// Puts the values into the SQLite file, and into `given` by the driver alone.
async fn give(pair: &Pair, cases: &[Case]) {
    let mut sqlite = rusqlite::Connection::open(pair.path()).expect("opens");
    let transaction = sqlite.transaction().expect("begins");
    let mut postgres = pair.connect().await;
    for (number, case) in (0_i32..).zip(cases) {
        let mut id = 0_i64;
        transaction.execute_batch(&format!("CREATE TABLE t{number} (id INTEGER PRIMARY KEY, v)")).expect("creates");
        let mut insert = transaction.prepare(&format!("INSERT INTO t{number} VALUES (?1, ?2)")).expect("prepares");
        for (group, (values, _)) in (0_i32..).zip(&case.given) {
            let given = values.generate();
            let ids: Vec<i64> = given
                .iter()
                .map(|_| {
                    id += 1;
                    id
                })
                .collect();
            for (id, value) in ids.iter().zip(&given) {
                let value = rusqlite::types::ToSqlOutput::Borrowed(value.as_sqlite());
                insert.execute(rusqlite::params![id, value]).expect("inserts");
            }
            sqlx::query(
                "INSERT INTO given SELECT $1, $2, * FROM unnest($3::int8[], $4::int8[], $5::float8[], $6::text[], $7::bytea[])",
            )
            .bind(number)
            .bind(group)
            .bind(ids)
            .bind(given.iter().map(|value| value.integer).collect::<Vec<_>>())
            .bind(given.iter().map(|value| value.real).collect::<Vec<_>>())
            .bind(given.iter().map(|value| value.text.clone()).collect::<Vec<_>>())
            .bind(given.iter().map(|value| value.bytes.clone()).collect::<Vec<_>>())
            .execute(&mut postgres)
            .await
            .expect("inserts");
        }
    }
    transaction.commit().expect("commits");
}

impl Case {
    /// Rows that are not what PostgreSQL reads, or that are missing or there without need, and patterns that test nothing.
    async fn differences(&self, pair: &Pair, schema: &str, number: usize) -> Vec<String> {
        let readings: String =
            self.given.iter().enumerate().map(|(group, (_, reading))| format!(" WHEN {group} THEN ({reading})::text")).collect();
        let compared = format!(
            "(SELECT g, coalesce(i::text, r::text, t, encode(b, 'hex')) AS value, x.id IS NOT NULL AS loaded, {} AS found, CASE g{readings} END AS reading
                FROM given LEFT JOIN {schema}.t{number} x USING (id) WHERE c = {number}) compared",
            self.found
        );
        let missing = if self.keeps_nulls() { "NOT loaded" } else { "loaded <> (reading IS NOT NULL)" };
        let rows = format!(
            "SELECT format('group %s: %s became %s instead of %s', g, value, coalesce(found, CASE WHEN loaded THEN 'NULL' ELSE '(put aside)' END), coalesce(reading, 'NULL'))
               FROM {compared} WHERE found IS DISTINCT FROM reading OR {missing} LIMIT 4"
        );
        let groups: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT format('group %s: no value was read', g) FROM {compared} GROUP BY g HAVING count(reading) = 0 AND g <> ALL ($1) ORDER BY g"
        )))
        .bind(self.without_reading())
        .fetch_all(&mut pair.connect().await)
        .await
        .unwrap_or_else(|error| panic!("{}: {error}", self.name()));
        let rows: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&mut pair.connect().await).await.expect("compares");
        rows.into_iter().chain(groups).map(|line| format!("{}, {line}", self.name())).collect()
    }

    /// Groups of which no value is meant to be read.
    fn without_reading(&self) -> Vec<i32> {
        (0_i32..).zip(&self.given).filter(|(_, (_, reading))| reading == "NULL").map(|(group, _)| group).collect()
    }
}

const ANY_BLOB: Values = Blobs(r"(?s-u:.{0,20})");
const ANY_INTEGER: Values = Integers("-?[0-9]{1,18}|[0-3]|9223372036854775807|-9223372036854775808");
const ANY_REAL: Values = Reals(
    r"-?[0-9]{1,20}(\.[05])?|-?[0-9]\.[0-9]{1,16}e-?[12]?[0-9]{1,2}|-?[0-9]{1,3}\.(0|5|25|125)|4\.9e-324|1\.7976931348623157e308|-0\.0|-?9e999",
);
const ANY_TEXT: Values = Texts("\\PC{0,8}|[\\\\\t\n\r'\"a-z]{0,6}|\\\\N|\\\\\\.| {1,3}x {0,3}");
const NUMBERS_AS_TEXT: Values =
    Texts(r" ?[+-]?[0-9]{1,20} ?|[+-]?[0-9]{0,12}\.?[0-9]{1,9}([eE][+-]?[0-9]{1,2})?|five|--1|1,5|1\.2\.3|[a-z]{0,2}");
const NOT_FINITE: Values = Texts("(?i:nan|[+-]?inf|-?infinity)");
/// Zero bytes, and bytes that no UTF-8 has.
const SPOILT: Values = Spoilt(r"(?-u:[a-z]{0,2}[\x00\xfe\xff][a-z]{0,3})");

const STAMPS: Values = Texts(r"[12][0-9]{3}-[01][0-9]-[0-3][0-9]([ T][0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?)?");
const STAMPS_WITH_OFFSET: Values =
    Texts(r"[12][0-9]{3}-0[1-9]-[0-2][0-9] [01][0-9]:[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?(Z|[+-](0[0-9]|1[0-5])(:?[0-5][0-9])?)");
const MIDNIGHTS_WITH_OFFSET: Values = Texts(r"20[0-9]{2}-0[1-9]-1[0-9] 0[0-3]:00:00\+0[0-3](:00)?");
/// Digits beyond the microsecond that are not zero, and that are.
const FINER_STAMPS: Values = Texts(r"(19|20)[0-9]{2}-0[1-9]-1[0-9] 1[0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}([1-9]|0[1-9]|50{0,2})");
const LONG_STAMPS: Values = Texts(r"20[0-9]{2}-0[1-9]-1[0-9] 1[0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}0{1,3}");
const NO_STAMPS: Values =
    Texts("now|today|epoch|-?infinity|[0-9]{4}-[0-9]-[0-9]|2024-01-01 10:00 Europe/Berlin|[a-z ]{0,5}|2024-01-01x");
const DATES: Values = Texts("[0-9]{4}-[01][0-9]-[0-3][0-9]");
const TIMES: Values = Texts(r"[0-2][0-9]:[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?");
const FINER_TIMES: Values = Texts(r"1[0-9]:[0-5][0-9]:[0-5][0-9]\.[0-9]{6}([1-9]|0[1-9]|50{0,2})");

const UUIDS: Values = Texts(
    r"\{?[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}\}?|[0-9a-f]{30,33}|([0-9a-f]{4}-){7}[0-9a-f]{4}",
);
const DOCUMENTS: Values = Texts(
    r#"\{"[a-c]{1,2}": (-?[1-9]?[0-9](\.[0-9]{1,3})?([eE][+-]?[0-9]{1,2})?|"[a-z\\n\\u00e4]{0,3}"|\[(1, ?)?null\]), ?"[d-f]{0,3}" ?: ?(true|\{\})\}| ?\[[0-9]{1,3}\]"#,
);
const NO_DOCUMENTS: Values = Texts(r#"\{"a": ?[0-9]|\[1,\]|[a-z]{0,3}|'x'|\{"a" 1\}|0[1-9]|1\.|"[a-z]|NaN|\[\] \[\]"#);
const DOCUMENTS_WITH_TWINS: Values = Texts(r#"\{"a": [0-9], "a": [0-9]\}"#);
const ESCAPES: Values = Texts(r#""(\\u0000|\\ud83d\\ude00|\\ud83d|\\ude00|\\u00e4|\\n|\\/|[a-z])""#);

/// A whole number as an integer type.
const WHOLE_TEXT: &str = "CASE WHEN reads(t, 'numeric')::numeric = trunc(reads(t, 'numeric')::numeric) THEN reads(trunc(reads(t, 'numeric')::numeric)::text, 'TYPE') END";
/// What a narrower numeric type keeps in full.
const KEPT_TEXT: &str = "CASE WHEN reads(t, 'TYPE')::numeric = reads(t, 'numeric')::numeric THEN reads(t, 'TYPE') END";
const KEPT_REAL: &str = "CASE WHEN reads(r::text, 'TYPE')::numeric = r::text::numeric THEN reads(r::text, 'TYPE') END";
const KEPT_INTEGER: &str = "CASE WHEN reads(i::text, 'TYPE')::numeric = i THEN reads(i::text, 'TYPE') END";
/// PostgreSQL takes 24:00 for the next day; no day has that hour here.
const STAMP: &str = "CASE WHEN t !~ '[ T]24' THEN reads(t, 'TYPE') END";
const STAMP_IN_UTC: &str = "reads(t, 'timestamptz')::timestamptz AT TIME ZONE 'UTC'";
const STAMP_IF_UTC: &str = "CASE WHEN t ~ '(Z|[+-]00(:?00)?)$' THEN reads(t, 'TYPE') END";
/// What a type with fewer digits of the second keeps in full.
const KEPT_STAMP: &str =
    "CASE WHEN t !~ '[ T]24' AND reads(t, 'TYPE')::timestamptz = reads(t, 'timestamptz')::timestamptz THEN reads(t, 'TYPE') END";
const DAY: &str = "CASE WHEN t !~ '[ T]24' AND reads(t, 'timestamp')::timestamp = reads(t, 'timestamp')::timestamp::date THEN reads(t, 'date') END";
const DAY_IN_UTC: &str = "CASE WHEN date_trunc('day', reads(t, 'timestamptz')::timestamptz) = reads(t, 'timestamptz')::timestamptz THEN reads(t, 'timestamptz')::timestamptz::date END";
const DAY_IF_UTC: &str = "CASE WHEN t ~ '00:00:00[+]00(:00)?$' THEN reads(t, 'date') END";
const NOTHING: &str = "NULL";

/// Every way into a column, for a cast or for none. A new cast does not build until it has its ways here.
fn cases(cast: Option<Cast>) -> Vec<Case> {
    let Some(known) = cast else { return without_cast() };
    match known {
        Cast::EpochSeconds => epochs(cast, &SECONDS),
        Cast::EpochMillis => epochs(cast, &MILLIS),
        Cast::EpochMicros => epochs(cast, &MICROS),
        Cast::JulianDay => epochs(cast, &JULIAN_DAYS),
        Cast::Boolean | Cast::BooleanNonzero => booleans(cast),
        Cast::Timestamptz | Cast::TimestampUtc => {
            [zoned(cast), zoneless(cast, STAMP_IN_UTC), days(cast, DAY_IN_UTC)].into_iter().flatten().collect()
        }
        Cast::Date => days(cast, DAY_IN_UTC),
        Cast::Time => times(cast),
        Cast::Bigint => integers(cast),
        Cast::Double => floats(cast),
        Cast::Numeric => numerics(cast),
        Cast::Jsonb | Cast::Json => documents(cast),
        Cast::Uuid => uuids(cast, "encode(b, 'hex')::uuid"),
        Cast::Text => texts_of(cast, "utf8(b)"),
        Cast::Bytea => vec![case(
            cast,
            "bytea",
            &[(ANY_TEXT, "convert_to(t, 'UTF8')"), (SPOILT, "b"), (ANY_BLOB, "b"), (ANY_INTEGER, NOTHING)],
        )],
        Cast::Hex => vec![case(
            cast,
            "bytea",
            &[
                (
                    Texts("([0-9a-fA-F]{2}){0,9}|[0-9a-f]{3}| [0-9a-f]{4}\n?|[0-9a-f]{2} [0-9A-F]{2}|[g-z]{2}"),
                    "decodes(t, 'hex')",
                ),
                (ANY_BLOB, "b"),
                (ANY_REAL, NOTHING),
                (SPOILT, NOTHING),
            ],
        )],
        Cast::Base64 => vec![case(
            cast,
            "bytea",
            &[
                // PostgreSQL lets bits pass that belong to no byte; a text that is read is the one that it would write.
                (
                    Texts(
                        "([A-Za-z0-9+/]{4}){0,3}\n?([A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?|[a-z]{5}|[a-z_]{4}|[a-z]{3}=",
                    ),
                    "CASE WHEN encode(decodes(t, 'base64'), 'base64') = replace(t, E'\\n', '') THEN decodes(t, 'base64') END",
                ),
                (ANY_BLOB, "b"),
                (ANY_INTEGER, NOTHING),
            ],
        )],
    }
}

fn without_cast() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(booleans(None));
    all.extend(integers(None));
    all.extend(floats(None));
    all.extend(numerics(None));
    all.extend(texts_of(None, NOTHING));
    all.extend(documents(None));
    all.extend(uuids(None, NOTHING));
    all.extend(zoned(None));
    all.extend(zoneless(None, STAMP_IF_UTC));
    all.extend(days(None, DAY_IF_UTC));
    all.extend(times(None));
    all.push(case(None, "bytea", &[(ANY_BLOB, "b"), (ANY_TEXT, NOTHING), (ANY_INTEGER, NOTHING), (ANY_REAL, NOTHING)]));
    all
}

fn booleans(cast: Option<Cast>) -> Vec<Case> {
    let (words, integer, real) = match cast {
        None => (
            "'true', 'false', '1', '0'",
            "CASE WHEN i IN (0, 1) THEN i::int::boolean END",
            "CASE WHEN r IN (0, 1) THEN r::int::boolean END",
        ),
        Some(Cast::BooleanNonzero) => {
            ("'true', 'false', 't', 'f', 'yes', 'no', 'y', 'n', 'on', 'off', '1', '0'", "i <> 0", "r <> 0")
        }
        Some(_) => (
            "'true', 'false', 't', 'f', 'yes', 'no', 'y', 'n', 'on', 'off', '1', '0'",
            "CASE WHEN i IN (0, 1) THEN i::int::boolean END",
            "CASE WHEN r IN (0, 1) THEN r::int::boolean END",
        ),
    };
    let text = format!("CASE WHEN lower(btrim(t)) IN ({words}) THEN t::boolean END");
    vec![case(
        cast,
        "boolean",
        &[
            (Integers("[0-3]|-?[0-9]{1,18}"), integer),
            (Reals(r"[01]\.0|-0\.0|-?[0-9]\.[0-9]{1,3}|9e999"), real),
            (Texts("(?i:true|false|t|f|yes|no|y|n|on|off)|[01]| 1 |maybe|tru|2|-1|[a-z]{0,2}"), &text),
            (ANY_BLOB, NOTHING),
        ],
    )]
}

fn integers(cast: Option<Cast>) -> Vec<Case> {
    let into = |target| {
        case(
            cast,
            target,
            &[
                (ANY_INTEGER, "reads(i::text, 'TYPE')"),
                (Integers("-?[0-9]{1,10}"), "reads(i::text, 'TYPE')"),
                (ANY_REAL, "CASE WHEN r = trunc(r) THEN casts(r, 'TYPE') END"),
                (NUMBERS_AS_TEXT, WHOLE_TEXT),
                (NOT_FINITE, NOTHING),
                (ANY_BLOB, NOTHING),
                (SPOILT, NOTHING),
            ],
        )
    };
    ["bigint", "integer", "smallint"].into_iter().map(into).collect()
}

fn floats(cast: Option<Cast>) -> Vec<Case> {
    vec![
        case(
            cast,
            "float8",
            &[
                (
                    Integers("-?[0-9]{1,18}|9223372036854775807|900719925474099[0-9]"),
                    "CASE WHEN i < 9223372036854775000 AND i::float8::bigint = i THEN i::float8 END",
                ),
                (ANY_REAL, "r"),
                (NUMBERS_AS_TEXT, "reads(t, 'float8')"),
                (Texts("-?[0-9]{1,17}(\\.[0-9]{0,17})?(e[+-]?[0-9]{1,3})?"), "reads(t, 'float8')"),
                (NOT_FINITE, NOTHING),
                (ANY_BLOB, NOTHING),
            ],
        ),
        case(
            cast,
            "real",
            &[
                (Integers("-?[0-9]{1,9}"), "CASE WHEN i::real::float8 = i THEN i::real END"),
                (ANY_REAL, "CASE WHEN casts(r, 'real')::real::float8 = r THEN casts(r, 'real') END"),
                (
                    NUMBERS_AS_TEXT,
                    "CASE WHEN casts(reads(t, 'float8')::float8, 'real')::real::float8 = reads(t, 'float8')::float8 THEN casts(reads(t, 'float8')::float8, 'real') END",
                ),
                (NOT_FINITE, NOTHING),
                (ANY_BLOB, NOTHING),
            ],
        ),
    ]
}

fn numerics(cast: Option<Cast>) -> Vec<Case> {
    let narrow = |target, integer, more| {
        case(
            cast,
            target,
            &[
                (ANY_INTEGER, integer),
                (ANY_REAL, KEPT_REAL),
                (Texts(r"[+-]?[0-9]{0,6}\.?[0-9]{1,5}(e[+-]?[0-9])?|0?\.0000[0-9]|five|"), KEPT_TEXT),
                (more, KEPT_TEXT),
                (NOT_FINITE, NOTHING),
                (ANY_BLOB, NOTHING),
            ],
        )
    };
    let unlimited = case(
        cast,
        "numeric",
        &[
            (ANY_INTEGER, "i"),
            (ANY_REAL, "CASE WHEN abs(r) < 'infinity' THEN r::text::numeric END"),
            (NUMBERS_AS_TEXT, "reads(t, 'numeric')"),
            (Texts(r"[+-]?[0-9]{0,30}\.?[0-9]{1,30}(e[+-]?[0-9]{1,3})?"), "reads(t, 'numeric')"),
            (NOT_FINITE, NOTHING),
            (ANY_BLOB, NOTHING),
        ],
    );
    vec![
        unlimited,
        narrow("numeric(8,3)", KEPT_INTEGER, Texts(r"-?[0-9]{1,6}\.[0-9]{1,3}0{0,4}")),
        narrow("numeric(4,4)", KEPT_INTEGER, Texts(r"-?0?\.[0-9]{1,4}0{0,2}")),
        narrow("numeric(2,5)", KEPT_INTEGER, Texts(r"-?0\.000[0-9]{1,3}")),
        narrow("numeric(3,-2)", KEPT_INTEGER, Texts(r"-?[0-9]{1,4}00|[0-9]{1,5}")),
    ]
}

fn texts_of(cast: Option<Cast>, blob: &str) -> Vec<Case> {
    vec![
        case(
            cast,
            "text",
            &[(ANY_TEXT, "t"), (ANY_INTEGER, "i"), (ANY_BLOB, blob), (Blobs("[a-zä😀\n]{0,9}"), blob), (SPOILT, NOTHING)],
        ),
        // Which digits spell a number is left open; that they spell this number is not.
        case(cast, "text", &[(ANY_REAL, "r")]).asked("v::float8::text"),
        case(
            cast,
            "varchar(5)",
            &[
                (Texts("[a-zä😀 ]{0,7}"), "CASE WHEN char_length(t) <= 5 THEN t END"),
                (Integers("-?[0-9]{3,7}"), "CASE WHEN char_length(i::text) <= 5 THEN i::text END"),
            ],
        ),
        case(cast, "char(4)", &[(Texts("[a-zä]{0,5} {0,4}"), "CASE WHEN char_length(rtrim(t, ' ')) <= 4 THEN t::char(4) END")]),
        case(
            cast,
            "public.mood",
            &[
                (Texts("ok|bad|it's|OK| ok|[a-z]{0,2}"), "reads(t, 'mood')"),
                (Integers("[6-8]"), "reads(i::text, 'mood')"),
                (SPOILT, NOTHING),
            ],
        ),
        case(
            cast,
            "public.code",
            &[(Texts("[a-c]{1,2}|bad|[a-z]{5}"), "CASE WHEN t <> 'bad' AND char_length(t) <= 4 THEN t END")],
        ),
        // Types that are not known by name are read by PostgreSQL itself.
        case(
            cast,
            "inet",
            &[(Texts(r"[12]?[0-9]{1,2}(\.[12]?[0-9]{1,2}){3}(/[1-3][0-9])?|[a-z]{1,4}|::[0-9a-f]{1,4}"), "reads(t, 'inet')")],
        ),
        case(
            cast,
            "interval",
            &[(Texts("[0-9]{1,2} (days?|hours?|mons?) ?(-?[0-9]{1,2}:[0-5][0-9])?|soon"), "reads(t, 'interval')")],
        ),
        case(cast, "int[]", &[(Texts(r"\{[0-9]{1,3}(,[0-9]{1,3}){0,3}\}|\{a\}|[0-9]"), "reads(t, 'int[]')")]),
    ]
}

fn documents(cast: Option<Cast>) -> Vec<Case> {
    vec![
        case(
            cast,
            "jsonb",
            &[
                (DOCUMENTS, "reads(t, 'jsonb')"),
                (NO_DOCUMENTS, NOTHING),
                (ESCAPES, "reads(t, 'jsonb')"),
                (DOCUMENTS_WITH_TWINS, NOTHING),
                (ANY_INTEGER, "reads(i::text, 'jsonb')"),
                (ANY_REAL, "CASE WHEN abs(r) < 'infinity' THEN reads(r::text, 'jsonb') END"),
                (ANY_BLOB, NOTHING),
                (SPOILT, NOTHING),
            ],
        ),
        case(
            cast,
            "json",
            &[
                (DOCUMENTS, "reads(t, 'json')"),
                (NO_DOCUMENTS, NOTHING),
                (ESCAPES, "reads(t, 'json')"),
                (DOCUMENTS_WITH_TWINS, "reads(t, 'json')"),
                (ANY_INTEGER, "reads(i::text, 'json')"),
                (ANY_BLOB, NOTHING),
            ],
        ),
        case(cast, "json", &[(ANY_REAL, "CASE WHEN abs(r) < 'infinity' THEN reads(r::text, 'jsonb') END")])
            .asked("v::jsonb::text"),
    ]
}

fn uuids(cast: Option<Cast>, blob: &str) -> Vec<Case> {
    vec![case(
        cast,
        "uuid",
        &[
            (UUIDS, "reads(t, 'uuid')"),
            (Texts("(urn:uuid:|URN:UUID:)[0-9a-f]{32}"), "reads(substr(t, 10), 'uuid')"),
            (Blobs("(?s-u:.{16})"), blob),
            (Blobs("(?s-u:.{15}|.{17})"), NOTHING),
            (ANY_INTEGER, NOTHING),
        ],
    )]
}

/// Into a column with time zone; without an offset a text is UTC.
fn zoned(cast: Option<Cast>) -> Vec<Case> {
    vec![
        case(
            cast,
            "timestamptz",
            &[
                (STAMPS, STAMP),
                (STAMPS_WITH_OFFSET, "reads(t, 'timestamptz')"),
                (LONG_STAMPS, STAMP),
                (FINER_STAMPS, NOTHING),
                (NO_STAMPS, NOTHING),
                (ANY_INTEGER, NOTHING),
                (ANY_REAL, NOTHING),
                (ANY_BLOB, NOTHING),
            ],
        ),
        case(cast, "timestamptz(3)", &[(STAMPS, KEPT_STAMP), (STAMPS_WITH_OFFSET, KEPT_STAMP)]),
    ]
}

/// Into a column without time zone, with what becomes of a text that has an offset.
fn zoneless(cast: Option<Cast>, with_offset: &str) -> Vec<Case> {
    vec![
        case(
            cast,
            "timestamp",
            &[
                (STAMPS, STAMP),
                (STAMPS_WITH_OFFSET, with_offset),
                (LONG_STAMPS, STAMP),
                (FINER_STAMPS, NOTHING),
                (NO_STAMPS, NOTHING),
                (ANY_INTEGER, NOTHING),
                (ANY_BLOB, NOTHING),
            ],
        ),
        case(cast, "timestamp(0)", &[(STAMPS, KEPT_STAMP)]),
    ]
}

fn days(cast: Option<Cast>, with_offset: &str) -> Vec<Case> {
    vec![case(
        cast,
        "date",
        &[
            (DATES, "reads(t, 'date')"),
            (STAMPS, DAY),
            (MIDNIGHTS_WITH_OFFSET, with_offset),
            (NO_STAMPS, NOTHING),
            (ANY_INTEGER, NOTHING),
            (ANY_BLOB, NOTHING),
        ],
    )]
}

fn times(cast: Option<Cast>) -> Vec<Case> {
    vec![
        case(
            cast,
            "time",
            &[
                (TIMES, "CASE WHEN t !~ '^24' THEN reads(t, 'time') END"),
                (FINER_TIMES, NOTHING),
                (NO_STAMPS, NOTHING),
                (ANY_INTEGER, NOTHING),
                (ANY_REAL, NOTHING),
            ],
        ),
        case(
            cast,
            "time(2)",
            &[(
                TIMES,
                "CASE WHEN t !~ '^24' AND reads(t, 'time(2)')::time = reads(t, 'time')::time THEN reads(t, 'time(2)') END",
            )],
        ),
    ]
}

/// How an epoch counts: the microseconds since 1970 of the number `X`, and numbers.
struct Epoch {
    micros: &'static str,
    integers: Values,
    reals: Values,
    texts: Values,
    midnights: Values,
    noons: Values,
}

const SECONDS: Epoch = Epoch {
    micros: "round(X * 1000000)",
    integers: Integers("-?[0-9]{1,12}"),
    reals: Reals(r"-?([0-9]{1,9}|1[0-9]{9})\.[0-9]{1,6}|9e999|1e300"),
    texts: Texts(r"-?[0-9]{1,10}|1[0-9]{9}\.[0-9]{1,3}"),
    midnights: Multiples(86_400, "-?[0-9]{1,5}"),
    noons: Multiples(43_200, "-?[0-9]{0,4}[13579]"),
};
const MILLIS: Epoch = Epoch {
    micros: "round(X * 1000)",
    integers: Integers("-?[0-9]{1,15}"),
    reals: Reals(r"-?[0-9]{1,12}\.[0-9]{1,3}|-9e999"),
    texts: Texts(r"-?[0-9]{5,13}"),
    midnights: Multiples(86_400_000, "-?[0-9]{1,5}"),
    noons: Multiples(43_200_000, "-?[0-9]{0,4}[13579]"),
};
const MICROS: Epoch = Epoch {
    micros: "round(X)",
    integers: Integers("-?[0-9]{1,18}"),
    reals: Reals(r"-?[0-9]{1,14}(\.[05])?|9e999"),
    texts: Texts("-?[0-9]{5,16}"),
    midnights: Multiples(86_400_000_000, "-?[0-9]{1,5}"),
    noons: Multiples(43_200_000_000, "-?[0-9]{0,4}[13579]"),
};
/// With decimals that give whole milliseconds, to which SQLite itself keeps them. A day begins at noon.
const JULIAN_DAYS: Epoch = Epoch {
    micros: "round((X - 2440587.5) * 86400000) * 1000",
    integers: Integers("2[0-9]{6}|[0-9]{1,8}"),
    reals: Reals(r"24[0-9]{5}\.[0-9]{1,5}|[0-9]{1,7}\.5|9e999"),
    texts: Texts(r"24[0-9]{5}(\.[0-9]{1,5})?"),
    midnights: Reals(r"24[0-9]{5}\.5"),
    noons: Integers("24[0-9]{5}"),
};

fn epochs(cast: Option<Cast>, epoch: &Epoch) -> Vec<Case> {
    let at = |number: &str| format!("at_us({})", epoch.micros.replace('X', number));
    let (integer, real, text) = (at("i::numeric"), at("r::text::numeric"), at("t::numeric"));
    let utc = |instant: &str| format!("{instant} AT TIME ZONE 'UTC'");
    let day = format!("{}::date", at("coalesce(i::numeric, r::text::numeric)"));
    vec![
        case(
            cast,
            "timestamptz",
            &[
                (epoch.integers, &integer),
                (epoch.reals, &real),
                (epoch.texts, &text),
                (STAMPS, STAMP),
                (STAMPS_WITH_OFFSET, "reads(t, 'timestamptz')"),
                (NO_STAMPS, NOTHING),
                (ANY_BLOB, NOTHING),
            ],
        ),
        case(
            cast,
            "timestamp",
            &[
                (epoch.integers, &utc(&integer)),
                (epoch.reals, &utc(&real)),
                (epoch.texts, &utc(&text)),
                (STAMPS_WITH_OFFSET, STAMP_IN_UTC),
            ],
        ),
        case(cast, "date", &[(epoch.midnights, &day), (epoch.noons, NOTHING), (DATES, "reads(t, 'date')"), (NO_STAMPS, NOTHING)]),
    ]
}

const ANYTHING_TO_NULL: &[(FaultCode, Policy)] = &[
    (FaultCode::NulByte, Policy::SetNull),
    (FaultCode::InvalidUtf8, Policy::SetNull),
    (FaultCode::WrongType, Policy::SetNull),
    (FaultCode::OutOfRange, Policy::SetNull),
    (FaultCode::Inexact, Policy::SetNull),
    (FaultCode::Ambiguous, Policy::SetNull),
    (FaultCode::NonFinite, Policy::SetNull),
    (FaultCode::BadJson, Policy::SetNull),
    (FaultCode::UnknownLabel, Policy::SetNull),
];
const ROUND: &[(FaultCode, Policy)] = &[(FaultCode::Inexact, Policy::Round)];

/// Every rule with the faults that it is for. A new one does not build until it has its cases here; those two that change
/// nothing have none.
fn ruled_cases(policy: Policy) -> Vec<Case> {
    match policy {
        Policy::Fail | Policy::Quarantine => Vec::new(),
        Policy::SetNull => {
            let plain = without_cast()
                .into_iter()
                .filter(|case| matches!(case.target, "bigint" | "jsonb" | "timestamp" | "text" | "boolean" | "public.mood"));
            plain.map(|case| case.ruled(ANYTHING_TO_NULL)).collect()
        }
        Policy::StripNul => vec![
            case(None, "text", &[(Spoilt(r"(?-u:[a-z]{0,3}\x00[a-z\xff]{0,3}\x00?)"), "utf8(instead(b, '\\x00', ''))")])
                .ruled(&[(FaultCode::NulByte, Policy::StripNul)]),
            case(None, "bigint", &[(Spoilt(r"(?-u:[0-9]{1,3}\x00[0-9a]?)"), "reads(utf8(instead(b, '\\x00', '')), 'bigint')")])
                .ruled(&[(FaultCode::NulByte, Policy::StripNul)]),
        ],
        Policy::ReplaceInvalid => vec![
            case(
                None,
                "text",
                &[(
                    Spoilt(r"(?-u:([a-z]|\xc3\xa4|\xff|\xfe){1,6})"),
                    "utf8(instead(instead(b, '\\xff', '\\xefbfbd'), '\\xfe', '\\xefbfbd'))",
                )],
            )
            .ruled(&[(FaultCode::InvalidUtf8, Policy::ReplaceInvalid)]),
        ],
        Policy::ReadAsLatin1 => vec![
            case(
                None,
                "text",
                &[(Spoilt(r"(?-u:[a-z\x80-\xff]{1,3}\xe4[a-z]{0,2})"), "coalesce(utf8(b), convert_from(b, 'LATIN1'))")],
            )
            .ruled(&[(FaultCode::InvalidUtf8, Policy::ReadAsLatin1)]),
        ],
        Policy::Round => rounded(),
        Policy::Truncate => vec![
            case(
                None,
                "varchar(5)",
                &[
                    (Texts("[a-zä😀 ]{0,9}"), "t::TYPE"),
                    (Integers("[0-9]{3,9}"), "CASE WHEN char_length(i::text) <= 5 THEN i::text END"),
                ],
            )
            .ruled(&[(FaultCode::OutOfRange, Policy::Truncate)]),
            case(None, "char(4)", &[(Texts("[a-zä]{0,9} {0,4}"), "t::TYPE")]).ruled(&[(FaultCode::OutOfRange, Policy::Truncate)]),
            // It cuts text, never numbers.
            case(
                None,
                "smallint",
                &[(Integers("[0-9]{3,7}"), "reads(i::text, 'TYPE')"), (Texts("[0-9]{3,7}"), "reads(t, 'TYPE')")],
            )
            .ruled(&[(FaultCode::OutOfRange, Policy::Truncate)]),
        ],
        Policy::QuoteAsJson => {
            let quoted = |target| {
                case(
                    None,
                    target,
                    &[
                        (DOCUMENTS, "coalesce(reads(t, 'jsonb')::jsonb, to_jsonb(t))"),
                        (NO_DOCUMENTS, "coalesce(reads(t, 'jsonb')::jsonb, to_jsonb(t))"),
                        (Texts("[\\\\\t\n\"a-zä😀{}]{0,5}"), "coalesce(reads(t, 'jsonb')::jsonb, to_jsonb(t))"),
                    ],
                )
                .asked("v::jsonb::text")
                .ruled(&[(FaultCode::BadJson, Policy::QuoteAsJson)])
            };
            let twins = case(
                None,
                "jsonb",
                &[(DOCUMENTS_WITH_TWINS, "to_jsonb(t)"), (ESCAPES, "coalesce(reads(t, 'jsonb')::jsonb, to_jsonb(t))")],
            );
            vec![quoted("jsonb"), quoted("json"), twins.ruled(&[(FaultCode::BadJson, Policy::QuoteAsJson)])]
        }
    }
}

/// Where a type keeps less, PostgreSQL's own cast to it rounds.
fn rounded() -> Vec<Case> {
    let finer = "reads(t, 'TYPE')";
    vec![
        case(
            None,
            "bigint",
            &[
                (ANY_REAL, "casts(r, 'bigint')"),
                (Reals(r"-?[0-9]{1,3}\.5"), "casts(r, 'bigint')"),
                (Texts(r"-?[0-9]{1,9}\.[0-9]{1,5}"), "round(t::numeric)::bigint"),
            ],
        ),
        case(None, "smallint", &[(Reals(r"-?[0-9]{1,6}\.[0-9]"), "casts(r, 'smallint')")]),
        case(None, "float8", &[(ANY_INTEGER, "i::float8"), (Integers("900719925474099[0-9]"), "i::float8")]),
        case(None, "real", &[(ANY_REAL, "casts(r, 'real')"), (ANY_INTEGER, "i::float8::real")]),
        case(
            None,
            "numeric(8,3)",
            &[
                (Texts(r"-?[0-9]{1,6}\.[0-9]{1,9}"), "reads(t, 'TYPE')"),
                (Reals(r"-?[0-9]{1,5}\.[0-9]{1,9}"), "reads(r::text, 'TYPE')"),
            ],
        ),
        case(None, "numeric(4,4)", &[(Texts(r"-?0\.[0-9]{1,7}"), "reads(t, 'TYPE')")]),
        case(None, "numeric(2,5)", &[(Texts(r"-?0\.000[0-9]{1,6}"), "reads(t, 'TYPE')")]),
        case(
            None,
            "numeric(3,-2)",
            &[(Texts(r"-?[0-9]{1,6}(\.5)?"), "reads(t, 'TYPE')"), (Integers("-?[0-9]{1,6}"), "reads(i::text, 'TYPE')")],
        ),
        case(None, "timestamp", &[(FINER_STAMPS, finer)]),
        case(None, "timestamptz", &[(FINER_STAMPS, finer)]),
        case(
            None,
            "timestamp(3)",
            &[(FINER_STAMPS, finer), (STAMPS, STAMP), (Texts(r"(19|20)[0-9]{2}-01-01 10:00:00\.[0-9]{3}5"), finer)],
        ),
        case(
            None,
            "timestamptz(0)",
            &[(STAMPS_WITH_OFFSET, finer), (Texts(r"(19|20)[0-9]{2}-01-01 10:00:0[0-9]\.[0-9]"), finer)],
        ),
        case(None, "date", &[(STAMPS, "CASE WHEN t !~ '[ T]24' THEN reads(t, 'timestamp')::timestamp::date END")]),
        case(None, "time", &[(FINER_TIMES, finer)]),
        case(None, "time(2)", &[(TIMES, "CASE WHEN t !~ '^24' THEN reads(t, 'TYPE') END"), (FINER_TIMES, finer)]),
    ]
    .into_iter()
    .map(|case| case.ruled(ROUND))
    .collect()
}

/// Every word of an enumeration, as its schema lists them.
fn words<T: schemars::JsonSchema + serde::de::DeserializeOwned>() -> Vec<T> {
    let schema = schemars::schema_for!(T).to_value();
    let words = schema["oneOf"].as_array().expect("one entry for each").iter().map(|entry| entry["const"].clone());
    words.map(|word| serde_json::from_value(word).expect("a word of the enumeration")).collect()
}

#[tokio::test]
async fn every_cast_gives_what_postgresql_itself_reads() {
    let casts = words::<Cast>();
    assert!(casts.len() >= 20, "{casts:?}");
    let mut all = cases(None);
    for cast in casts {
        let own = cases(Some(cast));
        assert!(own.iter().any(|case| case.cast == Some(cast)), "{cast:?} has no property");
        all.extend(own);
    }
    expect_postgresqls_readings(&all).await;
}

#[tokio::test]
async fn every_rule_changes_a_value_as_postgresql_itself_would() {
    let mut all = Vec::new();
    for policy in words::<Policy>() {
        let own = ruled_cases(policy);
        assert!(!own.is_empty() || matches!(policy, Policy::Fail | Policy::Quarantine), "{policy:?} has no property");
        all.extend(own);
    }
    expect_postgresqls_readings(&all).await;
}

#[tokio::test]
async fn without_a_rule_a_fault_puts_the_row_aside_or_stops_the_copy_as_the_policy_says() {
    let faulty = [
        ("bigint", "'x'", FaultCode::WrongType),
        ("bigint", "1.5", FaultCode::Inexact),
        ("smallint", "70000", FaultCode::OutOfRange),
        ("numeric", "9e999", FaultCode::NonFinite),
        ("timestamp", "5", FaultCode::Ambiguous),
        ("text", "CAST(x'00' AS TEXT)", FaultCode::NulByte),
        ("text", "CAST(x'ff' AS TEXT)", FaultCode::InvalidUtf8),
        ("jsonb", "'{'", FaultCode::BadJson),
        ("bigint NOT NULL", "NULL", FaultCode::NullInNotNull),
        ("mood", "'none'", FaultCode::UnknownLabel),
    ];
    let pair = Pair::new("").await;
    pair.postgres("CREATE TYPE mood AS ENUM ('ok')").await;
    for (number, (target, literal, code)) in faulty.into_iter().enumerate() {
        pair.sqlite(&format!("CREATE TABLE t{number} (id INTEGER PRIMARY KEY, v); INSERT INTO t{number} VALUES (1, {literal})"));
        pair.postgres(&format!("CREATE TABLE t{number} (id bigint PRIMARY KEY, v {target})")).await;
        let with = |policy, id: String| Options {
            tables: Some(vec![format!("t{number}")]),
            policies: BTreeMap::from([("*".to_owned(), BTreeMap::from([(code, policy)]))]),
            on_fault: if policy == Policy::Fail { OnFault::Quarantine } else { OnFault::Fail },
            ..Options::new(id)
        };
        let error = pair.copy(&with(Policy::Fail, format!("fail {number}"))).await.expect_err("stops");
        let Error::Fault(fault) = error else { panic!("{target}: {error}") };
        assert_eq!((fault.code, fault.key.as_str()), (code, "id=1"), "{target}");
        let report = pair.copy(&with(Policy::Quarantine, format!("aside {number}"))).await.expect("goes on");
        assert_eq!((report.rows, report.quarantined, report.faults[0].example.code), (0, 1, code), "{target}");
    }
}

#[tokio::test]
async fn every_cast_creates_a_column_of_its_type() {
    let casts = words::<Cast>();
    let columns: Vec<String> = (0..casts.len()).map(|number| format!("c{number}")).collect();
    let pair = Pair::new(&format!("CREATE TABLE t ({})", columns.join(", "))).await;
    let mut options = Options { schema: SchemaMode::Create, ..Options::new("created") };
    options.casts.extend(casts.iter().zip(&columns).map(|(cast, column)| (format!("t.{column}"), *cast)));
    pair.copy(&options).await.expect("creates");
    let types = pair.read("SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum").await;
    let expected: Vec<&str> = casts
        .iter()
        .map(|cast| match cast {
            Cast::EpochSeconds | Cast::EpochMillis | Cast::EpochMicros | Cast::JulianDay | Cast::Timestamptz => {
                "timestamp with time zone"
            }
            Cast::TimestampUtc => "timestamp without time zone",
            Cast::Boolean | Cast::BooleanNonzero => "boolean",
            Cast::Date => "date",
            Cast::Time => "time without time zone",
            Cast::Bigint => "bigint",
            Cast::Double => "double precision",
            Cast::Numeric => "numeric",
            Cast::Jsonb => "jsonb",
            Cast::Json => "json",
            Cast::Uuid => "uuid",
            Cast::Text => "text",
            Cast::Bytea | Cast::Hex | Cast::Base64 => "bytea",
        })
        .collect();
    assert_eq!(types.split('|').collect::<Vec<_>>(), expected);
}
