//! From Jinja's tree to the stricter form that the machine runs, collecting the references on the way.
//!
//! Lowering does three things: it refuses what definitions may not use; it puts a check behind every
//! reference, unless the author handles its absence (`is defined`, `default`); and it turns comparisons
//! into tests that refuse values of different types. What comes out is Jinja again, fully parenthesised.

use std::collections::BTreeSet;

use minijinja::machinery::ast::{BinOpKind, CallArg, CompareOpKind, Expr, Stmt, UnaryOpKind};
use minijinja::machinery::{Span, Token, parse, parse_expr, tokenize};
use minijinja::syntax::SyntaxConfig;

use super::machine::{FILTERS, MUST_BE_THERE, TESTS};
use super::{ExpressionError, Reference, machine};

/// A checked template or expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lowered {
    /// What the machine runs.
    pub(super) source: String,
    /// What it refers to.
    pub(super) references: BTreeSet<Reference>,
    /// For a template that is exactly one `{{ expression }}`: that expression, lowered.
    pub(super) single: Option<String>,
    /// Whether a template is plain text.
    pub(super) literal: bool,
}

/// The most operators, dots, brackets and words such as `and` of one expression. Parsing, lowering and running
/// recurse over them; a long criterion has twenty.
const OPERATORS_MAX: usize = 100;

/// The most tags (`{{`, `{%`) of one template: blocks nest.
const TAGS_MAX: usize = 200;

/// The longest middle of `a < b < c`, lowered: it is evaluated twice, and twice again in a chain around it.
const LINK_LEN_MAX: usize = 200;

pub(super) fn template(text: &str) -> Result<Lowered, ExpressionError> {
    check_size(text, false)?;
    let tree = parse(text, "template", SyntaxConfig::default()).map_err(|error| syntax(&error))?;
    let Stmt::Template(template) = &tree else {
        return Err(ExpressionError::new("is not a template"));
    };
    let mut lowering = Lowering::new();
    let source = lowering.body(&template.children)?;
    let literal = template.children.iter().all(|child| matches!(child, Stmt::EmitRaw(raw) if text == raw.raw));
    let single = match template.children.as_slice() {
        [Stmt::EmitExpr(emit)] => Some(lowering.expr(&emit.expr)?),
        _ => None,
    };
    machine::check(&source, false)?;
    Ok(Lowered { source, references: lowering.references, single, literal })
}

pub(super) fn expression(text: &str) -> Result<Lowered, ExpressionError> {
    check_size(text, true)?;
    let tree = parse_expr(text).map_err(|error| syntax(&error))?;
    let mut lowering = Lowering::new();
    let source = lowering.expr(&tree)?;
    machine::check(&source, true)?;
    Ok(Lowered { source, references: lowering.references, single: None, literal: false })
}

/// Bounds the depth of the tree before there is one: a tree that is too deep could not even be dropped.
fn check_size(text: &str, is_expression: bool) -> Result<(), ExpressionError> {
    let (mut operators, mut tags) = (0, 0);
    for token in tokenize(text, is_expression, SyntaxConfig::default()) {
        // What is no token is the parser's to explain.
        let Ok((token, span)) = token else { return Ok(()) };
        match token {
            Token::VariableStart | Token::BlockStart => (operators, tags) = (0, tags + 1),
            Token::Ident("and" | "or" | "not" | "in" | "is" | "if" | "else" | "elif") => operators += 1,
            Token::TemplateData(_)
            | Token::VariableEnd
            | Token::BlockEnd
            | Token::Ident(_)
            | Token::Str(_)
            | Token::String(_) => {}
            Token::Int(_) | Token::Int128(_) | Token::Float(_) | Token::Comma | Token::Assign | Token::Colon => {}
            Token::BracketClose | Token::ParenClose | Token::BraceClose => {}
            _ => operators += 1,
        }
        if operators > OPERATORS_MAX {
            return refuse(span, format!("more than {OPERATORS_MAX} operators in one expression: split it"));
        }
        if tags > TAGS_MAX {
            return refuse(span, format!("more than {TAGS_MAX} tags in one template: split it"));
        }
    }
    Ok(())
}

fn syntax(error: &minijinja::Error) -> ExpressionError {
    let message = error.detail().unwrap_or("cannot be read").to_owned();
    ExpressionError { message, line: error.line(), offset: None }
}

fn refuse<T>(span: Span, message: impl Into<String>) -> Result<T, ExpressionError> {
    let (line, offset) = (usize::from(span.start_line), span.start_offset as usize);
    Err(ExpressionError { message: message.into(), line: Some(line), offset: Some(offset) })
}

