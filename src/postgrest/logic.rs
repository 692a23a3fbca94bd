//! Logic trees: `and=(…)`, `or=(…)` and their negations, at the root.
//!
//! Follows `pLogicTree` of PostgREST's `ApiRequest/QueryParams.hs`, to the end of the text. May
//! not import anything of this crate but this room.

use super::field::{Field, json_path};
use super::filter::{Filter, Place, parse_operation};
use super::lexer::Cursor;
use super::limits::{MAX_LOGIC_DEPTH, MAX_LOGIC_MEMBERS};
use super::refusal::{Cap, Part, RestRefusal};

/// A group of conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logic {
    /// Whether `not.` stands before it.
    pub negated: bool,
    /// How the members are joined.
    pub connective: Connective,
    /// At least one.
    pub members: Vec<LogicTree>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogicTree {
    /// A condition.
    Filter(Filter),
    /// A group.
    Group(Logic),
}

/// How the members of a group are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connective {
    /// All have to hold.
    And,
    /// One has to hold.
    Or,
}

impl Connective {
    /// As it is written.
    pub fn word(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
        }
    }
}

impl Logic {
    /// Its levels: 1 where no group is in it.
    pub(super) fn depth(&self) -> u32 {
        let inner = self.members.iter().map(|member| match member {
            LogicTree::Filter(_) => 0,
            LogicTree::Group(group) => group.depth(),
        });
        inner.max().unwrap_or(0).saturating_add(1)
    }

    /// Calls `visit` with every filter of the tree, and stops at its first error.
    pub fn try_each_filter<E>(
        &self,
        visit: &mut impl FnMut(&Filter) -> Result<(), E>,
    ) -> Result<(), E> {
        self.members.iter().try_for_each(|member| match member {
            LogicTree::Filter(filter) => visit(filter),
            LogicTree::Group(group) => group.try_each_filter(visit),
        })
    }
}

/// Parses the value of `and`, `or`, `not.and` or `not.or`: a bracketed list, to its end.
pub(super) fn parse_logic(
    negated: bool,
    connective: Connective,
    text: &str,
) -> Result<Logic, RestRefusal> {
    let mut cursor = Cursor::new(text);
    let members = members(&mut cursor, text, 1)?;
    if cursor.is_at_end() {
        Ok(Logic { negated, connective, members })
    } else {
        Err(malformed(text))
    }
}

fn members(
    cursor: &mut Cursor<'_>,
    whole: &str,
    depth: usize,
) -> Result<Vec<LogicTree>, RestRefusal> {
    if depth > MAX_LOGIC_DEPTH {
        return Err(RestRefusal::TooMany(Cap::LogicLevels));
    }
    cursor.skip_white();
    if !cursor.eat("(") {
        return Err(malformed(whole));
    }
    let mut members = Vec::with_capacity(4);
    loop {
        if members.len() == MAX_LOGIC_MEMBERS {
            return Err(RestRefusal::TooMany(Cap::Filters));
        }
        cursor.skip_white();
        members.push(match group_head(cursor) {
            Some((negated, connective)) => {
                let members = self::members(cursor, whole, depth + 1)?;
                LogicTree::Group(Logic { negated, connective, members })
            }
            None => LogicTree::Filter(leaf(cursor, whole)?),
        });
        // PostgREST takes white space before a comma, and before a bracket only after another one.
        let mut ahead = cursor.clone();
        ahead.skip_white();
        if ahead.eat(",") {
            *cursor = ahead;
            continue;
        }
        if !cursor.eat(")") {
            return Err(malformed(whole));
        }
        cursor.skip_white();
        return Ok(members);
    }
}

/// `[not.]and` or `[not.]or` before an opening bracket. Without the bracket it is a column of that
/// name.
fn group_head(cursor: &mut Cursor<'_>) -> Option<(bool, Connective)> {
    let mut ahead = cursor.clone();
    let negated = ahead.eat("not.");
    let connective = if ahead.eat("and") {
        Connective::And
    } else if ahead.eat("or") {
        Connective::Or
    } else {
        return None;
    };
    ahead.skip_white();
    ahead.starts_with("(").then(|| {
        *cursor = ahead;
        (negated, connective)
    })
}

