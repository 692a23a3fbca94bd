//! The log, to standard error: JSON for machines or coloured text for people.
//!
//! Events are logged once, where they are handled, with dotted field names and units, and never
//! with a token, a key or a query string.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// For whom the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One JSON object a line.
    Json,
    /// Text, coloured on a terminal.
    Pretty,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("`{filter}` is not a log filter ({cause}): write `info` or `tollgate=debug,warn`")]
    Filter {
        /// As it was given.
        filter: String,
        /// What the parser says.
        cause: ParseError,
    },
    /// Somebody has started one before.
    #[error("the log was started twice")]
    Twice,
}

/// Whether a text is a filter.
pub fn parse_filter(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(filter)
        .map_err(|cause| LogError::Filter { filter: filter.to_owned(), cause })
}

/// Starts the process's log.
pub fn start(shape: Shape, filter: &str) -> Result<(), LogError> {
    let filter = parse_filter(filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match shape {
        Shape::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        Shape::Pretty => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
    }
    .map_err(|_| LogError::Twice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_is_none_is_named_with_what_to_write_instead() {
        let error = parse_filter("tollgate=loud").unwrap_err().to_string();
        assert!(error.starts_with("`tollgate=loud` is not a log filter"), "{error}");
        assert!(error.ends_with("write `info` or `tollgate=debug,warn`"), "{error}");
    }
}
