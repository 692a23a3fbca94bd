//! The operations of a compiled expression. `config` makes them, with types that fit: an operation
//! never meets a value of another type than its place has.
//!
//! What is asked most (a text of the request against a text that is written out) is an operation
//! of its own and copies nothing. May import `domain` and `policy`.

use http::HeaderName;
use ipnet::IpNet;
use regex::Regex;

use crate::policy::condition::Hours;
use crate::policy::path::PathPattern;

use super::call::Call;
use super::moment::Part;
use super::text::Injection;
use super::value::Constant;

/// Something that holds or does not.
#[derive(Debug)]
pub enum Test {
    /// Always, or never.
    Constant(bool),
    /// `!`.
    Not(Box<Test>),
    /// `&&`: one that does not hold decides, whatever the others fault with.
    All(Box<[Test]>),
    /// `||`: one that holds decides, whatever the others fault with.
    Any(Box<[Test]>),
    /// `test ? this : that`.
    Choose(Box<[Test; 3]>),
    /// Of a text of the request.
    Text(TextVariable, TextTest),
    /// Of any text.
    TextOf(Box<Node>, TextTest),
    /// `==`.
    Equal(Box<[Node; 2]>),
    /// `<`, `<=`, `>`, `>=`.
    Ordered(Box<[Node; 2]>, Comparison),
    /// `in`, over a list or a map.
    Contains {
        /// What is looked for.
        item: Box<Node>,
        /// Where.
        within: Box<Node>,
    },
    /// `has(variable)`: it is not null, or not empty.
    Has(Variable),
    /// Whether two texts stand in this relation.
    Texts(Box<[Node; 2]>, TextRelation),
    /// An address, or the text of one, is in one of these networks.
    InNetwork(Box<Node>, Box<[IpNet]>),
    /// A path fits a pattern.
    Fits(Box<Node>, PathPattern),
    /// A text is a version.
    IsVersion(Box<Node>),
    /// A moment is in these hours.
    During(Box<Node>, Box<Hours>),
    /// A text, or any in a list or a map, looks like an injection.
    Injected(Box<Node>, Injection),
    /// `all`, `exists`, `exists_one` over a list, or the keys of a map.
    Each(Box<Each>),
    /// A node whose value is a truth value.
    Node(Box<Node>),
}

/// A test over the elements of a list.
#[derive(Debug)]
pub struct Each {
    /// How many elements it has to hold for.
    pub of: Quantity,
    /// The list, or the map.
    pub over: Node,
    /// The test; the element is its innermost local.
    pub test: Test,
}

/// How many elements a test has to hold for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// `all`.
    Every,
    /// `exists`.
    Some,
    /// `exists_one`.
    One,
}

/// What is asked of a text.
#[derive(Debug)]
pub enum TextTest {
    /// It is this one.
    Is(Box<str>),
    /// It is one of these; sorted [`by_length`].
    OneOf(Box<[Box<str>]>),
    /// It begins with this.
    Starts(Box<str>),
    /// It ends with this.
    Ends(Box<str>),
    /// This is in it.
    Has(Box<str>),
    /// The pattern matches somewhere in it, in linear time.
    Matches(Regex),
}

/// The order of texts in which most are told apart without being read.
pub fn by_length(text: &str) -> (usize, &str) {
    (text.len(), text)
}

/// How two texts relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextRelation {
    /// The first begins with the second.
    Starts,
    /// The first ends with the second.
    Ends,
    /// The second is in the first.
    Has,
}

/// Which orders an ordering admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `<`.
    Less,
    /// `<=`.
    AtMost,
    /// `>`.
    Greater,
    /// `>=`.
    AtLeast,
}

/// Something with a value.
#[derive(Debug)]
pub enum Node {
    /// Written out.
    Constant(Constant),
    /// A variable, null where it is absent.
    Variable(Variable),
    /// A variable that must be there.
    Present(Variable),
    /// What a test says.
    Test(Box<Test>),
    /// The element of the list that is gone through, counted from the outermost.
    Local(usize),
    /// `test ? this : that`.
    Choose(Box<(Test, Node, Node)>),
    /// `[a, b]`.
    List(Box<[Node]>),
    /// `{a: b}`.
    Map(Box<[(Node, Node)]>),
    /// `filter`, `map`.
    Made(Box<Made>),
    /// A part of a moment.
    Part(Box<Part>),
    /// A header field whose name is written out.
    Field(Box<Field>),
    /// An operator or a function.
    Call(Call, Box<[Node]>),
}

/// A header field whose name is written out, so that it is parsed once.
#[derive(Debug)]
pub struct Field {
    /// Whose fields.
    pub of: FieldsOf,
    /// Its name; `None` if no field can have it.
    pub name: Option<HeaderName>,
    /// What stands for one that is absent; a fault where `None`.
    pub otherwise: Option<Node>,
}

