//! `select` and `columns`: what comes back, and what is written.
//!
//! Follows `pFieldForest` and `pColumns` of PostgREST's `ApiRequest/QueryParams.hs`. May not
//! import anything of this crate but this room.

use std::borrow::Cow;

use super::field::{Field, json_path};
use super::lexer::Cursor;
use super::limits::{MAX_EMBED_DEPTH, MAX_SELECT_ITEMS};
use super::query::Query;
use super::refusal::{Cap, Part, RestRefusal};

/// One item of `select`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelectItem {
    /// `*`.
    Star,
    /// `column`, with all that may stand around it.
    Column(SelectColumn),
    /// `count()`: how many rows there are.
    Count {
        /// The key in the answer, where it is not `count`.
        alias: Option<String>,
        /// The type that it is cast to.
        cast: Option<String>,
    },
    /// `target(…)`: rows of another table.
    Embed(Box<Embed>),
}

/// A column of `select`, as in `alias:column->key::type.max()::type`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectColumn {
    /// The key in the answer, where it is not the one that PostgREST gives.
    pub alias: Option<String>,
    /// Which column, and what within its value.
    pub field: Field,
    /// The type that it is cast to.
    pub cast: Option<String>,
    /// Over all rows that agree in the other columns of `select`.
    pub aggregation: Option<Aggregation>,
}

/// What is made of a column's values, as in `.sum()::text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aggregation {
    /// The function.
    pub function: Aggregate,
    /// The type that its result is cast to.
    pub cast: Option<String>,
}

/// A function over the values of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    /// `sum`.
    Sum,
    /// `avg`.
    Average,
    /// `count`: of values that are not NULL.
    Count,
    /// `max`.
    Greatest,
    /// `min`.
    Least,
}

impl Aggregate {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sum, Self::Average, Self::Count, Self::Greatest, Self::Least];

    /// As it is written behind a column.
    pub fn call(self) -> &'static str {
        match self {
            Self::Sum => ".sum()",
            Self::Average => ".avg()",
            Self::Count => ".count()",
            Self::Greatest => ".max()",
            Self::Least => ".min()",
        }
    }
}

impl SelectColumn {
    /// A column as it is.
    pub fn plain(column: impl Into<String>) -> Self {
        Self { alias: None, field: Field::plain(column), cast: None, aggregation: None }
    }

    /// Whether its value comes back as it is, under its own name.
    pub fn is_plain(&self) -> bool {
        self.alias.is_none()
            && self.field.path.is_empty()
            && self.cast.is_none()
            && self.aggregation.is_none()
    }
}

/// Rows of another table, as in `alias:target!hint!inner(…)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embed {
    /// The key in the answer, where it is not the target.
    pub alias: Option<String>,
    /// A table, a column of a foreign key or the name of its constraint.
    pub target: String,
    /// Which relationship is meant: a constraint, a column or a junction.
    pub hint: Option<String>,
    /// `!inner` or `!left`, where stated.
    pub join: Option<Join>,
    /// `...`: its columns become those of the row that embeds it.
    pub spread: bool,
    /// What is asked of it: its own `select`, and the parameters that address it.
    pub inner: Query,
}

/// What becomes of rows to which nothing is embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// They are left out.
    Inner,
    /// They stay.
    Left,
}

impl Embed {
    /// By which parameters address it.
    pub fn name(&self) -> &str {
        self.alias.as_deref().unwrap_or(&self.target)
    }
}

/// Parses the whole of a decoded `select`.
pub(super) fn parse_select(text: &str) -> Result<Vec<SelectItem>, RestRefusal> {
    let mut parser = Parser { cursor: Cursor::new(text), whole: text, items: 0 };
    let items = parser.items(1)?;
    if parser.cursor.is_at_end() { Ok(items) } else { Err(parser.malformed()) }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    whole: &'a str,
    /// Items so far, on all levels.
    items: usize,
}

