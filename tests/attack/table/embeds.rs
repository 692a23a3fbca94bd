//! Rows 13 to 30 and 32: embeds, computed columns, casts and aggregates.

use super::spelling::{Row, anyhow, asked, delete, get, patch, post, reads};

/// One embed, and where it leads.
pub(super) fn targets() -> Vec<Row> {
    vec![
        Row::new(13, "a foreign key into the other organization").alike(reads(&[
            "/events?select=id,projects(name)&order=id",
            "/events?select=id,projects(*)&id=eq.2",
            "/events?select=*,projects(*)&order=id",
            "/events?select=id,projects!inner(name)&order=id",
            "/events?select=id,projects!left(name)&order=id",
            "/events?select=id,projects()&order=id",
            "/events?select=id,projects(name)&projects.organization_id=eq.{B}&order=id",
            "/events?select=id,projects(name)&projects.or=(organization_id.eq.{B},id.gt.0)&order=id",
            "/events?select=id,projects(name,notes)&projects.id=eq.3&order=id",
            "/projects?select=id,events(title)&events.order=id&order=id",
            "/projects?select=id,events!inner(title)&events.id=eq.5&order=id",
            "/events?select=id,organizations(name)&order=id",
            "/events?select=organizations(name)&organization_id=eq.{B}",
            "/organizations?select=id,name,events(id)&events.order=id",
            "/tickets?select=seat,events(title)",
        ])),
        Row::new(14, "other names of the same embed").alike(reads(&[
            "/events?select=id,p:projects(name)&order=id",
            "/events?select=id,project_id(name)&order=id",
            "/events?select=id,events_project_id_fkey(name)&order=id",
            "/events?select=id,x:events_project_id_fkey(name)&order=id",
            "/events?select=id,x:project_id(name)&order=id",
            "/events?select=id,projects!events_project_id_fkey(name)&order=id",
            "/events?select=id,projects!project_id(name)&order=id",
            "/events?select=id,projects!project_id!inner(name)&order=id",
            "/events?select=id,x:projects!project_id!left(name)&x.organization_id=eq.{B}&order=id",
            "/events?select=id,x:projects(name)&x.or=(organization_id.eq.{B},id.gt.0)&order=id",
            "/projects?select=id,events!project_id(title)&events.order=id&order=id",
            "/projects?select=id,e:events!events_project_id_fkey(title)&e.order=id&order=id",
            "/staff?select=name,manager_id(name)&order=id",
            "/staff?select=name,boss:manager_id(name)&order=id",
            "/staff?select=name,staff!manager_id(name)&staff.order=id&order=id",
            "/staff?select=name,under:staff!manager_id(name)&under.order=id&order=id",
        ])),
        Row::new(15, "white space and quotes around an embed").alike(reads(&[
            "/events?select=id,projects%20(name)&order=id",
            "/events?select=id,+projects+(+name+)&order=id",
            "/events?select=id,%22projects%22(name)&order=id",
            "/events?select=id,%22pro%5Cjects%22(name)&order=id",
            "/events?select=id,%22projects%22(%22name%22)&order=id",
            "/events?select=id,p%20:%20projects(name)&order=id",
            "/events?select=id,%70rojects%28name%29&order=id",
            "/events?select=id,projects(name)&%70rojects.organization_id=eq.{B}&order=id",
            "/events?select=id,projects(name)&%22projects%22.id=eq.3&order=id",
        ]))
        .refused(
            400,
            "rest_select_malformed",
            anyhow(&[
                "/events?select=id,projects%0A(name)",
                "/events?select=id,projects(name",
                "/events?select=id,projects((name)",
            ]),
        )
        // What PostgREST 12 does not read.
        .means(["projects%09(name)", "projects(name)%20", "projects(name)%09"].map(|embed| {
            let url = |embed: &str| get(&format!("/events?select=id,{embed}&order=id"));
            (url(embed), url("projects(name)"))
        }))
        .refused(400, "rest_embed_unknown", asked(&["/events?select=id,Projects(name)"])),
        Row::new(16, "twins").refused(
            400,
            "rest_embed_twins",
            anyhow(&[
                "/projects?select=id,x:events(id),events(title)",
                "/projects?select=id,events(id),x:events(title)",
                "/projects?select=id,events(id),events(title)",
                "/projects?select=id,x:events(id),events(title)&events.organization_id=eq.{O}",
                "/projects?select=id,x:events(id),x:events(title)",
                "/projects?select=id,%22events%22(id),x:events!project_id(title)",
            ]),
        )
        .alike(reads(&[
            "/projects?select=id,x:events(id),y:events(title)&x.order=id&y.order=id&order=id",
            "/projects?select=id,x:events(id),y:events(title)&x.organization_id=eq.{B}&y.order=id&order=id",
            "/events?select=id,x:events_project_id_fkey(id),y:project_id(name)&order=id",
        ])),
        Row::new(17, "an alias that is another embed's table").refused(
            400,
            "rest_embed_twins",
            anyhow(&[
                "/events?select=id,projects:organizations(name),x:projects(name)",
                "/events?select=id,x:projects(name),projects:organizations(name)",
                "/events?select=id,organizations:projects(name),organizations(name)",
                "/events?select=organization_id:projects(name)",
                "/projects?select=events(organization_id:projects(name))",
            ]),
        ),
        Row::new(18, "an alias that could be read as something else")
            .refused(
                403,
                "rest_embed_unsupported",
                asked(&[
                    "/events?select=id,a%20b:projects(name)",
                    "/events?select=id,1:projects(name)",
                    "/events?select=id,gwp0:projects(name)",
                    "/events?select=id,or:projects(name)",
                    "/events?select=id,not:projects(name)",
                    "/events?select=id,order:projects(name)",
                    "/events?select=id,limit:projects(name)",
                    "/events?select=id,select:projects(name)",
                    "/events?select=id,apikey:projects(name)",
                    "/events?select=id,%C3%A4:projects(name)",
                ]),
            )
            .refused(400, "rest_select_malformed", anyhow(&[
                    "/events?select=id,a.b:projects(name)",
                    "/events?select=id,%22a.b%22:projects(name)",
                    "/events?select=id,%22a,b%22:projects(name)",
                    "/events?select=id,%22a%5C%22b%22:projects(name)",
                    "/events?select=id,_x:projects(name)",
                ])),
        Row::new(19, "a spread").alike(reads(&[
            "/events?select=id,...projects(n:name)&order=id",
            "/events?select=id,...projects(*)&order=id",
            "/events?select=id,...project_id(name)&order=id",
            "/events?select=id,...projects!project_id(name,status)&order=id",
            "/events?select=id,...projects!inner(name)&order=id",
            "/events?select=id,...projects(name)&projects.organization_id=eq.{B}&order=id",
            "/events?select=id,...projects(name,...organizations(o:name))&order=id",
            "/events?select=id,...%22projects%22(name)&order=id",
        ]))
        .refused(
            403,
            "rest_embed_unsupported",
            asked(&["/projects?select=id,...events(title)", "/tags?select=id,...events(title)"]),
        ),
        Row::new(20, "embeds of embeds").alike(reads(&[
            "/events?select=id,projects(name,events(title))&projects.events.order=id&order=id",
            "/projects?select=id,events(id,projects(name))&events.order=id&order=id",
            "/projects?select=id,e:events(id,p:projects(name))&e.order=id&e.p.organization_id=eq.{B}&order=id",
            "/projects?select=id,events!inner(id,comments(body))&events.order=id&order=id",
            "/events?select=id,comments(body)&comments.order=id&order=id",
            "/organizations?select=name,projects(name,events(title))&projects.order=id&projects.events.order=id",
            "/events?select=id,projects(events(projects(name)))&projects.events.order=id&order=id",
            "/staff?select=name,manager_id(name,manager_id(name))&order=id",
            "/staff?select=name,manager_id(name,staff!manager_id(name))&manager_id.staff.order=id&order=id",
        ]))
        .refused(
            400,
            "rest_embed_too_deep",
            asked(&["/events?select=projects(events(projects(events(projects(events(projects(name)))))))"]),
        )
        .refused(
            400,
            "rest_embed_not_selected",
            anyhow(&[
                "/events?select=projects(name)&projects.events.organization_id=eq.{B}",
                "/events?projects.id=eq.1",
                "/events?select=p:projects(name)&projects.id=eq.3",
            ]),
        ),
        Row::new(21, "many to many").alike(reads(&[
            "/tags?select=id,events(title)&events.order=id&order=id",
            "/tags?select=label,events!inner(title)&events.order=id&order=id",
            "/tags?select=label,events!event_tags(title)&events.order=id&order=id",
            "/tags?select=label,e:events(title)&e.organization_id=eq.{B}&order=id",
            "/tags?select=label,event_tags(event_id,events(title))&event_tags.order=event_id&order=id",
            "/events?select=id,tags(label)&tags.order=id&order=id",
            "/events?select=id,tags!inner(label)&tags.id=eq.2&order=id",
            "/events?select=id,event_tags(tags(label))&event_tags.order=tag_id&order=id",
        ])),
    ]
}

