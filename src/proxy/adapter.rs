//! Pingora's hooks. Each converts, calls and applies; what is decided is decided elsewhere.
//!
//! `request_filter` runs once for each request; the hooks after it can run again when a try of an
//! upstream fails, so that nothing is charged, counted or guarded in them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::domain::refusal::Refusal;

use super::admit::{self, Halt};
use super::answer;
use super::arrival::Head;
use super::attempt;
use super::connection::Watched;
use super::context::Context;
use super::fault::{self, Meaning};
use super::gateway::{AtWork, Gateway};
use super::{forward, logins, record, respond, sign_out};

/// The proxy application.
pub(super) struct Adapter {
    gateway: Arc<Gateway>,
}

impl Adapter {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        Self { gateway }
    }
}

#[async_trait]
impl ProxyHttp for Adapter {
    type CTX = Box<Context>;

    fn new_ctx(&self) -> Self::CTX {
        Context::new(AtWork::new(Arc::clone(&self.gateway)))
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // None: the default one compresses nothing and costs a look at each request.
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Self::CTX) -> Result<bool> {
        if let Some(stream) = session.stream() {
            Watched::set_in_request(stream, true);
        }
        let head = Head::take(session, ctx.entropy);
        match admit::admit(&self.gateway, session, ctx, head).await {
            Ok(()) => Ok(false),
            Err(Halt::Answered(direct)) => {
                answer::write(session, *direct, answer::Then::KeepOpen).await?;
                Ok(true)
            }
            Err(Halt::Refused(refusal)) => {
                respond::refuse(session, ctx, refusal).await?;
                Ok(true)
            }
            Err(Halt::Failed(error)) => Err(error),
        }
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        if session.was_upgraded() {
            return Ok(());
        }
        let Some(passed) = &mut ctx.passed else { return Err(fault::refused()) };
        let grace = ctx.generation.snapshot.edge.body_timeout;
        let passed = ctx
            .request_body
            .pass(passed.body(), body, end_of_stream)
            .and_then(|()| ctx.request_body.in_time(ctx.resumed, self.gateway.now(), grace));
        passed.map_err(|refusal| {
            ctx.refusal = Some(refusal);
            fault::refused()
        })
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        ctx: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let now = if ctx.tried.is_empty() { ctx.resumed } else { self.gateway.now() };
        attempt::begin(session, ctx, now).await.map_err(|refusal| {
            ctx.refusal = Some(refusal);
            fault::refused()
        })
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        _peer: &HttpPeer,
        ctx: &mut Self::CTX,
        mut error: Box<Error>,
    ) -> Box<Error> {
        let again = attempt::unreachable(&self.gateway, ctx, &error);
        error.set_retry(again);
        error
    }

    async fn upstream_request_filter(
        &self,
        _session: &mut Session,
        request: &mut RequestHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        ctx.request_body.restart();
        let (Some(passed), Some(attempt)) = (&ctx.passed, &ctx.attempt) else {
            return Err(fault::refused());
        };
        let now = attempt.began;
        let authorization = forward::authorization(passed, &ctx.generation.node, now);
        let authorization = authorization.map_err(|refusal| {
            ctx.refusal = Some(refusal);
            fault::refused()
        })?;
        forward::head(request, passed, authorization)?;
        if let Some(length) = ctx.request_body.length() {
            request.insert_header(header::CONTENT_LENGTH, length)?;
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        let timed_out = *error.etype() == ErrorType::ReadTimedout;
        if timed_out && !session.was_upgraded() && !session.as_mut().is_body_done() {
            // The upstream waited for a body that the client did not send.
            ctx.refusal = Some(Refusal::TooSlow("body"));
            error.set_retry(false);
            return error;
        }
        let again = *error.esource() == ErrorSource::Upstream
            && attempt::broke(&self.gateway, ctx, &error, client_reused)
            && !answer::begun(session)
            && !session.as_ref().retry_buffer_truncated();
        if again {
            attempt::repeats(&self.gateway, ctx);
        }
        error.set_retry(again);
        error
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Self::CTX,
    ) -> Result<()> {
        attempt::answered(&self.gateway, ctx);
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            let route = ctx.trace.route.as_ref();
            let idle = route.and_then(|route| route.websocket.as_ref()).map(|policy| policy.idle);
            session.set_read_timeout(idle);
        }
        if response.status.is_informational() {
            return Ok(());
        }
        logins::answered(&self.gateway, response, ctx);
        sign_out::answered(session.req_header(), response, ctx);
        let ruled = respond::ruled(session.req_header(), response, ctx)?;
        respond::edit(response, ctx, ruled)
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        ctx: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        if let Some(error_body) = &mut ctx.error_body {
            error_body.pass(body, end_of_stream);
        }
        Ok(None)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Self::CTX,
    ) -> FailToProxy {
        let refusal = match ctx.refusal.take() {
            Some(refusal) => Meaning::Refusal(refusal),
            None => fault::meaning(error),
        };
        let error_code = match refusal {
            Meaning::Refusal(refusal) => respond::fail(session, ctx, refusal).await,
            Meaning::Gone => 0,
        };
        FailToProxy { error_code, can_reuse_downstream: false }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, ctx: &mut Self::CTX) {
        if let Some(stream) = session.stream() {
            Watched::set_in_request(stream, false);
            if ctx.socket.take().is_some() {
                Watched::ends(stream, None);
            }
        }
        logins::unanswered(&self.gateway, error, ctx);
        sign_out::unanswered(session.req_header(), error, ctx);
        record::finished(&self.gateway, session, error, ctx);
    }

    /// Pingora would print the raw query, which can hold keys.
    fn request_summary(&self, _session: &Session, ctx: &Self::CTX) -> String {
        ctx.trace.request_id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default()
    }

    /// Logged once, by `logging`.
    fn suppress_error_log(&self, _: &Session, _: &Self::CTX, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Self::CTX,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}
