//! Operators and functions: what each takes, and the operation that it is.
//!
//! May import `policy`.

use cel::IdedExpr;
use cel::common::ast::{Expr, operators};
use ipnet::IpNet;
use regex::RegexBuilder;

use crate::config::decode::nearest;
use crate::policy::expression::call::Call;
use crate::policy::expression::tree::{Node, Test, TextRelation, TextTest};
use crate::policy::expression::value::Constant;
use crate::policy::path::PathPattern;

use super::check::{Checker, Typed, comparison, present, text_test};
use super::types::Type;

/// Bytes of a compiled pattern.
const MAX_PATTERN: usize = 1 << 20;

impl<'c> Checker<'c> {
    /// An operator, or a function that is called by its name alone.
    pub(super) fn global(
        &mut self,
        expr: &'c IdedExpr,
        name: &str,
        arguments: &'c [IdedExpr],
    ) -> Typed {
        match (name, arguments) {
            (operators::LOGICAL_AND, [_, _]) => {
                let mut tests = Vec::new();
                self.flatten(expr, operators::LOGICAL_AND, &mut tests);
                Typed::test(Test::All(tests.into()))
            }
            (operators::LOGICAL_OR, [_, _]) => {
                let mut tests = Vec::new();
                self.flatten(expr, operators::LOGICAL_OR, &mut tests);
                Typed::test(Test::Any(tests.into()))
            }
            (operators::LOGICAL_NOT, [of]) => Typed::test(Test::Not(Box::new(self.test(of)))),
            (operators::EQUALS, [a, b]) => self.equal(expr, a, b),
            (operators::NOT_EQUALS, [a, b]) => {
                let equal = self.equal(expr, a, b);
                match (equal.kind, equal.node) {
                    (Type::Bool, Node::Test(test)) => Typed::test(Test::Not(test)),
                    _ => Typed::unknown(),
                }
            }
            (operators::IN, [item, within]) => self.within(expr, item, within),
            (operators::CONDITIONAL, [test, this, that]) => {
                let test = self.test(test);
                let (this, that) = (self.node(this), self.node(that));
                let Some(kind) = this.kind.join(&that.kind) else {
                    let message = format!("this is either {} or {}", this.kind, that.kind);
                    let hint = "both sides of `? :` are of one type".to_owned();
                    return self.wrong(expr, message, Some(hint));
                };
                Typed::new(kind, Node::Choose(Box::new((test, this.node, that.node))))
            }
            (operators::INDEX, [of, at]) => self.index(of, at),
            ("size", [of]) => self.size(of),
            ("version", [of]) => {
                let of = self.wanted(of, &Type::Text);
                Typed::new(Type::Version, Node::Call(Call::Version, Box::new([of])))
            }
            ("cidr", [address, networks]) => self.cidr(address, networks),
            ("pathMatch", [path, pattern]) => {
                let path = self.wanted(path, &Type::Text);
                let Some(stated) = self.literal(pattern, "a path pattern") else {
                    return Typed::unknown();
                };
                match PathPattern::parse(stated) {
                    Ok(pattern) => Typed::test(Test::Fits(Box::new(path), pattern)),
                    Err(error) => self.wrong(pattern, error.to_string(), None),
                }
            }
            _ => match (comparison(name), arguments) {
                (Some(comparison), [a, b]) => {
                    let (left, right) = (self.node(a), self.node(b));
                    let kind = left.kind.present().join(right.kind.present());
                    match kind {
                        Some(
                            Type::Bool
                            | Type::Int
                            | Type::Uint
                            | Type::Double
                            | Type::Text
                            | Type::Bytes
                            | Type::Moment
                            | Type::Span
                            | Type::Version
                            | Type::Unknown,
                        ) => {
                            let sides = Box::new([present(left), present(right)]);
                            Typed::test(Test::Ordered(sides, comparison))
                        }
                        _ => self.mismatch(expr, "are not compared", &left.kind, &right.kind),
                    }
                }
                _ => self.no_function(expr, name, arguments, false),
            },
        }
    }