/// What is computed, cast, asked of an embed or added up.
pub(super) fn expressions() -> Vec<Row> {
    vec![
        Row::new(22, "a computed relationship").refused(
            400,
            "rest_embed_unknown",
            anyhow(&[
                "/events?select=id,computed_projects(name)",
                "/events?select=id,p:computed_projects(name)",
                "/events?select=id,...computed_projects(name)",
                "/events?select=id,%22computed_projects%22!inner(name)",
                "/projects?select=events(computed_projects(name))",
            ]),
        ),
        Row::new(23, "a computed column in select").refused(
            403,
            "rest_column_unknown",
            anyhow(&[
                "/events?select=leak",
                "/events?select=id,x:leak",
                "/events?select=id,%22leak%22",
                "/events?select=id,leak::text",
                "/events?select=*,leak",
                "/events?select=%20leak%20",
                "/projects?select=events(leak)",
                "/events?select=leak-%3Ea",
                "/events?select=leak.max()",
            ]),
        ),
        Row::new(24, "a computed column in a filter").refused(
            403,
            "rest_column_unknown",
            anyhow(&[
                "/events?leak=like.*GLOBEX*",
                "/events?%22leak%22=not.is.null",
                "/events?or=(leak.like.*GLOBEX*,id.gt.0)",
                "/events?and=(not.or(leak.is.null))",
                "/projects?select=events(id)&events.leak=like.*GLOBEX*",
                "/projects?select=events(id)&events.or=(leak.is.null)",
                "/events?leak-%3E%3Ea=eq.1",
            ]),
        ),
        Row::new(25, "a computed column in order").refused(
            403,
            "rest_column_unknown",
            anyhow(&[
                "/events?order=leak",
                "/events?order=id,leak.desc",
                "/events?order=%22leak%22.asc.nullsfirst",
                "/projects?select=events(id)&events.order=leak",
                "/events?order=leak-%3Ea",
            ]),
        )
        .refused(
            403,
            "rest_column_unknown",
            asked(&["/tickets?select=events(id)&order=events(leak)"]),
        ),
        Row::new(26, "a function of the whole row").refused(
            403,
            "rest_column_unknown",
            anyhow(&[
                "/events?select=to_jsonb",
                "/events?select=id,row_to_json",
                "/events?select=pg_typeof",
                "/events?select=count",
                "/events?select=hashtext",
                "/events?select=events",
                "/events?select=ctid,xmin,tableoid",
                "/projects?select=events(to_jsonb)",
                "/events?to_jsonb=not.is.null",
                "/events?order=to_jsonb",
            ]),
        ),
        Row::new(27, "a cast")
            .refused(
                403,
                "rest_cast_not_allowed",
                anyhow(&[
                    "/events?select=title::regclass",
                    "/events?select=id,x:title::regclass",
                    "/events?select=title::%20regclass",
                    "/events?select=title::json",
                    "/events?select=title::TEXT",
                    "/events?select=projects(name::regclass)",
                    "/events?select=title::%22regclass%22",
                    "/events?select=capacity.sum()::regclass",
                ]),
            )
            .refused(
                400,
                "rest_select_malformed",
                anyhow(&["/events?select=title::pg_catalog.regclass"]),
            )
            .alike(reads(&[
                "/events?select=id::text,capacity::int8&order=id",
                "/events?select=i:id::text,projects(id::text)&order=id",
                // Errors of rows that nobody gets to see.
                "/mentions?select=id,body::int8&order=id",
                "/mentions?select=body::int8&order=body",
                "/mentions?select=body::int8,events!about_id(title)&order=body",
                "/events?select=id,mentions!event_id(body::int8)&order=id",
                "/events?select=id,mentions!about_id(body::int8)&order=id",
                "/events?select=id,mentions!about_id!inner(body::int8)&order=id",
                "/events?select=id,mentions!event_id(body::int8.sum())&order=id",
            ])),
        Row::new(28, "whether there is any embed").alike(reads(&[
            "/events?select=id,projects()&projects=is.null&order=id",
            "/events?select=id,projects(name)&projects=not.is.null&order=id",
            "/events?select=id,projects(name)&or=(projects.not.is.null,id.eq.3)&order=id",
            "/events?select=id,p:projects(name)&p=is.null&order=id",
            "/events?select=id,p:projects(name)&not.or=(p.is.null)&order=id",
            "/events?select=id,projects(name)&projects.organization_id=eq.{B}&projects=not.is.null",
            "/tags?select=id,events()&events=not.is.null&order=id",
            "/projects?select=id,events()&events=is.null&order=id",
        ]))
        .refused(
            403,
            "rest_embed_unsupported",
            [
                patch("/events?select=id,projects()&projects=is.null", "{\"capacity\":1}"),
                delete("/events?select=id,projects()&projects=not.is.null"),
                delete("/events?select=id,projects()&or=(projects.is.null,id.eq.1)"),
            ],
        ),
        Row::new(29, "order by a column of an embed").alike(reads(&[
            "/events?select=id,projects(name)&order=projects(name),id",
            "/events?select=id,projects(name)&order=projects(name).desc.nullslast,id",
            "/events?select=id,p:projects(name)&order=p(notes),id",
            "/events?select=id,projects(name)&order=projects(organization_id).desc,id",
            "/events?select=id,projects(name)&order=%22projects%22(name).asc,id",
        ]))
        .refused(
            400,
            "rest_embed_not_selected",
            asked(&["/events?select=id&order=projects(name)", "/events?order=projects(secret)"]),
        ),
        Row::new(30, "a logic tree on an embed").alike(reads(&[
            "/events?select=id,projects(name)&projects.or=(name.like.*two,organization_id.eq.{B})&order=id",
            "/events?select=id,projects(name)&projects.not.or=(name.like.*two)&order=id",
            "/events?select=id,projects(name)&not.projects.or=(name.like.*two)&order=id",
            "/events?select=id,projects(name)&projects.and=(id.gt.0,not.or(organization_id.eq.{O}))&order=id",
            "/events?select=id,projects(name)&not.projects.and=(organization_id.eq.{O})&order=id",
            "/events?select=id,p:projects!inner(name)&p.or=(id.eq.3,id.eq.1)&order=id",
            "/projects?select=id,events(id,projects(name))&events.projects.or=(id.gt.0,id.lt.0)&events.order=id&order=id",
        ])),
        aggregates(),
    ]
}

