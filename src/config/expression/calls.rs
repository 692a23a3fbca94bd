//! Operators and functions: what each takes, and the operation that it is.
//!
//! May import `policy`.

use cel::IdedExpr;
use cel::common::ast::{Expr, operators};
use jiff::tz::TimeZone;
use regex::RegexBuilder;

use crate::config::decode::{nearest, shown};
use crate::policy::expression::Fault;
use crate::policy::expression::arithmetic::Sum;
use crate::policy::expression::call::Call;
use crate::policy::expression::evaluate;
use crate::policy::expression::moment::{Part, Unit};
use crate::policy::expression::tree::{Node, Test, TextRelation, TextTest, by_length};
use crate::policy::expression::value::Constant;

use super::check::{Checker, Typed, comparison, present, text_test};
use super::types::Type;
use super::{functions, gateway};

/// Bytes of a compiled pattern: matching a text takes as many steps as both have bytes, at worst.
const MAX_PATTERN: usize = 256 << 10;

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
            (operators::NEGATE, [of]) => {
                let typed = self.node(of);
                match typed.kind.present().clone() {
                    kind @ (Type::Int | Type::Double | Type::Unknown) => {
                        let node = Node::Call(Call::Negate, Box::new([present(typed)]));
                        Typed::new(kind, folded(node))
                    }
                    kind => self.wrong(of, format!("{kind} has no negative"), None),
                }
            }
            ("size", [of]) => self.size(of),
            ("int", [of]) => self.conversion(
                expr,
                Call::Int,
                Type::Int,
                of,
                &[Type::Int, Type::Uint, Type::Double, Type::Text, Type::Moment],
            ),
            ("uint", [of]) => self.conversion(
                expr,
                Call::Uint,
                Type::Uint,
                of,
                &[Type::Uint, Type::Int, Type::Double, Type::Text],
            ),
            ("double", [of]) => self.conversion(
                expr,
                Call::Double,
                Type::Double,
                of,
                &[Type::Double, Type::Int, Type::Uint, Type::Text],
            ),
            ("string", [of]) => self.conversion(
                expr,
                Call::Text,
                Type::Text,
                of,
                &[
                    Type::Text,
                    Type::Bool,
                    Type::Int,
                    Type::Uint,
                    Type::Double,
                    Type::Bytes,
                    Type::Moment,
                    Type::Span,
                    Type::Address,
                    Type::Version,
                ],
            ),
            ("bytes", [of]) => {
                self.conversion(expr, Call::Bytes, Type::Bytes, of, &[Type::Bytes, Type::Text])
            }
            ("bool", [of]) => {
                self.conversion(expr, Call::Bool, Type::Bool, of, &[Type::Bool, Type::Text])
            }
            ("timestamp", [of]) => self.conversion(
                expr,
                Call::Moment,
                Type::Moment,
                of,
                &[Type::Moment, Type::Text, Type::Int],
            ),
            ("duration", [of]) => {
                self.conversion(expr, Call::Span, Type::Span, of, &[Type::Span, Type::Text])
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
                _ => match (sum_of(name), arguments) {
                    (Some(sum), [a, b]) => self.sum(expr, sum, a, b),
                    _ => match self.gateway(expr, name, arguments) {
                        Some(typed) => typed,
                        None => self.no_function(expr, name, arguments, false),
                    },
                },
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
            ("lower", []) => self.of_text(Call::Lower, Type::Text, target),
            ("trim", []) => self.of_text(Call::Trim, Type::Text, target),
            ("urlDecode", []) => self.of_text(Call::UrlDecode, Type::Text, target),
            ("split", [between]) => {
                let (text, between) =
                    (self.wanted(target, &Type::Text), self.wanted(between, &Type::Text));
                let node = Node::Call(Call::Split, Box::new([text, between]));
                Typed::new(Type::list(Type::Text), node)
            }
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
                Typed::new(kind, Node::entry(map.node, key, Some(other.node)))
            }
            _ => match (Unit::named(name), arguments) {
                (Some(unit), [] | [_]) => self.part(target, unit, arguments.first()),
                _ => self.no_function(expr, name, arguments, true),
            },
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
            (Node::Variable(variable), Node::Constant(Constant::Null))
            | (Node::Constant(Constant::Null), Node::Variable(variable)) => {
                Test::Not(Box::new(Test::Has(variable)))
            }
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
                Typed::new(*to, Node::entry(typed.node, key, None))
            }
            Type::Unknown => Typed::unknown(),
            kind => self.wrong(of, format!("{kind} has no elements"), None),
        }
    }

    /// A function that takes one value of these types. What is written out is converted now.
    pub(super) fn conversion(
        &mut self,
        expr: &'c IdedExpr,
        call: Call,
        kind: Type,
        of: &'c IdedExpr,
        takes: &[Type],
    ) -> Typed {
        let typed = self.node(of);
        let from = typed.kind.present();
        if !takes.iter().any(|wanted| from.is(wanted)) {
            let takes: Vec<String> = takes.iter().map(Type::to_string).collect();
            let hint = format!("it takes {}", takes.join(", "));
            return self.wrong(of, format!("{from} cannot become {kind}"), Some(hint));
        }
        let constant = matches!(typed.node, Node::Constant(Constant::Text(_)));
        let node = Node::Call(call, Box::new([present(typed)]));
        match evaluate::folded(&node) {
            Err(fault @ Fault::Conversion(_)) if constant => {
                let text = self.literal(of, "it").unwrap_or_default();
                let fault = fault.to_string().replace("a text is", "is");
                self.wrong(expr, format!("`{}` {fault}", shown(text)), None)
            }
            _ => Typed::new(kind, folded(node)),
        }
    }

    fn sum(&mut self, expr: &'c IdedExpr, sum: Sum, a: &'c IdedExpr, b: &'c IdedExpr) -> Typed {
        let (left, right) = (self.node(a), self.node(b));
        let kind = match (left.kind.present(), sum, right.kind.present()) {
            (Type::Unknown, _, _) | (_, _, Type::Unknown) => Some(Type::Unknown),
            (Type::Int, _, Type::Int) => Some(Type::Int),
            (Type::Uint, _, Type::Uint) => Some(Type::Uint),
            (
                Type::Double,
                Sum::Add | Sum::Subtract | Sum::Multiply | Sum::Divide,
                Type::Double,
            ) => Some(Type::Double),
            (Type::Text, Sum::Add, Type::Text) => Some(Type::Text),
            (Type::Bytes, Sum::Add, Type::Bytes) => Some(Type::Bytes),
            (Type::List(a), Sum::Add, Type::List(b)) => a.join(b).map(Type::list),
            (Type::Moment, Sum::Add | Sum::Subtract, Type::Span)
            | (Type::Span, Sum::Add, Type::Moment) => Some(Type::Moment),
            (Type::Moment, Sum::Subtract, Type::Moment)
            | (Type::Span, Sum::Add | Sum::Subtract, Type::Span) => Some(Type::Span),
            _ => None,
        };
        let Some(kind) = kind else {
            let why = match sum {
                Sum::Add => "are not added",
                Sum::Subtract => "are not subtracted",
                Sum::Multiply => "are not multiplied",
                Sum::Divide | Sum::Remainder => "are not divided",
            };
            return self.mismatch(expr, why, &left.kind, &right.kind);
        };
        let node = Node::Call(Call::Sum(sum), Box::new([present(left), present(right)]));
        Typed::new(kind, folded(node))
    }

    fn part(&mut self, of: &'c IdedExpr, unit: Unit, place: Option<&'c IdedExpr>) -> Typed {
        let typed = self.node(of);
        let fits = match typed.kind.present() {
            Type::Moment | Type::Unknown => true,
            Type::Span => unit.of_durations() && place.is_none(),
            _ => false,
        };
        if !fits {
            return self.wrong(of, format!("{} has no such part", typed.kind), None);
        }
        let mut zone = TimeZone::UTC;
        if let Some(place) = place {
            let Some(text) = self.literal(place, "a time zone") else { return Typed::unknown() };
            match gateway::zone(text) {
                Some(known) => zone = known,
                None => {
                    let hint = "write its name in the IANA database, or an offset as `+02:00`";
                    let message = format!("`{text}` is not a time zone");
                    return self.wrong(place, message, Some(hint.into()));
                }
            }
        }
        let part = Part { of: present(typed), unit, zone };
        Typed::new(Type::Int, Node::Part(Box::new(part)))
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
        // What is wrong with the arguments is said as well.
        arguments.iter().for_each(|argument| drop(self.node(argument)));
        let Some(known) = functions::named(name) else {
            let near = nearest(name, functions::FUNCTIONS.iter().map(|function| function.name));
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            return self.wrong(expr, format!("unknown function `{name}`"), hint);
        };
        let message = match known.member == member {
            true => format!("`{name}` does not take {} arguments", arguments.len()),
            false => format!("`{name}` is not called like that"),
        };
        self.wrong(expr, message, Some(format!("it is `{}`", known.signature)))
    }
}

