//! What the canary asks: every table that belongs to organizations, and one embed of every kind.
//! Pure.

use std::fmt;

use crate::domain::catalog::{Catalog, ForeignKey, Table, Tenancy};

/// A request, as a client could send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Question {
    /// The path, with its leading slash.
    pub(super) path: String,
    /// The query.
    pub(super) query: String,
    /// The name under which an embed comes back in rows that everybody may see; without one, no
    /// row may come back at all.
    pub(super) embed: Option<String>,
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}?{}`", self.path, self.query)
    }
}

/// All questions. Their number is bounded by the catalogue.
pub(super) fn questions(catalog: &Catalog) -> Vec<Question> {
    let tables = catalog.tables.values().filter_map(|table| of_table(catalog, table));
    tables.chain(embeds(catalog)).collect()
}

/// One row of a table that belongs to organizations. Rows that are everybody's are left out: in
/// a table by a filter, behind a parent altogether.
fn of_table(catalog: &Catalog, table: &Table) -> Option<Question> {
    let query = match &table.tenancy {
        Tenancy::Column { shared_null: false, .. } => "limit=1".to_owned(),
        Tenancy::Column { column, shared_null: true } => {
            format!("{}=not.is.null&limit=1", quoted(column))
        }
        Tenancy::Through { .. } if !ends_shared(catalog, table) => "limit=1".to_owned(),
        Tenancy::Through { .. } | Tenancy::Global | Tenancy::Denied => return None,
    };
    Some(Question { path: path(table), query, embed: None })
}

/// Whether rows at the end of the way through parents may be everybody's.
fn ends_shared(catalog: &Catalog, table: &Table) -> bool {
    let mut at = Some(table);
    // No way is longer than there are tables: the catalogue has no circles.
    for _ in 0..catalog.tables.len() {
        match at.map(|table| &table.tenancy) {
            Some(Tenancy::Through { parent, .. }) => at = catalog.table(parent).map(AsRef::as_ref),
            Some(Tenancy::Column { shared_null, .. }) => return *shared_null,
            Some(Tenancy::Global | Tenancy::Denied) | None => return true,
        }
    }
    true
}

/// From where to where an embed leads, and what it is called there.
struct Way<'c> {
    from: &'c str,
    to: &'c str,
    embed: String,
}

impl<'c> Way<'c> {
    fn over(from: &'c str, to: &'c str, hint: &str) -> Self {
        Self { from, to, embed: format!("{}!{}", quoted(to), quoted(hint)) }
    }

    fn forwards(key: &'c ForeignKey) -> Self {
        Self::over(&key.table, &key.target, &key.constraint)
    }

    fn backwards(key: &'c ForeignKey) -> Self {
        Self::over(&key.target, &key.table, &key.constraint)
    }
}

/// The kinds of embeds, each asked once. What everybody may see is the better place to ask from:
/// only there rows come back that an embed could hang on.
fn embeds(catalog: &Catalog) -> Vec<Question> {
    let all = || catalog.foreign_keys.values().map(AsRef::as_ref);
    let keys = || all().filter(|key| key.table != key.target);
    let junctions = keys().flat_map(|one| {
        let others = keys().filter(|other| one.table == other.table && one.target != other.target);
        others
            .filter(|other| is_end(catalog, one) && is_end(catalog, other))
            .map(|other| Way::over(&one.target, &other.target, &one.table))
    });
    // A table's embeds in itself go by the column's name.
    let own = || {
        all().filter(|key| key.table == key.target && !key.one_to_one).filter_map(|key| {
            let [column] = &key.columns[..] else { return None };
            Some((key.table.as_ref(), column.as_ref()))
        })
    };
    let own_to_one =
        own().map(|(table, column)| Way { from: table, to: table, embed: quoted(column) });
    let own_to_many = own().map(|(table, column)| Way::over(table, table, column));
    let to_many = keys().filter(|key| !key.one_to_one).map(Way::backwards);
    let one_to_one = keys().filter(|key| key.one_to_one).map(Way::backwards);
    let kinds: [Vec<Way<'_>>; 6] = [
        keys().map(Way::forwards).collect(),
        to_many.collect(),
        one_to_one.collect(),
        junctions.collect(),
        own_to_one.collect(),
        own_to_many.collect(),
    ];
    kinds.iter().filter_map(|ways| best(catalog, ways)).collect()
}

/// Whether the foreign key is one end of a junction: its columns are part of the primary key, and
/// no other key of the table leads where it leads, so that PostgREST knows which is meant.
fn is_end(catalog: &Catalog, key: &ForeignKey) -> bool {
    let table = catalog.table(&key.table);
    let in_key =
        table.is_some_and(|table| key.columns.iter().all(|name| table.primary_key.contains(name)));
    let mut same = catalog.foreign_keys_of(&key.table).filter(|other| other.table == key.table);
    in_key && same.all(|other| other.constraint == key.constraint || other.target != key.target)
}

fn best(catalog: &Catalog, ways: &[Way<'_>]) -> Option<Question> {
    let questions = ways.iter().filter_map(|way| {
        let (from, to) = (catalog.table(way.from)?, catalog.table(way.to)?);
        let Tenancy::Column { shared_null: false, .. } = to.tenancy else { return None };
        let global = from.tenancy == Tenancy::Global;
        if !global && of_table(catalog, from).is_none_or(|q| q.query != "limit=1") {
            return None;
        }
        let (own, theirs) = (from.columns.first()?, to.columns.first()?);
        let embed = format!("{}({})", way.embed, quoted(theirs));
        let rows = if global { 100 } else { 1 };
        let query = format!("select={},canary_embed:{embed}&limit={rows}", quoted(own));
        let embed = global.then(|| "canary_embed".to_owned());
        Some(Question { path: path(from), query, embed })
    });
    let questions: Vec<Question> = questions.collect();
    let global = questions.iter().find(|question| question.embed.is_some());
    global.or(questions.first()).cloned()
}

fn path(table: &Table) -> String {
    format!("/{}", table.name)
}

/// A name of the catalogue in a query: a dot would separate.
fn quoted(name: &str) -> String {
    let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if plain { name.to_owned() } else { format!("%22{name}%22") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A catalogue as policy files state it.
    fn catalog(text: &str) -> Catalog {
        let environment = |name: &str| match name {
            "TOLLGATE_DEMO_SECRET" => Some("a secret of thirty-two bytes, or more".to_owned()),
            "TOLLGATE_DEMO_UPSTREAM" => Some("127.0.0.1:3000".to_owned()),
            _ => None,
        };
        let demo = include_str!("../../../config/demo/policy.yaml");
        let (before, rest) = demo.split_once("\ntables:\n").unwrap();
        let (_, after) = rest.split_once("\nroutes:\n").unwrap();
        let policy = format!("{before}\n{text}\nroutes:\n{after}");
        let policy = policy.replace("[events:write, projects:write]", "['*:write']");
        let files = crate::config::embedded().with("demo/policy.yaml", policy);
        let path = std::path::Path::new("demo/gateway.yaml");
        let loaded = crate::config::load_from(&files, path, &environment);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        Catalog::clone(&loaded.snapshot.catalog)
    }

    fn shown(text: &str) -> Vec<String> {
        questions(&catalog(text)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_table_that_belongs_to_organizations_is_asked_for_a_row() {
        let text = "\
tables:
  events: { tenant: org, columns: [id, org] }
  badges: { tenant: org-id, shared_null: true, columns: [id, org-id] }
  comments:
    via: { fk: c, to: events }
    columns: [id, event_id]
    fks: { c: { event_id: events.id } }
  marks:
    via: { fk: m, to: badges }
    columns: [id, badge_id]
    fks: { m: { badge_id: badges.id } }
  countries: { global: read, columns: [code] }
  secrets: { deny: true }
views: { totals: { tenant: org, columns: [org] } }";
        let questions = shown(text);
        let plain: Vec<&str> =
            questions.iter().map(String::as_str).filter(|q| !q.contains("canary")).collect();
        assert_eq!(
            plain,
            [
                "`/badges?%22org-id%22=not.is.null&limit=1`",
                "`/comments?limit=1`",
                "`/events?limit=1`",
                "`/totals?limit=1`"
            ]
        );
    }

    #[test]
    fn one_embed_of_every_kind_is_asked_from_what_everybody_sees_where_there_is_such() {
        let text = "\
tables:
  events:
    tenant: org
    columns: [id, org, country]
    pk: [id]
    fks: { e_country: { country: countries.code } }
  details:
    tenant: org
    columns: [event_id, org, before]
    pk: [event_id]
    fks: { d_event: { event_id: events.id }, a_self: { before: details.event_id } }
  tags: { tenant: org, columns: [id, org], pk: [id] }
  event_tags:
    tenant: org
    columns: [event_id, tag_id, org]
    pk: [event_id, tag_id]
    fks: { et_event: { event_id: events.id }, et_tag: { tag_id: tags.id } }
  countries: { global: read, columns: [code] }";
        let questions = shown(text);
        let embeds: Vec<&str> =
            questions.iter().map(String::as_str).filter(|q| q.contains("canary")).collect();
        assert_eq!(
            embeds,
            [
                "`/details?select=event_id,canary_embed:events!d_event(id)&limit=1`",
                "`/countries?select=code,canary_embed:events!e_country(id)&limit=100`",
                "`/events?select=id,canary_embed:details!d_event(event_id)&limit=1`",
                "`/events?select=id,canary_embed:tags!event_tags(id)&limit=1`",
                "`/details?select=event_id,canary_embed:before(event_id)&limit=1`",
                "`/details?select=event_id,canary_embed:details!before(event_id)&limit=1`",
            ]
        );
    }
}