fn aggregates() -> Row {
    Row::new(32, "aggregates and ways into JSON")
        .alike(reads(&[
            "/events?select=id.sum()",
            "/events?select=count()",
            "/events?select=id.count()",
            "/events?select=capacity.max(),capacity.min(),capacity.avg()",
            "/events?select=m:capacity.max()",
            "/events?select=capacity.sum()::text",
            "/events?select=count()&organization_id=eq.{B}",
            "/events?select=organization_id,count()",
            "/events?select=project_id,count()&order=project_id",
            "/events?select=title.max()&or=(organization_id.eq.{B},id.gt.0)",
            "/projects?select=id,events(count())&order=id",
            "/projects?select=id,events(m:title.max())&order=id",
            "/projects?select=id,e:events(capacity.sum())&e.organization_id=eq.{B}&order=id",
            "/events?select=...projects(name),count()",
            "/events?select=count(),projects(name)&order=projects(name)",
            "/organizations?select=name,events(count())",
            "/tags?select=label,events(count())&order=id",
            "/events?select=room:meta-%3E%3Eroom&order=id",
            "/events?select=meta-%3Eroom&order=id",
            "/events?select=id,meta-%3Eroom-%3E%3Ex&order=id",
            "/events?meta-%3E%3Eroom=like.*ONLY*&order=id",
            "/events?meta-%3E%3Eroom=eq.GLOBEX-ONLY-room",
            "/events?or=(meta-%3E%3Eroom.like.GLOBEX*,id.eq.1)&order=id",
            "/events?select=id&order=meta-%3E%3Eroom,id",
            "/projects?select=id,events(meta-%3E%3Eroom)&events.order=id&order=id",
        ]))
        .refused(
            403,
            "rest_aggregate_unsupported",
            asked(&["/comments?select=count()", "/event_tags?select=tag_id,count()"]),
        )
        .alike(
            reads(&[
                "/events?select=id,mentions!event_id(count())&order=id",
                "/events?select=id,comments(count(),body.max())&order=id",
                "/projects?select=id,events(comments(count()))&events.order=id&order=id",
                "/events?select=...projects(id.sum())",
                "/events?select=...projects(count()),count()",
                "/events?select=organization_id,...projects(id.max())",
                "/events?select=project_id,...projects(m:id.count())&order=project_id",
                "/tickets?select=...events(capacity.sum())",
                "/tickets?select=...events(...projects(id.sum()))",
                "/staff?select=name,staff!manager_id(count())&order=id",
                "/staff?select=name,manager_id(count())&order=id",
                "/tags?select=label,events(capacity.sum())&order=id",
                "/events?select=id,meta-%3E%3Eroom::text&order=id",
                "/events?select=meta-%3E%3Eroom.max()",
                "/events?select=id,tags-%3E0&order=id",
                "/event_totals?select=total.sum(),most.max()",
                "/templates?select=count()",
                "/templates?select=organization_id,text.max()&order=organization_id",
                "/notes?select=count()",
                "/rpc/listed?select=organization_id::text",
                "/rpc/listed?select=organization_id,count()",
                "/rpc/listed?select=organization_id,capacity.sum()",
            ])
            .into_iter()
            .filter(|one| {
                // Of a function's rows no CSV.
                !one.target.starts_with("/rpc/")
                    || one.headers.iter().all(|(name, _)| name != "accept")
            }),
        )
        .refused(
            403,
            "rest_aggregate_unsupported",
            asked(&[
                "/mentions?select=events!event_id(count()),count()",
                "/events?select=id,mentions!about_id(count())",
                "/tags?select=label,event_tags(count())",
                "/comments?select=...events(capacity.max())",
                "/comments?select=...events(...projects(count()))",
                "/mentions?select=...events!about_id(count())",
            ]),
        )
        .refused(
            400,
            "rest_function_select",
            asked(&[
                "/rpc/listed?select=count()",
                "/rpc/listed?select=organization_id.count()",
                "/rpc/listed?select=capacity.sum()",
                "/rpc/listed?select=projects(organization_id)",
            ]),
        )
        .alike([
            post("/events?select=id,meta-%3E%3Eroom", "{\"title\":\"ACME-ONLY-x\"}"),
            get("/events?select=count()").with("accept", "application/vnd.pgrst.object+json"),
        ])
}
