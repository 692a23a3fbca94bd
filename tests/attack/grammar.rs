//! The printer against PostgREST's own parser: every awkward value, in every place where a value
//! can stand, as the client wrote it and as the gateway prints it, has to bring the same rows.

use crate::support::fixture::ACME;
use crate::support::postgres::{APP, Postgres};
use crate::upstream::{Request, Upstream};

/// Texts that some parser on the way could take for syntax.
const VALUES: &[&str] = &[
    "",
    "a",
    "a,b",
    "(x)",
    "\"q\"",
    "a\"b",
    "a\\b",
    "\\",
    "a.b",
    "not.eq.1",
    "eq.1",
    " s ",
    "a b",
    "a+b",
    "a%b",
    "%25",
    "*",
    "a*b",
    "null",
    "NULL",
    "{1,2}",
    "{x",
    "}",
    ")",
    "(",
    "\",\"",
    "a&b",
    "a;b",
    "a=b",
    "a#b",
    "a/b",
    "a?b",
    "a:b",
    "-",
    "->",
    "a'b",
    "ä",
    "🦀",
    "line\nbreak",
    "\t",
    "\"open",
    "\"a\"x",
    "or=(id.eq.1)",
];

/// Where a value can stand; `{}` is the bare value, `{q}` the same quoted for PostgREST.
const PLACES: &[&str] = &[
    "text=eq.{}",
    "text=neq.{}",
    "text=not.eq.{}",
    "text=gt.{}",
    "text=isdistinct.{}",
    "text=like.{}",
    "text=ilike.*{}*",
    "text=like(any).{{},x}",
    "text=in.({})",
    "text=in.({q})",
    "text=in.(a,{q},{})",
    "text=not.in.( {q} )",
    "document=plfts.{}",
    "document=wfts(english).{}",
    "%22Odd, (na)me%22=eq.{}",
    "order=%22order%22,id&%22order%22=lte.{}",
    "list=cs.[{}]",
    "or=(text.eq.{},id.eq.1)",
    "or=(text.eq.{q},id.eq.1)",
    "and=(text.not.eq.{q},not.or(%22Odd, (na)me%22.gt.{q},text.in.({q},x)))",
    "not.and=( text.like.{q} ,id.gt.0)",
];

const COLUMNS: &[&str] =
    &["id", "organization_id", "text", "document", "list", "Odd, (na)me", "order"];

#[tokio::test]
async fn what_is_printed_brings_the_rows_that_the_client_asked_for() {
    let postgres = Postgres::start().await;
    let texts: Vec<String> = VALUES.iter().map(|value| value.replace('\'', "''")).collect();
    // All rows belong to one organization, so the tenant filter changes nothing.
    let fill = format!(
        "create table samples (id bigint generated always as identity primary key, \
         organization_id uuid not null default '{}', text text, document tsvector, list text[], \
         \"Odd, (na)me\" text, \"order\" text); \
         insert into samples (text, document, list, \"Odd, (na)me\", \"order\") \
         select v, to_tsvector('english', v), array[v], v, v from unnest(array['{}']) v; \
         grant select on samples to authenticated;",
        ACME.id,
        texts.join("','"),
    );
    postgres.execute(APP, &fill).await;
    let upstream = Upstream::start(&postgres, &[("samples", COLUMNS)]).await;
    let (mut answered, mut accepted) = (0, 0);
    for place in PLACES {
        for value in VALUES {
            let quoted = format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""));
            let query = place
                .replace("{q}", &encoded(&quoted))
                .replace("{}", &encoded(value))
                .replace('[', "%7B")
                .replace(']', "%7D")
                .replace(' ', "%20");
            let url = format!("/samples?{query}");
            let request = Request { method: "GET", url: &url, headers: &[], body: "" };
            let written = upstream.send_as_written(&request).await;
            answered += usize::from(written.status == 200);
            match upstream.confine(&request, ACME) {
                Ok(sent) => {
                    let printed = upstream.send(&sent).await;
                    accepted += usize::from(printed.status == 200);
                    assert_eq!(
                        printed.status,
                        written.status,
                        "{url}\n{sent:?}\n{}",
                        printed.text()
                    );
                    if written.status == 200 {
                        assert_eq!(printed.json(), written.json(), "{url}\n{sent:?}");
                    }
                }
                // PostgREST leaves what comes after a complete value unread; the gateway does not.
                Err(refusal) => assert_eq!(refusal.status(), 400, "{url}"),
            }
        }
    }
    // Nearly everything PostgREST answers is accepted, or this test would show nothing.
    assert!(answered > 700 && accepted * 100 > answered * 95, "{accepted} of {answered}");
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte.is_ascii_alphanumeric() {
            true => out.push(char::from(byte)),
            false => out.push_str(&format!("%{byte:02x}")),
        }
        out
    })
}
