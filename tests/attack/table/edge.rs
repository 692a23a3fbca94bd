//! Rows 68 to 77: paths, framing, identity and what is not served.

use super::spelling::{Row, Spelling, asked, get, head, patch, post};
use super::world::SECRET_KEY;
use crate::support::fixture::ALICE;
use crate::support::keys::Key;
use crate::support::stack::{USER_SECRET, claims};

/// What a request says of itself that is not so.
pub(super) fn edge() -> Vec<Row> {
    vec![
        Row::new(68, "a path with characters that need no escape")
            .refused(
                400,
                "bad_path",
                asked(&[
                    "/%72pc/listed",
                    "/r%70c/unlisted",
                    "/rpc/%75nlisted",
                    "/%65vents",
                    "/event%73?organization_id=eq.{B}",
                    "/events%2E",
                    "/%2572pc/listed",
                ]),
            )
            .refused(
                400,
                "bad_path",
                [post("/%72pc/bump", r#"{"event":1}"#), post("/rpc/bum%70", "{}")],
            ),
        Row::new(69, "a path with more or fewer segments")
            .refused(400, "bad_path", {
                let paths = [
                    "/rpc%2Fbump",
                    "/rpc%2fbump",
                    "/rpc%5Cbump",
                    "//events",
                    "/./events",
                    "/../v1/events",
                    "/events/..",
                    "/%2e/events",
                    "/events/%2E%2e",
                    "/events;x=1",
                    "/events\\",
                    "//rpc/bump",
                ];
                asked(&paths).into_iter().chain(paths.map(|path| post(path, r#"{"event":1}"#)))
            })
            .refused(
                404,
                "route_not_found",
                asked(&["/events/", "/events/1", "/rpc/bump/", "/rpc/a/b", "/rpc/"]),
            )
            .refused(
                404,
                "route_not_found",
                asked(&["!/rest/v2/events", "!/events", "!/REST/v1/events"]),
            ),
        Row::new(70, "the root").refused(404, "route_not_found", {
            asked(&["!/", "!/rest/v1", "/", "!/rest/v1/?select=id", "!/rest/v1/?apikey=x"])
        }),
        Row::new(71, "a mistyped name")
            .refused(
                404,
                "table_not_found",
                asked(&["/evnts", "/project", "/events%20", "/secret"]),
            )
            .refused(
                404,
                "function_not_found",
                asked(&["/rpc/serch_events?term=x", "/rpc/org_stat"]),
            )
            .refused(
                403,
                "rest_column_unknown",
                asked(&["/events?select=titel", "/events?titel=eq.x", "/events?order=titel"]),
            )
            .refused(
                400,
                "rest_embed_unknown",
                asked(&["/events?select=project(name)", "/events?select=projects!nothing(name)"]),
            )
            .refused(400, "rest_argument_unknown", [post("/rpc/search_events", r#"{"trm":"x"}"#)])
            .refused(
                403,
                "rest_column_unknown",
                [post("/events", r#"{"titel":"x"}"#), patch("/events?id=eq.1", r#"{"titel":"x"}"#)],
            )
            // What PostgREST says itself has no hint either.
            .answered(404, None, [get("/rpc/search_events")])
            .answered(400, Some("22P02"), [get("/events?id=eq.x")]),
        Row::new(72, "a preflight")
            .answered(204, None, {
                let asking = |path: &str, method: &str| {
                    Spelling::new("OPTIONS", path, "")
                        .with("authorization", "(none)")
                        .with("origin", "https://app.example.com")
                        .with("access-control-request-method", method)
                };
                [
                    asking("/events", "GET"),
                    asking("/events?organization_id=eq.{B}", "DELETE"),
                    asking("/secrets", "POST"),
                    asking("/rpc/listed", "POST"),
                    asking("/events", "GET").with("authorization", "Bearer nonsense"),
                ]
            })
            .refused(
                405,
                "method_not_allowed",
                [
                    Spelling::new("OPTIONS", "/events", ""),
                    Spelling::new("OPTIONS", "/events", "")
                        .with("origin", "https://app.example.com"),
                    Spelling::new("OPTIONS", "/rpc/listed", ""),
                    Spelling::new("TRACE", "/events", ""),
                    Spelling::new("PURGE", "/events", ""),
                ],
            ),
        Row::new(73, "two framings")
            .refused(
                400,
                "bad_framing",
                framed(&[
                    "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                    "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
                    "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
                    "Content-Length: 2, 2\r\n\r\n{}",
                    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                ]),
            )
            .refused(
                400,
                "malformed_head",
                framed(&[
                    "Content-Length: 2\r\nContent-Length: 0\r\n\r\n{}",
                    "Content-Length: +2\r\n\r\n{}",
                    "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
                    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                ]),
            ),
        Row::new(74, "another method in a header").alike({
            let fields = [
                "x-http-method-override",
                "x-http-method",
                "x-method-override",
                "x_http_method_override",
            ];
            fields.into_iter().flat_map(|field| {
                [
                    get("/events?order=id").with(field, "DELETE"),
                    head("/events").with(field, "POST").with("prefer", "count=exact"),
                    get("/countries?order=code").with(field, "DELETE").with("connection", field),
                    patch("/events?id=eq.1", r#"{"capacity":1}"#).with(field, "DELETE"),
                ]
            })
        }),
        identity(),
        service(),
        Row::new(77, "GraphQL")
            .refused(404, "route_not_found", {
                let paths = ["!/graphql/v1", "!/graphql", "!/graphql/v1/", "!/rest/v1/graphql/v1"];
                asked(&paths)
                    .into_iter()
                    .chain(paths.map(|path| post(path, r#"{"query":"{events{title}}"}"#)))
            })
            .refused(
                404,
                "function_not_found",
                [
                    get("/rpc/graphql"),
                    get("/rpc/graphql?query=x"),
                    post("/rpc/graphql", r#"{"query":"{events{title}}"}"#),
                    post("/rpc/graphql", "").with("content-profile", "graphql_public"),
                ],
            )
            .refused(404, "table_not_found", [post("/graphql", "{}")]),
    ]
}

fn identity() -> Row {
    let asked = |name: &str, value: &str| {
        [
            get("/rpc/request_headers").with(name, value),
            get("/rpc/request_cookies").with(name, value),
            get("/events").with(name, value),
        ]
    };
    let fields = [
        ("x_organization_id", "{B}"),
        ("x-organization-role", "GLOBEX-ONLY"),
        ("x-organization_id", "{B}"),
        ("x-tollgate-organization", "{B}"),
        ("x-forwarded-for", "10.0.0.1, GLOBEX-ONLY"),
        ("x-forwarded-host", "globex.example.com"),
        ("forwarded", "for=10.0.0.1;host=globex"),
        ("cookie", "organization_id={B}; mark=GLOBEX-ONLY"),
        ("x-client-info", "GLOBEX-ONLY"),
        ("user-agent", "GLOBEX-ONLY"),
        ("referer", "https://globex.example.com"),
        ("x-real-ip", "GLOBEX-ONLY"),
        ("org", "{B}"),
        ("traceparent", "GLOBEX-ONLY"),
        ("x-request-id", "GLOBEX-ONLY"),
    ];
    Row::new(75, "an organization in a header or cookie")
        .answered(200, None, fields.into_iter().flat_map(|(name, value)| asked(name, value)))
        .refused(
            403,
            "not_a_member",
            [
                get("/events").with("x-organization-id", "{B}"),
                get("/events").with("x-organization-id", "globex"),
                get("/rpc/request_headers").with("X-Organization-Id", "{B}"),
            ],
        )
        .refused(
            403,
            "org_conflict",
            [get("/events").with("x-organization-id", "{O}").with("x-organization-id", "{B}")],
        )
        .alike([
            get("/events?order=id").with("x-organization-id", "{O}"),
            get("/events?order=id").with("x-organization-id", "acme"),
            get("/events?order=id")
                .with("x-organization-id", "{O}")
                .with("connection", "x-organization-id"),
        ])
}

/// The key of a service is good for another network only.
fn service() -> Row {
    let mut claims = claims(ALICE);
    claims["role"] = "service_role".into();
    let token = Key::hs256("users", USER_SECRET).mint(&claims);
    let token = format!("Bearer {token}");
    let key = format!("Bearer {SECRET_KEY}");
    let none = |target: &str| get(target).with("authorization", "(none)");
    Row::new(76, "a service key from a network that is not its own").refused(
        401,
        "invalid_api_key",
        [
            none("/events").with("apikey", SECRET_KEY),
            none(&format!("/events?apikey={SECRET_KEY}")),
            none(&format!("/events?select=id&%61pikey={SECRET_KEY}")),
            get("/events").with("authorization", &key),
            get("/events").with("authorization", &key).with("apikey", SECRET_KEY),
            get("/events").with("authorization", &token),
            head("/events").with("authorization", &token),
            get("/events").with("authorization", &token).with("x-organization-id", "{B}"),
            get("/events").with("authorization", &token).with("x-forwarded-for", "10.0.0.1"),
            none("/events").with("apikey", SECRET_KEY).with("forwarded", "for=10.0.0.1"),
            none("/events").with("apikey", SECRET_KEY).with("x-real-ip", "10.0.0.1"),
            post("/events", r#"{"title":"x"}"#).with("authorization", &token),
            get("/rpc/listed").with("authorization", &token),
        ],
    )
}

fn framed(rest: &[&str]) -> Vec<Spelling> {
    let whole = |rest: &&str| format!("POST /rest/v1/events HTTP/1.1\r\n{rest}");
    rest.iter().map(|rest| Spelling::raw(whole(rest).as_bytes())).collect()
}
