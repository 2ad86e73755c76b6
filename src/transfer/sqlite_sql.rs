//! Reading SQLite's own SQL as far as a schema needs it: checks, generated columns, collations, partial and expression indexes,
//! and the part of its expressions that means the same in PostgreSQL.
//!
//! Cautious on purpose: an expression with a word that is not known to mean the same is not translated, and the caller lists it.

use super::kind::Kind;
use super::plan::ColumnPlan;
use super::source::quoted;

/// One token of SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A bare word: keyword, name or function.
    Word(String),
    /// A quoted name, with the quote it stood in.
    Name(String, char),
    Text(String),
    Number(String),
    /// Hex digits of a blob.
    Blob(String),
    Symbol(&'static str),
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(own) if own.eq_ignore_ascii_case(word))
    }

    fn is_symbol(&self, symbol: &str) -> bool {
        matches!(self, Self::Symbol(own) if *own == symbol)
    }

    /// The name that the token can be.
    fn as_name(&self) -> Option<&str> {
        match self {
            Self::Word(name) | Self::Name(name, _) | Self::Text(name) => Some(name),
            Self::Number(_) | Self::Blob(_) | Self::Symbol(_) => None,
        }
    }
}

/// Longer symbols first.
const SYMBOLS: [&str; 25] = [
    "->>", "->", "||", "==", "!=", "<>", "<=", ">=", "<<", ">>", "(", ")", ",", "+", "-", "*", "/", "%", "=", "<", ">", "&", "|",
    "~", ".",
];

/// Cuts SQL into tokens; `None` for what no SQLite would accept either.
pub(super) fn tokens(sql: &str) -> Option<Vec<Token>> {
    let mut found = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() || first == ';' {
            rest = &rest[first.len_utf8()..];
        } else if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.split_once('\n').map_or("", |(_, after)| after);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else {
            let (token, after) = token(rest, first)?;
            found.push(token);
            rest = after;
        }
    }
    Some(found)
}

fn token(rest: &str, first: char) -> Option<(Token, &str)> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '$' || !letter.is_ascii();
    match first {
        '\'' | '"' | '`' => {
            let (text, after) = quoted_text(rest, first)?;
            Some((if first == '\'' { Token::Text(text) } else { Token::Name(text, first) }, after))
        }
        '[' => rest[1..].split_once(']').map(|(name, after)| (Token::Name(name.to_owned(), '['), after)),
        'x' | 'X' if rest[1..].starts_with('\'') => {
            quoted_text(&rest[1..], '\'').map(|(digits, after)| (Token::Blob(digits), after))
        }
        _ if first.is_ascii_digit() || (first == '.' && rest[1..].starts_with(|next: char| next.is_ascii_digit())) => {
            let mut end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '.').unwrap_or(rest.len());
            if rest[..end].ends_with(['e', 'E']) && rest[end..].starts_with(['+', '-']) {
                let digits = &rest[end + 1..];
                end += 1 + digits.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(digits.len());
            }
            Some((Token::Number(rest[..end].to_owned()), &rest[end..]))
        }
        _ if is_word(first) => {
            let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
            Some((Token::Word(rest[..end].to_owned()), &rest[end..]))
        }
        _ => SYMBOLS.iter().find_map(|symbol| rest.strip_prefix(symbol).map(|after| (Token::Symbol(symbol), after))),
    }
}

fn quoted_text(rest: &str, quote: char) -> Option<(String, &str)> {
    let mut text = String::new();
    let mut letters = rest[1..].char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            text.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            text.push(quote);
        } else {
            return Some((text, &rest[1 + at + 1..]));
        }
    }
    None
}

/// What a CREATE TABLE says beyond the pragmas.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    /// Conditions, with the constraint's name if it has one.
    pub(super) checks: Vec<(Option<String>, Vec<Token>)>,
    /// Computed columns with their expressions.
    pub(super) generated: Vec<(String, Vec<Token>)>,
    /// Columns that do not compare byte by byte, with their collation.
    pub(super) collations: Vec<(String, String)>,
    /// The first column of every foreign key that is checked at commit only.
    pub(super) deferred_keys: Vec<String>,
}

impl Definitions {
    /// Reads a CREATE TABLE; what cannot be read is taken as not said.
    pub(super) fn read(sql: &str) -> Self {
        let mut definitions = Self::default();
        let Some(found) = tokens(sql) else { return definitions };
        let Some(open) = found.iter().position(|token| token.is_symbol("(")) else { return definitions };
        for part in split(inside(&found[open..])) {
            definitions.read_part(part);
        }
        definitions
    }