    /// A function that is called on something.
    pub(super) fn member(
        &mut self,
        expr: &'c IdedExpr,
        target: &'c IdedExpr,
        name: &str,
        arguments: &'c [IdedExpr],
    ) -> Typed {
        match (name, arguments) {
            ("startsWith", [part]) => self.relation(target, part, TextRelation::Starts),
            ("endsWith", [part]) => self.relation(target, part, TextRelation::Ends),
            ("contains", [part]) => self.relation(target, part, TextRelation::Has),
            ("matches", [pattern]) => {
                let text = self.wanted(target, &Type::Text);
                let Some(stated) = self.literal(pattern, "a pattern") else {
                    return Typed::unknown();
                };
                match RegexBuilder::new(stated).size_limit(MAX_PATTERN).build() {
                    Ok(regex) => Typed::test(text_test(text, TextTest::Matches(regex))),
                    Err(error) => {
                        let said = error.to_string();
                        let said = said.lines().last().unwrap_or_default();
                        let said = said.trim_start_matches("error: ");
                        self.wrong(pattern, format!("not a pattern: {said}"), None)
                    }
                }
            }
            ("size", []) => self.size(target),
            ("get", [key, default]) => {
                let map = self.node(target);
                let Type::Map(from, to) = map.kind else {
                    return match map.kind {
                        Type::Unknown => Typed::unknown(),
                        kind => {
                            self.wrong(target, format!("this is {kind}, and must be a map"), None)
                        }
                    };
                };
                let key = self.wanted(key, &from);
                let other = self.node(default);
                let Some(kind) = to.join(&other.kind) else {
                    return self.mismatch(default, "do not fit together", &to, &other.kind);
                };
                Typed::new(kind, Node::Call(Call::Get, Box::new([map.node, key, other.node])))
            }
            _ => self.no_function(expr, name, arguments, true),
        }
    }

    /// All sides of a chain of one logical operator.
    fn flatten(&mut self, expr: &'c IdedExpr, operator: &str, tests: &mut Vec<Test>) {
        match &expr.expr {
            Expr::Call(call) if call.func_name == operator => {
                call.args.iter().for_each(|side| self.flatten(side, operator, tests));
            }
            _ => tests.push(self.test(expr)),
        }
    }

    fn equal(&mut self, expr: &'c IdedExpr, a: &'c IdedExpr, b: &'c IdedExpr) -> Typed {
        let (left, right) = (self.node(a), self.node(b));
        if left.kind.join(&right.kind).is_none() {
            return self.mismatch(expr, "are never equal", &left.kind, &right.kind);
        }
        Typed::test(match (left.node, right.node) {
            (node, Node::Constant(Constant::Text(text)))
            | (Node::Constant(Constant::Text(text)), node) => text_test(node, TextTest::Is(text)),
            (left, right) => Test::Equal(Box::new([left, right])),
        })
    }

    fn within(&mut self, expr: &'c IdedExpr, item: &'c IdedExpr, within: &'c IdedExpr) -> Typed {
        let (wanted, within_typed) = (self.node(item), self.node(within));
        let element = match &within_typed.kind {
            Type::List(element) => element.as_ref().clone(),
            Type::Map(key, _) => key.as_ref().clone(),
            Type::Unknown => Type::Unknown,
            kind => {
                let message = format!("`in` looks into a list or a map, and this is {kind}");
                let hint = "of a text ask `text.contains(part)`".to_owned();
                return self.wrong(within, message, Some(hint));
            }
        };
        if wanted.kind.join(&element).is_none() {
            return self.mismatch(expr, "are never equal", &wanted.kind, &element);
        }
        Typed::test(match (wanted.node, within_typed.node) {
            (node, Node::Constant(Constant::List(items)))
                if wanted.kind.present().is(&Type::Text) =>
            {
                match texts(&items) {
                    Some(texts) => text_test(node, TextTest::OneOf(texts)),
                    None => contains(node, Node::Constant(Constant::List(items))),
                }
            }
            (item, within) => contains(item, within),
        })
    }

