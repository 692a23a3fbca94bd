//! What is fuzzed: plain functions from bytes, for the runner of `make test` and for libFuzzer.
//!
//! A target reads its bytes as a stranger's, and panics where a promise is broken. To add one,
//! write the function, name it in [`TARGETS`], and put a few inputs that reach far into
//! `corpus/<name>/`.

mod body;
mod catalog;
mod edge;
mod expression;
mod request;
mod rows;
mod shadow;
mod text;
mod tree;

/// A function to be tried with bytes of any kind.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its directory in the corpus.
    pub name: &'static str,
    pub run: fn(&[u8]) -> Outcome,
}

/// What became of an input, all promises kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was understood.
    Taken,
    /// It was refused.
    Refused,
    /// It is nothing that this target can be asked.
    Unasked,
}

pub const TARGETS: &[Target] = &[
    Target { name: "query", run: text::query },
    Target { name: "select", run: text::select },
    Target { name: "filter", run: text::filter },
    Target { name: "logic", run: text::logic },
    Target { name: "order", run: text::order },
    Target { name: "path", run: text::path },
    Target { name: "request", run: request::request },
    Target { name: "headers", run: request::headers },
    Target { name: "call", run: request::call },
    Target { name: "json", run: body::json },
    Target { name: "csv", run: body::csv },
    Target { name: "form", run: body::form },
    Target { name: "cells", run: body::cells },
    Target { name: "arguments", run: body::arguments },
    Target { name: "edge", run: edge::head },
    Target { name: "expression", run: expression::expression },
];