/// Whose header fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldsOf {
    /// Those of the request.
    Request,
    /// Those of the answer.
    Response,
}

/// A list that is made of another, or of the keys of a map.
#[derive(Debug)]
pub struct Made {
    /// The list, or the map.
    pub over: Node,
    /// Which elements; all where `None`. The element is its innermost local.
    pub filter: Option<Test>,
    /// What is made of each; the element itself where `None`.
    pub each: Option<Node>,
}

/// A variable whose values are borrowed texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextVariable {
    /// `request.id`.
    RequestId,
    /// `request.method`.
    Method,
    /// `request.scheme`.
    Scheme,
    /// `request.host`.
    Host,
    /// `request.path`.
    Path,
    /// `request.query`.
    Query,
    /// `client.country`.
    Country,
    /// `route`.
    Route,
    /// `principal.kind`.
    PrincipalKind,
    /// `principal.id`.
    PrincipalId,
    /// `principal.role`.
    PrincipalRole,
    /// `principal.aal`.
    Assurance,
    /// `organization.slug`.
    OrganizationSlug,
    /// `organization.plan`.
    OrganizationPlan,
    /// `organization.status`.
    OrganizationStatus,
    /// `organization.stage`.
    OrganizationStage,
    /// `membership.role`.
    MemberRole,
    /// `membership.team`.
    MemberTeam,
    /// `membership.stage`.
    MemberStage,
}

/// A variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// One that is a text.
    Text(TextVariable),
    /// `request.headers`.
    RequestHeaders,
    /// `request.params`.
    RequestParams,
    /// `request.size`.
    RequestSize,
    /// `client.address`.
    ClientAddress,
    /// `now`.
    Now,
    /// `tags`.
    Tags,
    /// `principal.session_age`.
    SessionAge,
    /// `principal.factor_age`.
    FactorAge,
    /// `organization.id`.
    OrganizationId,
    /// `organization.features`.
    OrganizationFeatures,
    /// `membership.roles`.
    MemberRoles,
    /// `membership.teams`.
    MemberTeams,
    /// `response.status`.
    ResponseStatus,
    /// `response.headers`.
    ResponseHeaders,
    /// `response.took`.
    ResponseTook,
}

impl Node {
    /// The value of a key of a map, and what stands for one that is absent.
    pub fn entry(of: Self, key: Self, otherwise: Option<Self>) -> Self {
        let fields = match of {
            Self::Variable(Variable::RequestHeaders) => Some(FieldsOf::Request),
            Self::Variable(Variable::ResponseHeaders) => Some(FieldsOf::Response),
            _ => None,
        };
        match (fields, key, otherwise) {
            (Some(of), Self::Constant(Constant::Text(name)), otherwise) => {
                let name = HeaderName::from_bytes(name.as_bytes()).ok();
                Self::Field(Box::new(Field { of, name, otherwise }))
            }
            (_, key, Some(other)) => Self::Call(Call::Get, Box::new([of, key, other])),
            (_, key, None) => Self::Call(Call::Key, Box::new([of, key])),
        }
    }

    /// Whether it is the path of the request.
    pub(super) fn is_path(&self) -> bool {
        matches!(
            self,
            Self::Variable(Variable::Text(TextVariable::Path))
                | Self::Present(Variable::Text(TextVariable::Path))
        )
    }
}

impl TextVariable {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestId => "request.id",
            Self::Method => "request.method",
            Self::Scheme => "request.scheme",
            Self::Host => "request.host",
            Self::Path => "request.path",
            Self::Query => "request.query",
            Self::Country => "client.country",
            Self::Route => "route",
            Self::PrincipalKind => "principal.kind",
            Self::PrincipalId => "principal.id",
            Self::PrincipalRole => "principal.role",
            Self::Assurance => "principal.aal",
            Self::OrganizationSlug => "organization.slug",
            Self::OrganizationPlan => "organization.plan",
            Self::OrganizationStatus => "organization.status",
            Self::OrganizationStage => "organization.stage",
            Self::MemberRole => "membership.role",
            Self::MemberTeam => "membership.team",
            Self::MemberStage => "membership.stage",
        }
    }
}

impl Variable {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text(text) => text.name(),
            Self::RequestHeaders => "request.headers",
            Self::RequestParams => "request.params",
            Self::RequestSize => "request.size",
            Self::ClientAddress => "client.address",
            Self::Now => "now",
            Self::Tags => "tags",
            Self::SessionAge => "principal.session_age",
            Self::FactorAge => "principal.factor_age",
            Self::OrganizationId => "organization.id",
            Self::OrganizationFeatures => "organization.features",
            Self::MemberRoles => "membership.roles",
            Self::MemberTeams => "membership.teams",
            Self::ResponseStatus => "response.status",
            Self::ResponseHeaders => "response.headers",
            Self::ResponseTook => "response.took",
        }
    }
}
