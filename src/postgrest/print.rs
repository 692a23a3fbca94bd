//! The canonical printer: a typed query back into the one spelling that is sent on.
//!
//! Everything is printed from the tree. Names that are not plain are quoted, values are
//! percent-encoded, and what is printed parses to the same tree, here and in PostgREST. May not
//! import anything of this crate but this room.

use super::field::{Field, JsonKey};
use super::filter::{Filter, Operation};
use super::logic::{Logic, LogicTree};
use super::order::{Direction, Nulls, OrderTerm};
use super::percent::encode;
use super::query::{Query, RESERVED};
use super::select::{Aggregation, Embed, Join, SelectColumn, SelectItem};

/// Prints a query, without `?`. The `apikey` is left out.
pub fn print_query(query: &Query) -> String {
    let mut printer = Printer::new(String::with_capacity(128));
    if let Some(items) = &query.select {
        printer.select(items);
    }
    printer.rest(query, None);
    printer.finish()
}

/// Appends parameters to a query string.
pub(super) struct Printer {
    out: String,
    started: bool,
    /// The names of embeds that lead to what is being printed, each with its dot.
    path: String,
}

impl Printer {
    /// Prints behind what `out` already holds, which ends where the first parameter begins.
    pub(super) fn new(out: String) -> Self {
        Self { out, started: false, path: String::new() }
    }

    pub(super) fn finish(self) -> String {
        self.out
    }

    /// All but `select`, with one more filter `column=eq.value` behind the query's own.
    pub(super) fn rest(&mut self, query: &Query, injected: Option<(&str, &str)>) {
        if let Some(columns) = &query.columns {
            self.key("columns");
            self.names(columns.iter().map(String::as_str));
        }
        if let Some(columns) = &query.on_conflict {
            self.key("on_conflict");
            self.names(columns.iter().map(String::as_str));
        }
        self.level(query, injected);
        for embed in query.embeds() {
            self.embedded(embed);
        }
    }

    /// The parameters that address an embed, and those within it.
    fn embedded(&mut self, embed: &Embed) {
        let outer = self.path.len();
        let mut path = std::mem::take(&mut self.path);
        self.name_to(embed.name(), &mut path);
        path.push('.');
        self.path = path;
        self.level(&embed.inner, None);
        for inner in embed.inner.embeds() {
            self.embedded(inner);
        }
        self.path.truncate(outer);
    }

    fn level(&mut self, query: &Query, injected: Option<(&str, &str)>) {
        for filter in &query.filters {
            self.filter(filter);
        }
        if let Some((column, value)) = injected {
            self.separate();
            self.name(column);
            self.out.push_str("=eq.");
            self.root_value(value);
        }
        for logic in &query.logic {
            self.separate();
            self.logic_head(logic);
            self.out.push('=');
            self.members(logic);
        }
        if let Some(terms) = &query.order {
            self.order(terms);
        }
        if let Some(limit) = query.limit {
            self.number("limit", limit);
        }
        if let Some(offset) = query.offset {
            self.number("offset", offset);
        }
    }

    pub(super) fn select(&mut self, items: &[SelectItem]) {
        self.key("select");
        self.items(items);
    }

    fn items(&mut self, items: &[SelectItem]) {
        for (index, item) in items.iter().enumerate() {
            self.comma(index);
            match item {
                SelectItem::Star => self.out.push('*'),
                SelectItem::Column(column) => self.column(column),
                SelectItem::Count { alias, cast } => {
                    self.alias(alias.as_deref());
                    self.out.push_str("count()");
                    self.cast(cast.as_deref());
                }
                SelectItem::Embed(embed) => self.embed(embed),
            }
        }
    }

    fn column(&mut self, column: &SelectColumn) {
        self.alias(column.alias.as_deref());
        self.field(&column.field);
        self.cast(column.cast.as_deref());
        if let Some(Aggregation { function, cast }) = &column.aggregation {
            self.out.push_str(function.call());
            self.cast(cast.as_deref());
        }
    }

    fn alias(&mut self, alias: Option<&str>) {
        if let Some(alias) = alias {
            self.name(alias);
            self.out.push(':');
        }
    }

    fn cast(&mut self, cast: Option<&str>) {
        if let Some(cast) = cast {
            self.out.push_str("::");
            self.out.push_str(cast);
        }
    }

