//! Rows 41 to 52: rows in bodies.

use super::spelling::{Row, Spelling, patch, post, put};

pub(super) fn bodies() -> Vec<Row> {
    vec![
        Row::new(41, "an insert for the other organization")
            .refused(403, "rest_tenant_escape", [
                post("/events", r#"{"title":"x","organization_id":"{B}"}"#),
                post("/events", r#"{"organization_id":"{B}","title":"x"}"#),
                post("/events", r#" { "title" : "x" , "organization_id" : "{B}" } "#),
                post("/events", r#"[{"title":"x","organization_id":"{B}"}]"#),
                post("/events", r#"{"title":"x","organization_id":"22222222222242228222222222222222"}"#),
                post("/events", r#"{"title":"x","organization_id":"{{B}}"}"#),
                post("/events", r#"{"title":"x","organization_id":" {B}"}"#),
                post("/events", r#"{"title":"x","organization_id":"{O}{B}"}"#),
                post("/events", r#"{"title":"x","organization_id":""}"#),
                post("/events", r#"{"title":"x","organization_id":1}"#),
                post("/events", r#"{"title":"x","organization_id":["{O}"]}"#),
                post("/events", r#"{"title":"x","organization_id":{"id":"{O}"}}"#),
                post("/events", r#"{"title":"x","organization_id":true}"#),
                post("/events?columns=title,organization_id", r#"{"title":"x","organization_id":"{B}"}"#),
                post("/events", "title,organization_id\nx,{B}\n").csv(),
                post("/events", "title=x&organization_id={B}").form(),
                Spelling::new("POST", "/events", r#"{"title":"x","organization_id":"{B}"}"#),
                post("/events", r#"{"title":"x","organization_id":"{B}"}"#).with("prefer", "missing=default"),
            ])
            // Its own, however it is spelled.
            .alike([
                post("/events", r#"{"title":"ACME-ONLY-x","organization_id":"{O}"}"#),
                post("/events", r#"{"title":"ACME-ONLY-x","organization_id":"11111111111141118111111111111111"}"#),
                post("/events", r#"{"organization_id":"{{O}}","title":"ACME-ONLY-x"}"#),
                post("/events", "organization_id,title\n{O},ACME-ONLY-x\n").csv(),
                post("/events", "organization_id={O}&title=ACME-ONLY-x").form(),
            ]),
        Row::new(42, "an insert without an organization").alike([
            post("/events", r#"{"title":"ACME-ONLY-x"}"#),
            post("/events", r#"[{"title":"ACME-ONLY-x"},{"title":"ACME-ONLY-y"}]"#),
            post("/events", "[]"),
            post("/events?select=id,title", r#"{"title":"ACME-ONLY-x","capacity":7}"#),
            post("/events?select=*", r#"{"title":"ACME-ONLY-x"}"#)
                .with("accept", "application/vnd.pgrst.object+json"),
            post("/events", r#"{"title":"ACME-ONLY-x","meta":{"organization_id":[1e30,"\ud83e\udd80"]},"tags":["a"]}"#)
                .with("content-type", "application/json; charset=utf-8"),
            Spelling::new("POST", "/events", r#"{"title":"ACME-ONLY-x"}"#),
            Spelling::new("POST", "/events", r#"{"title":"ACME-ONLY-x"}"#).with("prefer", "return=minimal"),
            Spelling::new("POST", "/tickets", r#"{"seat":"ACME-ONLY-x","event_id":1}"#)
                .with("prefer", "return=headers-only"),
            post("/events", "title,capacity\nACME-ONLY-x,3\n").csv(),
            post("/events", "title=ACME-ONLY-x&capacity=3").form(),
            post("/projects", r#"{"name":"ACME-ONLY-\u0078","notes":null}"#),
        ])
        .means([
            (
                post("/events", r#"{"title":"ACME-ONLY-x","organization_id":null}"#),
                post("/events", r#"{"title":"ACME-ONLY-x"}"#),
            ),
            // PostgREST names the columns of written rows in the order of the alphabet.
            (
                post("/events", r#"{"title":"ACME-ONLY-x"}"#).with("accept", "text/csv"),
                post(
                    "/events?select=capacity,id,meta,organization_id,project_id,starts_at,tags,title",
                    r#"{"title":"ACME-ONLY-x"}"#,
                )
                .with("accept", "text/csv"),
            ),
        ]),
        Row::new(43, "the tenant column twice in an object").refused(400, "rest_body_key_repeated", [
            post("/events", r#"{"title":"x","organization_id":"{O}","organization_id":"{B}"}"#),
            post("/events", r#"{"title":"x","organization_id":"{O}","organization_id":"{O}"}"#),
            post("/events", r#"{"title":"x","title":"y"}"#),
            post("/events", r#"[{"title":"x"},{"title":"x","title":"y"}]"#),
            patch("/events?id=eq.1", r#"{"organization_id":"{O}","organization_id":"{B}"}"#),
            post("/events", "title=x&organization_id={O}&organization_id={B}").form(),
            post("/events?columns=title", r#"{"title":"x","organization_id":"{O}","organization_id":"{B}"}"#),
        ])
        // In the order in which it is read: the first name is the attempt.
        .refused(403, "rest_tenant_escape", [
            post("/events", r#"{"title":"x","organization_id":"{B}","organization_id":"{O}"}"#),
            post("/events", r#"{"organization\u005Fid":"{B}","organization_id":"{O}","title":"x"}"#),
        ]),
        Row::new(44, "the tenant column in escapes")
            .refused(403, "rest_tenant_escape", [
                post("/events", r#"{"title":"x","organization\u005fid":"{B}"}"#),
                post("/events", r#"{"title":"x","\u006frganization_id":"{B}"}"#),
                post("/events", r#"{"title":"x","organization\u005Fid":"{B}"}"#),
                post("/events", r#"{"title":"x","organization_id":"\u00322222222-2222-4222-8222-222222222222"}"#),
                patch("/events?id=eq.1", r#"{"organization\u005fid":"{B}"}"#),
                post("/events", "title,\"organization_id\"\nx,\"{B}\"\n").csv(),
                post("/events", "title=x&organization%5fid={B}").form(),
                post("/events", "title=x&%6frganization_id=%7B{B}%7D").form(),
            ])
            .refused(400, "rest_body_key_repeated", [
                post("/events", r#"{"title":"x","organization_id":"{O}","organization\u005fid":"{B}"}"#),
                post("/events", "title=x&organization_id={O}&organization%5Fid={B}").form(),
            ])
            .alike([post("/events", r#"{"\u0074itle":"ACME-ONLY-x","organization\u005fid":"{O}"}"#)])
            // Other names: no column of the table.
            .refused(403, "rest_column_unknown", [
                post("/events", r#"{"title":"x","Organization_id":"{B}"}"#),
                post("/events", r#"{"title":"x"," organization_id":"{B}"}"#),
                post("/events", r#"{"title":"x","organization_id\u0000":"{B}"}"#),
                post("/events", r#"{"title":"x","leak":"y"}"#),
                post("/events", "title,organization_id \nx,{B}\n").csv(),
            ]),
        Row::new(45, "a bulk insert with one row for the other").refused(403, "rest_tenant_escape", [
            post("/events", r#"[{"title":"x"},{"title":"y","organization_id":"{B}"}]"#),
            post("/events", r#"[{"title":"x","organization_id":"{O}"},{"title":"y","organization_id":"{B}"}]"#),
            post("/events", r#"[{"title":"x","organization_id":"{B}"},{"title":"y","organization_id":"{O}"}]"#),
            post("/events?columns=title,organization_id", r#"[{"title":"x"},{"title":"y","organization_id":"{B}"}]"#),
            post("/events", "title,organization_id\nx,{O}\ny,{B}\n").csv(),
            post("/events", "organization_id,title\r\n{O},x\r\nNULL,y\r\n\"{B}\",z\r\n").csv(),
            Spelling::new("POST", "/events", r#"[{"title":"x"},{"title":"y","organization_id":"{B}"}]"#),
        ]),
        Row::new(46, "columns without the tenant")
            .alike([
                post("/events?columns=id,title", r#"{"id":900,"title":"ACME-ONLY-x"}"#),
                post("/events?columns=title", r#"[{"title":"ACME-ONLY-x"},{"title":"ACME-ONLY-y","capacity":9}]"#),
                post("/events?columns=%22title%22,%22capacity%22", r#"[{"title":"ACME-ONLY-x","capacity":3}]"#),
                post("/events?columns=title&select=id", r#"{"title":"ACME-ONLY-x"}"#),
                post("/events?columns=title,capacity", r#"{"title":"ACME-ONLY-x"}"#).with("prefer", "missing=default"),
                post("/events?columns=%20title%20", r#"{"title":"ACME-ONLY-x"}"#),
                post("/events?columns=capacity", "title,capacity\nACME-ONLY-x,3\n").csv(),
            ])
            // What no column takes is an attempt all the same.
            .refused(403, "rest_tenant_escape", [
                post("/events?columns=title", r#"{"title":"ACME-ONLY-x","organization_id":"{B}"}"#),
            ])
            .refused(403, "rest_column_unknown", [
                post("/events?columns=title,leak", r#"{"title":"x"}"#),
                post("/events?columns=title,Organization_id", r#"{"title":"x"}"#),
            ])
            .refused(400, "rest_columns_malformed", [
                post("/events?columns=title,", r#"{"title":"x"}"#),
                post("/events?columns=title)", r#"{"title":"x"}"#),
                post("/events?columns=", r#"{"title":"x"}"#),
            ]),
        Row::new(47, "a CSV column twice").refused(400, "rest_body_key_repeated", [
            post("/events", "title,organization_id,organization_id\nx,{O},{B}\n").csv(),
            post("/events", "organization_id,title,organization_id\n{B},x,{O}\n").csv(),
            post("/events", "title,\"title\"\nx,y\n").csv(),
            post("/events", "organization_id,\"organization_id\",title\n{O},{B},x\n").csv(),
            post("/events", "title,title\n").with("content-type", "Text/CSV; charset=utf-8"),
        ])
        .refused(400, "rest_body_malformed", [
            post("/events", "title\nx,{B}\n").csv(),
            post("/events", "title,organization_id\nx\n").csv(),
            post("/events", "title,organization_id\n\"x,{B}\n").csv(),
            post("/events", "title\nx\"y\n").csv(),
            post("/events", "title").csv(),
            Spelling::new("POST", "/events", "").csv(),
        ]),
        Row::new(48, "NULL as the tenant in CSV").means([
            (
                post("/events", "title,organization_id\nACME-ONLY-x,NULL\n").csv(),
                post("/events", r#"[{"title":"ACME-ONLY-x"}]"#),
            ),
            (
                post("/events", "organization_id,title\r\nNULL,ACME-ONLY-x\r\n{O},ACME-ONLY-y\r\n").csv(),
                post("/events", r#"[{"title":"ACME-ONLY-x"},{"title":"ACME-ONLY-y"}]"#),
            ),
            (
                post("/events", "title,organization_id\n\"ACME-ONLY, \"\"x\"\"\",\"NULL\"\n").csv(),
                post("/events", r#"[{"title":"ACME-ONLY, \"x\""}]"#),
            ),
            (
                post("/notes", "id,organization_id,text\n77,NULL,ACME-ONLY-x\n").csv(),
                post("/notes", r#"[{"id":77,"text":"ACME-ONLY-x"}]"#),
            ),
        ]),
        Row::new(49, "a form with a semicolon")
            .refused(400, "rest_body_malformed", [
                post("/events", "title=x;organization_id={B}").form(),
                post("/events", "title=x&capacity=1;organization_id={B}").form(),
                post("/events", ";title=x").form(),
                post("/events", "title").form(),
                post("/events", "title=x&").form(),
                post("/events", "title=%ff").form(),
                post("/events", "title=x%00").form(),
                Spelling::new("POST", "/events", "").form(),
                post("/rpc/bump", "event=1;org={B}").form(),
            ])
            .alike([post("/events", "title=ACME-ONLY%3Bx+y").form()]),
        Row::new(50, "a compressed body").refused(
            415,
            "rest_content_encoding_unsupported",
            ["gzip", "GZIP", "br", "deflate", "identity, gzip", "x-gzip"].into_iter().flat_map(|coding| {
                [
                    post("/events", "\u{1f}not json").with("content-encoding", coding),
                    post("/events", r#"{"title":"x"}"#).with("content-encoding", coding),
                    patch("/events?id=eq.1", r#"{"title":"x"}"#).with("content-encoding", coding),
                    post("/rpc/bump", r#"{"event":1}"#).with("content-encoding", coding),
                ]
            }),
        ),
        Row::new(51, "another media type").refused(415, "rest_content_type_unsupported", {
            let stated = [
                "text/plain",
                "application/octet-stream",
                "application/vnd.pgrst.object+json",
                "application/xml",
                "multipart/form-data; boundary=x",
                "application/json, text/csv",
                "application/json; charset=utf-16",
                "text/csv; header=absent",
            ];
            let one = stated.into_iter().flat_map(|media| {
                [
                    post("/events", r#"{"title":"x"}"#).with("content-type", media),
                    patch("/events?id=eq.1", r#"{"title":"x"}"#).with("content-type", media),
                    post("/rpc/bump", r#"{"event":1}"#).with("content-type", media),
                ]
            });
            one.chain([
                post("/events", r#"{"title":"x"}"#)
                    .with("content-type", "application/json")
                    .with("content-type", "text/csv"),
                post("/events", r#"{"title":"x"}"#)
                    .with("content-type", "application/json")
                    .with("content-type", "application/json"),
                post("/rpc/bump", "event\n1\n").csv(),
            ])
        }),
        Row::new(52, "a body that is no row").refused(400, "rest_body_malformed", [
            post("/events", "1"),
            post("/events", "\"x\""),
            post("/events", "null"),
            post("/events", "true"),
            post("/events", "[[{\"title\":\"x\"}]]"),
            post("/events", "[1]"),
            post("/events", "[null]"),
            post("/events", "{\"title\":\"x\"}{\"organization_id\":\"{B}\"}"),
            post("/events", "{\"title\":\"x\"} x"),
            post("/events", "[{\"title\":\"x\"}],"),
            post("/events", "{\"title\":\"x\",}"),
            post("/events", "{'title':'x'}"),
            post("/events", "{title:\"x\"}"),
            post("/events", "{\"title\":\"x\""),
            post("/events", "{\"title\":NaN}"),
            post("/events", "{\"title\":\"x\" /* y */}"),
            post("/events", "\u{feff}{\"title\":\"x\"}"),
            post("/events", "\u{feff}title\nx\n").csv(),
            Spelling::new("POST", "/events", ""),
            patch("/events?id=eq.1", "[{\"title\":\"x\"}]"),
            patch("/events?id=eq.1", "[]"),
            patch("/events?id=eq.1", "title\nx\ny\n").csv(),
            put("/settings?key=eq.theme", "[{\"key\":\"theme\"}]"),
        ])
        .refused(400, "rest_body_forbidden", [
            Spelling::new("DELETE", "/events?id=eq.1", "{}"),
            Spelling::new("GET", "/events", "{}"),
            Spelling::new("GET", "/rpc/listed", "{}"),
        ]),
    ]
}
