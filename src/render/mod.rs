//! State to text: what people read, made of the domain's types and nothing else.

mod runbook;

pub use runbook::runbook_page;
