//! Rows 53 to 63: upserts, updates and deletes.

use super::spelling::{Row, Spelling, delete, patch, post, put};

const MERGE: &str = "resolution=merge-duplicates,return=representation";
const IGNORE: &str = "resolution=ignore-duplicates,return=representation";

fn merge(target: &str, body: &str) -> Spelling {
    Spelling::new("POST", target, body).with("prefer", MERGE)
}

fn ignore(target: &str, body: &str) -> Spelling {
    Spelling::new("POST", target, body).with("prefer", IGNORE)
}

pub(super) fn upserts() -> Vec<Row> {
    vec![
        Row::new(53, "an upsert of the other's id")
            .refused(403, "rest_upsert_key", [
                merge("/events", r#"{"id":8800880004,"title":"x"}"#),
                merge("/events?on_conflict=id", r#"{"id":8800880004,"title":"x"}"#),
                merge("/events?on_conflict=%22id%22", r#"{"id":8800880004,"title":"x"}"#),
                merge("/events?on_conflict=%20id%20", r#"{"id":8800880004,"title":"x"}"#),
                merge("/events", r#"[{"id":1,"title":"x"},{"id":8800880004,"title":"x"}]"#),
                merge("/events?columns=id,title", r#"[{"id":8800880004,"title":"x"}]"#),
                merge("/events", "id,title\n8800880004,x\n").csv(),
                merge("/events", "id=8800880004&title=x").form(),
                post("/events", r#"{"id":8800880004,"title":"x"}"#).with("prefer", "resolution=merge-duplicates"),
                merge("/pages", r#"{"id":8800880002,"slug":"x","name":"x"}"#),
                merge("/events?on_conflict=organization_id", r#"{"title":"x"}"#),
            ])
            .alike([
                merge("/settings", r#"{"key":"theme","value":"ACME-ONLY-x"}"#),
                merge("/settings", r#"[{"key":"theme","value":"ACME-ONLY-x"},{"key":"only","value":"ACME-ONLY-y"}]"#),
                merge("/settings?on_conflict=organization_id,key", r#"{"key":"only","value":"ACME-ONLY-x"}"#),
                merge("/settings?on_conflict=%22key%22,%22organization_id%22", r#"{"key":"theme","value":"ACME-ONLY-x"}"#),
                merge("/settings", r#"{"organization_id":"{O}","key":"only","value":"ACME-ONLY-x"}"#),
                merge("/settings?columns=key,value", r#"[{"key":"theme","value":"ACME-ONLY-x"}]"#),
                merge("/settings", "key,value\nonly,ACME-ONLY-x\n").csv(),
                merge("/events?on_conflict=organization_id,id", r#"{"id":1,"title":"ACME-ONLY-x"}"#),
                merge("/pages?on_conflict=organization_id,name", r#"{"id":9,"slug":"c","name":"home","title":"t"}"#),
                // In another case it is no preference: a plain insert.
                post("/settings", r#"{"key":"theme"}"#).with("prefer", "Resolution=merge-duplicates"),
            ])
            .refused(403, "rest_tenant_escape", [
                merge("/settings", r#"{"organization_id":"{B}","key":"theme","value":"x"}"#),
                merge("/settings", r#"[{"key":"a"},{"organization_id":"{B}","key":"only","value":"x"}]"#),
            ])
            // A key of the other's that is unique in the whole table, and no longer by the tenant.
            .answered(409, Some("23505"), [
                merge("/events?on_conflict=organization_id,id", r#"{"id":8800880004,"title":"x"}"#),
                merge("/pages?on_conflict=organization_id,name", r#"{"id":8800880002,"slug":"z","name":"new"}"#),
            ])
            .refused(400, "rest_upsert_misplaced", [
                post("/settings?on_conflict=organization_id,key", r#"{"key":"theme"}"#),
                patch("/settings?key=eq.theme", "{}").with("prefer", "resolution=merge-duplicates"),
                Spelling::new("GET", "/settings?on_conflict=organization_id,key", ""),
            ]),
        Row::new(54, "an upsert over a key without the tenant").refused(403, "rest_upsert_key", [
            merge("/pages?on_conflict=slug", r#"{"id":9,"slug":"b","name":"x"}"#),
            merge("/pages?on_conflict=%22slug%22", r#"{"id":9,"slug":"b","name":"x"}"#),
            merge("/pages?on_conflict=%73lug", r#"{"id":9,"slug":"b","name":"x"}"#),
            merge("/pages?on_conflict=organization_id,slug", r#"{"id":9,"slug":"b","name":"x"}"#),
            merge("/pages?on_conflict=slug,name", r#"{"id":9,"slug":"b","name":"x"}"#),
            ignore("/pages?on_conflict=slug", r#"{"id":9,"slug":"b","name":"x"}"#),
            merge("/settings?on_conflict=key", r#"{"key":"only","value":"x"}"#),
            merge("/settings?on_conflict=nothing", r#"{"key":"only","value":"x"}"#),
        ])
        .refused(400, "rest_columns_malformed", [
            merge("/pages?on_conflict=", r#"{"id":9,"slug":"b","name":"x"}"#),
            merge("/pages?on_conflict=organization_id,name)", r#"{"id":9,"slug":"b","name":"x"}"#),
        ]),
        Row::new(55, "a PUT of the other's id").refused(403, "rest_upsert_key", [
            put("/events?id=eq.8800880004", r#"{"id":8800880004,"title":"x"}"#),
            put("/events?id=eq.1", r#"{"id":1,"title":"x"}"#),
            put("/pages?id=eq.8800880002", r#"{"id":8800880002,"slug":"b","name":"x"}"#),
            put("/events?%22id%22=eq.8800880004", r#"{"id":8800880004,"title":"x"}"#),
        ]),
        Row::new(56, "a PUT on a key that holds the tenant")
            .means([
                ("/settings?key=eq.theme", r#"{"key":"theme","value":"ACME-ONLY-x"}"#),
                ("/settings?key=eq.only", r#"{"key":"only","value":"ACME-ONLY-x"}"#),
                ("/settings?%22key%22=eq.only", r#"{"value":"ACME-ONLY-x","key":"only"}"#),
                ("/settings?organization_id=eq.{O}&key=eq.only", r#"{"key":"only","value":"ACME-ONLY-x"}"#),
                ("/settings?key=eq.theme&organization_id=eq.11111111111141118111111111111111", r#"{"key":"theme","value":"ACME-ONLY-x","organization_id":"{O}"}"#),
            ]
            .map(|(target, body)| {
                let key = if target.contains("only") { "only" } else { "theme" };
                let written = format!("/settings?organization_id=eq.{{O}}&key=eq.{key}");
                let row = format!(r#"{{"organization_id":"{{O}}","key":"{key}","value":"ACME-ONLY-x"}}"#);
                (put(target, body), put(&written, &row))
            }))
            .refused(403, "rest_tenant_escape", [
                put("/settings?organization_id=eq.{B}&key=eq.only", r#"{"key":"only","value":"x"}"#),
                put("/settings?key=eq.only", r#"{"organization_id":"{B}","key":"only","value":"x"}"#),
                put("/settings?%6Frganization_id=eq.{B}&key=eq.only", r#"{"key":"only","value":"x"}"#),
                put("/settings?key=eq.only", r#"{"organization\u005fid":"{B}","key":"only","value":"x"}"#),
                put("/settings?key=eq.only", "organization_id,key\n{B},only\n").csv(),
            ])
            .refused(400, "rest_put_filter", [
                put("/settings", r#"{"key":"only"}"#),
                put("/settings?organization_id=eq.{O}", r#"{"key":"only"}"#),
                put("/settings?key=gt.a", r#"{"key":"only"}"#),
                put("/settings?key=not.eq.a", r#"{"key":"only"}"#),
                put("/settings?key=eq.only&value=eq.x", r#"{"key":"only"}"#),
                put("/settings?key=eq.only&or=(key.eq.theme)", r#"{"key":"only"}"#),
                put("/settings?key=eq.only&key=eq.theme", r#"{"key":"only"}"#),
                put("/settings?key=eq.only&organization_id=eq.{O}&organization_id=eq.{B}", r#"{"key":"only"}"#),
                put("/settings?key=eq.only&organization_id=neq.{O}", r#"{"key":"only"}"#),
                put("/settings?key=eq.only&limit=1", r#"{"key":"only"}"#),
                put("/settings?key=in.(only)", r#"{"key":"only"}"#),
            ])
            .answered(400, None, [put("/settings?key=eq.only", r#"{"key":"theme"}"#)]),
        Row::new(57, "an upsert that passes over what is there").refused(403, "rest_upsert_key", [
            ignore("/events", r#"{"id":8800880004,"title":"x"}"#),
            ignore("/events?on_conflict=id", r#"{"id":8800880004,"title":"x"}"#),
            ignore("/events", r#"[{"id":8800880004,"title":"x"},{"id":1,"title":"y"}]"#),
            ignore("/pages", r#"{"id":8800880002,"slug":"b","name":"x"}"#),
            post("/events", r#"{"id":8800880004,"title":"x"}"#).with("prefer", "resolution=ignore-duplicates"),
        ])
        .alike([
            ignore("/settings", r#"{"key":"theme","value":"x"}"#),
            ignore("/settings", r#"[{"key":"only","value":"ACME-ONLY-x"},{"key":"theme","value":"x"}]"#),
            // The first of two counts.
            ignore("/settings", r#"{"key":"theme","value":"x"}"#).with("prefer", "resolution=merge-duplicates"),
        ]),
    ]
}

pub(super) fn changes() -> Vec<Row> {
    vec![
        Row::new(58, "an update that moves a row")
            .refused(403, "rest_tenant_escape", [
                patch("/events?id=eq.1", r#"{"organization_id":"{B}"}"#),
                patch("/events", r#"{"organization_id":"{B}"}"#),
                patch("/events?id=eq.1", r#"{"title":"x","organization_id":"22222222222242228222222222222222"}"#),
                patch("/events?id=eq.1", r#"{"organization_id":null}"#),
                patch("/events?id=eq.1&columns=organization_id", r#"{"organization_id":"{B}"}"#),
                patch("/events?id=eq.1&columns=%22organization_id%22", r#"{"organization_id":"{B}"}"#),
                patch("/events?id=eq.1&columns=title", r#"{"title":"x","organization_id":"{B}"}"#),
                patch("/events?id=eq.1", "organization_id\n{B}\n").csv(),
                patch("/events?id=eq.1", "organization_id\nNULL\n").csv(),
                patch("/events?id=eq.1", "organization_id={B}").form(),
                Spelling::new("PATCH", "/events?id=eq.1", r#"{"organization_id":"{B}"}"#),
                patch("/projects?id=eq.1", r#"{"organization_id":"{B}"}"#),
            ])
            .alike([
                patch("/events?id=eq.1", r#"{"organization_id":"{O}","title":"ACME-ONLY-x"}"#),
                patch("/events?id=eq.1&columns=title", r#"{"title":"ACME-ONLY-x","capacity":3}"#),
                patch("/events?id=eq.1", r#"{"organization_id":"11111111111141118111111111111111"}"#),
            ])
            // Which would set it to NULL.
            .means([(
                patch("/events?id=eq.1&columns=organization_id,title", r#"{"title":"ACME-ONLY-x"}"#),
                patch("/events?id=eq.1", r#"{"title":"ACME-ONLY-x"}"#),
            )])
            // A reference is no move: the row stays, and shows nothing of what it refers to.
            .alike([patch("/events?id=eq.1&select=id,projects(name)", r#"{"title":"ACME-ONLY-x"}"#)]),
        Row::new(59, "an update or delete without a filter")
            .alike([
                patch("/events", r#"{"capacity":1}"#),
                patch("/events?or=(id.gt.0,id.lt.0)", r#"{"capacity":1}"#),
                patch("/events?organization_id=eq.{B}", r#"{"capacity":1}"#),
                patch("/events?organization_id=in.({O},{B})", r#"{"capacity":1}"#),
                patch("/events?or=(organization_id.eq.{B},id.gt.0)", r#"{"capacity":1}"#),
                patch("/events?not.and=(organization_id.eq.{O})", r#"{"capacity":1}"#),
                patch("/events?id=eq.8800880004", r#"{"capacity":1}"#),
                patch("/events?id=in.(1,8800880004)", r#"{"capacity":1}"#).with("prefer", "count=exact"),
                patch("/events?order=id&limit=1", r#"{"capacity":1}"#),
                // PostgREST changes all that agree with a chosen row in the columns of `order`.
                patch("/events?order=starts_at&limit=1", r#"{"capacity":1}"#),
                patch("/projects?order=status,created_at&limit=1", r#"{"notes":"ACME-ONLY-x"}"#),
                delete("/tickets?order=seat.desc&limit=5&offset=0"),
                patch("/events?order=capacity&limit=2&offset=1", r#"{"capacity":1}"#),
                Spelling::new("PATCH", "/events", r#"{"capacity":1}"#).with("prefer", "count=exact"),
                delete("/settings"),
                delete("/settings?organization_id=eq.{B}"),
                delete("/settings?or=(organization_id.eq.{B},key.eq.only)"),
                delete("/settings?not.or=(organization_id.eq.{O})"),
                delete("/settings?key=eq.theme"),
                delete("/settings?key=eq.only"),
                delete("/settings?order=key&limit=1"),
                delete("/tickets?order=event_id&limit=1"),
                delete("/tickets?id=eq.8800880002").with("prefer", "count=exact"),
                Spelling::new("DELETE", "/settings", "").with("prefer", "count=exact"),
                Spelling::new("DELETE", "/settings", "").with("prefer", "return=headers-only"),
                delete("/pages"),
                delete("/events?id=eq.2"),
                patch("/guarded?id=gt.0", r#"{"text":"ACME-ONLY-x"}"#),
                delete("/guarded?or=(id.gt.0,organization_id.eq.{B})"),
            ])
            .refused(400, "rest_filter_required", [
                patch("/guarded", r#"{"text":"x"}"#),
                delete("/guarded"),
                delete("/guarded?order=id&limit=1"),
                delete("/guarded?select=id"),
                Spelling::new("DELETE", "/guarded?", ""),
            ])
            .refused(400, "rest_limit_without_order", [
                patch("/events?limit=1", r#"{"capacity":1}"#),
                delete("/events?limit=1"),
                delete("/events?offset=1"),
            ]),
        Row::new(60, "a write to what belongs through its parent").refused(403, "rest_table_read_only", [
            patch("/comments?id=eq.1", r#"{"body":"x"}"#),
            patch("/comments?id=eq.1", r#"{"event_id":8800880004}"#),
            patch("/comments?id=eq.1&select=id,events!inner()&events.organization_id=eq.{O}", r#"{"body":"x"}"#),
            delete("/comments"),
            delete("/comments?id=eq.8800880003"),
            delete("/event_tags?event_id=eq.1"),
            post("/comments", r#"{"id":9,"event_id":8800880004,"body":"x"}"#),
            post("/event_tags", r#"{"event_id":1,"tag_id":2}"#),
            put("/comments?id=eq.1", r#"{"id":1,"event_id":1,"body":"x"}"#),
            merge("/comments", r#"{"id":8800880003,"event_id":1,"body":"x"}"#),
            delete("/mentions?id=eq.1"),
        ]),
        Row::new(61, "embeds of written rows").alike([
            post("/events?select=title,projects(name,events(title))&projects.events.order=id", r#"{"title":"ACME-ONLY-x","project_id":1}"#),
            post("/events?select=title,p:projects!inner(name)", r#"{"title":"ACME-ONLY-x","project_id":1}"#),
            patch("/events?id=eq.2&select=id,projects(name)", r#"{"capacity":5}"#),
            patch("/events?id=eq.1&select=id,comments(body),tags(label)&tags.order=id", r#"{"capacity":5}"#),
            patch("/events?id=eq.1&select=id,organizations(name,projects(name))&organizations.projects.order=id", r#"{"capacity":5}"#),
            patch("/events?id=eq.1&select=id,mentions!event_id(body,events!about_id(title))", r#"{"capacity":5}"#),
            patch("/projects?id=eq.1&select=id,events(title)&events.order=id", r#"{"name":"ACME-ONLY-x"}"#),
            patch("/projects?id=eq.1&select=id,events(title)&events.organization_id=eq.{B}", r#"{"name":"ACME-ONLY-x"}"#),
            delete("/events?id=eq.2&select=id,projects(name,events(title))&projects.events.order=id"),
            delete("/tickets?id=eq.1&select=seat,events(title,projects(name))"),
        ])
        // Where the other's row is not there, the database refuses the reference to it.
        .answered(201, None, [
            post("/events?select=title,projects(name,events(title))&projects.events.order=id", r#"{"title":"ACME-ONLY-x","project_id":3}"#),
            post("/events?select=title,...projects(name)", r#"{"title":"ACME-ONLY-x","project_id":3}"#),
        ]),
        Row::new(62, "a reference to the other's row")
            // A foreign key that holds the tenant refuses it.
            .answered(409, Some("23503"), [
                post("/tickets", r#"{"event_id":8800880004,"seat":"x"}"#),
                post("/tickets", r#"{"event_id":5,"seat":"x"}"#),
                post("/tickets", r#"[{"event_id":1,"seat":"x"},{"event_id":5,"seat":"y"}]"#),
                post("/tickets", "event_id,seat\n5,x\n").csv(),
                patch("/tickets?id=eq.1", r#"{"event_id":5}"#),
                // As if the other's row were not there.
                post("/tickets", r#"{"event_id":999,"seat":"x"}"#),
            ])
            // Without one it stands, and leads nowhere.
            .alike([
                post("/tickets", r#"{"event_id":1,"seat":"ACME-ONLY-x"}"#),
                patch("/staff?id=eq.3&select=name,manager_id(name)", r#"{"name":"ACME-ONLY-x"}"#),
            ])
            .answered(201, None, [
                post("/events?select=title,projects(name)", r#"{"title":"ACME-ONLY-x","project_id":8800880004}"#),
            ])
            .answered(200, None, [
                patch("/events?id=eq.1&select=title,projects(name)", r#"{"project_id":8800880004}"#),
            ]),
        Row::new(63, "an id that the other has").answered(409, Some("23505"), [
            post("/events", r#"{"id":8800880004,"title":"x"}"#),
            post("/events", r#"[{"id":900,"title":"x"},{"id":5,"title":"y"}]"#),
            post("/pages", r#"{"id":9,"slug":"b","name":"x"}"#),
            post("/pages", "id,slug,name\n9,b,x\n").csv(),
            patch("/events?id=eq.3", r#"{"id":8800880004}"#),
            patch("/pages?id=eq.1", r#"{"slug":"b"}"#),
            Spelling::new("POST", "/events", r#"{"id":8800880004,"title":"x"}"#),
        ]),
    ]
}
