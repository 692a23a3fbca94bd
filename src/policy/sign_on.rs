//! What an issuer may vouch for besides who somebody is: for which organizations its tokens count,
//! by which name the directory knows its users, which role its claims come to, and whether it makes
//! members.
//!
//! Read by the stages authenticate (what does not change with a request) and tenant. Imports only
//! `domain`.

use std::sync::Arc;

use crate::domain::ids::UserId;
use crate::domain::mail::MailDomain;
use crate::domain::organization::{OrgSelector, Organization};
use crate::domain::source::Source;

/// What parts the name of an issuer from a user's own id. No name has it.
const MARK: char = '|';

/// What an issuer may vouch for.
#[derive(Debug, Clone, Default)]
pub struct SignOn {
    /// The organizations that its tokens count for. Empty: it serves all.
    pub organizations: Vec<OrgSelector>,
    /// By which name the directory knows its users.
    pub user: UserRule,
    /// Which role its claims come to.
    pub roles: Option<RoleMapping>,
    /// The organizations that mail domains belong to, sorted by domain.
    pub domains: Vec<DomainHome>,
    /// What becomes of a user without membership, and whose role counts.
    pub membership: MembershipRule,
    /// Whether roles of members follow their tokens (`membership: create`).
    pub sync: Sync,
    /// Which tokens it may be shown by.
    pub tokens: TokenUse,
    /// The clients whose tokens count, by `client_id` or `azp`. Empty: not checked.
    pub clients: Vec<Box<str>>,
}

/// By which name the directory knows users.
#[derive(Debug, Clone, Default)]
pub struct UserRule {
    /// The claim that holds the id, as a path of keys. Empty: `sub`.
    pub claim: Vec<Box<str>>,
    /// What the directory's id is made of.
    pub form: UserForm,
}

/// What the directory's id of a user is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UserForm {
    /// The claim, as it stands.
    #[default]
    Plain,
    /// The name of the issuer, `|`, and the claim.
    Prefixed,
    /// The UUID of the claim in the name space of `iss` (RFC 9562 section 5.5), for databases that
    /// want one.
    Uuid,
}

/// From values of a claim to roles.
#[derive(Debug, Clone)]
pub struct RoleMapping {
    /// The claim: a text or a list of texts, as a path of keys.
    pub claim: Vec<Box<str>>,
    /// In the order of the file.
    pub lines: Vec<MappingLine>,
    /// Which of several matching lines count.
    pub choose: Choose,
    /// The role where no line matches. `None`: there is none, and the user stays out.
    pub otherwise: Option<Arc<str>>,
    /// Where it was written.
    pub source: Source,
}

/// One value and its role.
#[derive(Debug, Clone)]
pub struct MappingLine {
    /// The value, byte for byte.
    pub value: Box<str>,
    /// The name of the role.
    pub role: Arc<str>,
    /// Where it was written.
    pub source: Source,
}

/// Which of several matching lines count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Choose {
    /// The first in the file.
    #[default]
    First,
    /// All: the first is the role, the rest are further roles.
    All,
}

/// The organization of a mail domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainHome {
    /// The domain, exactly.
    pub domain: MailDomain,
    /// The organization.
    pub organization: OrgSelector,
    /// Where it was written.
    pub source: Source,
}

/// What becomes of a user without membership, and whose role counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MembershipRule {
    /// The directory must have it, and says the role.
    #[default]
    Require,
    /// The token says the role, at each request. The directory can only take away.
    Token,
    /// Who has none is made a member of the directory, with the role that the token says.
    Create,
}

/// Whose role counts once the directory has the membership.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sync {
    /// The directory's.
    #[default]
    Never,
    /// That of the token that was issued last: the directory is brought up to date.
    Login,
}

/// Which tokens count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TokenUse {
    /// All that the issuer signed for the audience.
    #[default]
    Any,
    /// Those without the marks of an ID token (OpenID Connect Core section 2): `nonce`, `at_hash`,
    /// `c_hash`, `s_hash`.
    Access,
    /// Those that say `typ: at+jwt` (RFC 9068 section 2.1).
    AtJwt,
}

