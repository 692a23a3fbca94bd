//! The variables of expressions: one table, from which they are looked up, and their reference is
//! printed.
//!
//! May import `policy`.

use crate::policy::expression::Phase;
use crate::policy::expression::tree::{TextVariable as Text, Variable};

use super::types::Type;

/// A variable.
pub(super) struct Known {
    pub(super) variable: Variable,
    pub(super) kind: Kind,
    /// From which phase on it is there.
    pub(super) since: Phase,
    pub(super) about: &'static str,
}

/// The type of a variable; types themselves are no constants.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    TextOrNull,
    IntOrNull,
    SpanOrNull,
    Moment,
    Address,
    Texts,
    TextMap,
    Params,
    Features,
}

impl Kind {
    pub(super) fn of(self) -> Type {
        match self {
            Self::Text => Type::Text,
            Self::TextOrNull => Type::nullable(Type::Text),
            Self::IntOrNull => Type::nullable(Type::Int),
            Self::SpanOrNull => Type::nullable(Type::Span),
            Self::Moment => Type::Moment,
            Self::Address => Type::Address,
            Self::Texts => Type::list(Type::Text),
            Self::TextMap => Type::map(Type::Text, Type::Text),
            Self::Params => Type::map(Type::Text, Type::list(Type::Text)),
            Self::Features => Type::map(Type::Text, Type::map(Type::Text, Type::Text)),
        }
    }
}

const fn known(variable: Variable, kind: Kind, since: Phase, about: &'static str) -> Known {
    Known { variable, kind, since, about }
}

use Kind as K;
use Phase::{Authenticated, Request, Response};

/// All variables, in the order of the reference.
pub(super) const VARIABLES: &[Known] = &[
    known(Variable::Text(Text::Method), K::Text, Request, "The method, in capitals."),
    known(
        Variable::Text(Text::Scheme),
        K::Text,
        Request,
        "`https` or `http`, as the client used it.",
    ),
    known(Variable::Text(Text::Host), K::Text, Request, "The host in lowercase, without the port."),
    known(
        Variable::Text(Text::Path),
        K::Text,
        Request,
        "The path, percent-encoded as it was sent.",
    ),
    known(
        Variable::Text(Text::Query),
        K::Text,
        Request,
        "The query as it was sent, without the `?`; empty where there is none.",
    ),
    known(
        Variable::RequestParams,
        K::Params,
        Request,
        "The query's parameters, decoded as forms are: each name with its values. At most 256 are read; where there are more, asking faults.",
    ),
    known(
        Variable::RequestHeaders,
        K::TextMap,
        Request,
        "The header fields by their names in lowercase. Fields of one name are joined with `, ` (RFC 9110 section 5.3), cookies with `; `.",
    ),
    known(
        Variable::RequestSize,
        K::IntOrNull,
        Request,
        "The bytes of the body by `Content-Length`; null where that is not said.",
    ),
    known(Variable::Text(Text::RequestId), K::TextOrNull, Request, "The id of the request."),
    known(
        Variable::ClientAddress,
        K::Address,
        Request,
        "The client's address: the rightmost hop that is no trusted proxy.",
    ),
    known(
        Variable::Text(Text::Country),
        K::TextOrNull,
        Request,
        "The client's country by ISO 3166-1 alpha-2, where a trusted proxy named it.",
    ),
    known(Variable::Now, K::Moment, Request, "The moment of the decision."),
    known(
        Variable::Text(Text::Route),
        K::TextOrNull,
        Request,
        "The name of the route; null where none was found.",
    ),
    known(
        Variable::Tags,
        K::Texts,
        Request,
        "The tags that rules before this one gave the request.",
    ),
    known(
        Variable::Text(Text::PrincipalKind),
        K::TextOrNull,
        Authenticated,
        "`user`, `service`, `machine` or `anonymous`; null in answers to requests that were refused before that was known.",
    ),
    known(
        Variable::Text(Text::PrincipalId),
        K::TextOrNull,
        Authenticated,
        "The user's id, the id of a machine's key, the name of a service; null for anonymous callers.",
    ),
    known(
        Variable::Text(Text::PrincipalRole),
        K::TextOrNull,
        Authenticated,
        "The database role in the user's token (`role`).",
    ),
    known(
        Variable::Text(Text::Assurance),
        K::TextOrNull,
        Authenticated,
        "`aal2` where the user showed a second factor, otherwise `aal1`; null for others than users.",
    ),
    known(
        Variable::SessionAge,
        K::SpanOrNull,
        Authenticated,
        "How long ago the user signed in, by `amr`, `auth_time` or `iat`.",
    ),
    known(
        Variable::FactorAge,
        K::SpanOrNull,
        Authenticated,
        "How long ago the user showed the second factor, by `amr`.",
    ),
    known(
        Variable::OrganizationId,
        K::TextOrNull,
        Authenticated,
        "The organization's id, in lowercase with hyphens; null where the route belongs to none, as all that follows.",
    ),
    known(Variable::Text(Text::OrganizationSlug), K::TextOrNull, Authenticated, "Its slug."),
    known(
        Variable::Text(Text::OrganizationPlan),
        K::TextOrNull,
        Authenticated,
        "The name of its plan.",
    ),
    known(
        Variable::Text(Text::OrganizationStatus),
        K::TextOrNull,
        Authenticated,
        "`active` or `suspended`.",
    ),
    known(
        Variable::Text(Text::OrganizationStage),
        K::TextOrNull,
        Authenticated,
        "The stage that it has reached.",
    ),
    known(
        Variable::OrganizationFeatures,
        K::Features,
        Authenticated,
        "The features that are on for it, each with its settings; empty where there is no organization.",
    ),
    known(
        Variable::Text(Text::MemberRole),
        K::TextOrNull,
        Authenticated,
        "The caller's role in the organization; where there are several, the first. Machines have none.",
    ),
    known(
        Variable::MemberRoles,
        K::Texts,
        Authenticated,
        "All roles that count for the request, those of its team included.",
    ),
    known(
        Variable::Text(Text::MemberTeam),
        K::TextOrNull,
        Authenticated,
        "The team that the request names.",
    ),
    known(
        Variable::MemberTeams,
        K::Texts,
        Authenticated,
        "The teams in which the member has a role.",
    ),
    known(
        Variable::Text(Text::MemberStage),
        K::TextOrNull,
        Authenticated,
        "The stage that the member has reached.",
    ),
    known(Variable::ResponseStatus, K::IntOrNull, Response, "The status of the answer."),
    known(
        Variable::ResponseHeaders,
        K::TextMap,
        Response,
        "Its header fields, as `request.headers`.",
    ),
    known(
        Variable::ResponseTook,
        K::SpanOrNull,
        Response,
        "How long it took from the request's arrival.",
    ),
];

/// The variable of that name.
pub(super) fn named(name: &str) -> Option<&'static Known> {
    VARIABLES.iter().find(|known| known.variable.name() == name)
}

/// The fields of a record; none where there is no such record.
pub(super) fn fields(record: &str) -> impl Iterator<Item = &'static str> {
    VARIABLES
        .iter()
        .filter_map(move |known| known.variable.name().split_once('.'))
        .filter_map(move |(of, field)| (of == record).then_some(field))
}

/// What may stand at the beginning: records, and variables that are no record's.
pub(super) fn roots() -> impl Iterator<Item = &'static str> {
    VARIABLES.iter().map(|known| {
        let name = known.variable.name();
        name.split_once('.').map_or(name, |(record, _)| record)
    })
}