fn leaf(cursor: &mut Cursor<'_>, whole: &str) -> Result<Filter, RestRefusal> {
    let column = cursor.name().ok_or_else(|| malformed(whole))?.into_owned();
    let path = json_path(cursor)?.ok_or_else(|| malformed(whole))?;
    cursor.skip_white();
    if !cursor.eat(".") {
        return Err(malformed(whole));
    }
    let (negated, operation) = parse_operation(cursor, Place::Logic)?;
    Ok(Filter { field: Field { column, path }, negated, operation })
}

fn malformed(whole: &str) -> RestRefusal {
    RestRefusal::Malformed { part: Part::Logic, input: whole.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::filter::Operation;
    use super::super::operator::Comparison;
    use super::*;

    fn parse(text: &str) -> Result<Logic, RestRefusal> {
        parse_logic(false, Connective::Or, text)
    }

    fn values(text: &str) -> Vec<String> {
        let mut values = Vec::new();
        parse(text)
            .unwrap()
            .try_each_filter(&mut |filter| {
                match &filter.operation {
                    Operation::Compare { value, .. } => values.push(value.clone()),
                    other => values.push(format!("{other:?}")),
                }
                Ok::<(), ()>(())
            })
            .unwrap();
        values
    }

    #[test]
    fn trees_nest_and_negate() {
        let logic = parse("(id.gt.1, not.and (a.eq.1,not.or(b.not.eq.2)) ,c.is.null)").unwrap();
        assert_eq!(logic.members.len(), 3);
        let Some(LogicTree::Group(group)) = logic.members.get(1) else { panic!("{logic:?}") };
        assert!(group.negated);
        assert_eq!(group.connective, Connective::And);
        let Some(LogicTree::Group(inner)) = group.members.get(1) else { panic!("{group:?}") };
        assert!(inner.negated);
        let equal = |value: &str| Operation::Compare {
            comparison: Comparison::Equal,
            quantifier: None,
            value: value.to_owned(),
        };
        let leaf = Filter { field: Field::plain("b"), negated: true, operation: equal("2") };
        assert_eq!(inner.members, [LogicTree::Filter(leaf)]);
    }

    #[test]
    fn values_end_where_postgrest_ends_them() {
        assert_eq!(values("(a.eq.\"x,)y\",b.eq.z)"), ["x,)y", "z"]);
        assert_eq!(values("(a.eq(any).{1,2},b.eq.)"), ["{1,2}", ""]);
        assert_eq!(values("(a.eq.{{1},b.eq.\"x\"y )"), ["{{1}", "\"x\"y "]);
        assert_eq!(values("(\"a.b\".eq.(1)"), ["(1"]);
    }

    #[test]
    fn columns_named_like_a_connective_are_columns() {
        let logic = parse("(and.eq.1,or.eq.2,not.eq.3)").unwrap();
        assert!(logic.members.iter().all(|member| matches!(member, LogicTree::Filter(_))));
    }

    #[test]
    fn garbage_is_refused() {
        for text in [
            "",
            "()",
            "(id.eq.1",
            "(id.eq.1))",
            "(id.eq.1)x",
            "id.eq.1",
            "(id)",
            "(id.eq.1,)",
            "(a.eq.{1}x)",
            "(id.in.(1,2)3)",
            "(id.is.nullx)",
            "(not.xor(a.eq.1))",
            "(a.is.null )",
            "(projects.id.eq.1)",
            "(data->.eq.1)",
            "(data->a->eq.1)",
        ] {
            assert!(matches!(parse(text), Err(RestRefusal::Malformed { .. })), "{text}");
        }
    }

    #[test]
    fn depth_and_breadth_are_capped() {
        let nested =
            |depth: usize| format!("{}(a.eq.1{}", "(and".repeat(depth - 1), ")".repeat(depth));
        assert!(parse(&nested(MAX_LOGIC_DEPTH)).is_ok());
        let deep = parse(&nested(MAX_LOGIC_DEPTH + 1));
        assert_eq!(deep, Err(RestRefusal::TooMany(Cap::LogicLevels)));
        let broad = format!("({})", vec!["a.eq.1"; MAX_LOGIC_MEMBERS + 1].join(","));
        assert_eq!(parse(&broad), Err(RestRefusal::TooMany(Cap::Filters)));
    }
}