    fn read_part(&mut self, part: &[Token]) {
        let is_table_constraint =
            ["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"].iter().any(|word| part[0].is_word(word));
        let column = if is_table_constraint { None } else { part[0].as_name().map(ToOwned::to_owned) };
        let (mut at, mut name, mut key) = (usize::from(column.is_some()), None, column.clone());
        while at < part.len() {
            let group = || inside(&part[at + 1..]);
            let next_opens = part.get(at + 1).is_some_and(|next| next.is_symbol("("));
            if part[at].is_symbol("(") {
                at += inside(&part[at..]).len() + 1;
            } else if part[at].is_word("CONSTRAINT") {
                name = part.get(at + 1).and_then(Token::as_name).map(ToOwned::to_owned);
                at += 1;
            } else if part[at].is_word("CHECK") && next_opens {
                self.checks.push((name.take(), group().to_vec()));
            } else if part[at].is_word("AS") && next_opens {
                self.generated.extend(column.clone().map(|column| (column, group().to_vec())));
            } else if part[at].is_word("KEY") && next_opens {
                key = group().first().and_then(Token::as_name).map(ToOwned::to_owned);
            } else if part[at].is_word("COLLATE") {
                let collation =
                    part.get(at + 1).and_then(Token::as_name).map(str::to_ascii_uppercase).filter(|name| name != "BINARY");
                self.collations.extend(column.clone().zip(collation));
            } else if part[at].is_word("INITIALLY") && part.get(at + 1).is_some_and(|next| next.is_word("DEFERRED")) {
                self.deferred_keys.extend(key.clone());
            }
            at += 1;
        }
    }

    /// The collation of a column, if it is not BINARY.
    pub(super) fn collation(&self, column: &str) -> Option<&str> {
        self.collations.iter().find(|(name, _)| name.eq_ignore_ascii_case(column)).map(|(_, collation)| collation.as_str())
    }
}

/// What stands between the parenthesis that `tokens` begins with and the one that closes it.
fn inside(tokens: &[Token]) -> &[Token] {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        if token.is_symbol("(") {
            depth += 1;
        } else if token.is_symbol(")") {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return &tokens[1..at];
            }
        }
    }
    tokens.get(1..).unwrap_or_default()
}

/// The parts between commas outside parentheses; no part is empty.
fn split(tokens: &[Token]) -> Vec<&[Token]> {
    let mut depth = 0_usize;
    let parts = tokens.split(|token| {
        if token.is_symbol("(") {
            depth += 1;
        } else if token.is_symbol(")") {
            depth = depth.saturating_sub(1);
        }
        depth == 0 && token.is_symbol(",")
    });
    parts.filter(|part| !part.is_empty()).collect()
}

/// One key of an index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct IndexKey {
    pub(super) tokens: Vec<Token>,
    pub(super) collation: Option<String>,
    pub(super) descending: bool,
}

/// The keys and the condition of a CREATE INDEX.
pub(super) fn read_index(sql: &str) -> Option<(Vec<IndexKey>, Option<Vec<Token>>)> {
    let found = tokens(sql)?;
    let on = found.iter().position(|token| token.is_word("ON"))?;
    let open = on + found[on..].iter().position(|token| token.is_symbol("("))?;
    let keys = inside(&found[open..]);
    let after = &found[open + keys.len() + 2..];
    let condition = after.first().is_some_and(|token| token.is_word("WHERE")).then(|| after[1..].to_vec());
    Some((split(keys).into_iter().map(index_key).collect(), condition))
}

fn index_key(part: &[Token]) -> IndexKey {
    let (mut end, mut descending, mut collation) = (part.len(), false, None);
    if end > 1 && (part[end - 1].is_word("ASC") || part[end - 1].is_word("DESC")) {
        descending = part[end - 1].is_word("DESC");
        end -= 1;
    }
    if end > 2 && part[end - 2].is_word("COLLATE") {
        collation = part[end - 1].as_name().map(str::to_ascii_uppercase);
        end -= 2;
    }
    IndexKey { tokens: part[..end].to_vec(), collation, descending }
}

