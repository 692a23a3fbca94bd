//! Rows 31 and 33 to 40: rows that are nobody's, counts, media types, schemas and views.

use super::spelling::{Row, anyhow, asked, delete, get, head, patch, post, reads};

pub(super) fn resources() -> Vec<Row> {
    vec![
        Row::new(31, "rows without an organization")
            .alike(reads(&[
                "/notes?order=id",
                "/notes?organization_id=is.null",
                "/notes?or=(organization_id.is.null,id.gt.0)&order=id",
                "/notes?organization_id=not.eq.{O}",
                // Everybody's, where the catalogue says so.
                "/templates?order=id",
                "/templates?organization_id=is.null",
                "/templates?or=(organization_id.is.null,organization_id.eq.{B})&order=id",
                "/templates?organization_id=eq.{B}",
            ]))
            .alike([
                // Read by all, written by nobody.
                patch("/templates?id=eq.1", "{\"text\":\"ACME-ONLY-new\"}"),
                delete("/templates?id=eq.1"),
                delete("/notes"),
            ])
            .means([
                (delete("/templates"), delete("/templates?id=eq.1")),
                (
                    patch("/templates", "{\"text\":\"x\"}"),
                    patch("/templates?id=eq.1", "{\"text\":\"x\"}"),
                ),
                (delete("/templates?organization_id=is.null"), delete("/templates?id=eq.0")),
            ])
            .refused(
                403,
                "rest_tenant_escape",
                [patch("/notes?id=eq.1", "{\"organization_id\":null}")],
            )
            .means([(
                post("/notes", "{\"id\":9,\"organization_id\":null,\"text\":\"x\"}"),
                post("/notes", "{\"id\":9,\"text\":\"x\"}"),
            )]),
        Row::new(33, "a head with a count")
            .alike(
                [
                    "/events",
                    "/events?id=gt.0",
                    "/events?organization_id=eq.{B}",
                    "/comments",
                    "/tags",
                ]
                .map(|target| head(target).with("prefer", "count=exact")),
            )
            .alike([
                head("/events?limit=1&order=id").with("prefer", "count=exact"),
                head("/events?select=id,projects!inner()")
                    .with("prefer", "return=minimal,count=exact"),
                head("/events").with("prefer", "return=minimal").with("prefer", "count=exact"),
            ])
            // How many there are, in other words.
            .alike(["/events?order=id", "/comments?order=id", "/notes?order=id", "/events?organization_id=eq.{B}"].into_iter().flat_map(
                |target| {
                    let one = "application/vnd.pgrst.object+json";
                    [
                        get(target).with("accept", one),
                        get(target).with("range", "2-9").with("prefer", "count=exact"),
                        get(target).with("range", "3-").with("prefer", "count=exact"),
                        get(target).with("range", "9-12").with("prefer", "count=exact"),
                        patch(target, "{}").with("prefer", "count=exact"),
                    ]
                },
            ).filter(|one| !(one.writes() && one.target.starts_with("/comments")))),
        Row::new(34, "a count from statistics")
            .means(["planned", "estimated"].into_iter().flat_map(|count| {
                ["/events", "/events?id=gt.0", "/comments?select=id"].into_iter().flat_map(
                    move |target| {
                        let prefer = format!("count={count}");
                        [
                            (
                                get(target).with("prefer", &prefer),
                                get(target).with("prefer", "count=exact"),
                            ),
                            (
                                head(target).with("prefer", &prefer),
                                head(target).with("prefer", "count=exact"),
                            ),
                        ]
                    },
                )
            }))
            // A preference in another case is none.
            .alike([get("/events").with("prefer", "Count=Planned")]),
        Row::new(35, "a query plan").refused(
            406,
            "rest_plan_not_acceptable",
            [
                "application/vnd.pgrst.plan",
                "application/vnd.pgrst.plan+json",
                "application/vnd.pgrst.plan+text; options=analyze|verbose|buffers",
                "APPLICATION/VND.PGRST.PLAN+JSON",
                "text/csv, application/vnd.pgrst.plan;q=0.1",
                "application/vnd.pgrst.plan+json; for=\"application/json\"; options=analyze",
            ]
            .into_iter()
            .flat_map(|accept| {
                [
                    get("/events").with("accept", accept),
                    head("/events").with("accept", accept),
                    delete("/events?id=eq.1").with("accept", accept),
                    get("/rpc/listed").with("accept", accept),
                    get("/events").with("accept", "application/json").with("accept", accept),
                ]
            }),
        ),
        Row::new(36, "another schema").refused(
            406,
            "rest_profile_not_acceptable",
            ["private", "Public", "pg_catalog", "", "public, private"].into_iter().flat_map(
                |schema| {
                    [
                        get("/events").with("accept-profile", schema),
                        head("/events").with("accept-profile", schema),
                        get("/rpc/listed").with("accept-profile", schema),
                        post("/events", "{\"title\":\"x\"}").with("content-profile", schema),
                        patch("/events?id=eq.1", "{\"title\":\"x\"}")
                            .with("content-profile", schema),
                        delete("/events?id=eq.1").with("content-profile", schema),
                    ]
                },
            ),
        ),
        Row::new(37, "profiles that disagree")
            .alike([
                get("/events?order=id")
                    .with("accept-profile", "public")
                    .with("content-profile", "private"),
                get("/events?order=id").with("content-profile", "private"),
                get("/events?order=id")
                    .with("accept-profile", "public")
                    .with("accept-profile", "private"),
                delete("/events?id=eq.1").with("accept-profile", "private"),
                post("/events", "{\"title\":\"x\"}").with("accept-profile", "private"),
            ])
            .refused(
                406,
                "rest_profile_not_acceptable",
                [
                    get("/events")
                        .with("accept-profile", "private")
                        .with("accept-profile", "public"),
                    post("/events", "{\"title\":\"x\"}")
                        .with("content-profile", "private")
                        .with("content-profile", "public"),
                ],
            ),
        Row::new(38, "a view that is not in the catalogue")
            .refused(
                404,
                "table_not_found",
                anyhow(&[
                    "/project_events",
                    "/project_events?select=title",
                    "/secrets",
                    "/Events",
                    "/%22events%22",
                ]),
            )
            .refused(
                400,
                "rest_embed_unknown",
                asked(&[
                    "/events?select=id,project_events(title)",
                    "/projects?select=secrets(value)",
                ]),
            )
            .alike(reads(&["/event_totals", "/event_totals?select=last,total&total=gt.0"]))
            .refused(
                403,
                "rest_table_read_only",
                [
                    post("/event_totals", "{}"),
                    delete("/event_totals"),
                    patch("/event_totals?total=gt.0", "{\"total\":1}"),
                    post("/countries", "{\"code\":\"FR\",\"name\":\"x\"}"),
                    delete("/countries?code=eq.AT"),
                ],
            ),
        Row::new(39, "rows that belong through their parent")
            .alike(reads(&[
                "/comments?order=id",
                "/comments",
                "/comments?select=id,body&body=like.*c*&order=id",
                "/comments?or=(id.gt.0,event_id.eq.8800880004)&order=id",
                "/comments?event_id=eq.8800880004",
                "/comments?id=in.(1,8800880003)",
                "/comments?select=*,events(title)&order=id",
                "/comments?select=events(title,projects(name))&order=id",
                "/comments?select=id,events(title)&events.title=like.*kick*&order=id",
                    "/comments?select=id,events(title,projects(name))&events.projects.name=like.*two&order=id",
                    "/comments?order=id.desc&limit=1",
                    "/comments?select=id,events()&or=(events.is.null,id.gt.1)&order=id",
                    "/comments?select=id,events(title)&order=events(title).desc",
                    "/comments?select=gwp0:body,id&order=id",
                    "/comments?select=gwp0:body,events(title)&order=id",
            "/mentions?order=id",
            "/mentions?select=id,e:events!mentions_about_id_fkey(title)&order=id",
            "/mentions?select=id,events!mentions_about_id_fkey(title)&order=id",
            "/mentions?select=id,events!about_id(title)&order=id",
            "/mentions?select=id,about_id(title)&order=id",
            "/mentions?select=id,event_id(title)&order=id",
            "/mentions?select=id,mentions_about_id_fkey(title)&order=id",
            "/mentions?select=id,mentions_event_id_fkey(title)&order=id",
            "/mentions?select=id,mentions_event_id_fkey:events!about_id(title)&order=id",
            "/mentions?select=id,e:events!about_id!inner(title)&order=id",
            "/mentions?select=id,events!about_id!inner(title)&order=id",
            "/mentions?select=id,...events!about_id(title)&order=id",
            "/mentions?select=id,events!about_id(title)&events=is.null&order=id",
            "/mentions?select=id,events!about_id(id,mentions!event_id(body,events!about_id(title)))&order=id",
            "/events?select=id,mentions!event_id(body,events!about_id(title))&mentions.order=id&order=id",
            "/events?select=id,mentions!about_id(body,events!event_id(title))&mentions.order=id&order=id",
            ]))
            .refused(
                400,
                "rest_embed_not_selected",
                asked(&[
                        "/comments?events.organization_id=eq.{B}",
                        "/comments?gwp0.organization_id=eq.{B}",
                        "/comments?gwp0.or=(organization_id.eq.{B},id.gt.0)",
                        "/comments?order=gwp0(id)",
                    ]),
            )
            .refused(
                403,
                "rest_embed_unsupported",
                asked(&[
                    "/comments?select=gwp0:events(id)",
                    "/comments?select=id,gwp1:events!inner(id)",
                ]),
            ),
        Row::new(40, "a junction").alike(reads(&[
            "/event_tags?order=event_id,tag_id",
            "/event_tags?event_id=eq.8800880004",
            "/event_tags?tag_id=gt.0&order=event_id,tag_id",
            "/event_tags?select=event_id,tags(label)&order=event_id,tag_id",
            "/event_tags?select=tag_id,events(title)&tag_id=eq.1",
            "/event_tags?select=event_id,tags!inner(label)&tags.label=like.*&order=event_id",
        ])),
    ]
}
