//! The table of refusal codes in docs/OPERATIONS.md: every code that the sources give, with its status
//! and what the client is told, and for those that are not PostgREST's what an operator does.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run --test rules` writes it anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::documents::filled;

/// What the caller or the operator does, where the text for the client does not say all of it.
const ADVICE: &[(&str, &str)] = &[
    ("address_not_allowed", "call from a network that the route, key or organization lists"),
    ("bad_characters", "repair the client: control characters in path or fields"),
    (
        "bad_framing",
        "repair the client or the proxy before the gateway: two lengths, or an odd one",
    ),
    ("bad_gateway", "look at the upstream: `tollgate_upstream_*`, and `error` in the log"),
    ("bad_host", "repair the client: exactly one host"),
    ("bad_impersonation", "repair the client of support"),
    ("bad_json", "repair the client"),
    ("bad_organization", "send an id or a slug"),
    ("bad_path", "send the path in its one normal spelling: no `//`, `.`, `..` or encoded slashes"),
    ("bad_team", "send names of letters, digits, `_` and `-`, joined by dots"),
    ("bad_trust_device", "repair the client"),
    ("body_too_large", "send less, or raise the route's cap of bodies"),
    ("condition_not_met", "see the expression (`when`) of the condition that the audit log names"),
    ("conflicting_credentials", "send one credential, or two of the same caller"),
    (
        "directory_unavailable",
        "the client tries again; look at the directory's database and the log",
    ),
    ("duties_conflict", "take one of the two roles from the member"),
    ("expectation_failed", "leave out `Expect`, or send `100-continue`"),
    ("feature_disabled", "switch the feature on in the directory"),
    ("function_not_found", "list the function in the catalogue, if clients may call it"),
    ("headers_too_large", "send fewer or shorter fields; cookies are the usual cause"),
    ("impersonation_not_allowed", "only roles of `impersonation` may, and not for their likes"),
    ("impersonation_not_here", "the path belongs to no organization"),
    ("impersonation_read_only", "the policy lets support look, and no more"),
    ("impersonation_reason", "repair the client of support"),
    ("internal_error", "a defect: report it with the log lines of its request id"),
    ("invalid_api_key", "the log says why: unknown, expired, revoked, or from elsewhere"),
    ("invalid_token", "the log says which check failed; see `identity.issuers`"),
    (
        "issuer_not_accepted",
        "the issuer of the token is not for this organization: see `identity.issuers`",
    ),
    ("keys_unavailable", "the client tries again; look at the issuer's JWKS address"),
    ("length_required", "send `Content-Length`"),
    ("limits_unavailable", "the client tries again; look at Redis, or at `when_away` of the limit"),
    ("member_invited", "accept the invitation"),
    ("member_suspended", "an administrator of the organization suspended the member"),
    ("method_not_allowed", "use a method of `Allow`, or add it to the route"),
    ("mfa_expired", "show the second factor once more"),
    ("mfa_required", "complete a second factor"),
    ("no_api_key", "send `apikey`, as Supabase's clients do"),
    ("no_credentials", "send a bearer token or an API key"),
    ("no_role", "give the user a group that `roles` of the issuer maps"),
    ("not_a_member", "add the user to the organization, if they belong there"),
    ("org_conflict", "name one organization: header, path, host and token have to agree"),
    ("org_required", "send `x-organization-id`, or join an organization"),
    ("org_suspended", "an operator suspended the organization in the directory"),
    ("outside_hours", "come back within the hours of the condition"),
    ("over_request_rate_limit", "wait for `Retry-After`; `logins` states after how many failures"),
    ("permission_denied", "`tollgate explain` says which permission is missing and who has it"),
    ("plan_required", "a larger plan"),
    ("quota_exceeded", "wait for `Retry-After`, a larger plan, or another amount"),
    ("rate_limit_penalty", "wait for all of `Retry-After`; coming back earlier makes it longer"),
    ("rate_limited", "wait for `Retry-After`; `x-tollgate-limit` names the limit"),
    ("refresh_unavailable", "the client keeps its session and tries again"),
    ("request_timeout", "a slow network or client; the caps of `edge` say how slow"),
    ("role_unknown", "the directory names a role or plan that no policy defines"),
    ("route_closed", "the policy closes the path (`close: true`)"),
    ("route_not_found", "add a route, or repair the client"),
    (
        "rule_denied",
        "a rule refuses it and gives no code of its own: see `policy.source` in the log",
    ),
    ("rule_failed", "look at `refusal.cause`: the rule's condition asks for what is not there"),
    ("session_expired", "sign in again"),
    ("session_idle", "sign in again"),
    ("session_revoked", "sign in again; who did not sign out asks who did"),
    ("sessions_unavailable", "the client tries again; look at the store of sessions"),
    ("stage_not_reached", "set the stage in the directory when it is reached"),
    ("table_not_found", "list the table in the catalogue, if clients may see it"),
    ("token_expired", "refresh the token; look at clocks if it is new"),
    ("too_many_concurrent", "fewer requests at a time, or other numbers of `edge`"),
    ("upstream_timeout", "look at the upstream, or at the route's timeout"),
    ("upstream_unavailable", "no address of the upstream is healthy: look at its health checks"),
    ("uri_too_long", "send a shorter path and query"),
    ("usage_unavailable", "the client tries again; look at the ledger and the journal's disk"),
    ("websocket_not_allowed", "add `websocket` to the route, if it is meant to have them"),
    ("wrong_credentials", "the route asks for another kind: `credential`"),
];