    fn relation(
        &mut self,
        target: &'c IdedExpr,
        part: &'c IdedExpr,
        relation: TextRelation,
    ) -> Typed {
        let (text, part) = (self.wanted(target, &Type::Text), self.wanted(part, &Type::Text));
        Typed::test(match part {
            Node::Constant(Constant::Text(part)) => {
                let test = match relation {
                    TextRelation::Starts => TextTest::Starts(part),
                    TextRelation::Ends => TextTest::Ends(part),
                    TextRelation::Has => TextTest::Has(part),
                };
                text_test(text, test)
            }
            part => Test::Texts(Box::new([text, part]), relation),
        })
    }

    fn size(&mut self, of: &'c IdedExpr) -> Typed {
        let typed = self.node(of);
        match typed.kind.present() {
            Type::Text | Type::Bytes | Type::List(_) | Type::Map(_, _) | Type::Unknown => {
                Typed::new(Type::Int, Node::Call(Call::Size, Box::new([present(typed)])))
            }
            kind => {
                let message = format!("{kind} has no size");
                self.wrong(of, message, None)
            }
        }
    }

    fn index(&mut self, of: &'c IdedExpr, at: &'c IdedExpr) -> Typed {
        let typed = self.node(of);
        match typed.kind {
            Type::List(element) => {
                let at = self.wanted(at, &Type::Int);
                Typed::new(*element, Node::Call(Call::Element, Box::new([typed.node, at])))
            }
            Type::Map(from, to) => {
                let key = self.wanted(at, &from);
                Typed::new(*to, Node::Call(Call::Key, Box::new([typed.node, key])))
            }
            Type::Unknown => Typed::unknown(),
            kind => self.wrong(of, format!("{kind} has no elements"), None),
        }
    }

    fn cidr(&mut self, address: &'c IdedExpr, networks: &'c IdedExpr) -> Typed {
        let typed = self.node(address);
        match typed.kind.present() {
            Type::Address | Type::Text | Type::Unknown => {}
            kind => {
                let message = format!("this is {kind}, and must be address or string");
                self.mistake(address, message, None);
            }
        }
        let stated: Vec<&IdedExpr> = match &networks.expr {
            Expr::List(list) => list.elements.iter().collect(),
            _ => vec![networks],
        };
        let mut parsed: Vec<IpNet> = Vec::new();
        for network in stated {
            let Some(text) = self.literal(network, "a network") else { continue };
            let single = || text.parse::<std::net::IpAddr>().ok().map(IpNet::from);
            match text.parse().ok().or_else(single) {
                Some(network) => parsed.push(network),
                None => {
                    let message = format!("`{text}` is not a network");
                    let hint = "write it as `10.0.0.0/8`, `2001:db8::/32` or one address";
                    self.mistake(network, message, Some(hint.into()));
                }
            }
        }
        Typed::test(Test::InNetwork(Box::new(present(typed)), parsed.into()))
    }

    pub(super) fn mismatch(
        &mut self,
        expr: &IdedExpr,
        why: &str,
        left: &Type,
        right: &Type,
    ) -> Typed {
        self.wrong(expr, format!("{left} and {right} {why}"), None)
    }

    fn no_function(
        &mut self,
        expr: &'c IdedExpr,
        name: &str,
        arguments: &'c [IdedExpr],
        member: bool,
    ) -> Typed {
        let _ = (arguments, member);
        let near = nearest(
            name,
            [
                "size",
                "cidr",
                "pathMatch",
                "startsWith",
                "endsWith",
                "contains",
                "matches",
                "get",
                "has",
                "all",
                "exists",
            ],
        );
        let hint = near.map(|near| format!("did you mean `{near}`?"));
        self.wrong(expr, format!("unknown function `{name}`"), hint)
    }
}

fn contains(item: Node, within: Node) -> Test {
    Test::Contains { item: Box::new(item), within: Box::new(within) }
}

/// Texts that are written out, sorted.
fn texts(items: &[Constant]) -> Option<Box<[Box<str>]>> {
    let mut texts = items
        .iter()
        .map(|item| match item {
            Constant::Text(text) => Some(text.clone()),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    texts.sort_unstable();
    texts.dedup();
    Some(texts.into())
}