/// The column that an expression is, if it is nothing else.
pub(super) fn as_column<'a>(tokens: &[Token], columns: &'a [ColumnPlan]) -> Option<&'a ColumnPlan> {
    match tokens {
        [only] => find(columns, only.as_name()?),
        _ => None,
    }
}

fn find<'a>(columns: &'a [ColumnPlan], name: &str) -> Option<&'a ColumnPlan> {
    columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
}

/// Functions that mean the same in PostgreSQL, with their names there.
const FUNCTIONS: [(&str, &str); 19] = [
    ("length", "length"),
    ("lower", "lower"),
    ("upper", "upper"),
    ("abs", "abs"),
    ("coalesce", "coalesce"),
    ("ifnull", "coalesce"),
    ("nullif", "nullif"),
    ("trim", "btrim"),
    ("ltrim", "ltrim"),
    ("rtrim", "rtrim"),
    ("round", "round"),
    ("substr", "substr"),
    ("substring", "substr"),
    ("replace", "replace"),
    ("instr", "strpos"),
    ("hex", "upper"),
    ("min", "least"),
    ("max", "greatest"),
    ("sign", "sign"),
];

/// Words that mean the same in PostgreSQL.
const WORDS: [&str; 16] = [
    "AND", "OR", "NOT", "NULL", "IN", "BETWEEN", "CASE", "WHEN", "THEN", "ELSE", "END", "LIKE", "ESCAPE", "TRUE", "FALSE",
    "DISTINCT",
];

/// The expression as PostgreSQL writes it; `None` when it holds anything whose meaning is not known to be the same.
pub(super) fn translate(tokens: &[Token], columns: &[ColumnPlan]) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let next_opens = tokens.get(at + 1).is_some_and(|next| next.is_symbol("("));
        let word = match &tokens[at] {
            Token::Text(text) => format!("'{}'", text.replace('\'', "''")),
            Token::Number(digits) if digits.starts_with("0x") || digits.starts_with("0X") => {
                i64::from_str_radix(&digits[2..], 16).ok()?.to_string()
            }
            Token::Number(digits) => digits.clone(),
            Token::Blob(digits) => format!("'\\x{digits}'::bytea"),
            Token::Symbol("->" | "->>" | ".") => return None,
            Token::Symbol("==") => "=".to_owned(),
            Token::Symbol("!=") => "<>".to_owned(),
            Token::Symbol(symbol) => (*symbol).to_owned(),
            Token::Word(name) | Token::Name(name, _) if find(columns, name).is_some() && !next_opens => {
                column(tokens, at, find(columns, name)?)
            }
            // SQLite takes an unknown name in double quotes for text.
            Token::Name(text, '"') => format!("'{}'", text.replace('\'', "''")),
            Token::Name(..) => return None,
            Token::Word(word) if next_opens && word.eq_ignore_ascii_case("json_valid") => {
                let argument = inside(&tokens[at + 1..]);
                as_column(argument, columns).filter(|column| matches!(column.kind, Kind::Json | Kind::Jsonb))?;
                at += argument.len() + 2;
                "TRUE".to_owned()
            }
            Token::Word(word) => known_word(word, next_opens, tokens.get(at + 1..).unwrap_or_default())?,
        };
        words.push(word);
        at += 1;
    }
    Some(words.join(" "))
}

fn known_word(word: &str, opens: bool, after: &[Token]) -> Option<String> {
    let upper = word.to_ascii_uppercase();
    if upper == "IS" {
        // Before anything else IS compares values, which PostgreSQL's does not.
        let plain = |token: &Token| ["NULL", "TRUE", "FALSE"].iter().any(|word| token.is_word(word));
        let negated = after.first().is_some_and(|token| token.is_word("NOT"));
        return after.get(usize::from(negated)).filter(|token| plain(token)).map(|_| upper);
    }
    match upper.as_str() {
        "ISNULL" => return Some("IS NULL".to_owned()),
        "NOTNULL" => return Some("IS NOT NULL".to_owned()),
        // SQLite's LIKE does not tell upper from lower case.
        "LIKE" => return Some("ILIKE".to_owned()),
        _ if WORDS.contains(&upper.as_str()) => return Some(upper),
        _ => {}
    }
    let lower = word.to_ascii_lowercase();
    FUNCTIONS.iter().find(|(name, _)| opens && *name == lower && lower != "hex").map(|(_, name)| (*name).to_owned())
}

