//! The template and expression language of the definitions.
