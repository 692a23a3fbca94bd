//! Rows 1 to 12: the plain read, filters that would widen it, and queries of two readings.

use super::spelling::{Row, Spelling, anyhow, asked, reads};

pub(super) fn filters() -> Vec<Row> {
    vec![
        Row::new(1, "a plain read").alike(reads(&[
            "/events",
            "/events?",
            "/events?&",
            "/events?select=*",
            "/events?select=id,title,organization_id&order=id.desc",
            "/events?select=%2A&order=id",
            "/events?select=t:title,%20id%20&order=id.desc.nullslast",
            "/events?limit=2&offset=1&order=id",
            "/events?offset=1&order=id",
            "/events?title=like.*e*&order=id",
            "/events?title=ilike(any).{*KICK*,*part*}&order=id",
            "/events?starts_at=is.null",
            "/events?id=not.eq.1&order=id",
            "/events?tags=cs.{ACME-ONLY-tag}",
            "/countries?order=code",
        ])),
        Row::new(2, "a filter for the other organization")
            .alike(reads(&[
                "/events?organization_id=eq.{B}",
                "/events?organization_id=eq.22222222222242228222222222222222",
                "/events?organization_id=eq.%7B{B}%7D",
                "/events?organization_id=eq.%20{O}",
                "/events?organization_id=not.neq.{B}",
                "/events?organization_id=gt.{O}",
                "/events?organization_id=eq.{B}&organization_id=eq.{O}",
                "/events?organization_id=eq.{O}&organization_id=eq.{B}",
                "/events?select=title&organization_id=eq.{B}&limit=1",
                "/events?id=eq.8800880004",
                "/events?id=in.(1,8800880004)",
                "/projects?organization_id=eq.{B}",
                "/event_totals?organization_id=eq.{B}",
            ]))
            // An error that PostgreSQL makes only of a row that fits, before it asks whose it is.
            .refused(
                400,
                "rest_filter_malformed",
                anyhow(&[
                    "/events?title=like.GLOBEX-ONLY%5C",
                    "/events?title=not.ilike.globex%5C",
                    "/events?title=like.GLOBEX%5C%5C%5C",
                    "/events?title=like(any).{GLOBEX%5C%5C}",
                    "/events?or=(title.like.GLOBEX%5C,id.gt.0)",
                    "/events?meta-%3E%3Eroom=like.GLOBEX-ONLY%5C",
                    "/projects?select=id,events(id)&events.title=like.GLOBEX-ONLY%5C",
                ]),
            )
            .refused(
                400,
                "rest_filter_malformed",
                asked(&["/comments?body=like.GLOBEX%5C", "/rpc/listed?title=like.GLOBEX%5C"]),
            )
            .alike(reads(&[
                "/events?title=like.GLOBEX-ONLY%5C%5C",
                "/events?title=like.GLOBEX*&title=match.%28",
                "/comments?body=like.GLOBEX*&body=match.%28",
                "/comments?select=id,body::int8&order=id",
            ])),
        Row::new(3, "a filter for both organizations").alike(reads(&[
            "/events?organization_id=in.({O},{B})&order=id",
            "/events?organization_id=in.(%22{O}%22,%22{B}%22)&order=id",
            "/events?organization_id=in.(%20{O}%20,%20{B}%20)&order=id",
            "/events?organization_id=eq(any).{{O},{B}}&order=id",
            "/events?organization_id=gte(all).{{O},{O}}&order=id",
            "/events?organization_id=neq.{O}&order=id",
            "/events?organization_id=not.is.null&order=id",
            "/events?organization_id=not.in.({O})&order=id",
        ])),
        Row::new(4, "an alternative to the organization").alike(reads(&[
            "/events?or=(organization_id.eq.{B},id.gt.0)&order=id",
            "/events?or=(organization_id.eq.{B},organization_id.eq.{O})&order=id",
            "/events?or=(id.gt.0,id.lt.0)&organization_id=eq.{B}",
            "/events?or=(and(organization_id.eq.{B},id.gt.0),not.and(id.gt.0))&order=id",
            "/events?or=(organization_id.in.({B},{O}),title.like.*x*)&order=id",
            "/events?or=(id.gt.0)&or=(organization_id.eq.{B})&order=id",
            "/events?and=(or(id.gt.0,organization_id.eq.{B}))&order=id",
            "/events?%6Fr=(organization_id.eq.{B},id.gt.0)&order=id",
            "/events?or=%28organization_id.eq.{B}%2Cid.gt.0%29&order=id",
            "/events?or=(%22organization_id%22.eq.{B},%20id%20.gt.0)&order=id",
        ])),
        Row::new(5, "the organization negated").alike(reads(&[
            "/events?not.and=(organization_id.eq.{O})&order=id",
            "/events?not.or=(organization_id.eq.{O})&order=id",
            "/events?and=(not.and(organization_id.eq.{O},id.gt.0))&order=id",
            "/events?or=(not.or(organization_id.eq.{O}),organization_id.not.eq.{O})&order=id",
            "/events?organization_id=not.eq.{O}",
            "/events?organization_id=not.eq(any).{{O}}",
        ])),
        Row::new(6, "the tenant column in other spellings")
            .alike(reads(&[
                "/events?%22organization_id%22=eq.{B}",
                "/events?%20organization_id=eq.{B}",
                "/events?organization_id%20=eq.{B}",
                "/events?+organization_id+=eq.{B}",
                "/events?organization%5Fid=eq.{B}",
                "/events?%6F%72ganization_id=in.({B},{O})&order=id",
                "/events?%22organi%5Czation_id%22=eq.{B}",
            ]))
            // Identifiers keep their case: these are other names.
            .refused(
                403,
                "rest_column_unknown",
                asked(&[
                    "/events?Organization_id=eq.{B}",
                    "/events?ORGANIZATION_ID=eq.{B}",
                    "/events?organization_id$=eq.{B}",
                ]),
            )
            .refused(
                400,
                "rest_key_malformed",
                asked(&[
                    "/events?organization_id%0A=eq.{B}",
                    "/events?organization%C2%A0id=eq.{B}",
                ]),
            ),
        Row::new(7, "a raw semicolon")
            .refused(
                400,
                "rest_semicolon",
                anyhow(&[
                    "/events?id=eq.1;organization_id=eq.{B}",
                    "/events?;",
                    "/events?select=id;select=title",
                    "/events?title=eq.a;b",
                    "/events?;or=(id.gt.0)",
                ]),
            )
            .alike(reads(&["/events?title=eq.a%3Bb", "/events?title=not.eq.%3B&order=id"])),
        Row::new(8, "a parameter that stands twice").refused(
            400,
            "rest_parameter_repeated",
            anyhow(&[
                "/events?select=id&select=title",
                "/events?select=id&%73elect=title",
                "/events?limit=1&limit=2&order=id",
                "/events?order=id&offset=0&offset=1",
                "/events?order=id&order=title",
                "/events?columns=id&columns=title",
                "/events?on_conflict=id&on_conflict=title",
                "/projects?select=events(id)&events.limit=1&events.limit=2",
                "/projects?select=events(id)&events.order=id&%65vents.order=title",
            ]),
        ),
        Row::new(9, "a parameter without a value").refused(
            400,
            "rest_parameter_without_value",
            anyhow(&[
                "/events?select&select=secret",
                "/events?select",
                "/events?id&id=eq.1",
                "/events?organization_id",
            ]),
        ),
        Row::new(10, "garbage behind a complete value")
            .refused(
                400,
                "rest_select_malformed",
                anyhow(&[
                    "/events?select=id,projects(id)x",
                    "/events?select=id,projects(id))",
                    "/events?select=id)",
                    "/events?select=id,",
                    "/events?select=id,projects(id)%20projects(name)",
                ]),
            )
            .refused(
                400,
                "rest_logic_malformed",
                asked(&[
                    "/events?or=(id.eq.1)x",
                    "/events?or=(id.eq.1))",
                    "/events?or=(id.eq.1),id.gt.0",
                    "/events?or=id.eq.1",
                ]),
            )
            .refused(
                400,
                "rest_filter_malformed",
                asked(&["/events?id=in.(1)x", "/events?starts_at=is.nullx", "/events?id=1"]),
            )
            .refused(400, "rest_order_malformed", asked(&["/events?order=id.asc.x"])),
        nul(),
        invalid_utf8(),
    ]
}

