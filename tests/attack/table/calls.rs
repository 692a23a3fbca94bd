//! Rows 64 to 67: calls of functions.

use super::spelling::{Row, Spelling, asked, delete, get, head, patch, post, put};

pub(super) fn calls() -> Vec<Row> {
    let call = |target: &str, body: &str| Spelling::new("POST", target, body);
    vec![
        Row::new(64, "a call for the other organization")
            .refused(
                403,
                "rest_tenant_escape",
                [
                    get("/rpc/org_stats?org={B}"),
                    head("/rpc/org_stats?org={B}"),
                    get("/rpc/org_stats?%6Frg={B}"),
                    get("/rpc/org_stats?low=0&org=22222222222242228222222222222222"),
                    get("/rpc/org_stats?org=eq.{B}"),
                    get("/rpc/org_stats?org="),
                    get("/rpc/org_stats?org=null"),
                    get("/rpc/org_stats?+org={B}").with("accept", "text/csv"),
                    call("/rpc/org_stats", r#"{"org":"{B}"}"#),
                    call("/rpc/org_stats", r#"{"\u006frg":"{B}"}"#),
                    call("/rpc/org_stats", r#"{"low":0,"org":["{B}"]}"#),
                    call("/rpc/org_stats", "org={B}").form(),
                    call("/rpc/org_stats", "low=0&%6frg={B}").form(),
                    call("/rpc/bump", r#"{"org":"{B}","event":8800880004}"#),
                    call("/rpc/bump", "org={B}&event=8800880004").form(),
                ]
                .into_iter()
                .filter(|spelling| !spelling.target.contains("+org")),
            )
            .means([
                (get("/rpc/org_stats"), get("/rpc/org_stats?org={O}")),
                (
                    get("/rpc/org_stats?org=11111111111141118111111111111111"),
                    get("/rpc/org_stats?org={O}"),
                ),
                (get("/rpc/org_stats?low=15"), get("/rpc/org_stats?org={O}&low=15")),
                (get("/rpc/org_stats?%6Cow=15"), get("/rpc/org_stats?org={O}&low=15")),
                (
                    get("/rpc/org_stats").with("accept", "text/csv"),
                    get("/rpc/org_stats?org={O}").with("accept", "text/csv"),
                ),
                (head("/rpc/org_stats"), head("/rpc/org_stats?org={O}")),
                (call("/rpc/org_stats", "{}"), call("/rpc/org_stats", r#"{"org":"{O}"}"#)),
                (get("/rpc/own_events"), get("/rpc/own_events?org={O}")),
                (
                    get("/rpc/own_events").with("accept", "text/csv"),
                    get("/rpc/own_events?org={O}&select=capacity,id,meta,organization_id,project_id,starts_at,tags,title")
                        .with("accept", "text/csv"),
                ),
                (call("/rpc/org_stats", ""), call("/rpc/org_stats", r#"{"org":"{O}"}"#)),
                (
                    call("/rpc/org_stats", "low=15").form(),
                    call("/rpc/org_stats", r#"{"org":"{O}","low":15}"#),
                ),
                (
                    call("/rpc/bump", r#"{"event":1}"#),
                    call("/rpc/bump", r#"{"org":"{O}","event":1}"#),
                ),
                (
                    call("/rpc/bump", r#"{"event":8800880004,"by":5}"#),
                    call("/rpc/bump", r#"{"org":"{O}","event":8800880004,"by":5}"#),
                ),
                (
                    call("/rpc/bump", "event=1&by=3").form(),
                    call("/rpc/bump", r#"{"org":"{O}","event":1,"by":3}"#),
                ),
                (
                    call("/rpc/bump", r#"{"event":1,"org":null}"#),
                    call("/rpc/bump", r#"{"org":"{O}","event":1}"#),
                ),
            ])
            .refused(
                400,
                "rest_argument_unknown",
                [
                    call("/rpc/org_stats", r#"{"Org":"{B}"}"#),
                    call("/rpc/org_stats", r#"{" org":"{B}"}"#),
                    call("/rpc/bump", r#"{"event":1,"organization_id":"{B}"}"#),
                    call("/rpc/bump", "event=1&ORG={B}").form(),
                ],
            )
            .refused(
                400,
                "rest_function_opaque",
                [
                    get("/rpc/org_stats?select=title"),
                    get("/rpc/org_stats?limit=1"),
                    get("/rpc/org_stats?title=eq.x"),
                    get("/rpc/org_stats?Org=eq.{B}"),
                    call("/rpc/org_stats?select=title", "{}"),
                    call("/rpc/org_stats?order=title", "{}"),
                ],
            )
            .refused(
                400,
                "rest_filter_malformed",
                [call("/rpc/org_stats?org={B}", "{}"), call("/rpc/bump?org={B}", r#"{"event":1}"#)],
            ),
        Row::new(65, "an argument twice")
            .refused(
                400,
                "rest_argument_repeated",
                asked(&[
                    "/rpc/org_stats?org={O}&org={B}",
                    "/rpc/org_stats?org={B}&org={O}",
                    "/rpc/org_stats?org={O}&%6Frg={B}",
                    "/rpc/org_stats?low=1&low=2",
                    "/rpc/search_events?term=a&term=b",
                ]),
            )
            .refused(
                400,
                "rest_body_key_repeated",
                [
                    call("/rpc/org_stats", r#"{"org":"{O}","org":"{B}"}"#),
                    call("/rpc/org_stats", r#"{"org":"{O}","\u006frg":"{B}"}"#),
                    call("/rpc/bump", r#"{"event":1,"event":8800880004}"#),
                    call("/rpc/org_stats", "org={O}&org={B}").form(),
                ],
            )
            .refused(400, "rest_semicolon", asked(&["/rpc/org_stats?low=1;org={B}"])),
        Row::new(66, "a call with an array")
            .refused(
                400,
                "rest_body_malformed",
                [
                    call("/rpc/org_stats", "[]"),
                    call("/rpc/org_stats", "[{}]"),
                    call("/rpc/org_stats", r#"[{"org":"{B}"}]"#),
                    call("/rpc/org_stats", r#"{}[{"org":"{B}"}]"#),
                    call("/rpc/bump", r#"[{"event":1},{"event":2}]"#),
                    call("/rpc/bump", "\"x\""),
                    call("/rpc/bump", "null"),
                    call("/rpc/org_stats", " "),
                ],
            )
            .refused(
                400,
                "rest_preference_unsupported",
                [
                    call("/rpc/bump", r#"{"event":1}"#).with("prefer", "params=single-object"),
                    call("/rpc/bump", r#"{"event":1}"#)
                        .with("prefer", "return=minimal, params=single-object"),
                    call("/rpc/bump", r#"{"event":1}"#).with("prefer", "tx=rollback"),
                ],
            ),
        Row::new(67, "a function that returns rows of all")
            .refused(
                404,
                "function_not_found",
                asked(&[
                    "/rpc/unlisted",
                    "/rpc/unlisted?organization_id=eq.{O}",
                    "/rpc/count_events",
                    "/rpc/Listed",
                    "/rpc/leak",
                    "/rpc/pg_sleep?seconds=1",
                    "/rpc/events",
                ]),
            )
            .refused(
                404,
                "function_not_found",
                [
                    call("/rpc/unlisted", "{}"),
                    call("/rpc/computed_projects", "{}"),
                    call("/rpc/count_events", ""),
                ],
            )
            .alike(counted(&[
                "/rpc/listed?order=id",
                "/rpc/listed?id=gt.0&order=id.desc",
                "/rpc/listed?organization_id=eq.{B}",
                "/rpc/listed?or=(organization_id.eq.{B},id.gt.0)&order=id",
                "/rpc/listed?select=id,organization_id&order=id&limit=2",
                "/rpc/listed?select=id,organization_id,projects(name)&order=id",
                "/rpc/listed?select=id,organization_id,comments(body)&comments.order=id&order=id",
                "/rpc/search_events?term=kick&order=id",
                "/rpc/search_events?term=GLOBEX",
                "/rpc/search_events?term=%25&order=id",
                "/rpc/search_events?term=e&title=like.*ONLY*&order=id",
            ]))
            .alike([
                call("/rpc/listed?order=id", "{}"),
                call("/rpc/listed?order=id", "").with("prefer", "count=exact"),
                call("/rpc/search_events?order=id", r#"{"term":"kick"}"#),
                call("/rpc/search_events?order=id", "term=GLOBEX").form(),
                get("/rpc/search_events?term=GLOBEX")
                    .with("accept", "application/vnd.pgrst.object+json"),
                get("/rpc/listed").with("accept", "application/vnd.pgrst.object+json"),
                get("/rpc/listed?order=id").with("range", "0-0").with("prefer", "count=exact"),
                get("/rpc/listed?order=id").with("range", "3-9").with("prefer", "count=exact"),
                get("/rpc/listed?offset=3&order=id").with("prefer", "count=exact"),
                call("/rpc/listed?order=id&limit=1", "{}")
                    .with("accept", "application/vnd.pgrst.object+json"),
            ])
            // The first line of CSV tells whether the function has found anything, of anybody.
            .refused(
                406,
                "rest_function_csv",
                [
                    get("/rpc/search_events?term=GLOBEX").with("accept", "text/csv"),
                    head("/rpc/search_events?term=GLOBEX").with("accept", "text/csv"),
                    get("/rpc/listed").with("accept", "application/json;q=0.1, text/csv"),
                    call("/rpc/listed", "{}").with("accept", "text/csv"),
                    call("/rpc/search_events?select=organization_id", r#"{"term":"GLOBEX"}"#)
                        .with("accept", "Text/CSV"),
                ],
            )
            .refused(
                400,
                "rest_function_select",
                asked(&["/rpc/listed?select=title", "/rpc/listed?select=id,o:title"]),
            )
            .refused(
                403,
                "rest_column_unknown",
                asked(&["/rpc/listed?select=organization_id,leak", "/rpc/listed?leak=is.null"]),
            )
            .refused(
                405,
                "rest_function_method",
                [
                    get("/rpc/bump?event=1"),
                    head("/rpc/bump?event=1"),
                    delete("/rpc/listed"),
                    patch("/rpc/listed", "{}"),
                    put("/rpc/bump", r#"{"event":1}"#),
                ],
            )
            .refused(404, "table_not_found", [post("/rpc", "{}"), get("/listed")]),
    ]
}

/// Each target as it is read, and its head alone.
fn counted(targets: &[&str]) -> Vec<Spelling> {
    let two = targets.iter().flat_map(|target| [get(target), head(target)]);
    two.map(|spelling| spelling.with("prefer", "count=exact")).collect()
}
