//! Where a policy was written: file, line, column. Every compiled policy carries one, so that a
//! decision can name what decided it.

use std::fmt;
use std::sync::Arc;

/// A position in a policy or configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Source {
    /// The file, as the operator named it.
    pub file: Arc<str>,
    /// Line, from 1; 0 where the value is a built-in default.
    pub line: u32,
    /// Column, from 1; 0 where the value is a built-in default.
    pub column: u32,
}

impl Source {
    /// The source of a value that no file states.
    pub fn built_in() -> Self {
        Self { file: Arc::from("built-in default"), line: 0, column: 0 }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.write_str(&self.file),
            line => write!(f, "{}:{}", self.file, line),
        }
    }
}
