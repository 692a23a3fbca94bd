//! Random writes: inserts, upserts, PUT, updates, deletes and calls, with what comes back of them.

use super::body::{Body, written};
use super::numbers::Numbers;
use super::read::Level;
use super::words::{columns_of, encoded};
use crate::support::fixture::ACME;

/// Keys that new rows get: none is another organization's.
const IDS: [u64; 6] = [1, 11, 12, 13, 14, 99];

/// A request that may change rows.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) method: &'static str,
    path: String,
    /// Parameters of the root, `select` excepted.
    parameters: Vec<String>,
    /// What is to come back, and what hangs on it.
    level: Option<Level>,
    prefer: Vec<&'static str>,
    /// Whether each preference has a header of its own.
    apart: bool,
    accept: Option<&'static str>,
    body: Option<Body>,
}

impl Write {
    pub(super) fn random(numbers: &mut Numbers) -> Self {
        let mut write = match numbers.below(16) {
            0..4 => Self::insert(numbers),
            4..7 => Self::upsert(numbers),
            7 => Self::put(numbers),
            8..12 => Self::change("PATCH", numbers),
            12 | 13 => Self::change("DELETE", numbers),
            _ => Self::call(numbers),
        };
        let returning = numbers.one(&["", "return=minimal", "return=headers-only"]);
        let returning = if numbers.once_in(3) { returning } else { "return=representation" };
        if returning != "return=representation" {
            // Nothing of it would come back; PostgREST's `Content-Range` changes with it.
            write.level = write.level.map(Level::without_embeds);
        }
        write.prefer.extend([returning].iter().filter(|stated| !stated.is_empty()));
        if numbers.once_in(4) {
            write.prefer.push(numbers.one(&["count=exact", "missing=default", "tx=commit"]));
        }
        if numbers.once_in(8) {
            write.accept = Some(numbers.one(&[
                "application/vnd.pgrst.object+json",
                "application/vnd.pgrst.array+json;nulls=stripped",
            ]));
        }
        write.apart = numbers.once_in(2);
        write
    }

    fn of(method: &'static str, path: &str) -> Self {
        Self {
            method,
            path: format!("/{path}"),
            parameters: Vec::new(),
            level: None,
            prefer: Vec::new(),
            apart: false,
            accept: None,
            body: None,
        }
    }

    /// With rows that come back, and what is embedded in them.
    fn selecting(mut self, table: &'static str, numbers: &mut Numbers) -> Self {
        self.level = Some(Level::random(table, numbers).under(Vec::new()));
        self
    }

    fn insert(numbers: &mut Numbers) -> Self {
        let (table, needed): (_, &[&str]) = numbers.one(&[
            ("projects", &["name"][..]),
            ("events", &["title"][..]),
            ("events", &["title", "project_id"][..]),
            ("settings", &["key"][..]),
            ("labels", &["id", "label"][..]),
        ]);
        Self::of("POST", table).selecting(table, numbers).with_rows(table, needed, numbers)
    }

    fn upsert(numbers: &mut Numbers) -> Self {
        let mut write = Self::of("POST", "settings").selecting("settings", numbers);
        write
            .prefer
            .push(numbers.one(&["resolution=merge-duplicates", "resolution=ignore-duplicates"]));
        let key = numbers.one(&["", "organization_id,key", "name,organization_id"]);
        if !key.is_empty() {
            write.parameters.push(format!("on_conflict={key}"));
        }
        write.with_rows("settings", &["key", "name"], numbers)
    }

