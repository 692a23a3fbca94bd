//! Random bodies: rows with awkward values, in the three languages that bodies come in.

use super::numbers::Numbers;
use super::words::{Kind, TEXTS, columns_of, encoded, kind_of};
use crate::support::fixture::ACME;

/// Rows to insert, changes to make or arguments of a call.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) language: Language,
    /// One object where JSON could be an array.
    single: bool,
    /// Whether names are spelt with escapes, and white space stands between.
    odd: bool,
    rows: Vec<Row>,
}

type Row = Vec<(&'static str, Cell)>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    Json,
    Csv,
    Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Null,
    Text(String),
    /// JSON that is no string.
    Json(String),
}

impl Language {
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }
}

impl Body {
    /// Rows of these columns, `ids` being keys that rows may have.
    pub(super) fn rows(
        columns: &[&'static str],
        ids: &[u64],
        numbers: &mut Numbers,
        most: u64,
    ) -> Self {
        let language = match most {
            // A line of CSV that is one empty field is no row.
            _ if columns.len() == 1 => Language::Json,
            // A form is one row.
            0 | 1 => numbers.one(&[Language::Json, Language::Json, Language::Csv, Language::Form]),
            _ => numbers.one(&[Language::Json, Language::Json, Language::Csv]),
        };
        let count = if most == 1 { 1 } else { 1 + numbers.below(most) };
        let row = |numbers: &mut Numbers| {
            columns.iter().map(|column| (*column, Cell::random(column, ids, numbers))).collect()
        };
        let mut rows: Vec<Row> = (0..count).map(|_| row(numbers)).collect();
        if language == Language::Json && most > 1 && numbers.once_in(30) {
            rows.clear();
        }
        let single = rows.len() == 1 && (most == 1 || numbers.once_in(2));
        Self { language, single, odd: numbers.once_in(4), rows }
    }

    /// One row of texts.
    pub(super) fn of(values: &[(&'static str, String)], numbers: &mut Numbers) -> Self {
        let cell = |(name, text): &(&'static str, String)| (*name, Cell::Text(text.clone()));
        let language = numbers.one(&[Language::Json, Language::Form]);
        let rows = vec![values.iter().map(cell).collect()];
        Self { language, single: true, odd: numbers.once_in(4), rows }
    }

    /// Leaves names out of rows, so that they differ.
    pub(super) fn with_holes(mut self, numbers: &mut Numbers) -> Self {
        if self.language == Language::Json {
            for row in &mut self.rows {
                row.retain(|_| !numbers.once_in(4));
            }
        }
        self
    }

    /// Without values that a column cannot hold: of a change that changes nothing, whether
    /// PostgreSQL reads them is a matter of its plan.
    pub(super) fn sound(mut self) -> Self {
        let json = self.language == Language::Json;
        for (name, cell) in self.rows.iter_mut().flatten() {
            match (kind_of(name), &cell) {
                (Kind::Whole, _) => *cell = Cell::Json("8".to_owned()),
                (Kind::Texts, Cell::Json(_)) if !json => *cell = Cell::Text("{}".to_owned()),
                (Kind::Id, Cell::Null) if self.language == Language::Form => {
                    *cell = Cell::Text("1".to_owned());
                }
                _ => {}
            }
        }
        self
    }

    pub(super) fn with_text(mut self, column: &'static str, text: &str) -> Self {
        for row in &mut self.rows {
            row.retain(|(name, _)| *name != column);
            row.push((column, Cell::Text(text.to_owned())));
        }
        self
    }

    pub(super) fn print(&self) -> String {
        match self.language {
            Language::Json if self.single => {
                self.rows.first().map_or_else(String::new, |row| self.object(row))
            }
            Language::Json => {
                let rows: Vec<String> = self.rows.iter().map(|row| self.object(row)).collect();
                format!("[{}]", rows.join(if self.odd { " ,\n" } else { "," }))
            }
            Language::Csv => {
                let names = self.rows.first().into_iter().flatten();
                let header: Vec<String> = names.map(|(name, _)| self.field(name)).collect();
                let line = |row: &Row| {
                    let cells: Vec<String> = row
                        .iter()
                        .map(|(_, cell)| match cell {
                            Cell::Null => "NULL".to_owned(),
                            Cell::Text(text) | Cell::Json(text) => self.field(text),
                        })
                        .collect();
                    cells.join(",")
                };
                let lines = self.rows.iter().map(line);
                let end = if self.odd { "\r\n" } else { "\n" };
                [header.join(",")].into_iter().chain(lines).map(|line| line + end).collect()
            }
            Language::Form => {
                let cells = self.rows.first().into_iter().flatten();
                let pairs: Vec<String> = cells
                    .map(|(name, cell)| match cell {
                        Cell::Null => format!("{name}="),
                        Cell::Text(text) | Cell::Json(text) => format!("{name}={}", encoded(text)),
                    })
                    .collect();
                pairs.join("&")
            }
        }
    }

    fn object(&self, row: &Row) -> String {
        let member = |(name, cell): &(&str, Cell)| {
            let name = match self.odd {
                true => format!(" \"\\u{:04x}{}\" : ", name.as_bytes()[0], &name[1..]),
                false => format!("\"{name}\":"),
            };
            match cell {
                Cell::Null => name + "null",
                Cell::Text(text) => name + &serde_json::Value::from(text.as_str()).to_string(),
                Cell::Json(json) => name + json,
            }
        };
        let members: Vec<String> = row.iter().map(member).collect();
        format!("{{{}}}", members.join(","))
    }

    /// A field of CSV: in quotes where it has to be.
    fn field(&self, text: &str) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        match !text.is_empty() && text.bytes().all(plain) && !self.odd {
            true => text.to_owned(),
            false => format!("\"{}\"", text.replace('"', "\"\"")),
        }
    }

    pub(super) fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        if self.odd {
            smaller.push(Self { odd: false, ..self.clone() });
        }
        if self.rows.len() > 1 {
            for at in 0..self.rows.len() {
                let mut less = self.clone();
                less.rows.remove(at);
                smaller.push(less);
            }
        }
        let names = self.rows.first().filter(|row| row.len() > 1).into_iter().flatten();
        for name in names.map(|(name, _)| *name) {
            let mut less = self.clone();
            less.rows.iter_mut().for_each(|row| row.retain(|(known, _)| *known != name));
            smaller.push(less);
        }
        smaller
    }
}

impl Cell {
    fn random(column: &str, ids: &[u64], numbers: &mut Numbers) -> Self {
        let text = |text: &str| Self::Text(text.to_owned());
        let json = |text: &str| Self::Json(text.to_owned());
        match kind_of(column) {
            Kind::Id => match numbers.below(8) {
                0 if column != "id" => Self::Null,
                1 => Self::Text(numbers.one(ids).to_string()),
                _ => Self::Json(numbers.one(ids).to_string()),
            },
            Kind::Organization => match numbers.once_in(2) {
                true => text(ACME.id),
                false => Self::Text(ACME.id.to_uppercase()),
            },
            Kind::Text if column == "key" => text(numbers.one(&["theme", "size", "k\"1,", "ä"])),
            Kind::Text => match numbers.below(12) {
                0 => Self::Null,
                1 => json(numbers.one(&["5", "1.50", "true", "{\"a\": [1 ]}"])),
                _ => text(numbers.one(&TEXTS)),
            },
            Kind::Whole => match numbers.below(10) {
                0 => text(numbers.one(&["7", "x", ""])),
                1 => json("1.5"),
                _ => Self::Json(numbers.below(40).to_string()),
            },
            Kind::Numeric => json(numbers.one(&[
                "12345678901234567890123456789012345.10",
                "-0.0",
                "1E+2",
                "0.1",
            ])),
            Kind::Time => text(numbers.one(&["2026-03-05T12:00:00Z", "2026-03-01 09:00+02"])),
            Kind::Json => json(numbers.one(&[
                "{}",
                "{\"b\":1, \"a\":{\"c\":[]},\"b\":2}",
                "[1.10,\"\\u00e9\"]",
                "1e30",
                "{\"room\":\"ACME-ONLY-x\"}",
            ])),
            Kind::Texts => match numbers.once_in(2) {
                true => text(numbers.one(&["{}", "{a,\"b c\"}", "{NULL}"])),
                false => json("[\"ACME-ONLY-tag\", null]"),
            },
        }
    }
}

/// The columns that rows of a table get: the needed ones, and some of the others.
pub(super) fn written(
    table: &str,
    needed: &[&'static str],
    numbers: &mut Numbers,
) -> Vec<&'static str> {
    let mut columns = needed.to_vec();
    let others: Vec<&str> =
        columns_of(table).iter().copied().filter(|name| !needed.contains(name)).collect();
    columns.extend(numbers.some(&others, 3));
    columns
}
