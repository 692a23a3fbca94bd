//! One question of the canary, and what its answer shows.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::connectors::http::Connector;
use pingora::http::RequestHeader;
use pingora::prelude::*;
use serde_json::Value;

use crate::domain::caller::Caller;
use crate::domain::clock::Clock;
use crate::domain::ids::OrgId;
use crate::domain::principal::PrincipalKind;
use crate::pipeline::upstream::mint::mint;
use crate::policy::upstream::{CanaryPolicy, Upstream, UpstreamIdentity};
use crate::postgrest::{self, RestMethod, RestRequest};
use crate::proxy::gateway::Generation;
use crate::proxy::pool::{Chosen, Pool};

use super::plan::Question;

/// No answer to the canary is longer: one row, or a hundred with nothing in them.
const MAX_ANSWER: usize = 256 * 1024;
/// PostgreSQL's code for a role that may not read a table.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// What came back that shows nothing of anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// No row.
    Nothing,
    /// The gateway refuses such a request, or the database refuses the role.
    Closed,
}

/// Sends questions.
pub(super) struct Asker {
    connector: Connector,
    clock: Arc<dyn Clock>,
}

impl Asker {
    /// `None`: the process is ending. Certificates are read from files meanwhile, and this thread
    /// has other work.
    pub(super) async fn new(clock: Arc<dyn Clock>) -> Option<Self> {
        let connector = tokio::task::spawn_blocking(|| Connector::new(None)).await.ok()?;
        Some(Self { connector, clock })
    }

    /// Asks for an organization.
    ///
    /// # Errors
    /// What came back instead of nothing, or why no answer came.
    pub(super) async fn ask(
        &self,
        generation: &Generation,
        upstream: &Arc<Upstream>,
        policy: &CanaryPolicy,
        question: &Question,
        org: OrgId,
    ) -> std::result::Result<Answer, String> {
        let nothing = HeaderMap::new();
        let request = RestRequest {
            method: RestMethod::Get,
            path: &question.path,
            query: Some(&question.query),
            headers: &nothing,
        };
        let catalog = &generation.snapshot.catalog;
        // What is refused to everybody shows nothing to anybody.
        let Ok(confined) = postgrest::confine(&request, catalog, org) else {
            return Ok(Answer::Closed);
        };
        let authorization = self.authorization(upstream, org)?;
        let target = format!("{}{}", upstream.path_prefix, confined.target());
        let pool = generation.pools.of(upstream).ok_or("it has no addresses")?;
        let now = self.clock.now();
        let chosen = pool.choose(&[], now).ok_or("none of its addresses is healthy")?;
        let head = Head { target, fields: confined.headers(), authorization, policy };
        let sent = self.send(upstream, pool, &chosen, head);
        let answer = tokio::time::timeout(policy.timeout, sent).await;
        let (status, body) = match answer {
            Ok(Ok(answer)) => {
                pool.succeeded(&chosen);
                answer
            }
            // A question that takes long says nothing of what clients ask: their circuits are
            // not for the canary to open.
            Ok(Err(why)) => return Err(why),
            Err(_) => return Err("no answer in time".to_owned()),
        };
        judge(status, &body, question.embed.as_deref())
    }

    fn authorization(
        &self,
        upstream: &Upstream,
        org: OrgId,
    ) -> std::result::Result<HeaderValue, String> {
        let policy = match &upstream.identity {
            UpstreamIdentity::Minted(policy) => policy,
            UpstreamIdentity::PassThrough { .. } | UpstreamIdentity::None => {
                return Err("there is no token to ask with".to_owned());
            }
        };
        let caller = Caller {
            kind: PrincipalKind::User,
            user: uuid::Uuid::new_v4().to_string().parse().ok(),
            org: Some(org),
            org_role: None,
            org_team: None,
            key: None,
            actor: None,
            session_id: None,
            expires_at: None,
        };
        let minted = mint(policy, &caller, self.clock.now());
        minted.map(|minted| minted.authorization).map_err(|refusal| refusal.to_string())
    }