struct Lowering<'a> {
    references: BTreeSet<Reference>,
    /// Names that the template itself binds, innermost scope last.
    locals: Vec<Vec<&'a str>>,
}

impl<'a> Lowering<'a> {
    fn new() -> Self {
        Self { references: BTreeSet::new(), locals: vec![Vec::new()] }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().flatten().any(|local| *local == name)
    }

    fn body(&mut self, statements: &[Stmt<'a>]) -> Result<String, ExpressionError> {
        statements.iter().map(|statement| self.statement(statement)).collect()
    }

    fn scoped_body(&mut self, statements: &[Stmt<'a>]) -> Result<String, ExpressionError> {
        self.locals.push(Vec::new());
        let body = self.body(statements);
        self.locals.pop();
        body
    }

    fn statement(&mut self, statement: &Stmt<'a>) -> Result<String, ExpressionError> {
        const ALLOWED: &str = "only `{{ ... }}`, `{% if %}`, `{% for %}` and `{% set %}` can be used here";
        match statement {
            Stmt::EmitRaw(raw) => Ok(format!("{{{{ {} }}}}", quoted(raw.raw))),
            Stmt::EmitExpr(emit) => Ok(format!("{{{{ {} }}}}", self.expr(&emit.expr)?)),
            Stmt::IfCond(cond) => {
                let (test, then) = (self.expr(&cond.expr)?, self.scoped_body(&cond.true_body)?);
                let otherwise = self.scoped_body(&cond.false_body)?;
                Ok(format!("{{% if {test} %}}{then}{{% else %}}{otherwise}{{% endif %}}"))
            }
            Stmt::ForLoop(looped) => {
                let iter = self.expr(&looped.iter)?;
                self.locals.push(vec!["loop"]);
                let target = self.target(&looped.target)?;
                let filter = looped.filter_expr.as_ref().map(|filter| self.expr(filter)).transpose()?;
                let filter = filter.map(|filter| format!(" if {filter}")).unwrap_or_default();
                let body = self.body(&looped.body)?;
                self.locals.pop();
                let otherwise = self.scoped_body(&looped.else_body)?;
                Ok(format!("{{% for {target} in {iter}{filter} %}}{body}{{% else %}}{otherwise}{{% endfor %}}"))
            }
            Stmt::Set(set) => {
                let value = self.expr(&set.expr)?;
                Ok(format!("{{% set {} = {value} %}}", self.target(&set.target)?))
            }
            Stmt::Template(other) => refuse(other.span(), ALLOWED),
            Stmt::WithBlock(other) => refuse(other.span(), ALLOWED),
            Stmt::SetBlock(other) => refuse(other.span(), ALLOWED),
            Stmt::AutoEscape(other) => refuse(other.span(), ALLOWED),
            Stmt::FilterBlock(other) => refuse(other.span(), ALLOWED),
            Stmt::Do(other) => refuse(other.span(), ALLOWED),
        }
    }

    /// A name, or a list of names to unpack into.
    fn target(&mut self, target: &Expr<'a>) -> Result<String, ExpressionError> {
        let names = match target {
            Expr::Var(var) => vec![var.id],
            Expr::Tuple(tuple) => {
                tuple.items.iter().filter_map(|item| if let Expr::Var(v) = item { Some(v.id) } else { None }).collect()
            }
            Expr::List(list) => {
                list.items.iter().filter_map(|item| if let Expr::Var(v) = item { Some(v.id) } else { None }).collect()
            }
            _ => Vec::new(),
        };
        if names.is_empty() {
            return refuse(target.span(), "expected a name to bind");
        }
        if let Some(scope) = self.locals.last_mut() {
            scope.extend(&names);
        }
        Ok(names.join(", "))
    }

    fn expr(&mut self, expr: &Expr<'a>) -> Result<String, ExpressionError> {
        match expr {
            Expr::Const(constant) => literal(&constant.value, constant.span()),
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => {
                let (source, reference) = self.path(expr)?;
                let name = reference.map_or_else(|| source.clone(), |reference| reference.to_string());
                Ok(format!("({source}|{MUST_BE_THERE}({}))", quoted(&name)))
            }
            Expr::Slice(slice) => {
                let mut part = |bound: &Option<Expr<'a>>| bound.as_ref().map_or(Ok(String::new()), |bound| self.expr(bound));
                let (start, stop, step) = (part(&slice.start)?, part(&slice.stop)?, part(&slice.step)?);
                Ok(format!("({}[{start}:{stop}:{step}])", self.expr(&slice.expr)?))
            }
            Expr::UnaryOp(unary) => {
                let operator = match unary.op {
                    UnaryOpKind::Not => "not ",
                    UnaryOpKind::Neg => "-",
                };
                Ok(format!("({operator}{})", self.expr(&unary.expr)?))
            }
            Expr::BinOp(operation) => {
                let (left, right) = (self.expr(&operation.left)?, self.expr(&operation.right)?);
                Ok(binary(operation.op, &left, &right))
            }
            Expr::Compare(compare) => {
                let mut left = self.expr(&compare.expr)?;
                let mut links = Vec::new();
                for link in &compare.ops {
                    let right = self.expr(&link.expr)?;
                    if compare.ops.len() > 1 && right.len() > LINK_LEN_MAX {
                        return refuse(link.expr.span(), "too long for a chain of comparisons: join two by `and`");
                    }
                    links.push(comparison(link.op, &left, &right));
                    left = right;
                }
                Ok(format!("({})", links.join(" and ")))
            }
            Expr::IfExpr(cond) => {
                let (test, then) = (self.expr(&cond.test_expr)?, self.expr(&cond.true_expr)?);
                let Some(otherwise) = &cond.false_expr else {
                    return refuse(cond.span(), "`if` without `else` would leave nothing: add an `else`");
                };
                Ok(format!("({then} if {test} else {})", self.expr(otherwise)?))
            }
            Expr::Filter(filter) => {
                check_known("filter", filter.name, &FILTERS, filter.span())?;
                let Some(input) = &filter.expr else {
                    return refuse(filter.span(), "a filter needs a value before the `|`");
                };
                let input = if filter.name == "default" { self.lenient(input)? } else { self.expr(input)? };
                Ok(format!("({input}|{}{})", filter.name, self.args(&filter.args)?))
            }
            Expr::Test(test) => {
                let name = if test.name == "undefined" { "defined" } else { test_alias(test.name) };
                check_known("test", name, &TESTS, test.span())?;
                let input = if name == "defined" { self.lenient(&test.expr)? } else { self.expr(&test.expr)? };
                let not = if test.name == "undefined" { "not " } else { "" };
                Ok(format!("({input} is {not}{name}{})", self.args(&test.args)?))
            }
            Expr::Call(call) => refuse(call.span(), "there are no functions here, only filters such as `x | length`"),
            Expr::List(list) => Ok(format!("[{}]", self.list(&list.items)?)),
            Expr::Tuple(tuple) => Ok(format!("[{}]", self.list(&tuple.items)?)),
            Expr::Map(map) => {
                let pairs = map.keys.iter().zip(&map.values);
                let pairs = pairs.map(|(key, value)| Ok(format!("{}: {}", self.expr(key)?, self.expr(value)?)));
                Ok(format!("{{{}}}", pairs.collect::<Result<Vec<_>, ExpressionError>>()?.join(", ")))
            }
        }
    }

    /// An expression whose absence the author handles.
    fn lenient(&mut self, expr: &Expr<'a>) -> Result<String, ExpressionError> {
        match expr {
            Expr::Var(_) | Expr::GetAttr(_) | Expr::GetItem(_) => self.path(expr).map(|(source, _)| source),
            _ => self.expr(expr),
        }
    }

    /// A chain of lookups, not yet checked for presence, with the reference that it stands for (none for a
    /// local name or the part of a computed value).
    fn path(&mut self, expr: &Expr<'a>) -> Result<(String, Option<Reference>), ExpressionError> {
        let (source, reference) = self.chain(expr)?;
        self.references.extend(reference.clone());
        Ok((source, reference))
    }

    fn chain(&mut self, expr: &Expr<'a>) -> Result<(String, Option<Reference>), ExpressionError> {
        match expr {
            Expr::Var(var) if self.is_local(var.id) => Ok((var.id.to_owned(), None)),
            Expr::Var(var) => {
                Ok((var.id.to_owned(), Some(Reference { root: var.id.to_owned(), path: Vec::new(), dynamic: false })))
            }
            Expr::GetAttr(attribute) => {
                let (source, reference) = self.chain(&attribute.expr)?;
                Ok((format!("{source}.{}", attribute.name), extended(reference, attribute.name)))
            }
            Expr::GetItem(item) => {
                let (source, reference) = self.chain(&item.expr)?;
                let subscript = self.expr(&item.subscript_expr)?;
                let reference = match &item.subscript_expr {
                    Expr::Const(constant) => extended(reference, &constant.value.to_string()),
                    _ => reference.map(|reference| Reference { dynamic: true, ..reference }),
                };
                Ok((format!("{source}[{subscript}]"), reference))
            }
            _ => Ok((self.expr(expr)?, None)),
        }
    }

    fn list(&mut self, items: &[Expr<'a>]) -> Result<String, ExpressionError> {
        Ok(items.iter().map(|item| self.expr(item)).collect::<Result<Vec<_>, _>>()?.join(", "))
    }

    fn args(&mut self, args: &[CallArg<'a>]) -> Result<String, ExpressionError> {
        let lower = |arg: &CallArg<'a>| match arg {
            CallArg::Pos(value) => self.expr(value),
            CallArg::Kwarg(name, value) => Ok(format!("{name}={}", self.expr(value)?)),
            CallArg::PosSplat(value) | CallArg::KwargSplat(value) => refuse(value.span(), "`*` arguments cannot be used here"),
        };
        let args = args.iter().map(lower).collect::<Result<Vec<_>, _>>()?;
        Ok(if args.is_empty() { String::new() } else { format!("({})", args.join(", ")) })
    }
}

/// The path goes on only while every segment before is known.
fn extended(reference: Option<Reference>, segment: &str) -> Option<Reference> {
    reference.map(|mut reference| {
        if !reference.dynamic {
            reference.path.push(segment.to_owned());
        }
        reference
    })
}

fn binary(operator: BinOpKind, left: &str, right: &str) -> String {
    let symbol = match operator {
        BinOpKind::Eq => return comparison(CompareOpKind::Eq, left, right),
        BinOpKind::Ne => return comparison(CompareOpKind::Ne, left, right),
        BinOpKind::Lt => return comparison(CompareOpKind::Lt, left, right),
        BinOpKind::Lte => return comparison(CompareOpKind::Lte, left, right),
        BinOpKind::Gt => return comparison(CompareOpKind::Gt, left, right),
        BinOpKind::Gte => return comparison(CompareOpKind::Gte, left, right),
        BinOpKind::In => return comparison(CompareOpKind::In, left, right),
        BinOpKind::ScAnd => "and",
        BinOpKind::ScOr => "or",
        BinOpKind::Add => "+",
        BinOpKind::Sub => "-",
        BinOpKind::Mul => "*",
        BinOpKind::Div => "/",
        BinOpKind::FloorDiv => "//",
        BinOpKind::Rem => "%",
        BinOpKind::Pow => "**",
        BinOpKind::Concat => "~",
    };
    format!("({left} {symbol} {right})")
}

fn comparison(operator: CompareOpKind, left: &str, right: &str) -> String {
    let test = match operator {
        CompareOpKind::Eq => "eq",
        CompareOpKind::Ne => "ne",
        CompareOpKind::Lt => "lt",
        CompareOpKind::Lte => "le",
        CompareOpKind::Gt => "gt",
        CompareOpKind::Gte => "ge",
        CompareOpKind::In => "in",
        CompareOpKind::NotIn => return format!("({left} is not in({right}))"),
    };
    format!("({left} is {test}({right}))")
}

/// Jinja's other spellings of its tests.
fn test_alias(name: &str) -> &str {
    match name {
        "==" | "equalto" => "eq",
        "!=" => "ne",
        "<" | "lessthan" => "lt",
        "<=" => "le",
        ">" | "greaterthan" => "gt",
        ">=" => "ge",
        other => other,
    }
}

fn check_known(what: &str, name: &str, known: &[&str], span: Span) -> Result<(), ExpressionError> {
    if known.contains(&name) {
        return Ok(());
    }
    let distance = |candidate: &&&str| strsim::damerau_levenshtein(candidate, name);
    // A third of the letters may be wrong, as in the catalog's suggestions.
    let near = known.iter().filter(|candidate| distance(candidate) <= (name.len() / 3).max(1)).min_by_key(distance);
    match near {
        Some(near) => refuse(span, format!("unknown {what} `{name}`, did you mean `{near}`?")),
        None => refuse(span, format!("unknown {what} `{name}`; there are {}", known.join(", "))),
    }
}

fn literal(value: &minijinja::Value, span: Span) -> Result<String, ExpressionError> {
    match value.as_str() {
        Some(text) => Ok(quoted(text)),
        None if value.is_none() => Ok("none".to_owned()),
        // JSON's spelling of numbers and booleans is Jinja's too.
        None => serde_json::to_string(value).or_else(|_| refuse(span, "cannot be used as a constant")),
    }
}

/// A text as a Jinja string: JSON's escapes are Jinja's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
