//! `order`.
//!
//! Follows `pOrder` of PostgREST's `ApiRequest/QueryParams.hs`. May not import anything of this
//! crate but this room.

use super::field::{Field, json_path};
use super::lexer::Cursor;
use super::limits::MAX_ORDER_TERMS;
use super::refusal::{Cap, Part, RestRefusal};

/// One term of `order`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTerm {
    /// The embed whose column it is, as in `projects(name)`.
    pub embed: Option<String>,
    /// By what.
    pub field: Field,
    /// `asc` or `desc`, where stated.
    pub direction: Option<Direction>,
    /// `nullsfirst` or `nullslast`, where stated.
    pub nulls: Option<Nulls>,
}

/// Which end comes first; ascending where not stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// Where NULLs go; PostgreSQL takes them as the largest values where not stated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nulls {
    /// Before all values.
    First,
    /// After all values.
    Last,
}

/// Parses the whole of a decoded `order`.
pub(super) fn parse_order(text: &str) -> Result<Vec<OrderTerm>, RestRefusal> {
    let mut cursor = Cursor::new(text);
    let mut terms = Vec::with_capacity(2);
    loop {
        if terms.len() == MAX_ORDER_TERMS {
            return Err(RestRefusal::TooMany(Cap::OrderTerms));
        }
        cursor.skip_white();
        terms.push(term(&mut cursor, text)?);
        cursor.skip_white();
        if cursor.is_at_end() {
            return Ok(terms);
        }
        if !cursor.eat(",") {
            return Err(malformed(text));
        }
    }
}

fn term(cursor: &mut Cursor<'_>, whole: &str) -> Result<OrderTerm, RestRefusal> {
    let mut column = cursor.name().ok_or_else(|| malformed(whole))?.into_owned();
    let mut embed = None;
    if cursor.eat("(") {
        let inner = cursor.name().ok_or_else(|| malformed(whole))?.into_owned();
        embed = Some(std::mem::replace(&mut column, inner));
    }
    let path = json_path(cursor)?.ok_or_else(|| malformed(whole))?;
    if embed.is_some() && !cursor.eat(")") {
        return Err(malformed(whole));
    }
    let direction = if cursor.eat(".asc") {
        Some(Direction::Ascending)
    } else if cursor.eat(".desc") {
        Some(Direction::Descending)
    } else {
        None
    };
    let nulls = if cursor.eat(".nullsfirst") {
        Some(Nulls::First)
    } else if cursor.eat(".nullslast") {
        Some(Nulls::Last)
    } else {
        None
    };
    Ok(OrderTerm { embed, field: Field { column, path }, direction, nulls })
}

fn malformed(whole: &str) -> RestRefusal {
    RestRefusal::Malformed { part: Part::Order, input: whole.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read_with_direction_and_nulls() {
        let terms = parse_order("id, title.desc.nullslast,\"a.b\".nullsfirst").unwrap();
        assert_eq!(
            terms,
            [
                OrderTerm { embed: None, field: Field::plain("id"), direction: None, nulls: None },
                OrderTerm {
                    embed: None,
                    field: Field::plain("title"),
                    direction: Some(Direction::Descending),
                    nulls: Some(Nulls::Last),
                },
                OrderTerm {
                    embed: None,
                    field: Field::plain("a.b"),
                    direction: None,
                    nulls: Some(Nulls::First)
                },
            ]
        );
    }

    #[test]
    fn what_does_not_parse_to_its_end_is_refused() {
        for text in [
            "",
            ",",
            "id,",
            "id.ac",
            "id.descc",
            "id.asc.desc",
            "id.nullslastt",
            "id desc)",
            "a->",
            "p(a->b",
            "p->a(b)",
        ] {
            let refused = parse_order(text).unwrap_err();
            assert!(matches!(refused, RestRefusal::Malformed { .. }), "{text}: {refused:?}");
        }
        let terms = parse_order("projects(name).desc").unwrap();
        let [term] = &terms[..] else { panic!("{terms:?}") };
        assert_eq!((term.embed.as_deref(), &term.field), (Some("projects"), &Field::plain("name")));
        let terms = parse_order("data->>a.desc,p(data->b->0).nullslast").unwrap();
        let [here, there] = &terms[..] else { panic!("{terms:?}") };
        assert_eq!((here.field.path.len(), here.direction), (1, Some(Direction::Descending)));
        assert_eq!((there.field.path.len(), there.nulls), (2, Some(Nulls::Last)));
        let long = vec!["a"; MAX_ORDER_TERMS + 1].join(",");
        assert_eq!(parse_order(&long), Err(RestRefusal::TooMany(Cap::OrderTerms)));
    }
}
