//! Gives every part of a syntax tree a type and makes the operations that are evaluated.
//!
//! One walk: what has a mistake in it gets the type that is not known, so that one mistake does not
//! make others. May import `policy`.

use std::ops::Range;

use cel::IdedExpr;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, LiteralValue, SourceInfo, operators};

use crate::config::decode::nearest;
use crate::policy::expression::Phase;
use crate::policy::expression::tree::{
    Comparison, Each, Made, Node, Quantity, Test, TextTest, Variable,
};
use crate::policy::expression::value::Constant;

use super::Mistake;
use super::types::Type;
use super::variables;

/// Operations in operations; evaluation recurses as deep.
const MAX_DEPTH: usize = 96;
/// Comprehensions in comprehensions.
const MAX_LOCALS: usize = 3;

/// The test that an expression is.
pub(super) fn condition(
    text: &str,
    phase: Phase,
    tree: &IdedExpr,
    places: &SourceInfo,
) -> Result<Test, Vec<Mistake>> {
    let mut checker =
        Checker { text, phase, places, mistakes: Vec::new(), locals: Vec::new(), depth: 0 };
    let test = checker.test(tree);
    checker.mistakes.sort_by_key(|mistake| mistake.range.start);
    checker.mistakes.dedup();
    if checker.mistakes.is_empty() { Ok(test) } else { Err(checker.mistakes) }
}

/// A part of the expression with its type.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) kind: Type,
    pub(super) node: Node,
}

impl Typed {
    pub(super) fn new(kind: Type, node: Node) -> Self {
        Self { kind, node }
    }

    pub(super) fn test(test: Test) -> Self {
        Self::new(Type::Bool, Node::Test(Box::new(test)))
    }

    /// In place of what has a mistake in it.
    pub(super) fn unknown() -> Self {
        Self::new(Type::Unknown, Node::Constant(Constant::Null))
    }
}

pub(super) struct Checker<'c> {
    pub(super) text: &'c str,
    phase: Phase,
    places: &'c SourceInfo,
    mistakes: Vec<Mistake>,
    locals: Vec<(&'c str, Type)>,
    depth: usize,
}

impl<'c> Checker<'c> {
    /// What holds or does not.
    pub(super) fn test(&mut self, expr: &'c IdedExpr) -> Test {
        let typed = self.node(expr);
        match (typed.kind, typed.node) {
            (Type::Bool, Node::Test(test)) => *test,
            (Type::Bool, Node::Constant(Constant::Bool(holds))) => Test::Constant(holds),
            (Type::Bool, node) => Test::Node(Box::new(node)),
            (Type::Unknown, _) => Test::Constant(false),
            (kind, _) => {
                self.mistake(expr, format!("this is {kind}, and must be bool"), None);
                Test::Constant(false)
            }
        }
    }

    /// What has a value.
    pub(super) fn node(&mut self, expr: &'c IdedExpr) -> Typed {
        if self.depth == MAX_DEPTH {
            self.mistake(
                expr,
                "the expression is nested too deeply",
                Some("split it into several rules".into()),
            );
            return Typed::unknown();
        }
        self.depth += 1;
        let typed = self.typed(expr);
        self.depth -= 1;
        typed
    }

