//! Serves the admin room's answers over HTTP.

use async_trait::async_trait;
use http::{Method, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::admin::{AdminState, answer};

/// The admin listener's application.
pub(super) struct Admin {
    state: AdminState,
}

impl Admin {
    pub(super) fn new(state: AdminState) -> Self {
        Self { state }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let head = request.method == Method::HEAD;
        let answer = answer(&self.state, &request.method, request.uri.path());
        let length = answer.body.len();
        let body = if head { Vec::new() } else { answer.body.to_vec() };
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(answer.content_type));
        headers.insert(header::CONTENT_LENGTH, length.into());
        headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
        response
    }
}
