//! Evaluation: a walk over the tree, within a budget.
//!
//! Every operation takes a step; whoever looks at a text, a list or a map or makes one pays for its
//! bytes. Both budgets are far above what a rule that people can read takes, and small enough that
//! no request can make one slow. May import `domain` and `policy`.

use std::borrow::Cow;
use std::net::IpAddr;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::domain::clock::Now;

use super::convert;
use super::fault::Fault;
use super::scene::{ClientView, RequestView, Scene};
use super::tree::{
    Comparison, Each, Field, FieldsOf, Node, Quantity, Test, TextRelation, TextTest, Variable,
    by_length,
};
use super::value::{self, Constant, List, Map, Value};

/// Steps that one evaluation may take: about a tenth of a millisecond.
pub const STEP_BUDGET: u32 = 10_000;
/// Bytes of texts, lists and maps that one evaluation may look at and make: 128 KiB, twice what a
/// request head may have.
pub const SIZE_BUDGET: u32 = 131_072;

/// One evaluation.
pub(super) struct Frame<'v> {
    pub(super) scene: &'v Scene<'v>,
    steps: u32,
    bytes: u32,
    locals: SmallVec<[Value<'v>; 2]>,
}

impl<'v> Frame<'v> {
    pub(super) fn new(scene: &'v Scene<'v>) -> Self {
        Self { scene, steps: STEP_BUDGET, bytes: SIZE_BUDGET, locals: SmallVec::new() }
    }

    #[inline]
    pub(super) fn step(&mut self) -> Result<(), Fault> {
        self.steps = self.steps.checked_sub(1).ok_or(Fault::Steps)?;
        Ok(())
    }

