//! Where Redis is: one server, or some nodes of a cluster.
//!
//! Shared by the parts of `gateway.yaml` that keep something there. May import `domain`.

use crate::domain::secret::Secret;

use super::decode::{At, Filled, Table};
use super::settings::RedisPlace;

/// The keys `url` and `cluster`, of which one is stated.
pub(super) fn place(table: &mut Table<'_, '_>) -> Option<RedisPlace> {
    let which = table.one_of(&["url", "cluster"]);
    let url = table.optional::<At<Secret>>(
        "url",
        "One server, or a name that leads to whichever is the primary: `redis://…` or `rediss://…`.",
    );
    let cluster = table.optional::<Filled<At<Secret>>>(
        "cluster",
        "URLs of some nodes of a Redis Cluster, which know of all others; user and password are the \
         same for all.",
    );
    match which? {
        "url" => {
            let url = url?;
            is_redis(&url, table);
            Some(RedisPlace::Server(url.value))
        }
        _ => {
            let urls = cluster?.0;
            let first = urls.first().and_then(|url| parts(url.value.expose()));
            for url in &urls {
                is_node(url, first, table);
            }
            Some(RedisPlace::Cluster(urls.into_iter().map(|url| url.value).collect()))
        }
    }
}

fn is_redis(url: &At<Secret>, table: &mut Table<'_, '_>) -> bool {
    let is = parts(url.value.expose()).is_some();
    if !is {
        table.error(
            url.span,
            "not the URL of a Redis server",
            "write `redis://host:6379/0`, or `rediss://` for TLS",
        );
    }
    is
}

fn is_node(url: &At<Secret>, first: Option<Parts<'_>>, table: &mut Table<'_, '_>) {
    if !is_redis(url, table) {
        return;
    }
    let Some(parts) = parts(url.value.expose()) else { return };
    if !matches!(parts.database, "" | "0") {
        table.error(
            url.span,
            "a Redis Cluster has no database but 0",
            "leave out what follows the port",
        );
    }
    if first.is_some_and(|first| first.scheme != parts.scheme || first.user != parts.user) {
        table.error(
            url.span,
            "not reached like the first node of the list",
            "scheme, user and password are the same for all nodes: they are used for those, too, of \
             which only the cluster knows",
        );
    }
}

/// A URL, as far as it matters here.
#[derive(Clone, Copy)]
struct Parts<'u> {
    scheme: &'u str,
    user: &'u str,
    database: &'u str,
}

fn parts(url: &str) -> Option<Parts<'_>> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme != "redis" && scheme != "rediss" {
        return None;
    }
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (server, database) = rest.split_once('/').unwrap_or((rest, ""));
    let user = server.rsplit_once('@').map_or("", |(user, _)| user);
    Some(Parts { scheme, user, database })
}
