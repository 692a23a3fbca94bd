//! Random reads: columns, nested embeds, filters, logic trees, order, limits.

use std::fmt::Write;

use super::numbers::Numbers;
use super::words::{columns_of, condition, order_of, tree};

/// As many as the catalogue allows by default.
const MOST_EMBEDS: u64 = 10;

/// Where embeds lead, and whether to many rows.
const RELATIONS: [(&str, &str, bool); 9] = [
    ("events", "projects", false),
    ("events", "comments", true),
    ("events", "labels", true),
    ("projects", "events", true),
    ("comments", "events", false),
    ("comments", "replies", true),
    ("labels", "events", true),
    ("event_labels", "events", false),
    ("event_labels", "labels", false),
];
const ROOTS: [&str; 5] = ["events", "projects", "comments", "labels", "event_labels"];

/// A read of one table and what hangs on it.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) method: &'static str,
    level: Level,
}

/// What is asked of one table.
#[derive(Debug, Clone)]
pub(super) struct Level {
    table: &'static str,
    columns: Vec<&'static str>,
    embeds: Vec<Embed>,
    /// `key=value`, without the path that leads here.
    parameters: Vec<String>,
}

#[derive(Debug, Clone)]
struct Embed {
    name: String,
    modifier: &'static str,
    many: bool,
    level: Level,
}

impl Read {
    pub(super) fn random(numbers: &mut Numbers) -> Self {
        let root = numbers.one(&ROOTS);
        let mut level = Level::random(root, numbers);
        if numbers.once_in(3) {
            level.parameters.push(format!("limit={}", numbers.below(4)));
        }
        if numbers.once_in(10) {
            level.parameters.push(format!("offset={}", numbers.below(3)));
        }
        let method = if numbers.once_in(10) { "HEAD" } else { "GET" };
        Self { method, level }
    }

    pub(super) fn url(&self) -> String {
        let order = format!("&order={}", order_of(self.level.table));
        format!("/{}?select={}{}{order}", self.level.table, self.level.select(), self.level.rest())
    }

    /// The same request with one thing less, in every way.
    pub(super) fn smaller(&self) -> Vec<Self> {
        self.level.smaller().into_iter().map(|level| Self { level, ..self.clone() }).collect()
    }
}

impl Level {
    pub(super) fn random(table: &'static str, numbers: &mut Numbers) -> Self {
        Self::below(table, numbers, 0, &mut 0)
    }

    fn below(table: &'static str, numbers: &mut Numbers, depth: u64, names: &mut u64) -> Self {
        let all = columns_of(table);
        let mut columns = numbers.some(all, 2);
        if columns.is_empty() {
            columns.push(all[0]);
        }
        let mut embeds = Vec::new();
        for (_, target, many) in RELATIONS.iter().filter(|(from, ..)| *from == table) {
            if depth < 3 && *names < MOST_EMBEDS && numbers.once_in(3) {
                *names += 1;
                let name = format!("e{names}");
                let modifier = numbers.one(&["", "", "!inner", "!left"]);
                let level = Self::below(target, numbers, depth + 1, names);
                embeds.push(Embed { name, modifier, many: *many, level });
            }
        }
        let mut parameters = Self::conditions(table, numbers);
        for embed in &embeds {
            if numbers.once_in(4) {
                let there = numbers.one(&["is.null", "not.is.null"]);
                parameters.push(format!("{}={there}", embed.name));
            }
        }
        Self { table, columns, embeds, parameters }
    }

    /// Up to two conditions on a table's own columns.
    pub(super) fn conditions(table: &str, numbers: &mut Numbers) -> Vec<String> {
        let one = |numbers: &mut Numbers| match numbers.once_in(4) {
            true => tree(table, numbers),
            false => condition(table, numbers),
        };
        (0..numbers.below(3)).map(|_| one(numbers)).collect()
    }

    /// The same, with these conditions at the top.
    pub(super) fn under(mut self, parameters: Vec<String>) -> Self {
        self.parameters = parameters;
        self
    }

    /// Columns that come back, too.
    pub(super) fn with_columns(mut self, columns: &[&'static str]) -> Self {
        self.columns.retain(|column| !columns.contains(column));
        self.columns.extend(columns);
        self
    }

    pub(super) fn without_embeds(mut self) -> Self {
        self.embeds.clear();
        self
    }

    pub(super) fn has_embeds(&self) -> bool {
        !self.embeds.is_empty()
    }

    /// The value of `select`.
    pub(super) fn select(&self) -> String {
        let mut out = self.columns.join(",");
        for embed in &self.embeds {
            let inner = embed.level.select();
            write!(out, ",{}:{}{}({inner})", embed.name, embed.level.table, embed.modifier)
                .unwrap();
        }
        out
    }

    /// The conditions here, each behind a `&`.
    pub(super) fn own(&self, path: &str) -> String {
        self.parameters.iter().map(|parameter| format!("&{path}{parameter}")).collect()
    }

    /// The conditions here and on what is embedded.
    pub(super) fn rest(&self) -> String {
        self.own("") + &self.of_embeds("")
    }

    /// The parameters of what is embedded, whose rows come in an order.
    pub(super) fn of_embeds(&self, path: &str) -> String {
        let one = |embed: &Embed| {
            let path = format!("{path}{}.", embed.name);
            let order = match embed.many {
                true => format!("&{path}order={}", order_of(embed.level.table)),
                false => String::new(),
            };
            embed.level.own(&path) + &order + &embed.level.of_embeds(&path)
        };
        self.embeds.iter().map(one).collect()
    }

    pub(super) fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for at in 0..self.parameters.len() {
            let mut less = self.clone();
            less.parameters.remove(at);
            smaller.push(less);
        }
        for at in 0..self.embeds.len() {
            let mut less = self.clone();
            let gone = less.embeds.remove(at).name;
            less.parameters.retain(|parameter| !parameter.starts_with(&format!("{gone}=")));
            smaller.push(less);
            for level in self.embeds[at].level.smaller() {
                let mut less = self.clone();
                less.embeds[at].level = level;
                smaller.push(less);
            }
        }
        for at in 0..self.columns.len() {
            if self.columns.len() > 1 {
                let mut less = self.clone();
                less.columns.remove(at);
                smaller.push(less);
            }
        }
        smaller
    }
}