    /// Pays for so many bytes.
    pub(super) fn pay(&mut self, bytes: usize) -> Result<(), Fault> {
        let bytes = u32::try_from(bytes).map_err(|_| Fault::Size)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Fault::Size)?;
        Ok(())
    }

    /// Goes through a list, or the keys of a map, with each element as the innermost local, as
    /// long as it is told to.
    pub(super) fn each(
        &mut self,
        over: Value<'v>,
        mut visit: impl FnMut(&mut Self) -> Result<bool, Fault>,
    ) -> Result<(), Fault> {
        let list = match over {
            Value::List(list) => list,
            Value::Map(map) => {
                self.pay(map.cost() + map.len() * size_of::<Value<'_>>())?;
                map.keys()
            }
            _ => return Err(Fault::WrongType("a list")),
        };
        let depth = self.locals.len();
        for at in 0..list.len() {
            self.step()?;
            let Some(item) = list.get(at) else { break };
            self.pay(item.copied())?;
            self.locals.push(item);
            let more = visit(self);
            self.locals.truncate(depth);
            if !more? {
                break;
            }
        }
        Ok(())
    }

    /// A local, counted from the outermost.
    fn local(&self, at: usize) -> Result<Value<'v>, Fault> {
        self.locals.get(at).cloned().ok_or(Fault::WrongType("in scope"))
    }

    /// The innermost local.
    pub(super) fn element(&self) -> Value<'v> {
        self.locals.last().cloned().unwrap_or(Value::Null)
    }

    fn equal(&mut self, a: &Value<'v>, b: &Value<'v>) -> Result<bool, Fault> {
        self.step()?;
        match (a, b) {
            (Value::Null, Value::Null) => Ok(true),
            (Value::Null, _) | (_, Value::Null) => Ok(false),
            (Value::Address(a), Value::Address(b)) => Ok(a.to_canonical() == b.to_canonical()),
            (Value::List(a), Value::List(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                for (a, b) in a.iter().zip(b.iter()) {
                    self.pay(a.copied() + b.copied())?;
                    if !self.equal(&a, &b)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (Value::Map(a), Value::Map(b)) => self.equal_maps(a, b),
            (Value::Text(a), Value::Text(b)) => {
                if a.len() != b.len() {
                    return Ok(false);
                }
                self.pay(a.len())?;
                Ok(a == b)
            }
            _ => Ok(a.order(b)?.is_some_and(std::cmp::Ordering::is_eq)),
        }
    }

    fn equal_maps(&mut self, a: &Map<'v>, b: &Map<'v>) -> Result<bool, Fault> {
        self.pay(a.cost())?;
        self.pay(b.cost())?;
        if a.len() != b.len() {
            return Ok(false);
        }
        for key in a.keys().iter() {
            self.pay(b.cost())?;
            match (a.get(&key), b.get(&key)) {
                (Some(a), Some(b)) => {
                    if !self.equal(&a, &b)? {
                        return Ok(false);
                    }
                }
                (None, _) | (_, None) => return Ok(false),
            }
        }
        Ok(true)
    }

    fn contains(&mut self, item: &Value<'v>, within: &Value<'v>) -> Result<bool, Fault> {
        match within {
            Value::List(list) => {
                for other in list.iter() {
                    self.pay(other.copied())?;
                    if self.equal(item, &other)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(map) => {
                self.pay(map.cost())?;
                Ok(map.has(item))
            }
            _ => Err(Fault::WrongType("a list or a map")),
        }
    }

    fn text_test(&mut self, text: &str, test: &TextTest) -> Result<bool, Fault> {
        // A comparison ends at the first byte that differs; the others look at the whole text.
        Ok(match test {
            TextTest::Is(other) => text == other.as_ref(),
            TextTest::OneOf(others) => {
                others.binary_search_by(|other| by_length(other).cmp(&by_length(text))).is_ok()
            }
            TextTest::Starts(start) => text.starts_with(start.as_ref()),
            TextTest::Ends(end) => text.ends_with(end.as_ref()),
            TextTest::Has(part) => {
                self.pay(text.len())?;
                text.contains(part.as_ref())
            }
            TextTest::Matches(pattern) => {
                self.pay(text.len())?;
                pattern.is_match(text)
            }
        })
    }

    fn quantity(&mut self, each: &'v Each) -> Result<bool, Fault> {
        let over = each.over.value(self)?;
        let (mut decided, mut fault, mut count) = (None, None, 0_u32);
        self.each(over, |frame| {
            match (each.test.holds(frame), each.of) {
                (Ok(false), Quantity::Every) => decided = Some(false),
                (Ok(true), Quantity::Some) => decided = Some(true),
                (Ok(true), Quantity::One) => count += 1,
                (Ok(_), _) => {}
                (Err(error), Quantity::One) => return Err(error),
                (Err(error), _) if error.is_final() => return Err(error),
                (Err(error), Quantity::Every | Quantity::Some) => fault = fault.or(Some(error)),
            }
            Ok(decided.is_none())
        })?;
        match (decided, fault) {
            (Some(decided), _) => Ok(decided),
            (None, Some(fault)) => Err(fault),
            (None, None) => Ok(match each.of {
                Quantity::Every => true,
                Quantity::Some => false,
                Quantity::One => count == 1,
            }),
        }
    }
}

/// The value of an operation on what is written out, which no request has a part in.
///
/// # Errors
/// [`Fault`] if it has none.
pub fn folded(node: &Node) -> Result<Constant, Fault> {
    let (method, headers) = (http::Method::GET, http::HeaderMap::new());
    let request = RequestView {
        id: None,
        method: &method,
        secure: false,
        host: "",
        path: "/",
        query: "",
        headers: &headers,
        size: None,
    };
    let client = ClientView { address: std::net::Ipv4Addr::UNSPECIFIED.into(), country: None };
    let scene = Scene::new(request, client, Now { unix_micros: 0, mono_nanos: 0 });
    node.value(&mut Frame::new(&scene)).map(|value| Constant::of(&value))
}

impl Test {
    /// Whether it holds.
    pub(super) fn holds<'v>(&'v self, frame: &mut Frame<'v>) -> Result<bool, Fault> {
        frame.step()?;
        match self {
            Self::Constant(holds) => Ok(*holds),
            Self::Not(test) => test.holds(frame).map(|holds| !holds),
            Self::All(tests) => decide(tests, false, frame),
            Self::Any(tests) => decide(tests, true, frame),
            Self::Choose(parts) => {
                let [test, this, that] = parts.as_ref();
                if test.holds(frame)? { this.holds(frame) } else { that.holds(frame) }
            }
            Self::Text(variable, test) => match (variable.text(frame.scene), test) {
                (Some(text), _) => frame.text_test(text, test),
                (None, TextTest::Is(_) | TextTest::OneOf(_)) => Ok(false),
                (None, _) => Err(Fault::Absent(variable.name())),
            },
            Self::TextOf(node, test) => match (node.text(frame)?, test) {
                (Some(text), _) => frame.text_test(&text, test),
                (None, TextTest::Is(_) | TextTest::OneOf(_)) => Ok(false),
                (None, _) => Err(Fault::WrongType("a text")),
            },
            Self::Equal(sides) => {
                let [a, b] = sides.as_ref();
                let (a, b) = (a.value(frame)?, b.value(frame)?);
                frame.equal(&a, &b)
            }
            Self::Ordered(sides, comparison) => {
                let [a, b] = sides.as_ref();
                let order = match (a.int(frame.scene), b.int(frame.scene)) {
                    (Some(a), Some(b)) => Some(a.cmp(&b)),
                    (None, _) | (_, None) => {
                        let (a, b) = (a.value(frame)?, b.value(frame)?);
                        frame.pay(a.cost().min(b.cost()))?;
                        a.order(&b)?
                    }
                };
                Ok(order.is_some_and(|order| match comparison {
                    Comparison::Less => order.is_lt(),
                    Comparison::AtMost => order.is_le(),
                    Comparison::Greater => order.is_gt(),
                    Comparison::AtLeast => order.is_ge(),
                }))
            }
            Self::Contains { item, within } => {
                let (item, within) = (item.value(frame)?, within.value(frame)?);
                frame.contains(&item, &within)
            }
            Self::Has(variable) => variable.is_there(frame.scene),
            Self::Texts(sides, relation) => {
                let [a, b] = sides.as_ref();
                let (Some(a), Some(b)) = (a.text(frame)?, b.text(frame)?) else {
                    return Err(Fault::WrongType("a text"));
                };
                frame.pay(a.len() + b.len())?;
                Ok(match relation {
                    TextRelation::Starts => a.starts_with(b.as_ref()),
                    TextRelation::Ends => a.ends_with(b.as_ref()),
                    TextRelation::Has => a.contains(b.as_ref()),
                })
            }
            Self::InNetwork(node, networks) => {
                let address = node.address(frame)?.to_canonical();
                frame.pay(networks.len() * 4)?;
                Ok(networks.iter().any(|network| network.contains(&address)))
            }
            Self::Fits(node, pattern) => {
                let path = node.text(frame)?.ok_or(Fault::WrongType("a text"))?;
                Ok(pattern.matches(&path).is_some())
            }
            Self::IsVersion(node) => {
                let text = node.text(frame)?.ok_or(Fault::WrongType("a text"))?;
                frame.pay(text.len())?;
                Ok(convert::version(&text).is_some())
            }
            Self::During(node, hours) => match node.value(frame)? {
                Value::Moment(moment) => {
                    // Hours before 1970 are of no moment.
                    let seconds = u64::try_from(moment.as_second());
                    Ok(seconds.is_ok_and(|seconds| hours.contain(seconds)))
                }
                _ => Err(Fault::WrongType("a timestamp")),
            },
            Self::Injected(node, injection) => {
                let of = node.value(frame)?;
                injection.is_in(&of, frame)
            }
            Self::Each(each) => frame.quantity(each),
            Self::Node(node) => match node.value(frame)? {
                Value::Bool(holds) => Ok(holds),
                _ => Err(Fault::WrongType("true or false")),
            },
        }
    }
}

/// `&&` and `||`: the first that says `decisive` decides; otherwise a fault is one (CEL, "logical
/// operators").
fn decide<'v>(tests: &'v [Test], decisive: bool, frame: &mut Frame<'v>) -> Result<bool, Fault> {
    let mut fault = None;
    for test in tests {
        match test.holds(frame) {
            Ok(holds) if holds == decisive => return Ok(decisive),
            Ok(_) => {}
            Err(error) if error.is_final() => return Err(error),
            Err(error) => fault = fault.or(Some(error)),
        }
    }
    fault.map_or(Ok(!decisive), Err)
}

impl Field {
    /// Its text, where the field is there.
    fn text<'v>(&self, frame: &mut Frame<'v>) -> Result<Option<Cow<'v, str>>, Fault> {
        let headers = match self.of {
            FieldsOf::Request => Some(frame.scene.request.headers),
            FieldsOf::Response => frame.scene.response.map(|of| of.headers),
        };
        frame.pay(size_of::<Value<'_>>())?;
        let found = headers.zip(self.name.as_ref());
        let found = found.and_then(|(headers, name)| value::field(headers, name));
        if let Some(Cow::Owned(text)) = &found {
            frame.pay(text.len())?;
        }
        Ok(found)
    }
}

/// What rules ask most, without a [`Value`]: to hand one around takes longer than to look at it.
impl Node {
    /// Its value, where that is a text or nothing.
    fn text<'v>(&'v self, frame: &mut Frame<'v>) -> Result<Option<Cow<'v, str>>, Fault> {
        if let Self::Field(field) = self {
            frame.step()?;
            return match (field.text(frame)?, &field.otherwise) {
                (None, Some(otherwise)) => otherwise.text(frame),
                (None, None) => Err(Fault::MissingKey),
                (text, _) => Ok(text),
            };
        }
        match self.value(frame)? {
            Value::Text(text) => Ok(Some(text)),
            Value::Null => Ok(None),
            _ => Err(Fault::WrongType("a text")),
        }
    }

    /// Its value as an address.
    fn address<'v>(&'v self, frame: &mut Frame<'v>) -> Result<IpAddr, Fault> {
        if let Self::Variable(Variable::ClientAddress) = self {
            return Ok(frame.scene.client.address);
        }
        match self.value(frame)? {
            Value::Address(address) => Ok(address),
            Value::Text(text) => text.parse().map_err(|_| Fault::Conversion("an IP address")),
            _ => Err(Fault::WrongType("an address")),
        }
    }

    /// Its value, where that is a whole number that takes no evaluation.
    fn int(&self, scene: &Scene<'_>) -> Option<i64> {
        match self {
            Self::Constant(Constant::Int(number)) => Some(*number),
            Self::Variable(Variable::RequestSize) | Self::Present(Variable::RequestSize) => {
                i64::try_from(scene.request.size?).ok()
            }
            _ => None,
        }
    }
}