impl SignOn {
    /// Whether its tokens count for certain organizations only.
    pub fn is_bound(&self) -> bool {
        !self.organizations.is_empty()
    }

    /// Whether its tokens count for the organization.
    pub fn admits(&self, organization: &Organization) -> bool {
        self.organizations.is_empty()
            || self.organizations.iter().any(|selector| names(selector, organization))
    }

    /// Whether more is to be read of a token than who it is of.
    pub fn reads_claims(&self) -> bool {
        self.roles.is_some() || !self.domains.is_empty()
    }

    /// The place of a mail domain among `domains`.
    pub fn home_of(&self, domain: &MailDomain) -> Option<u16> {
        let found = self.domains.binary_search_by(|home| home.domain.cmp(domain)).ok()?;
        u16::try_from(found).ok()
    }
}

impl UserRule {
    /// The directory's id for a user whom the issuer of that name calls `stated`.
    pub fn id(&self, issuer: &str, iss: Option<&str>, stated: &str) -> Option<UserId> {
        // What is no id by itself is none in another form.
        let plain: UserId = stated.parse().ok()?;
        match self.form {
            UserForm::Plain => Some(plain),
            UserForm::Prefixed => format!("{issuer}{MARK}{plain}").parse().ok(),
            UserForm::Uuid => {
                use uuid::Uuid;
                let space = Uuid::new_v5(&Uuid::NAMESPACE_URL, iss?.as_bytes());
                Uuid::new_v5(&space, plain.as_str().as_bytes()).to_string().parse().ok()
            }
        }
    }

    /// Whether an id is one that it makes for the issuer of that name: nobody else may state it.
    pub fn owns(&self, issuer: &str, id: &str) -> bool {
        let rest = || id.strip_prefix(issuer).is_some_and(|rest| rest.starts_with(MARK));
        self.form == UserForm::Prefixed && rest()
    }
}

/// Whether the selector names the organization.
pub fn names(selector: &OrgSelector, organization: &Organization) -> bool {
    match selector {
        OrgSelector::Id(id) => *id == organization.id,
        OrgSelector::Slug(slug) => *slug == organization.slug,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(form: UserForm, issuer: &str, sub: &str) -> Option<String> {
        let rule = UserRule { claim: Vec::new(), form };
        rule.id(issuer, Some("https://id.example"), sub).map(|id| id.to_string())
    }

    #[test]
    fn the_same_subject_of_two_issuers_is_two_users() {
        assert_eq!(id(UserForm::Plain, "a", "ann").as_deref(), Some("ann"));
        assert_eq!(id(UserForm::Prefixed, "a", "ann").as_deref(), Some("a|ann"));
        assert_eq!(id(UserForm::Prefixed, "b", "ann").as_deref(), Some("b|ann"));
        let uuid = |iss| UserRule { claim: vec![], form: UserForm::Uuid }.id("a", Some(iss), "ann");
        assert_ne!(uuid("https://a.example"), uuid("https://b.example"));
        // select uuid_generate_v5(uuid_generate_v5(uuid_ns_url(), 'https://id.example'), 'ann')
        let known = id(UserForm::Uuid, "a", "ann").unwrap();
        assert_eq!(known, "cd553784-a998-537d-b105-55e3ff8e6359");
    }

    #[test]
    fn what_is_no_id_by_itself_is_none_in_any_form() {
        let long = "a".repeat(255);
        for form in [UserForm::Plain, UserForm::Prefixed, UserForm::Uuid] {
            for odd in ["", "a b", "a\n", "ä"] {
                assert_eq!(id(form, "a", odd), None, "{odd:?}");
            }
        }
        assert!(id(UserForm::Plain, "a", &long).is_some());
        assert_eq!(id(UserForm::Prefixed, "a", &long), None, "cut off, it would be another's");
    }

    #[test]
    fn ids_of_one_issuer_are_not_taken_from_another() {
        let rule = UserRule { claim: Vec::new(), form: UserForm::Prefixed };
        assert!(rule.owns("okta", "okta|ann"));
        assert!(!rule.owns("okta", "okta2|ann"));
        assert!(!rule.owns("okta", "auth0|ann"));
        assert!(!rule.owns("okta", "okta"));
    }
}