/// A column's name; a boolean that is compared with a number becomes one.
fn column(tokens: &[Token], at: usize, column: &ColumnPlan) -> String {
    let name = quoted(&column.target);
    let compares = |token: &Token| {
        ["=", "==", "<>", "!=", "<", ">", "<=", ">="].iter().any(|symbol| token.is_symbol(symbol))
            || token.is_word("IN")
            || token.is_word("BETWEEN")
            || token.is_word("NOT")
    };
    let compared = tokens.get(at + 1).is_some_and(compares)
        || at.checked_sub(1).is_some_and(|before| matches!(tokens[before], Token::Symbol(_)) && compares(&tokens[before]));
    if column.kind == Kind::Bool && compared { format!("{name}::int") } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Vec<ColumnPlan> {
        let column =
            |name: &str, kind| ColumnPlan { name: name.to_owned(), target: name.to_owned(), kind, ..ColumnPlan::default() };
        vec![column("a", Kind::Int8), column("Mail", Kind::Text(None)), column("active", Kind::Bool), column("j", Kind::Jsonb)]
    }

    fn translated(sql: &str) -> Option<String> {
        translate(&tokens(sql).expect("tokens"), &columns())
    }

    #[test]
    fn expressions_that_mean_the_same_are_translated() {
        for (sql, expected) in [
            ("a > 0 AND a <= 0x10", "\"a\" > 0 AND \"a\" <= 16"),
            ("[mail] LIKE '%@%' -- comment", "\"Mail\" ILIKE '%@%'"),
            ("length(\"mail\") BETWEEN 1 AND 9", "length ( \"Mail\" ) BETWEEN 1 AND 9"),
            ("active IN (0,1)", "\"active\"::int IN ( 0 , 1 )"),
            ("1 = active", "1 = \"active\"::int"),
            ("active", "\"active\""),
            ("ifnull(a, 1) == 1 OR mail NOTNULL", "coalesce ( \"a\" , 1 ) = 1 OR \"Mail\" IS NOT NULL"),
            ("mail = \"draft\"", "\"Mail\" = 'draft'"),
            ("json_valid(j)", "TRUE"),
            ("a IS NOT NULL", "\"a\" IS NOT NULL"),
        ] {
            assert_eq!(translated(sql).as_deref(), Some(expected), "{sql}");
        }
    }

    #[test]
    fn expressions_that_could_mean_something_else_are_not() {
        for sql in [
            "typeof(a) = 'integer'",
            "a IS 1",
            "mail GLOB 'a*'",
            "strftime('%s', mail) > 0",
            "other > 1",
            "j ->> '$.x'",
            "json_valid(mail)",
            "random()",
            "CURRENT_TIMESTAMP",
            "hex(a)",
            "mail COLLATE NOCASE = 'x'",
        ] {
            assert_eq!(translated(sql), None, "{sql}");
        }
    }

    #[test]
    fn a_table_is_read_beyond_the_pragmas() {
        let found = Definitions::read(
            "CREATE TABLE t (a INTEGER CONSTRAINT positive CHECK (a > (0)), 'Mail' TEXT COLLATE nocase DEFAULT ('x,y'), /* , */
             twice INT GENERATED ALWAYS AS (a * 2) STORED, p INT REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED,
             CHECK (length(mail) < 10), FOREIGN KEY (b, c) REFERENCES q (x, y) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED) STRICT",
        );
        assert_eq!(found.checks.len(), 2);
        assert_eq!(found.checks[0].0.as_deref(), Some("positive"));
        assert_eq!(found.generated[0].0, "twice");
        assert_eq!(found.collation("mail"), Some("NOCASE"));
        assert_eq!(found.collation("a"), None);
        assert_eq!(found.deferred_keys, ["p", "b"]);
    }

    #[test]
    fn an_index_is_read_with_its_keys_and_condition() {
        let (keys, condition) =
            read_index("CREATE UNIQUE INDEX IF NOT EXISTS \"on\" ON t (lower(mail), a DESC, mail COLLATE NOCASE) WHERE a > 0")
                .expect("reads");
        assert_eq!(keys.len(), 3);
        assert!(keys[1].descending && keys[2].collation.as_deref() == Some("NOCASE") && keys[0].tokens.len() == 4);
        assert_eq!(translate(&condition.expect("a condition"), &columns()).as_deref(), Some("\"a\" > 0"));
    }
}