    fn field(&mut self, field: &Field) {
        self.name(&field.column);
        for step in &field.path {
            self.out.push_str(if step.as_text { "-%3E%3E" } else { "-%3E" });
            match &step.key {
                JsonKey::Index(index) => self.out.push_str(&index.to_string()),
                // Bare digits would be an index.
                JsonKey::Name(name) if name.bytes().all(|b| b.is_ascii_digit()) => {
                    self.quoted(name);
                }
                JsonKey::Name(name) => self.name(name),
            }
        }
    }

    fn embed(&mut self, embed: &Embed) {
        if embed.spread {
            self.out.push_str("...");
        }
        self.alias(embed.alias.as_deref());
        self.name(&embed.target);
        if let Some(hint) = &embed.hint {
            self.out.push('!');
            self.name(hint);
        }
        self.out.push_str(match embed.join {
            None => "",
            Some(Join::Inner) => "!inner",
            Some(Join::Left) => "!left",
        });
        self.out.push('(');
        self.items(embed.inner.select.as_deref().unwrap_or_default());
        self.out.push(')');
    }

    fn filter(&mut self, filter: &Filter) {
        self.separate();
        self.field(&filter.field);
        self.out.push('=');
        self.operation(filter, Self::root_value);
    }

    fn order(&mut self, terms: &[OrderTerm]) {
        self.key("order");
        for (index, term) in terms.iter().enumerate() {
            self.comma(index);
            if let Some(embed) = &term.embed {
                self.name(embed);
                self.out.push('(');
            }
            self.field(&term.field);
            if term.embed.is_some() {
                self.out.push(')');
            }
            self.out.push_str(match term.direction {
                None => "",
                Some(Direction::Ascending) => ".asc",
                Some(Direction::Descending) => ".desc",
            });
            self.out.push_str(match term.nulls {
                None => "",
                Some(Nulls::First) => ".nullsfirst",
                Some(Nulls::Last) => ".nullslast",
            });
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        self.out.push_str(&number.to_string());
    }

    fn logic_head(&mut self, logic: &Logic) {
        if logic.negated {
            self.out.push_str("not.");
        }
        self.out.push_str(logic.connective.word());
    }

    fn members(&mut self, logic: &Logic) {
        self.out.push('(');
        for (index, member) in logic.members.iter().enumerate() {
            self.comma(index);
            match member {
                LogicTree::Group(group) => {
                    self.logic_head(group);
                    self.members(group);
                }
                LogicTree::Filter(filter) => {
                    self.field(&filter.field);
                    self.out.push('.');
                    self.operation(filter, Self::enclosed_value);
                }
            }
        }
        self.out.push(')');
    }

    fn operation(&mut self, filter: &Filter, value_printer: fn(&mut Self, &str)) {
        if filter.negated {
            self.out.push_str("not.");
        }
        match &filter.operation {
            Operation::Compare { comparison, quantifier, value } => {
                self.out.push_str(comparison.word());
                if let Some(quantifier) = quantifier {
                    self.out.push('(');
                    self.out.push_str(quantifier.word());
                    self.out.push(')');
                }
                self.out.push('.');
                value_printer(self, value);
            }
            Operation::Relate { relation, value } => {
                self.out.push_str(relation.word());
                self.out.push('.');
                value_printer(self, value);
            }
            Operation::IsDistinct(value) => {
                self.out.push_str("isdistinct.");
                value_printer(self, value);
            }
            Operation::In(values) => {
                self.out.push_str("in.(");
                for (index, value) in values.iter().enumerate() {
                    self.comma(index);
                    self.enclosed_value(value);
                }
                self.out.push(')');
            }
            Operation::Is(truth) => {
                self.out.push_str("is.");
                self.out.push_str(truth.word());
            }
            Operation::Search { search, config, value } => {
                self.out.push_str(search.word());
                if let Some(config) = config {
                    self.out.push('(');
                    encode(config, &mut self.out);
                    self.out.push(')');
                }
                self.out.push('.');
                value_printer(self, value);
            }
        }
    }

    /// A value that reaches to the end of its parameter, so that nothing in it needs quotes.
    fn root_value(&mut self, value: &str) {
        encode(value, &mut self.out);
    }

    /// A value in brackets. The empty value is left bare: `in.()` and `in.("")` both mean the
    /// empty list.
    fn enclosed_value(&mut self, value: &str) {
        let plain =
            |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'*');
        if value.bytes().all(plain) { self.out.push_str(value) } else { self.quoted(value) }
    }

    /// A function's argument: its name and value as they are, which is how they are read.
    pub(super) fn argument(&mut self, name: &str, value: &str) {
        self.separate();
        encode(name, &mut self.out);
        self.out.push('=');
        encode(value, &mut self.out);
    }