/// Code to status and text, as the sources state them.
fn stated() -> BTreeMap<String, (u16, String)> {
    let mut out = BTreeMap::new();
    let mut add = |code: &str, status: u16, message: &str| {
        // Of one code that several faults have, the first text.
        out.entry(code.to_owned()).or_insert_with(|| (status, message.to_owned()));
    };
    let files = [
        "domain/refusal.rs",
        "domain/login.rs",
        "postgrest/refusal.rs",
        "pipeline/authorize.rs",
        "pipeline/isolate.rs",
    ];
    for file in files {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file);
        let text = fs::read_to_string(path).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        // `(403, "code", "text")`, and `status: …::FORBIDDEN, code: "code", message: "text"`.
        for (place, _) in text.match_indices("\", \"") {
            let (before, after) = (&text[..place], &text[place + 4..]);
            let Some((head, code)) = before.rsplit_once('"') else { continue };
            let Some(status) = head.trim_end().strip_suffix(',').and_then(status) else { continue };
            add(code, status, after.split('"').next().unwrap());
        }
        for (place, _) in text.match_indices(", code: \"") {
            let status = status(&text[..place]).unwrap_or_else(|| panic!("{file}: a status"));
            let mut literals = text[place..].split('"').skip(1).step_by(2);
            let (code, message) = (literals.next().unwrap(), literals.next().unwrap());
            add(code, status, message);
        }
    }
    out
}

/// The status at the end of a text.
fn status(text: &str) -> Option<u16> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let word = &text[text.trim_end_matches(fits).len()..];
    match word {
        "BAD" => Some(400),
        "FORBIDDEN" => Some(403),
        "NOT_FOUND" => Some(404),
        "METHOD_NOT_ALLOWED" => Some(405),
        "UNACCEPTABLE" => Some(406),
        "PAYLOAD_TOO_LARGE" => Some(413),
        "URI_TOO_LONG" => Some(414),
        "MEDIA" => Some(415),
        number => number.parse().ok().filter(|status| (400..600).contains(status)),
    }
}

fn tables() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut out =
        String::from("| code | status | the client is told | what to do |\n|---|---|---|---|\n");
    let (rest, own): (Vec<_>, Vec<_>) =
        stated().into_iter().partition(|(code, _)| code.starts_with("rest_"));
    let mut advice: BTreeMap<&str, &str> = ADVICE.iter().copied().collect();
    for (code, (status, message)) in own {
        let advice = advice.remove(code.as_str());
        let advice = advice.unwrap_or_else(|| panic!("say what to do about `{code}` in `ADVICE`"));
        out += &format!("| `{code}` | {status} | {} | {} |\n", cell(&message), cell(advice));
    }
    assert!(advice.is_empty(), "codes that nobody gives: {advice:?}");
    out += "\nOf requests to PostgREST, what cannot be confined to one organization with certainty is refused,\n\
            whatever PostgREST would make of it; the text says what to send instead. Where an honest client is\n\
            refused, `tollgate explain` names the line of the catalogue, and [Policies](POLICIES.md#the-catalogue) what can be stated\n\
            there.\n\n| code | status | the client is told |\n|---|---|---|\n";
    for (code, (status, message)) in rest {
        out += &format!("| `{code}` | {status} | {} |\n", cell(&message));
    }
    out
}

#[test]
fn every_refusal_code_is_documented_with_what_to_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let document = fs::read_to_string(&path).unwrap();
    let due = filled(&document, "refusals", &tables());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, due).unwrap();
        return;
    }
    assert!(document == due, "docs/OPERATIONS.md is out of date: run with UPDATE_GOLDEN=1");
}

/// A code that is given in another form than the two would be in no table.
#[test]
fn every_text_that_looks_like_a_code_of_postgrest_requests_is_in_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/postgrest/refusal.rs");
    let text = fs::read_to_string(path).unwrap();
    let stated = stated();
    let codes: Vec<&str> =
        text.split('"').skip(1).step_by(2).filter(|text| text.starts_with("rest_")).collect();
    assert!(codes.len() > 50, "{codes:?}");
    for code in codes {
        assert!(stated.contains_key(code), "{code}");
    }
    assert_eq!(stated["rest_tenant_escape"].0, 403);
    assert_eq!(stated["table_not_found"].0, 404);
    assert_eq!(stated["quota_exceeded"].0, 429);
}
