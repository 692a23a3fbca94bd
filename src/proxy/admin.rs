//! Serves the admin room's answers over HTTP. This room does not import that one: whoever starts
//! the shell hands the answers in.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::pipeline::response::DirectAnswer;

/// Answers a method and a path.
pub type AdminAnswers = Box<dyn Fn(&Method, &str) -> DirectAnswer + Send + Sync>;

/// What the admin listener serves.
pub struct AdminService {
    /// Its answers.
    pub answers: AdminAnswers,
    /// Set by the shell when the process begins to drain.
    pub draining: Arc<AtomicBool>,
}

/// The admin listener's application.
pub(super) struct Admin {
    answers: AdminAnswers,
}

impl Admin {
    pub(super) fn new(answers: AdminAnswers) -> Self {
        Self { answers }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let head = request.method == Method::HEAD;
        let answer = (self.answers)(&request.method, request.uri.path());
        let length = answer.body.len();
        let body = if head { Vec::new() } else { answer.body.to_vec() };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.extend(answer.fields);
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        response
    }
}