impl Parser<'_> {
    /// One or more items, up to what is none.
    fn items(&mut self, depth: usize) -> Result<Vec<SelectItem>, RestRefusal> {
        let mut items = Vec::with_capacity(8);
        loop {
            if self.items == MAX_SELECT_ITEMS {
                return Err(RestRefusal::TooMany(Cap::SelectItems));
            }
            self.items += 1;
            self.cursor.skip_white();
            items.push(self.item(depth)?);
            self.cursor.skip_white();
            if !self.cursor.eat(",") {
                return Ok(items);
            }
        }
    }

    fn item(&mut self, depth: usize) -> Result<SelectItem, RestRefusal> {
        if self.cursor.eat("*") {
            return Ok(SelectItem::Star);
        }
        if self.cursor.eat("...") {
            let target = self.name()?;
            return self.embed(None, target, true, depth);
        }
        if let Some(count) = self.count(None)? {
            return Ok(count);
        }
        let first = self.name()?;
        if self.begins_embed() {
            return self.embed(None, first, false, depth);
        }
        if self.cursor.starts_with("::") || !self.cursor.eat(":") {
            return self.column(None, first);
        }
        // An embed's alias is part of filter paths, so aliases keep to names that no path can
        // contain twice and that cannot stand for a name of the gateway's own.
        let plain = !first.starts_with('_') && !first.contains(['.', ',', '"']);
        if !plain {
            return Err(self.malformed());
        }
        if let Some(count) = self.count(Some(&first))? {
            return Ok(count);
        }
        let second = self.name()?;
        if self.begins_embed() {
            return self.embed(Some(first), second, false, depth);
        }
        self.column(Some(first), second)
    }

    /// `count()`, to the letter: PostgREST knows no table and no embed of that name.
    fn count(&mut self, alias: Option<&str>) -> Result<Option<SelectItem>, RestRefusal> {
        if !self.cursor.eat("count()") {
            return Ok(None);
        }
        let cast = self.cast()?;
        Ok(Some(SelectItem::Count { alias: alias.map(str::to_owned), cast }))
    }

    /// What follows a column's name: the way into its value, a cast, an aggregate, its cast.
    fn column(&mut self, alias: Option<String>, column: String) -> Result<SelectItem, RestRefusal> {
        let path = json_path(&mut self.cursor)?.ok_or_else(|| self.malformed())?;
        let cast = self.cast()?;
        let mut called = |known: &Aggregate| self.cursor.eat(known.call());
        let aggregation = match Aggregate::ALL.into_iter().find(&mut called) {
            Some(function) => Some(Aggregation { function, cast: self.cast()? }),
            None => None,
        };
        let field = Field { column, path };
        Ok(SelectItem::Column(SelectColumn { alias, field, cast, aggregation }))
    }

    /// `::type`: a plain name, in lowercase.
    fn cast(&mut self) -> Result<Option<String>, RestRefusal> {
        if !self.cursor.eat("::") {
            return Ok(None);
        }
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        match self.cursor.take_while(fits) {
            "" => Err(RestRefusal::CastNotAllowed),
            name => Ok(Some(name.to_owned())),
        }
    }

    fn name(&mut self) -> Result<String, RestRefusal> {
        self.cursor.name().map(Cow::into_owned).ok_or_else(|| self.malformed())
    }

    fn begins_embed(&mut self) -> bool {
        let mut ahead = self.cursor.clone();
        ahead.skip_white();
        ahead.starts_with("(") || ahead.starts_with("!")
    }

    fn embed(
        &mut self,
        alias: Option<String>,
        target: String,
        spread: bool,
        depth: usize,
    ) -> Result<SelectItem, RestRefusal> {
        let (mut hint, mut join) = (None, None);
        self.cursor.skip_white();
        while self.cursor.eat("!") {
            let word = self.name()?;
            let fresh = match word.as_str() {
                "inner" => join.replace(Join::Inner).is_none(),
                "left" => join.replace(Join::Left).is_none(),
                _ => hint.replace(word).is_none(),
            };
            if !fresh {
                return Err(self.malformed());
            }
            self.cursor.skip_white();
        }
        if !self.cursor.eat("(") {
            return Err(self.malformed());
        }
        if depth > MAX_EMBED_DEPTH {
            return Err(RestRefusal::TooMany(Cap::EmbedLevels));
        }
        self.cursor.skip_white();
        // PostgREST would not look for a relationship of this name.
        if target == "count" {
            return Err(self.malformed());
        }
        let select = if self.cursor.eat(")") {
            Vec::new()
        } else {
            let items = self.items(depth + 1)?;
            if !self.cursor.eat(")") {
                return Err(self.malformed());
            }
            items
        };
        let inner = Query { select: Some(select), ..Query::default() };
        Ok(SelectItem::Embed(Box::new(Embed { alias, target, hint, join, spread, inner })))
    }

    fn malformed(&self) -> RestRefusal {
        RestRefusal::Malformed { part: Part::Select, input: self.whole.to_owned() }
    }
}

