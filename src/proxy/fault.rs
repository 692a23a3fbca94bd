//! What Pingora reports, in the words of the pipeline.

use pingora::{Error, ErrorSource, ErrorType};

use crate::domain::refusal::{EdgeRefusal, Refusal, UpstreamFault};

/// The kind of error by which a body filter stops a request whose refusal is in the context.
pub(super) const REFUSED: ErrorType = ErrorType::new("refused");

/// Stops a request from within a filter; the refusal itself waits in the context.
pub(super) fn refused() -> Box<Error> {
    Error::new_down(REFUSED)
}

/// What an error means for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It gets this answer.
    Refusal(Refusal),
    /// It is gone.
    Gone,
}

/// What an error of the proxy means for the client.
pub(super) fn meaning(error: &Error) -> Meaning {
    match error.esource() {
        ErrorSource::Upstream => Meaning::Refusal(Refusal::Upstream(upstream(error))),
        ErrorSource::Downstream => downstream(error.etype()),
        ErrorSource::Internal | ErrorSource::Unset => {
            Meaning::Refusal(Refusal::Internal("the proxy failed"))
        }
    }
}

/// What went wrong with an upstream.
pub(super) fn upstream(error: &Error) -> UpstreamFault {
    match error.etype() {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => UpstreamFault::Timeout,
        ErrorType::ConnectRefused
        | ErrorType::ConnectNoRoute
        | ErrorType::ConnectError
        | ErrorType::ConnectProxyFailure
        | ErrorType::TLSHandshakeFailure
        | ErrorType::TLSWantX509Lookup
        | ErrorType::InvalidCert
        | ErrorType::HandshakeError
        | ErrorType::BindError
        | ErrorType::SocketError => UpstreamFault::Connect,
        _ => UpstreamFault::Broken,
    }
}

fn downstream(kind: &ErrorType) -> Meaning {
    match kind {
        ErrorType::ReadTimedout => Meaning::Refusal(Refusal::TooSlow("body")),
        ErrorType::ReadError
        | ErrorType::WriteError
        | ErrorType::WriteTimedout
        | ErrorType::ConnectionClosed
        | ErrorType::ConnectError
        | ErrorType::H2Error => Meaning::Gone,
        // A chunk that is none, a Connection header that names what it may not.
        _ => Meaning::Refusal(Refusal::Edge(EdgeRefusal::Framing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(error: &Error) -> Option<u16> {
        match meaning(error) {
            Meaning::Refusal(refusal) => Some(refusal.public().status.as_u16()),
            Meaning::Gone => None,
        }
    }

    #[test]
    fn upstream_errors_are_gateway_errors() {
        assert_eq!(refusal(&Error::new_up(ErrorType::ConnectRefused)), Some(502));
        assert_eq!(refusal(&Error::new_up(ErrorType::ConnectTimedout)), Some(504));
        assert_eq!(refusal(&Error::new_up(ErrorType::ReadTimedout)), Some(504));
        assert_eq!(refusal(&Error::new_up(ErrorType::ConnectionClosed)), Some(502));
        assert_eq!(refusal(&Error::new_up(ErrorType::InvalidHTTPHeader)), Some(502));
    }

    #[test]
    fn client_errors_are_the_clients() {
        assert_eq!(refusal(&Error::new_down(ErrorType::ReadTimedout)), Some(408));
        assert_eq!(refusal(&Error::new_down(ErrorType::InvalidHTTPHeader)), Some(400));
        assert_eq!(refusal(&Error::new_down(ErrorType::ConnectionClosed)), None);
    }

    #[test]
    fn what_nobody_expected_is_ours() {
        assert_eq!(refusal(&Error::new_in(ErrorType::InternalError)), Some(500));
    }
}