impl Node {
    /// Its value.
    pub(super) fn value<'v>(&'v self, frame: &mut Frame<'v>) -> Result<Value<'v>, Fault> {
        frame.step()?;
        match self {
            Self::Constant(constant) => Ok(constant.value()),
            Self::Variable(variable) => variable.value(frame.scene),
            Self::Present(variable) => match variable.value(frame.scene)? {
                Value::Null => Err(Fault::Absent(variable.name())),
                value => Ok(value),
            },
            Self::Test(test) => test.holds(frame).map(Value::Bool),
            Self::Local(at) => {
                let value = frame.local(*at)?;
                frame.pay(value.copied())?;
                Ok(value)
            }
            Self::Choose(parts) => {
                let (test, this, that) = parts.as_ref();
                if test.holds(frame)? { this.value(frame) } else { that.value(frame) }
            }
            Self::List(nodes) => {
                frame.pay(nodes.len() * size_of::<Value<'_>>())?;
                let values: Result<Rc<[_]>, _> =
                    nodes.iter().map(|node| node.value(frame)).collect();
                values.map(|values| Value::List(List::Made(values)))
            }
            Self::Map(entries) => {
                frame.pay(entries.len() * 2 * size_of::<Value<'_>>())?;
                let mut made: Vec<(Value<'v>, Value<'v>)> = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    let (key, value) = (key.value(frame)?, value.value(frame)?);
                    frame.pay(made.len())?;
                    if made.iter().any(|(other, _)| value::same_key(other, &key)) {
                        return Err(Fault::DuplicateKey);
                    }
                    made.push((key, value));
                }
                Ok(Value::Map(Map::Made(made.into())))
            }
            Self::Made(made) => {
                let over = made.over.value(frame)?;
                let mut out: Vec<Value<'v>> = Vec::new();
                frame.each(over, |frame| {
                    if made.filter.as_ref().map_or(Ok(true), |filter| filter.holds(frame))? {
                        frame.pay(size_of::<Value<'_>>())?;
                        let value = match &made.each {
                            Some(each) => each.value(frame)?,
                            None => frame.element(),
                        };
                        out.push(value);
                    }
                    Ok(true)
                })?;
                Ok(Value::List(List::Made(out.into())))
            }
            Self::Part(part) => {
                let of = part.of.value(frame)?;
                part.unit.of(&of, &part.zone)
            }
            Self::Field(field) => match (field.text(frame)?, &field.otherwise) {
                (Some(text), _) => Ok(Value::Text(text)),
                (None, Some(otherwise)) => otherwise.value(frame),
                (None, None) => Err(Fault::MissingKey),
            },
            Self::Call(call, arguments) => call.value(arguments, frame),
        }
    }
}