fn nul() -> Row {
    Row::new(11, "an encoded NUL")
        .refused(
            400,
            "rest_encoding_malformed",
            anyhow(&[
                "/events?id%00=eq.1",
                "/events?%00=eq.1",
                "/events?title=eq.a%00b",
                "/events?select=id,title%00,projects(name)",
                "/events?or=(id.eq.1%00)",
            ]),
        )
        .refused(400, "bad_path", asked(&["/events%00", "/%00events", "/rpc/listed%00"]))
        .refused(
            400,
            "malformed_head",
            [Spelling::raw(b"GET /rest/v1/events?a=\x00 HTTP/1.1\r\n\r\n")],
        )
}

fn invalid_utf8() -> Row {
    Row::new(12, "invalid UTF-8")
        .refused(
            400,
            "rest_encoding_malformed",
            anyhow(&[
                "/events?title=eq.%ff",
                "/events?%c3%28=eq.1",
                "/events?title=eq.%ed%a0%80",
                "/events?title=eq.%c0%af",
                "/events?select=%ff",
            ]),
        )
        .refused(400, "rest_encoding_malformed", asked(&["/ev%ff"]))
        .refused(
            400,
            "malformed_head",
            [Spelling::raw(b"GET /rest/v1/events?title=eq.\xff HTTP/1.1\r\n\r\n")],
        )
        .refused(
            400,
            "bad_characters",
            [Spelling::raw("GET /rest/v1/evénts HTTP/1.1\r\n\r\n".as_bytes())],
        )
}