/// Parses the whole of a decoded `columns`.
pub(super) fn parse_columns(text: &str) -> Result<Vec<String>, RestRefusal> {
    let malformed = || RestRefusal::Malformed { part: Part::Columns, input: text.to_owned() };
    let mut cursor = Cursor::new(text);
    let mut names = Vec::with_capacity(8);
    loop {
        if names.len() == MAX_SELECT_ITEMS {
            return Err(RestRefusal::TooMany(Cap::Columns));
        }
        cursor.skip_white();
        names.push(cursor.name().map(Cow::into_owned).ok_or_else(malformed)?);
        cursor.skip_white();
        if cursor.is_at_end() {
            return Ok(names);
        }
        if !cursor.eat(",") {
            return Err(malformed());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str) -> SelectItem {
        SelectItem::Column(SelectColumn::plain(name))
    }

    fn aliased(alias: &str, column: SelectColumn) -> SelectItem {
        SelectItem::Column(SelectColumn { alias: Some(alias.to_owned()), ..column })
    }

    #[test]
    fn plain_columns_stars_and_aliases_are_read() {
        assert_eq!(
            parse_select("*, id,\t\"Odd, (na)me\" , t:title").unwrap(),
            [
                SelectItem::Star,
                column("id"),
                column("Odd, (na)me"),
                aliased("t", SelectColumn::plain("title")),
            ]
        );
    }

    #[test]
    fn casts_that_are_no_plain_name_have_a_code_of_their_own() {
        for text in ["secret::", "secret::Text", "secret::\"text\"", "a.sum()::", "count()::\"x\""]
        {
            assert_eq!(parse_select(text), Err(RestRefusal::CastNotAllowed), "{text}");
        }
    }

    #[test]
    fn a_column_is_read_with_everything_that_belongs_to_it() {
        let (mut cursor, of) = (Cursor::new("->a->>0"), |column| SelectColumn::plain(column));
        let path = json_path(&mut cursor).unwrap().unwrap();
        let field = Field { column: "data".to_owned(), path };
        let function = Aggregate::Average;
        let sum = Aggregation { function, cast: Some("text".to_owned()) };
        let cast = Some("int4".to_owned());
        let full = SelectColumn { alias: None, field, cast, aggregation: Some(sum) };
        assert_eq!(
            parse_select("n:data->a->>0::int4.avg()::text,count(),c:count()::text,count").unwrap(),
            [
                aliased("n", full),
                SelectItem::Count { alias: None, cast: None },
                SelectItem::Count { alias: Some("c".to_owned()), cast: Some("text".to_owned()) },
                SelectItem::Column(of("count")),
            ]
        );
    }

    #[test]
    fn embeds_are_read_with_everything_that_belongs_to_them() {
        let text = "id,p:projects!fk!inner(*,...owner!left(name)), \"odd one\" (x:id,tags())";
        let items = parse_select(text).unwrap();
        let [SelectItem::Column { .. }, SelectItem::Embed(p), SelectItem::Embed(odd)] = &items[..]
        else {
            panic!("{items:?}")
        };
        assert_eq!((p.name(), p.target.as_str(), p.hint.as_deref()), ("p", "projects", Some("fk")));
        assert_eq!((p.join, p.spread), (Some(Join::Inner), false));
        let Some([SelectItem::Star, SelectItem::Embed(owner)]) = p.inner.select.as_deref() else {
            panic!("{p:?}")
        };
        assert!(owner.spread && owner.join == Some(Join::Left) && owner.target == "owner");
        assert_eq!((odd.name(), odd.target.as_str()), ("odd one", "odd one"));
        let Some([_, SelectItem::Embed(tags)]) = odd.inner.select.as_deref() else {
            panic!("{odd:?}")
        };
        assert_eq!(tags.inner.select, Some(Vec::new()));
    }

    #[test]
    fn garbage_and_suspicious_aliases_are_refused() {
        for text in [
            "",
            ",",
            "id,",
            "id)",
            "id x!",
            "id\"",
            "*x",
            "\"*\"",
            "_a:id",
            "\"a.b\":id",
            "\"a,b\":id",
            "a:b:id",
            ":id",
            "id,projects(id)x",
            "projects(id",
            "projects(id,)",
            "projects(,id)",
            "projects)",
            "projects!(id)",
            "projects!a!b(id)",
            "projects!inner!left(id)",
            "...p:projects(id)",
            "_p:projects(id)",
            "\"a.b\":projects(id)",
            "a:b:projects(id)",
            "count ()",
            "\"count\"()",
            "count(id)",
            "count!inner()",
            "id.total()",
            "id.sum",
            "id.sum()()",
            "id.sum().max()",
            "data->",
            "data->a.b",
            "projects->a(id)",
        ] {
            let refused = parse_select(text).unwrap_err();
            assert!(matches!(refused, RestRefusal::Malformed { .. }), "{text}: {refused:?}");
        }
    }

    #[test]
    fn columns_are_read_as_supabase_js_quotes_them() {
        assert_eq!(parse_columns("\"a\",\"b c\"").unwrap(), ["a", "b c"]);
        assert_eq!(parse_columns("a , b").unwrap(), ["a", "b"]);
        for text in ["", "a,", "a;b", "a.b", "*", "a,\"b"] {
            assert!(parse_columns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_over_the_cap_are_refused() {
        let long = vec!["a"; MAX_SELECT_ITEMS + 1].join(",");
        assert_eq!(parse_select(&long), Err(RestRefusal::TooMany(Cap::SelectItems)));
        assert_eq!(parse_columns(&long), Err(RestRefusal::TooMany(Cap::Columns)));
    }
}