    fn typed(&mut self, expr: &'c IdedExpr) -> Typed {
        match &expr.expr {
            Expr::Literal(literal) => literal_of(literal),
            Expr::Ident(name) => self.named(expr, name),
            Expr::Select(select) => {
                if let Expr::Ident(record) = &select.operand.expr
                    && !self.is_local(record)
                    && variables::fields(record).next().is_some()
                {
                    return self.field(expr, record, &select.field, select.test);
                }
                let of = self.node(&select.operand);
                self.entry(expr, of, &select.field, select.test)
            }
            Expr::Call(call) => match &call.target {
                Some(target) => self.member(expr, target, &call.func_name, &call.args),
                None => self.global(expr, &call.func_name, &call.args),
            },
            Expr::List(list) if list.optional_indices.is_empty() => self.list(&list.elements),
            Expr::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) if !entry.optional => {
                            entries.push((&entry.key, &entry.value));
                        }
                        EntryExpr::MapEntry(_) | EntryExpr::StructField(_) => {
                            return self.wrong(expr, "optional entries are not part of it", None);
                        }
                    }
                }
                self.map(expr, &entries)
            }
            Expr::Comprehension(comprehension) => self.comprehension(expr, comprehension),
            Expr::Struct(of) => {
                let message = format!("there is no message type `{}`", of.type_name);
                self.wrong(expr, message, None)
            }
            Expr::List(_) => self.wrong(expr, "optional elements are not part of it", None),
            Expr::Unspecified => self.wrong(expr, "something is missing here", None),
        }
    }

    fn is_local(&self, name: &str) -> bool {
        self.locals.iter().any(|(local, _)| *local == name)
    }

    fn named(&mut self, expr: &'c IdedExpr, name: &str) -> Typed {
        if let Some(at) = self.locals.iter().rposition(|(local, _)| *local == name) {
            let kind = self.locals.get(at).map_or(Type::Unknown, |(_, kind)| kind.clone());
            return Typed::new(kind, Node::Local(at));
        }
        if let Some(known) = variables::named(name) {
            return self.variable(expr, known);
        }
        let mut fields = variables::fields(name);
        if let Some(first) = fields.next() {
            let message = format!("`{name}` has fields and is no value by itself");
            return self.wrong(expr, message, Some(format!("write `{name}.{first}`")));
        }
        let mut names: Vec<&str> = variables::roots().collect();
        names.extend(self.locals.iter().map(|(local, _)| *local));
        let near = nearest(name, names);
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "texts are written in quotes".into(),
        };
        self.wrong(expr, format!("unknown variable `{name}`"), Some(hint))
    }

    fn variable(&mut self, expr: &'c IdedExpr, known: &variables::Known) -> Typed {
        if known.since > self.phase {
            let name = known.variable.name();
            let message = format!("`{name}` is not known in phase `{}`", self.phase);
            return self.wrong(
                expr,
                message,
                Some(format!("it is from phase `{}` on", known.since)),
            );
        }
        Typed::new(known.kind.of(), Node::Variable(known.variable))
    }

    fn field(&mut self, expr: &'c IdedExpr, record: &str, field: &str, has: bool) -> Typed {
        let name = format!("{record}.{field}");
        let Some(known) = variables::named(&name) else {
            let near = nearest(field, variables::fields(record));
            let hint = match near {
                Some(near) => format!("did you mean `{record}.{near}`?"),
                None => {
                    let all: Vec<String> =
                        variables::fields(record).map(|field| format!("`{field}`")).collect();
                    format!("it has {}", all.join(", "))
                }
            };
            return self.wrong(expr, format!("`{record}` has no field `{field}`"), Some(hint));
        };
        let typed = self.variable(expr, known);
        match (has, &typed.node) {
            (true, Node::Variable(variable)) => Typed::test(Test::Has(*variable)),
            _ => typed,
        }
    }

    /// `map.key`.
    fn entry(&mut self, expr: &'c IdedExpr, of: Typed, key: &str, has: bool) -> Typed {
        match of.kind {
            Type::Map(from, to) if from.is(&Type::Text) => {
                let key = Node::Constant(Constant::Text(key.into()));
                if has {
                    let (item, within) = (Box::new(key), Box::new(of.node));
                    return Typed::test(Test::Contains { item, within });
                }
                Typed::new(*to, Node::entry(of.node, key, None))
            }
            Type::Unknown => Typed::unknown(),
            kind => {
                let hint = format!("only maps have keys; functions are called, as in `{key}()`");
                self.wrong(expr, format!("{kind} has no field `{key}`"), Some(hint))
            }
        }
    }

    fn list(&mut self, elements: &'c [IdedExpr]) -> Typed {
        let mut kind = Type::Unknown;
        let mut nodes = Vec::with_capacity(elements.len());
        for element in elements {
            let typed = self.node(element);
            match kind.join(&typed.kind) {
                Some(joined) => kind = joined,
                None => {
                    let message = format!("a list of {kind} has an element of {}", typed.kind);
                    let hint = "the elements of a list are of one type".to_owned();
                    self.mistake(element, message, Some(hint));
                }
            }
            nodes.push(typed.node);
        }
        let node = match constants(&nodes) {
            Some(constants) => Node::Constant(Constant::List(constants)),
            None => Node::List(nodes.into()),
        };
        Typed::new(Type::list(kind), node)
    }

    fn map(&mut self, expr: &'c IdedExpr, entries: &[(&'c IdedExpr, &'c IdedExpr)]) -> Typed {
        let (mut from, mut to) = (Type::Unknown, Type::Unknown);
        let mut nodes = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let (typed_key, typed_value) = (self.node(key), self.node(value));
            match typed_key.kind {
                Type::Bool | Type::Int | Type::Uint | Type::Text | Type::Unknown => {}
                ref kind => {
                    let message = format!("{kind} cannot be a key");
                    self.mistake(key, message, Some("keys are string, int, uint or bool".into()));
                }
            }
            let joined = from.join(&typed_key.kind).zip(to.join(&typed_value.kind));
            match joined {
                Some((key, value)) => (from, to) = (key, value),
                None => {
                    let message = format!(
                        "a map of {from} to {to} has an entry of {} to {}",
                        typed_key.kind, typed_value.kind
                    );
                    self.mistake(
                        expr,
                        message,
                        Some("the entries of a map are of one type".into()),
                    );
                }
            }
            nodes.push((typed_key.node, typed_value.node));
        }
        Typed::new(Type::map(from, to), Node::Map(nodes.into()))
    }

    /// The macros, read back from what the parser makes of them.
    fn comprehension(&mut self, expr: &'c IdedExpr, of: &'c ComprehensionExpr) -> Typed {
        let over = self.node(&of.iter_range);
        let element = match over.kind {
            Type::List(element) => *element,
            Type::Map(key, _) => *key,
            Type::Unknown => Type::Unknown,
            kind => {
                self.mistake(&of.iter_range, format!("{kind} has no elements"), None);
                Type::Unknown
            }
        };
        if self.locals.len() == MAX_LOCALS {
            let message = format!("more than {MAX_LOCALS} loops in one another");
            return self.wrong(expr, message, None);
        }
        if variables::roots().any(|root| root == of.iter_var) {
            let message = format!("`{}` is a variable already", of.iter_var);
            self.mistake(expr, message, Some("choose another name".into()));
        }
        self.locals.push((&of.iter_var, element.clone()));
        let typed = self.each(expr, of, over.node, element);
        self.locals.pop();
        typed
    }

    fn each(
        &mut self,
        expr: &'c IdedExpr,
        of: &'c ComprehensionExpr,
        over: Node,
        element: Type,
    ) -> Typed {
        let Expr::Call(step) = &of.loop_step.expr else {
            return self.wrong(expr, "this loop is not part of it", None);
        };
        let quantity = match (&of.accu_init.expr, step.func_name.as_str(), step.args.as_slice()) {
            (_, operators::LOGICAL_AND, [_, test]) => Some((Quantity::Every, test)),
            (_, operators::LOGICAL_OR, [_, test]) => Some((Quantity::Some, test)),
            (Expr::Literal(_), operators::CONDITIONAL, [test, _, _]) => Some((Quantity::One, test)),
            _ => None,
        };
        if let Some((of, test)) = quantity {
            let test = self.test(test);
            return Typed::test(Test::Each(Box::new(Each { of, over, test })));
        }
        let (filter, add) = match (step.func_name.as_str(), step.args.as_slice()) {
            (operators::CONDITIONAL, [filter, add, _]) => (Some(filter), &add.expr),
            (_, _) => (None, &of.loop_step.expr),
        };
        let Expr::Call(add) = add else {
            return self.wrong(expr, "this loop is not part of it", None);
        };
        let Some(Expr::List(list)) = add.args.get(1).map(|made| &made.expr) else {
            return self.wrong(expr, "this loop is not part of it", None);
        };
        let Some(each) = list.elements.first() else {
            return self.wrong(expr, "this loop is not part of it", None);
        };
        let filter = filter.map(|filter| self.test(filter));
        let itself = matches!(&each.expr, Expr::Ident(name) if *name == of.iter_var);
        let (kind, each) = match itself {
            true => (element, None),
            false => {
                let typed = self.node(each);
                (typed.kind, Some(typed.node))
            }
        };
        Typed::new(Type::list(kind), Node::Made(Box::new(Made { over, filter, each })))
    }

    /// A value that must be of that type, and there.
    pub(super) fn wanted(&mut self, expr: &'c IdedExpr, wanted: &Type) -> Node {
        let typed = self.node(expr);
        if !typed.kind.present().is(wanted) {
            self.mistake(expr, format!("this is {}, and must be {wanted}", typed.kind), None);
        }
        present(typed)
    }

    /// A text that is written out.
    pub(super) fn literal(&mut self, expr: &'c IdedExpr, what: &str) -> Option<&'c str> {
        match &expr.expr {
            Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
            _ => {
                let message = format!("{what} must be written out");
                let hint = "it is compiled when the policy is loaded".to_owned();
                self.mistake(expr, message, Some(hint));
                None
            }
        }
    }

    pub(super) fn mistake(
        &mut self,
        expr: &IdedExpr,
        message: impl Into<String>,
        hint: Option<String>,
    ) {
        let range = self.extent(expr);
        let message = message.into();
        self.mistakes.push(Mistake { range, message, hint });
    }

    pub(super) fn wrong(
        &mut self,
        expr: &IdedExpr,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Typed {
        self.mistake(expr, message, hint);
        Typed::unknown()
    }

    /// From where to where a part of the expression goes.
    fn extent(&self, expr: &IdedExpr) -> Range<usize> {
        let mut range = self.token(expr.id);
        let mut add = |inner: &IdedExpr| {
            let inner = self.extent(inner);
            if !inner.is_empty() {
                range = match range.is_empty() {
                    true => inner,
                    false => range.start.min(inner.start)..range.end.max(inner.end),
                };
            }
        };
        match &expr.expr {
            Expr::Call(call) => {
                call.target.iter().for_each(|target| add(target));
                call.args.iter().for_each(&mut add);
                let open = self.text.get(self.token(expr.id)).unwrap_or_default();
                if open == "(" {
                    range.start = range.start.min(self.name_before(self.token(expr.id).start));
                    range.end = self.closing(range.end, ')');
                } else if open == "[" {
                    range.end = self.closing(range.end, ']');
                }
            }
            Expr::Select(select) => {
                add(&select.operand);
                let rest = self.text.get(range.end..).unwrap_or_default();
                let field = rest.find(select.field.as_str()).unwrap_or(0);
                range.end = (range.end + field + select.field.len()).min(self.text.len());
            }
            Expr::List(list) => {
                list.elements.iter().for_each(&mut add);
                range.end = self.closing(range.end, ']');
            }
            Expr::Comprehension(of) => add(&of.iter_range),
            Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Ident(_)
            | Expr::Literal(_)
            | Expr::Unspecified => {}
        }
        range
    }

    /// Where the function's name before a bracket begins.
    fn name_before(&self, bracket: usize) -> usize {
        let before = self.text.get(..bracket).unwrap_or_default().trim_end();
        before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len()
    }

    /// Behind the closing bracket, where it follows.
    fn closing(&self, from: usize, bracket: char) -> usize {
        let rest = self.text.get(from..).unwrap_or_default();
        let trimmed = rest.trim_start();
        match trimmed.starts_with(bracket) {
            true => from + (rest.len() - trimmed.len()) + 1,
            false => from,
        }
    }

    /// The token that the parser names for a part.
    fn token(&self, id: u64) -> Range<usize> {
        let Some((start, last)) = self.places.offset_for(id) else { return 0..0 };
        let place = |at: u32| {
            let at = usize::try_from(at).unwrap_or(usize::MAX).min(self.text.len());
            // The last byte of a token may be within a character.
            (at..self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(at)
        };
        let start = place(start);
        start..place(last.saturating_add(1)).max(start)
    }
}

/// A value that must not be absent.
pub(super) fn present(typed: Typed) -> Node {
    match (typed.kind, typed.node) {
        (Type::Nullable(_), Node::Variable(variable)) => Node::Present(variable),
        (_, node) => node,
    }
}

fn literal_of(literal: &LiteralValue) -> Typed {
    let (kind, constant) = match literal {
        LiteralValue::Boolean(value) => {
            return Typed::test(Test::Constant(*value.inner()));
        }
        LiteralValue::Bytes(bytes) => (Type::Bytes, Constant::Bytes(bytes.inner().into())),
        LiteralValue::Double(value) => (Type::Double, Constant::Double(*value.inner())),
        LiteralValue::Int(value) => (Type::Int, Constant::Int(*value.inner())),
        LiteralValue::Null => (Type::Null, Constant::Null),
        LiteralValue::String(text) => (Type::Text, Constant::Text(text.inner().into())),
        LiteralValue::UInt(value) => (Type::Uint, Constant::Uint(*value.inner())),
    };
    Typed::new(kind, Node::Constant(constant))
}

/// The constants, if all are.
fn constants(nodes: &[Node]) -> Option<Box<[Constant]>> {
    nodes
        .iter()
        .map(|node| match node {
            Node::Constant(constant) => Some(constant.clone()),
            Node::Test(test) => match test.as_ref() {
                Test::Constant(holds) => Some(Constant::Bool(*holds)),
                _ => None,
            },
            _ => None,
        })
        .collect()
}

/// A test of a text against what is written out: of a variable, or of anything.
pub(super) fn text_test(node: Node, test: TextTest) -> Test {
    match node {
        Node::Variable(Variable::Text(text)) | Node::Present(Variable::Text(text)) => {
            Test::Text(text, test)
        }
        node => Test::TextOf(Box::new(node), test),
    }
}

/// `a < b` and its like.
pub(super) fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        operators::LESS => Comparison::Less,
        operators::LESS_EQUALS => Comparison::AtMost,
        operators::GREATER => Comparison::Greater,
        operators::GREATER_EQUALS => Comparison::AtLeast,
        _ => return None,
    })
}
