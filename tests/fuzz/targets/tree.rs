//! The tenant filter, looked for in what is sent with eyes of its own.

use std::sync::Arc;

use tollgate::domain::catalog::{Table, Tenancy};
use tollgate::postgrest::{
    Comparison, Confined, Connective, Embed, Filter, Join, LogicTree, Operation, Query,
    RestRefusal, Truth, parse_query,
};

use super::catalog::{CATALOG, ORG, TENANT};

/// The query that is sent, as PostgREST will read it.
pub(super) fn sent(confined: &Confined) -> Option<Query> {
    let target = confined.target();
    assert!(target.bytes().all(|b| b.is_ascii_graphic() && b != b';' && b != b'#'), "{target}");
    read(target.split_once('?').map_or("", |(_, query)| query))
}

/// Parses what is sent; `None` where only the gateway's own filters make it too much for a client.
pub(super) fn read(query: &str) -> Option<Query> {
    match parse_query(query) {
        Ok(query) => Some(query),
        Err(RestRefusal::TooMany(_) | RestRefusal::QueryTooLong(_)) => None,
        Err(refusal) => panic!("`{query}` is sent and refused: {refusal}"),
    }
}

/// Whether a read of this table brings rows of the organization only.
pub(super) fn is_confined(query: &Query, table: &Table) -> bool {
    match &table.tenancy {
        Tenancy::Global => true,
        Tenancy::Denied => false,
        Tenancy::Column { shared_null: false, .. } => query.filters.iter().any(is_own),
        Tenancy::Column { shared_null: true, .. } => query.logic.iter().any(|logic| {
            let leaf = |member: &LogicTree| match member {
                LogicTree::Filter(filter) => is_own(filter) || is_nobodys(filter),
                LogicTree::Group(_) => false,
            };
            logic.connective == Connective::Or && !logic.negated && logic.members.iter().all(leaf)
        }),
        Tenancy::Through { constraint, parent } => query.embeds().any(|embed| {
            let leads = [embed.hint.as_deref(), Some(embed.target.as_str())];
            embed.join == Some(Join::Inner)
                && leads.contains(&Some(constraint.as_ref()))
                && is_confined(&embed.inner, &CATALOG.tables[parent])
        }),
    }
}

/// Checks every embed, all levels down; `known` are the tables that permissions are asked for.
pub(super) fn check_embeds(query: &Query, table: &Arc<Table>, known: &[Arc<Table>]) {
    for (at, embed) in query.embeds().enumerate() {
        let target = led_to(embed, table);
        // PostgREST gives a parameter to the first embed that has the name as alias or as target.
        let named = |other: &Embed| embed.name() == other.name() || embed.name() == other.target;
        let twin = query.embeds().enumerate().find(|(other, embed)| *other != at && named(embed));
        assert!(twin.is_none(), "`{}` in {query:?}", embed.name());
        let over = embed.hint.as_deref().unwrap_or(&embed.target);
        let below = matches!(&target.tenancy, Tenancy::Through { constraint, parent }
            if parent == &table.name && constraint.as_ref() == over);
        assert!(below || is_confined(&embed.inner, target), "`{}` in {query:?}", embed.name());
        let own = embed.name().starts_with("gwp");
        assert!(own || known.iter().any(|known| known.name == target.name), "{query:?}");
        check_embeds(&embed.inner, target, known);
    }
}

/// The table that PostgREST will find, by its name or that of a key's constraint or column.
pub(super) fn led_to<'c>(embed: &Embed, table: &Table) -> &'c Arc<Table> {
    if let Some(found) = CATALOG.tables.get(embed.target.as_str()) {
        return found;
    }
    let key = CATALOG.foreign_keys.values().find(|key| {
        let column = key.table == table.name && *key.columns == [Arc::from(embed.target.as_str())];
        key.constraint.as_ref() == embed.target || column
    });
    let key = key.unwrap_or_else(|| panic!("no table behind `{}`", embed.target));
    let other = if key.table == table.name { &key.target } else { &key.table };
    &CATALOG.tables[other]
}

fn is_own(filter: &Filter) -> bool {
    let value = |operation: &Operation| {
        matches!(operation, Operation::Compare { comparison: Comparison::Equal, quantifier: None, value }
            if value == ORG)
    };
    filter.field.is(TENANT) && !filter.negated && value(&filter.operation)
}

fn is_nobodys(filter: &Filter) -> bool {
    filter.field.is(TENANT)
        && !filter.negated
        && matches!(filter.operation, Operation::Is(Truth::Null))
}
