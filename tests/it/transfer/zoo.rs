//! A zoo of small schemas: each is created in PostgreSQL, filled, verified, and asked what stands there.

use pointsman::transfer::copy::Options;

use super::Pair;

/// A SQLite schema, questions to the PostgreSQL one with their answers, and what must be listed as not carried over.
struct Animal {
    name: &'static str,
    sqlite: &'static str,
    asks: &'static [(&'static str, &'static str)],
    left_out: &'static [&'static str],
}

const COLUMNS: &str = "SELECT column_name || ' ' || data_type || CASE is_nullable WHEN 'NO' THEN ' not null' ELSE '' END FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position";
const CONSTRAINTS: &str = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY conrelid::regclass::text, contype, 1";
const INDEXES: &str = "SELECT replace(indexdef, 'public.', '') FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname";
const DEFAULTS: &str = "SELECT column_default FROM information_schema.columns WHERE table_name = 't' AND column_default IS NOT NULL ORDER BY ordinal_position";

const ZOO: &[Animal] = &[
    Animal {
        name: "a rowid table without a key",
        sqlite: "CREATE TABLE t (a, b TEXT); INSERT INTO t VALUES ('x', 'y'), ('x', 'y');",
        asks: &[(COLUMNS, "a text|b text"), (CONSTRAINTS, "")],
        left_out: &[],
    },
    Animal {
        name: "an integer key",
        sqlite: "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT NOT NULL); INSERT INTO t VALUES (5, 'a');",
        asks: &[(COLUMNS, "id bigint not null|v text not null"), ("INSERT INTO t (v) VALUES ('b') RETURNING id::text", "6")],
        left_out: &[],
    },
    Animal {
        name: "negative and huge ids",
        sqlite: "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (-9223372036854775808), (-1), (0), (9223372036854775806);",
        asks: &[("SELECT nextval('t_id_seq')::text", "9223372036854775807")],
        left_out: &[],
    },
    Animal {
        name: "autoincrement after deletion",
        sqlite: "CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT, v); INSERT INTO t VALUES (900, 1); DELETE FROM t; INSERT INTO t (v) VALUES (2);",
        asks: &[("INSERT INTO t (v) VALUES ('3') RETURNING id::text", "902")],
        left_out: &[],
    },
    Animal {
        name: "an empty table",
        sqlite: "CREATE TABLE t (id INTEGER PRIMARY KEY, v REAL);",
        asks: &[("INSERT INTO t (v) VALUES (1) RETURNING id::text", "1")],
        left_out: &[],
    },
    Animal {
        name: "without rowid",
        sqlite: "CREATE TABLE t (k TEXT PRIMARY KEY, v INT) WITHOUT ROWID; INSERT INTO t VALUES ('b', 1), ('a', 2);",
        asks: &[(CONSTRAINTS, "PRIMARY KEY (k)")],
        left_out: &[],
    },
    Animal {
        name: "without rowid, descending compound key",
        sqlite: "CREATE TABLE t (a INT, b TEXT, PRIMARY KEY (b DESC, a)) WITHOUT ROWID; INSERT INTO t VALUES (1, 'x'), (1, 'y'), (2, 'x');",
        asks: &[(CONSTRAINTS, "PRIMARY KEY (b, a)")],
        left_out: &[],
    },
    Animal {
        name: "strict",
        sqlite: "CREATE TABLE t (a INT, b INTEGER, c REAL, d TEXT, e BLOB, f ANY) STRICT; INSERT INTO t VALUES (1, 2, 3.5, 'x', x'ff', 'any');",
        asks: &[(COLUMNS, "a bigint|b bigint|c double precision|d text|e bytea|f text")],
        left_out: &[],
    },
    Animal {
        name: "strict without rowid",
        sqlite: "CREATE TABLE t (a BLOB PRIMARY KEY, b REAL NOT NULL) STRICT, WITHOUT ROWID; INSERT INTO t VALUES (x'00', 1.5), (x'0000', -0.0);",
        asks: &[(COLUMNS, "a bytea not null|b double precision not null")],
        left_out: &[],
    },
    Animal {
        name: "a text key on a rowid table",
        sqlite: "CREATE TABLE t (k TEXT PRIMARY KEY NOT NULL, v); INSERT INTO t VALUES ('z', 1), ('ä', 2);",
        asks: &[(CONSTRAINTS, "PRIMARY KEY (k)")],
        left_out: &[],
    },
    Animal {
        name: "unique constraints, also compound",
        sqlite: "CREATE TABLE t (a INT UNIQUE, b INT, c INT, UNIQUE (b, c)); INSERT INTO t VALUES (1, 1, 1), (NULL, 1, 2), (NULL, 1, NULL), (NULL, 1, NULL);",
        asks: &[(CONSTRAINTS, "UNIQUE (a)|UNIQUE (b, c)")],
        left_out: &[],
    },
    Animal {
        name: "plain, descending and unique indexes",
        sqlite: "CREATE TABLE t (a INT, b INT); CREATE INDEX one ON t (a, b DESC); CREATE UNIQUE INDEX two ON t (b); INSERT INTO t VALUES (1, 2);",
        asks: &[(INDEXES, "CREATE INDEX one ON t USING btree (a, b DESC)|CREATE UNIQUE INDEX two ON t USING btree (b)")],
        left_out: &[],
    },
    Animal {
        name: "a partial index",
        sqlite: "CREATE TABLE t (a INT, done BOOLEAN); CREATE UNIQUE INDEX open ON t (a) WHERE done = 0; INSERT INTO t VALUES (1, 1), (1, 1), (1, 0);",
        asks: &[(INDEXES, "CREATE UNIQUE INDEX open ON t USING btree (a) WHERE ((done)::integer = 0)")],
        left_out: &[],
    },
    Animal {
        name: "an expression index",
        sqlite: "CREATE TABLE t (mail TEXT); CREATE UNIQUE INDEX m ON t (lower(mail)); INSERT INTO t VALUES ('A@x'), ('b@x');",
        asks: &[(INDEXES, "CREATE UNIQUE INDEX m ON t USING btree (lower(mail))")],
        left_out: &[],
    },
    Animal {
        name: "an index that PostgreSQL cannot say",
        sqlite: "CREATE TABLE t (d TEXT); CREATE INDEX m ON t (strftime('%Y', d)); INSERT INTO t VALUES ('2024-01-01');",
        asks: &[(INDEXES, "")],
        left_out: &["m of t"],
    },
    Animal {
        name: "a collation",
        sqlite: "CREATE TABLE t (name TEXT COLLATE NOCASE UNIQUE); CREATE INDEX n ON t (name); INSERT INTO t VALUES ('Ä'), ('ä'), ('b');",
        asks: &[(
            INDEXES,
            "CREATE INDEX n ON t USING btree (lower((name COLLATE \"C\")))|CREATE UNIQUE INDEX t_name_key ON t USING btree (name)|CREATE UNIQUE INDEX t_name_key_collated ON t USING btree (lower((name COLLATE \"C\")))",
        )],
        left_out: &["name of t"],
    },
    Animal {
        name: "checks",
        sqlite: "CREATE TABLE t (a INT CHECK (a > 0), m TEXT CONSTRAINT at_sign CHECK (m LIKE '%@%'), CHECK (a < 100 OR m IS NULL)); INSERT INTO t VALUES (1, 'a@b'), (NULL, NULL);",
        asks: &[(CONSTRAINTS, "CHECK (((a < 100) OR (m IS NULL)))|CHECK ((a > 0))|CHECK ((m ~~* '%@%'::text))")],
        left_out: &[],
    },
    Animal {
        name: "a check that PostgreSQL cannot say",
        sqlite: "CREATE TABLE t (a INT CHECK (typeof(a) = 'integer')); INSERT INTO t VALUES (1);",
        asks: &[(CONSTRAINTS, "")],
        left_out: &["t_check0 of t"],
    },
    Animal {
        name: "a check on a boolean",
        sqlite: "CREATE TABLE t (active BOOLEAN NOT NULL DEFAULT 1 CHECK (active IN (0, 1))); INSERT INTO t VALUES (1), (0);",
        asks: &[(CONSTRAINTS, "CHECK (((active)::integer = ANY (ARRAY[0, 1])))"), (DEFAULTS, "true")],
        left_out: &[],
    },
    Animal {
        name: "defaults",
        sqlite: "CREATE TABLE t (a INT DEFAULT 7, b TEXT DEFAULT 'it''s', c REAL DEFAULT -1.5, d TIMESTAMP DEFAULT CURRENT_TIMESTAMP, e BLOB DEFAULT x'00ff', f INT DEFAULT (1 + 1), g TEXT DEFAULT NULL); INSERT INTO t (a) VALUES (1);",
        asks: &[(DEFAULTS, "7|'it''s'::text|'-1.5'::numeric|(now() AT TIME ZONE 'utc'::text)|'\\x00ff'::bytea")],
        left_out: &["t.f"],
    },
    Animal {
        name: "a generated column",
        sqlite: "CREATE TABLE t (a INT, twice INT GENERATED ALWAYS AS (a * 2) STORED, thrice INT AS (a * 3)); INSERT INTO t (a) VALUES (4), (NULL);",
        asks: &[
            (
                "SELECT attname::text || attgenerated::text FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 ORDER BY attnum",
                "a|twices|thrices",
            ),
            ("INSERT INTO t (a) VALUES (5) RETURNING twice || ' ' || thrice", "10 15"),
        ],
        left_out: &[],
    },
    Animal {
        name: "a generated column that PostgreSQL cannot compute",
        sqlite: "CREATE TABLE t (j JSON, name TEXT AS (json_extract(j, '$.name'))); INSERT INTO t VALUES ('{\"name\": \"x\"}');",
        asks: &[("SELECT name FROM t", "x")],
        left_out: &["name of t"],
    },
    Animal {
        name: "foreign keys with actions",
        sqlite: "CREATE TABLE p (a INT, b INT, PRIMARY KEY (a, b)); CREATE TABLE t (x INT, y INT, FOREIGN KEY (x, y) REFERENCES p (a, b) ON DELETE CASCADE ON UPDATE SET NULL); INSERT INTO p VALUES (1, 2); INSERT INTO t VALUES (1, 2), (NULL, 9);",
        asks: &[(CONSTRAINTS, "PRIMARY KEY (a, b)|FOREIGN KEY (x, y) REFERENCES p(a, b) ON UPDATE SET NULL ON DELETE CASCADE")],
        left_out: &[],
    },
    Animal {
        name: "a self-reference",
        sqlite: "CREATE TABLE t (id INTEGER PRIMARY KEY, parent INT REFERENCES t); INSERT INTO t VALUES (1, 2), (2, 1), (3, 3), (4, NULL);",
        asks: &[(CONSTRAINTS, "FOREIGN KEY (parent) REFERENCES t(id)|PRIMARY KEY (id)")],
        left_out: &[],
    },
    Animal {
        name: "a deferred foreign key",
        sqlite: "CREATE TABLE t (id INTEGER PRIMARY KEY, p INT REFERENCES t (id) DEFERRABLE INITIALLY DEFERRED);",
        asks: &[(CONSTRAINTS, "FOREIGN KEY (p) REFERENCES t(id) DEFERRABLE INITIALLY DEFERRED|PRIMARY KEY (id)")],
        left_out: &[],
    },
    Animal {
        name: "a foreign key to a column that is not unique",
        sqlite: "CREATE TABLE p (a INT); CREATE TABLE t (x INT REFERENCES p (a)); INSERT INTO p VALUES (1); INSERT INTO t VALUES (1);",
        asks: &[(CONSTRAINTS, "")],
        left_out: &["(x) of t"],
    },
    Animal {
        name: "a foreign key to a unique index in another order",
        sqlite: "CREATE TABLE p (a INT, b INT); CREATE UNIQUE INDEX u ON p (b, a); CREATE TABLE t (x INT, y INT, FOREIGN KEY (x, y) REFERENCES p (a, b)); INSERT INTO p VALUES (1, 2); INSERT INTO t VALUES (1, 2);",
        asks: &[(CONSTRAINTS, "FOREIGN KEY (x, y) REFERENCES p(a, b)")],
        left_out: &[],
    },
    Animal {
        name: "a foreign key to what is unique under a condition or by another collation",
        sqlite: "CREATE TABLE p (a INT, b TEXT); CREATE UNIQUE INDEX u ON p (a) WHERE a > 0; CREATE UNIQUE INDEX v ON p (b COLLATE NOCASE); CREATE TABLE t (x INT REFERENCES p (a), y TEXT REFERENCES p (b)); INSERT INTO p VALUES (1, 'k'); INSERT INTO t VALUES (1, 'k');",
        asks: &[(CONSTRAINTS, "")],
        left_out: &["(x) of t", "(y) of t"],
    },
    Animal {
        name: "a foreign key to nowhere",
        sqlite: "CREATE TABLE t (x INT REFERENCES gone (a)); INSERT INTO t VALUES (1);",
        asks: &[("SELECT x::text FROM t", "1")],
        left_out: &["(x) of t"],
    },
    Animal {
        name: "views and triggers are listed",
        sqlite: "CREATE TABLE t (a INT); CREATE VIEW v AS SELECT a FROM t; CREATE TRIGGER g AFTER INSERT ON t BEGIN SELECT 1; END; INSERT INTO t VALUES (1);",
        asks: &[("SELECT count(*)::text FROM t", "1")],
        left_out: &["g on t", "v"],
    },
    Animal {
        name: "a full-text table is listed",
        sqlite: "CREATE VIRTUAL TABLE f USING fts5 (body); CREATE TABLE t (a INT); INSERT INTO f VALUES ('x'); INSERT INTO t VALUES (1);",
        asks: &[("SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'", "1")],
        left_out: &["f", "f_config", "f_content", "f_data", "f_docsize", "f_idx"],
    },
    Animal {
        name: "names that need quotes",
        sqlite: "CREATE TABLE \"Order \"\"x\"\"\" (\"group\" INTEGER PRIMARY KEY, \"select\" TEXT, [Mixed Case] INT, `ünï` TEXT UNIQUE); INSERT INTO \"Order \"\"x\"\"\" VALUES (1, 'a', 2, 'u');",
        asks: &[("SELECT concat(\"group\", \"select\", \"Mixed Case\", \"ünï\") FROM \"Order \"\"x\"\"\"", "1a2u")],
        left_out: &[],
    },
    Animal {
        name: "a column called rowid",
        sqlite: "CREATE TABLE t (rowid TEXT, _rowid_ TEXT); INSERT INTO t VALUES ('b', 'x'), ('a', 'y');",
        asks: &[("SELECT rowid || _rowid_ FROM t ORDER BY 1", "ay|bx")],
        left_out: &[],
    },
    Animal {
        name: "json in a numeric column",
        sqlite: "CREATE TABLE t (j JSON); INSERT INTO t VALUES ('{\"b\":1.50,\"a\":[]}'), ('12'), ('1.5'), ('\"s\"'), (NULL);",
        asks: &[("SELECT coalesce(j::text, '-') FROM t", "{\"a\": [], \"b\": 1.50}|12|1.5|\"s\"|-")],
        left_out: &[],
    },
    Animal {
        name: "every other declared type",
        sqlite: "CREATE TABLE t (a NVARCHAR(10), b TINYINT, c UNSIGNED BIG INT, d NATIVE CHARACTER(70), e CLOB, f DOUBLE, g FLOAT, h NUMERIC, i DATE, j UUID, k STRING, l VARBINARY(9)); INSERT INTO t VALUES ('a', 1, 2, 'd', 'e', 1.5, 2.5, 3.25, '2024-01-31', '6ba7b8109dad11d180b400c04fd430c8', 'k', x'09');",
        asks: &[(
            COLUMNS,
            "a text|b bigint|c bigint|d text|e text|f double precision|g double precision|h numeric|i date|j uuid|k text|l bytea",
        )],
        left_out: &[],
    },
    Animal {
        name: "utf-16 with empty strings and long text",
        sqlite: "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a TEXT); INSERT INTO t VALUES (''), ('ä😀'), (replace(hex(zeroblob(40000)), '00', 'long'));",
        asks: &[("SELECT length(a)::text FROM t ORDER BY length(a)", "0|2|160000")],
        left_out: &[],
    },
];

#[tokio::test]
async fn every_schema_of_the_zoo_is_created_filled_and_verified() {
    assert!(ZOO.len() >= 30);
    let mut wrong = Vec::new();
    for animal in ZOO {
        let pair = Pair::new(animal.sqlite).await;
        let options = Options { streams: 2, ..Options::new("zoo") };
        let report = pair.copy(&options).await.unwrap_or_else(|error| panic!("{}: {error}", animal.name));
        let mut left_out: Vec<_> = report.left_out.iter().map(|item| item.name.as_str()).collect();
        left_out.sort_unstable();
        assert_eq!(left_out, animal.left_out, "{}: {:?}", animal.name, report.left_out);
        pair.expect_verified(&options).await;
        for (question, answer) in animal.asks {
            let found = pair.read(question).await;
            if found != *answer {
                wrong.push(format!("{}: {question}\n  found    {found}\n  expected {answer}", animal.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
