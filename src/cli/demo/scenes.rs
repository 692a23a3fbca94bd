//! What the demo shows, request by request. The text and the JSON are made of the same list, and
//! a test sends every one of them.

use serde_json::{Value, json};

use crate::domain::directory::DirectoryData;

/// One request to try.
#[derive(Debug)]
pub(super) struct Scene {
    /// A word for scripts.
    pub(super) shows: &'static str,
    /// What there is to see.
    pub(super) says: &'static str,
    pub(super) user: &'static str,
    pub(super) method: &'static str,
    pub(super) target: String,
    pub(super) body: Option<String>,
    /// How often to send it at once.
    pub(super) times: u32,
    /// The status of the (last) answer.
    pub(super) status: u16,
}

impl Scene {
    pub(super) fn json(&self) -> Value {
        json!({
            "shows": self.shows,
            "says": self.says,
            "user": self.user,
            "method": self.method,
            "target": self.target,
            "body": self.body,
            "times": self.times,
            "status": self.status,
        })
    }
}

/// All of them, in the order in which they are told.
pub(super) fn all(directory: &DirectoryData) -> Vec<Scene> {
    let other = directory
        .organizations
        .iter()
        .find(|organization| organization.slug.as_str() == "globex")
        .map(|organization| organization.id.to_string())
        .unwrap_or_default();
    let scene = |shows, says, user, method, target: String, status| Scene {
        shows,
        says,
        user,
        method,
        target,
        body: None,
        times: 1,
        status,
    };
    let events = || "/rest/v1/events".to_owned();
    vec![
        scene(
            "own_rows",
            "Alice asks for all events and gets those of her organization, acme",
            "alice",
            "GET",
            "/rest/v1/events?select=id,title,organization_id".into(),
            200,
        ),
        scene(
            "other_rows",
            "Carol sends the same request and gets globex's",
            "carol",
            "GET",
            "/rest/v1/events?select=id,title,organization_id".into(),
            200,
        ),
        scene(
            "isolation",
            "Alice asks for globex's events by its id: an empty list",
            "alice",
            "GET",
            format!("/rest/v1/events?organization_id=eq.{other}"),
            200,
        ),
        Scene {
            body: Some(format!(r#"{{"title":"planted","organization_id":"{other}"}}"#)),
            ..scene(
                "escape",
                "Alice tries to write into globex: refused",
                "alice",
                "POST",
                events(),
                403,
            )
        },
        Scene {
            body: Some(r#"{"title":"mine"}"#.into()),
            ..scene(
                "permission",
                "Bob is a viewer and tries to write: refused, the permission is missing",
                "bob",
                "POST",
                events(),
                403,
            )
        },
        Scene {
            times: 12,
            ..scene(
                "rate_limit",
                "Dave sends twelve requests at once and may send ten: 429, and when to come back",
                "dave",
                "GET",
                "/rest/v1/projects?select=name".into(),
                429,
            )
        },
    ]
}
