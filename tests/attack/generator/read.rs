//! Random reads: columns, places within them, aggregates, nested embeds, spread ones and those of a
//! table in itself, filters, logic trees, order, limits.

use super::numbers::Numbers;
use super::words::{aggregates_of, columns_of, condition, fields_of, order_of, tree};

/// As many as the catalogue allows by default.
const MOST_EMBEDS: u64 = 10;

/// A way from a table to another.
struct Relation {
    from: &'static str,
    /// As it is written: a table or a column, with a hint.
    written: &'static str,
    to: &'static str,
    /// Whether to many rows.
    many: bool,
}

const fn way(from: &'static str, written: &'static str, to: &'static str, many: bool) -> Relation {
    Relation { from, written, to, many }
}

const RELATIONS: [Relation; 14] = [
    way("events", "projects", "projects", false),
    way("events", "project_id", "projects", false),
    way("events", "comments", "comments", true),
    way("events", "labels", "labels", true),
    way("projects", "events", "events", true),
    way("comments", "events", "events", false),
    way("comments", "replies", "replies", true),
    way("labels", "events", "events", true),
    way("event_labels", "events", "events", false),
    way("event_labels", "labels", "labels", false),
    way("staff", "manager_id", "staff", false),
    way("staff", "staff!manager_id", "staff", true),
    way("staff", "friend_id", "staff", false),
    way("staff", "staff!friend_id", "staff", true),
];
const ROOTS: [&str; 6] = ["events", "projects", "comments", "labels", "event_labels", "staff"];
/// Roots that belong through a parent, by which the gateway would have to group.
const UNGROUPED: [&str; 2] = ["comments", "event_labels"];

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
    /// Items of `select` other than embeds and aggregates; the order of rows that are grouped.
    columns: Vec<String>,
    /// What is made of all rows that agree in the columns.
    aggregates: Vec<&'static str>,
    embeds: Vec<Embed>,
    /// `key=value`, without the path that leads here.
    parameters: Vec<String>,
}

#[derive(Debug, Clone)]
struct Embed {
    name: String,
    written: &'static str,
    modifier: &'static str,
    /// Its columns become those of the row around it, and their names begin so.
    spread: Option<String>,
    many: bool,
    level: Level,
}

impl Read {
    pub(super) fn random(numbers: &mut Numbers) -> Self {
        let root = numbers.one(&ROOTS);
        let mut level = match numbers.once_in(8) && !UNGROUPED.contains(&root) {
            true => Level::grouped(root, numbers),
            false => Level::random(root, numbers),
        };
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
        let (level, order) = (&self.level, self.level.order(""));
        format!("/{}?select={}{}{order}", level.table, level.select(), level.rest())
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
        let mut columns: Vec<String> = columns.into_iter().map(str::to_owned).collect();
        let fields = numbers.some(fields_of(table), 6);
        // Each under a name of its own: PostgREST names some after their last step.
        let named = fields.iter().enumerate().map(|(at, field)| format!("f{at}:{field}"));
        columns.extend(named);
        let mut embeds: Vec<Embed> = Vec::new();
        for way in RELATIONS.iter().filter(|way| way.from == table) {
            if depth >= 3 || *names >= MOST_EMBEDS || !numbers.once_in(3) {
                continue;
            }
            *names += 1;
            let written = way.written;
            let first = embeds.iter().all(|other| other.level.table != way.to);
            // Of what is written to nobody is staff: a condition on a column that a spread embed is
            // named after is refused there.
            let named = way.written == way.to || table == "staff";
            let spread = !way.many && first && named && numbers.once_in(5);
            let spread = spread.then(|| format!("s{names}"));
            let name = match &spread {
                Some(_) => written.to_owned(),
                None => format!("e{names}"),
            };
            let modifier = numbers.one(&["", "", "!inner", "!left"]);
            let level = match spread.is_none() && numbers.once_in(8) {
                true => Self::grouped(way.to, numbers),
                false => Self::below(way.to, numbers, depth + 1, names),
            };
            // Nothing else at this level may go by the name of one that is spread.
            let last = spread.is_some();
            embeds.push(Embed { name, written, modifier, spread, many: way.many, level });
            if last {
                break;
            }
        }
        let mut parameters = Self::conditions(table, numbers);
        for embed in embeds.iter().filter(|embed| embed.spread.is_none()) {
            if numbers.once_in(4) {
                let there = numbers.one(&["is.null", "not.is.null"]);
                parameters.push(format!("{}={there}", embed.name));
            }
        }
        Self { table, columns, aggregates: Vec::new(), embeds, parameters }
    }

    /// Rows grouped by some columns, or all made one.
    fn grouped(table: &'static str, numbers: &mut Numbers) -> Self {
        let columns = numbers.some(columns_of(table), 5);
        let mut aggregates = numbers.some(aggregates_of(table), 3);
        if aggregates.is_empty() {
            aggregates.push(aggregates_of(table)[0]);
        }
        Self {
            table,
            columns: columns.into_iter().map(str::to_owned).collect(),
            aggregates,
            embeds: Vec::new(),
            parameters: Self::conditions(table, numbers),
        }
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
        self.columns.retain(|column| !columns.contains(&column.as_str()));
        self.columns.extend(columns.iter().map(|column| (*column).to_owned()));
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
        self.items("")
    }

    fn items(&self, prefix: &str) -> String {
        let column = |column: &String| match (prefix, column.split_once(':')) {
            ("", _) => column.clone(),
            (prefix, Some((name, field))) => format!("{prefix}{name}:{field}"),
            (prefix, None) => format!("{prefix}{column}:{column}"),
        };
        let mut items: Vec<String> = self.columns.iter().map(column).collect();
        items.extend(self.aggregates.iter().map(|aggregate| (*aggregate).to_owned()));
        items.extend(self.embeds.iter().map(|embed| {
            let (written, modifier) = (embed.written, embed.modifier);
            match &embed.spread {
                Some(prefix) => format!("...{written}{modifier}({})", embed.level.items(prefix)),
                None => format!("{}:{written}{modifier}({})", embed.name, embed.level.select()),
            }
        }));
        items.join(",")
    }

    /// The order that leaves no two rows in the same place, where there is more than one.
    fn order(&self, path: &str) -> String {
        match (self.aggregates.is_empty(), self.columns.join(",")) {
            (true, _) => format!("&{path}order={}", order_of(self.table)),
            (false, columns) if columns.is_empty() => String::new(),
            (false, columns) => format!("&{path}order={columns}"),
        }
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
                true => embed.level.order(&path),
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
            if self.columns.len() > 1 || !self.aggregates.is_empty() {
                let mut less = self.clone();
                less.columns.remove(at);
                smaller.push(less);
            }
        }
        for at in 0..self.aggregates.len() {
            if self.aggregates.len() > 1 {
                let mut less = self.clone();
                less.aggregates.remove(at);
                smaller.push(less);
            }
        }
        smaller
    }
}