/// An operation on what is written out, done once.
fn folded(node: Node) -> Node {
    let fixed = match &node {
        Node::Call(_, arguments) => {
            arguments.iter().all(|argument| matches!(argument, Node::Constant(_)))
        }
        _ => false,
    };
    match fixed.then(|| evaluate::folded(&node)) {
        Some(Ok(constant)) => Node::Constant(constant),
        Some(Err(_)) | None => node,
    }
}

fn sum_of(operator: &str) -> Option<Sum> {
    Some(match operator {
        operators::ADD => Sum::Add,
        operators::SUBSTRACT => Sum::Subtract,
        operators::MULTIPLY => Sum::Multiply,
        operators::DIVIDE => Sum::Divide,
        operators::MODULO => Sum::Remainder,
        _ => return None,
    })
}

fn contains(item: Node, within: Node) -> Test {
    Test::Contains { item: Box::new(item), within: Box::new(within) }
}

/// Texts that are written out, sorted by length.
fn texts(items: &[Constant]) -> Option<Box<[Box<str>]>> {
    let mut texts = items
        .iter()
        .map(|item| match item {
            Constant::Text(text) => Some(text.clone()),
            _ => None,
        })
        .collect::<Option<Vec<_>>>()?;
    texts.sort_unstable_by(|a, b| by_length(a).cmp(&by_length(b)));
    texts.dedup();
    Some(texts.into())
}