    fn with_rows(mut self, table: &str, needed: &[&'static str], numbers: &mut Numbers) -> Self {
        let columns = written(table, needed, numbers);
        let most = if numbers.once_in(2) { 1 } else { 4 };
        let body = Body::rows(&columns, &IDS, numbers, most);
        // What `columns` names and a row has not is NULL, for the tenant's column too.
        let named = columns.contains(&"organization_id");
        self.body = Some(match numbers.once_in(3) && !named {
            true => {
                let mut names = columns;
                if numbers.once_in(3) {
                    names.pop();
                }
                if !names.is_empty() {
                    let quote = numbers.one(&["", "%22"]);
                    let names: Vec<String> =
                        names.iter().map(|name| format!("{quote}{name}{quote}")).collect();
                    self.parameters.push(format!("columns={}", names.join(",")));
                }
                body.with_holes(numbers)
            }
            false => body,
        });
        self
    }

    fn put(numbers: &mut Numbers) -> Self {
        let mut write = Self::of("PUT", "settings").selecting("settings", numbers);
        let key = numbers.one(&["theme", "size", "only", "a b+,"]);
        let mut filters =
            [format!("organization_id=eq.{}", ACME.id), format!("key=eq.{}", encoded(key))];
        if numbers.once_in(2) {
            filters.reverse();
        }
        write.parameters.extend(filters);
        let columns = written("settings", &["organization_id", "key"], numbers);
        write.body = Some(Body::rows(&columns, &IDS, numbers, 1).with_text("key", key));
        write
    }

    fn change(method: &'static str, numbers: &mut Numbers) -> Self {
        let table = numbers.one(&["projects", "events", "events", "settings"]);
        let mut write = Self::of(method, table).selecting(table, numbers);
        write.parameters = Level::conditions(table, numbers);
        if write.parameters.is_empty() && !numbers.once_in(4) {
            write.parameters.push(super::words::condition(table, numbers));
        }
        if numbers.once_in(3) {
            let column = numbers.one(columns_of(table));
            let order = numbers.one(&["", ".desc", ".asc.nullsfirst"]);
            let limit = 1 + numbers.below(3);
            write.parameters.push(format!("order={column}{order}&limit={limit}"));
        }
        if method == "PATCH" {
            let columns = written(table, &[], numbers);
            let columns = if columns.is_empty() { vec![columns_of(table)[2]] } else { columns };
            write.body = Some(Body::rows(&columns, &IDS, numbers, 1).sound());
        }
        write
    }

    fn call(numbers: &mut Numbers) -> Self {
        let term = numbers.one(&["e", "ONLY-re", "%", "a+b,", "zzz"]);
        let event = numbers.one(&["1", "2", "3", "4", "11"]);
        let (name, arguments, rows): (_, &[(&'static str, &str)], _) = match numbers.below(5) {
            0 => ("org_titles", &[("longest", "18")][..], false),
            1 => ("search_events", &[("term", term)][..], true),
            2 => ("widen_events", &[("more", "3")][..], true),
            _ => ("rename_event", &[("event", event), ("title", term)][..], false),
        };
        let by_get = matches!(name, "org_titles" | "search_events") && numbers.once_in(2);
        let mut arguments: Vec<_> =
            arguments.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        if numbers.once_in(4) && name != "search_events" && name != "widen_events" {
            arguments.push(("org", ACME.id.to_owned()));
        }
        let method = if by_get { "GET" } else { "POST" };
        let mut write = Self::of(method, &format!("rpc/{name}"));
        if by_get {
            let given = arguments.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
            write.parameters.extend(given);
        } else {
            write.body = Some(Body::of(&arguments, numbers));
        }
        if rows {
            let level = Level::random("events", numbers).under(Vec::new());
            let level = level.with_columns(columns_of("events"));
            // A function that nobody can want rows of is not always called.
            if name == "search_events" {
                write.level = Some(level);
                write.parameters.extend(Level::conditions("events", numbers));
            } else {
                write.level = Some(level.without_embeds());
            }
        }
        write
    }

    pub(super) fn url(&self) -> String {
        let mut parameters = self.parameters.clone();
        let mut of_embeds = String::new();
        if let Some(level) = &self.level {
            parameters.insert(0, format!("select={}", level.select()));
            of_embeds = level.of_embeds("");
        }
        format!("{}?{}{of_embeds}", self.path, parameters.join("&"))
    }

    pub(super) fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = Vec::new();
        match self.apart {
            true => headers.extend(self.prefer.iter().map(|one| ("prefer", (*one).to_owned()))),
            false if self.prefer.is_empty() => {}
            false => headers.push(("prefer", self.prefer.join(", "))),
        }
        headers.extend(self.accept.map(|accept| ("accept", accept.to_owned())));
        let language = self.body.as_ref().map(|body| body.language.media_type().to_owned());
        headers.extend(language.map(|language| ("content-type", language)));
        headers
    }

    pub(super) fn body(&self) -> String {
        self.body.as_ref().map_or_else(String::new, Body::print)
    }

    /// Whether rows come back of which more than the columns is asked for: PostgREST writes what
    /// is embedded in an order of its own.
    pub(super) fn has_embeds(&self) -> bool {
        self.level.as_ref().is_some_and(Level::has_embeds)
    }

    /// The same request with one thing less, in every way.
    pub(super) fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for at in 0..self.parameters.len() {
            let mut less = self.clone();
            less.parameters.remove(at);
            smaller.push(less);
        }
        for at in 0..self.prefer.len() {
            let mut less = self.clone();
            less.prefer.remove(at);
            smaller.push(less);
        }
        if self.accept.is_some() {
            smaller.push(Self { accept: None, ..self.clone() });
        }
        for level in self.level.iter().flat_map(Level::smaller) {
            smaller.push(Self { level: Some(level), ..self.clone() });
        }
        for body in self.body.iter().flat_map(Body::smaller) {
            smaller.push(Self { body: Some(body), ..self.clone() });
        }
        smaller
    }
}