    /// A name, put elsewhere than into what is printed.
    fn name_to(&mut self, name: &str, target: &mut String) {
        std::mem::swap(&mut self.out, target);
        self.name(name);
        std::mem::swap(&mut self.out, target);
    }

    /// A column's or alias's name.
    fn name(&mut self, name: &str) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if name.bytes().all(plain) && !RESERVED.contains(&name) {
            self.out.push_str(name);
        } else {
            self.quoted(name);
        }
    }

    fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        for (index, name) in names.enumerate() {
            self.comma(index);
            self.name(name);
        }
    }

    fn quoted(&mut self, text: &str) {
        self.out.push_str("%22");
        for piece in text.split_inclusive(['"', '\\']) {
            let special = piece.strip_suffix(['"', '\\']);
            encode(special.unwrap_or(piece), &mut self.out);
            if let Some(special) = special.and_then(|plain| piece.strip_prefix(plain)) {
                encode("\\", &mut self.out);
                encode(special, &mut self.out);
            }
        }
        self.out.push_str("%22");
    }

    fn key(&mut self, key: &str) {
        self.separate();
        self.out.push_str(key);
        self.out.push('=');
    }

    fn separate(&mut self) {
        if self.started {
            self.out.push('&');
        }
        self.started = true;
        self.out.push_str(&self.path);
    }

    fn comma(&mut self, index: usize) {
        if index > 0 {
            self.out.push(',');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::query::parse_query;
    use super::*;

    #[test]
    fn requests_are_printed_canonically() {
        for (raw, printed) in [
            ("", ""),
            ("select=id,+title&id=eq.1", "select=id,title&id=eq.1"),
            ("id=eq.1&select=*,t:%22title%22", "select=*,t:title&id=eq.1"),
            ("%20id=eq.a%2Cb+(c)%22", "id=eq.a%2Cb%20%28c%29%22"),
            ("\"order\"=eq.1", "%22order%22=eq.1"),
            ("id=in.(\"a,b\",c,%20d%20,\"\")", "id=in.(%22a%2Cb%22,c,%22%20d%20%22,)"),
            ("id=in.()", "id=in.()"),
            ("t=ilike.*x%25*", "t=ilike.*x%25*"),
            ("t=like(any).{a*,b}", "t=like(any).%7Ba*%2Cb%7D"),
            ("t=not.wfts( german ).a b", "t=not.wfts(german).a%20b"),
            ("select=t::text,a:t::int8", "select=t::text,a:t::int8"),
            ("t=is.NULL", "t=is.null"),
            ("t=is.not_null", "t=not.is.null"),
            (
                "or=(a.eq.{1,2},not.and(b.eq.\"x\\\"\",c.gt.1.5))",
                "or=(a.eq.%22%7B1%2C2%7D%22,not.and(b.eq.%22x%5C%22%22,c.gt.1.5))",
            ),
            (
                "offset=02&limit=1&order=id.desc.nullslast, a",
                "order=id.desc.nullslast,a&limit=1&offset=2",
            ),
            ("columns=\"a\",\"b c\"&apikey=secret", "columns=a,%22b%20c%22"),
            (
                "select=p:projects!fk!inner(id, ...owner(name)),tags (x)&p.or=(id.eq.1,id.eq.2)&\
                 not.p.owner.and=(a.eq.1)&tags.limit=3&p.id=gt.1&order=p(id).desc&p=not.is.null",
                "select=p:projects!fk!inner(id,...owner(name)),tags(x)&p=not.is.null&\
                 order=p(id).desc&p.id=gt.1&p.or=(id.eq.1,id.eq.2)&p.owner.not.and=(a.eq.1)&\
                 tags.limit=3",
            ),
            (
                "select=d->a->>%22b.c%22::text,n:d->0.max()::text,x(d->>1,count())&d->>a=eq.1&\
                 order=d->%220%22.desc&or=(d->-1.is.null,d->>k.in.(a,b))",
                "select=d-%3Ea-%3E%3E%22b.c%22::text,n:d-%3E0.max()::text,x(d-%3E%3E1,count())&\
                 d-%3E%3Ea=eq.1&or=(d-%3E-1.is.null,d-%3E%3Ek.in.(a,b))&order=d-%3E%220%22.desc",
            ),
            ("gr%C3%B6%C3%9Fe=eq.%C3%A4", "%22gr%C3%B6%C3%9Fe%22=eq.%C3%A4"),
        ] {
            assert_eq!(print_query(&parse_query(raw).unwrap()), printed, "{raw}");
        }
    }
}