    async fn send(
        &self,
        upstream: &Upstream,
        pool: &Pool,
        chosen: &Chosen,
        head: Head<'_>,
    ) -> std::result::Result<(StatusCode, Vec<u8>), String> {
        let timeout = head.policy.timeout;
        let peer = pool.peer(chosen, timeout, self.clock.now()).await;
        let peer = peer.map_err(|_| "its name leads nowhere".to_owned())?;
        let host = upstream.host.as_deref().map_or_else(|| chosen.shown(), str::to_owned);
        let exchange = async {
            let (mut session, _) = self.connector.get_http_session(&peer).await?;
            session.set_read_timeout(Some(timeout));
            session.write_request_header(Box::new(head.build(upstream, &host)?)).await?;
            session.finish_request_body().await?;
            session.read_response_header().await?;
            let status = session.response_header().map(|answer| answer.status);
            let mut body = Vec::new();
            while let Some(part) = session.read_response_body().await? {
                body.extend_from_slice(&part);
                if body.len() > MAX_ANSWER {
                    break;
                }
            }
            self.connector.release_http_session(session, &peer, Some(IDLE)).await;
            Ok::<_, Box<Error>>((status.unwrap_or(StatusCode::BAD_GATEWAY), body))
        };
        exchange.await.map_err(|error| format!("no answer: {}", error.etype().as_str()))
    }
}

/// Connections are kept from one question to the next.
const IDLE: Duration = Duration::from_secs(10);

struct Head<'q> {
    target: String,
    fields: &'q [(http::HeaderName, HeaderValue)],
    authorization: HeaderValue,
    policy: &'q CanaryPolicy,
}

impl Head<'_> {
    fn build(self, upstream: &Upstream, host: &str) -> Result<RequestHeader> {
        let mut head = RequestHeader::build("GET", self.target.as_bytes(), Some(8))?;
        head.insert_header(header::HOST, host)?;
        head.insert_header(header::USER_AGENT, "tollgate-canary")?;
        for (name, value) in self.fields {
            head.insert_header(name.clone(), value.clone())?;
        }
        if let Some(key) = &upstream.api_key {
            head.insert_header("apikey", key.expose())?;
        }
        head.insert_header(header::AUTHORIZATION, self.authorization)?;
        Ok(head)
    }
}

/// What an answer shows. Rows are never repeated: they are somebody's.
fn judge(
    status: StatusCode,
    body: &[u8],
    embed: Option<&str>,
) -> std::result::Result<Answer, String> {
    if body.len() > MAX_ANSWER {
        return Err("an answer that is too long to hold nothing".to_owned());
    }
    let json: Option<Value> = serde_json::from_slice(body).ok();
    let code = json.as_ref().and_then(|json| json.get("code")).and_then(Value::as_str);
    if status == StatusCode::FORBIDDEN && code == Some(INSUFFICIENT_PRIVILEGE) {
        return Ok(Answer::Closed);
    }
    if !status.is_success() {
        let code = code.filter(|code| code.len() <= 16).unwrap_or("none");
        return Err(format!("{} with the code `{code}` where no rows were due", status.as_u16()));
    }
    let Some(Value::Array(rows)) = json else {
        return Err("an answer that is no list of rows".to_owned());
    };
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => false,
    };
    let shown = match embed {
        None => !rows.is_empty(),
        Some(embed) => !rows.iter().all(|row| row.get(embed).is_some_and(empty)),
    };
    if shown {
        return Err("rows came back for an organization that does not exist".to_owned());
    }
    Ok(Answer::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_rows_shows_nothing() {
        let judged = |status: u16, body: &str, embed| {
            judge(StatusCode::from_u16(status).unwrap(), body.as_bytes(), embed)
        };
        assert_eq!(judged(200, "[]", None), Ok(Answer::Nothing));
        assert_eq!(judged(206, "[]", None), Ok(Answer::Nothing));
        let rows = judged(200, r#"[{"id":"somebody's"}]"#, None).unwrap_err();
        assert!(rows.starts_with("rows came back") && !rows.contains("somebody"), "{rows}");
        for body in ["", "{}", "null", "[", "<html>"] {
            assert!(judged(200, body, None).is_err(), "{body}");
        }
        assert!(judged(500, "[]", None).is_err());
        assert!(judged(400, r#"{"code":"42703"}"#, None).unwrap_err().contains("42703"));
        assert_eq!(judged(403, r#"{"code":"42501"}"#, None), Ok(Answer::Closed));
        assert!(judged(401, r#"{"code":"PGRST301"}"#, None).is_err());
    }

    #[test]
    fn everybodys_rows_may_come_back_with_empty_embeds() {
        let judged = |body: &str| judge(StatusCode::OK, body.as_bytes(), Some("e"));
        assert_eq!(judged(r#"[{"id":1,"e":[]},{"id":2,"e":null}]"#), Ok(Answer::Nothing));
        assert_eq!(judged("[]"), Ok(Answer::Nothing));
        assert!(judged(r#"[{"id":1,"e":[]},{"id":2,"e":[{}]}]"#).is_err());
        assert!(judged(r#"[{"id":1,"e":{}}]"#).is_err());
        assert!(judged(r#"[{"id":1}]"#).is_err());
    }
}
