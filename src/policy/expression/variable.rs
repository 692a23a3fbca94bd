//! What variables are in a scene. What is absent is null, or empty.
//!
//! May import `domain` and `policy`.

use std::borrow::Cow;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::domain::organization::OrgStatus;
use crate::domain::principal::Principal;

use super::fault::Fault;
use super::scene::Scene;
use super::tree::{TextVariable, Variable};
use super::value::{List, Map, Value};

impl TextVariable {
    /// Its text, where it is there.
    pub(super) fn text<'v>(self, scene: &'v Scene<'v>) -> Option<&'v str> {
        let organization = || scene.tenancy.as_ref().map(|of| of.organization);
        let rights = || scene.tenancy.as_ref().map(|of| of.rights);
        match self {
            Self::RequestId => scene.request.id,
            Self::Method => Some(scene.request.method.as_str()),
            Self::Scheme => Some(if scene.request.secure { "https" } else { "http" }),
            Self::Host => Some(scene.request.host),
            Self::Path => Some(scene.request.path),
            Self::Query => Some(scene.request.query),
            Self::Country => scene.client.country,
            Self::Route => scene.route,
            Self::PrincipalKind => scene.principal.map(|who| who.kind().as_str()),
            Self::PrincipalId => scene.principal.and_then(|who| match who {
                Principal::Service { name } => Some(name.as_ref()),
                Principal::User { .. } | Principal::Machine { .. } | Principal::Anonymous => {
                    who.id()
                }
            }),
            Self::PrincipalRole => scene.token()?.role.as_deref(),
            Self::Assurance => {
                scene.token().map(|token| if token.second_factor { "aal2" } else { "aal1" })
            }
            Self::OrganizationSlug => organization().map(|of| of.slug.as_str()),
            Self::OrganizationPlan => organization().map(|of| of.plan.as_ref()),
            Self::OrganizationStatus => organization().map(|of| match of.status {
                OrgStatus::Active => "active",
                OrgStatus::Suspended => "suspended",
            }),
            Self::OrganizationStage => organization()?.stage.as_deref(),
            Self::MemberRole => rights()?.roles().first().map(|role| role.name.as_ref()),
            Self::MemberTeam => scene.tenancy.as_ref()?.team.map(|team| team.as_str()),
            Self::MemberStage => rights()?.stage().map(AsRef::as_ref),
        }
    }
}

impl Variable {
    /// Whether it is there: not null, and not empty.
    pub(super) fn is_there(self, scene: &Scene<'_>) -> Result<bool, Fault> {
        Ok(match self {
            Self::Text(text) => text.text(scene).is_some(),
            Self::RequestSize => scene.request.size.is_some(),
            variable => match variable.value(scene)? {
                Value::Null => false,
                Value::List(list) => list.len() != 0,
                Value::Map(map) => !map.is_empty(),
                _ => true,
            },
        })
    }

    /// Its value; null where it is absent.
    pub(super) fn value<'v>(self, scene: &'v Scene<'v>) -> Result<Value<'v>, Fault> {
        let tenancy = scene.tenancy.as_ref();
        let response = scene.response.as_ref();
        Ok(match self {
            Self::Text(text) => text.text(scene).map_or(Value::Null, Value::text),
            Self::RequestHeaders => Value::Map(Map::Headers(scene.request.headers)),
            Self::RequestParams => Value::Map(Map::Params(scene.params().ok_or(Fault::Size)?)),
            Self::RequestSize => scene
                .request
                .size
                .map_or(Value::Null, |size| Value::Int(i64::try_from(size).unwrap_or(i64::MAX))),
            Self::ClientAddress => Value::Address(scene.client.address),
            Self::Now => {
                let micros = i64::try_from(scene.now.unix_micros).map_err(|_| Fault::Overflow)?;
                let moment = Timestamp::from_microsecond(micros);
                Value::Moment(moment.map_err(|_| Fault::Overflow)?)
            }
            Self::Tags => Value::List(List::Names(scene.tags())),
            Self::SessionAge => since(scene.token().and_then(|token| token.began()), scene),
            Self::FactorAge => since(
                scene.token().filter(|token| token.second_factor).and_then(|token| token.factor_at),
                scene,
            ),
            Self::OrganizationId => tenancy
                .map_or(Value::Null, |of| Value::Text(Cow::Owned(of.organization.id.to_string()))),
            Self::OrganizationFeatures => Value::Map(
                tenancy.map_or(Map::Empty, |of| Map::Features(&of.organization.features)),
            ),
            Self::MemberRoles => {
                Value::List(tenancy.map_or(List::Names(&[]), |of| List::Roles(of.rights.roles())))
            }
            Self::MemberTeams => {
                Value::List(tenancy.map_or(List::Names(&[]), |of| List::Teams(of.rights.teams())))
            }
            Self::ResponseStatus => response.map_or(Value::Null, |of| Value::Int(of.status.into())),
            Self::ResponseHeaders => {
                Value::Map(response.map_or(Map::Empty, |of| Map::Headers(of.headers)))
            }
            Self::ResponseTook => response.map_or(Value::Null, |of| Value::Span(span(of.took))),
        })
    }
}

fn since<'v>(at: Option<u64>, scene: &Scene<'v>) -> Value<'v> {
    at.map_or(Value::Null, |at| {
        Value::Span(span(Duration::from_secs(scene.now.unix_secs().saturating_sub(at))))
    })
}

fn span(time: Duration) -> SignedDuration {
    SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX)
}
