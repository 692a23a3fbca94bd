//! Trusted devices: who is given one, for whom and how long it stands in for a second factor.

use http::header;
use serde_json::json;
use tollgate::domain::secret::Secret;
use tollgate::domain::trusted::{DeviceKey, TrustedDevice};
use tollgate::pipeline::trace::Trust;

use crate::world::{NOW, Request, World, request};

const DAY: u64 = 86_400;

fn world() -> World {
    World::of(include_str!("access.yaml"), include_str!("access-directory.yaml"))
}

/// Signed in with a password, and with a second factor that many minutes ago.
fn careful(request: Request, minutes: u64) -> Request {
    let at = NOW.unix_secs() - minutes * 60;
    let amr = json!([{ "method": "totp", "timestamp": at }]);
    request.claim("aal", json!("aal2")).claim("amr", amr)
}

fn plain(user: &str) -> Request {
    request("GET", "/trusting").user(user).claim("aal", json!("aal1"))
}

/// A device that a user trusted so many seconds ago.
fn device(key: &str, user: &str, ago: u64) -> (TrustedDevice, String) {
    let key = DeviceKey::new(&Secret::new(key));
    let device = key.device("request", 1, NOW.unix_secs() - ago);
    (device, key.token(device, &user.parse().unwrap()).expose().to_owned())
}

const KEY: &str = "a key of devices of thirty-two bytes";
const FORMER_KEY: &str = "the key of devices before that one";

#[test]
fn a_device_is_trusted_right_after_a_second_factor_and_stands_in_from_then_on() {
    let world = world();
    assert_eq!(world.decide(&plain("viewer")).code(), "mfa_required");
    for wish in ["cookie", "header"] {
        let asked = careful(request("GET", "/signed-in").user("viewer"), 5);
        let (trace, _) = world.passed(&asked.field("x-trust-device", wish));
        let Trust { field: (name, value), forgets } = trace.trust.unwrap();
        assert!(value.is_sensitive() && !forgets);
        let value = value.to_str().unwrap();
        let shown = if wish == "cookie" {
            assert_eq!(name, header::SET_COOKIE);
            let (cookie, attributes) = value.split_once("; ").unwrap();
            let wanted = "Path=/; Max-Age=2592000; Secure; HttpOnly; SameSite=Strict";
            assert_eq!(attributes, wanted);
            plain("viewer").field("cookie", &format!("a=1; {cookie}"))
        } else {
            assert_eq!(name, "x-trusted-device");
            plain("viewer").field("x-trusted-device", value)
        };
        assert_eq!(world.decide(&shown).code(), "passed", "{wish}");
        let (later, passed) = world.passed(&shown);
        assert_eq!(later.device, trace.device);
        assert!(later.trust.is_none(), "nothing is given again");
        let cookies = passed.fields().iter().filter(|(name, _)| *name == header::COOKIE);
        let cookies: Vec<&str> = cookies.map(|(_, value)| value.to_str().unwrap()).collect();
        assert_eq!(cookies, if wish == "cookie" { vec!["a=1"] } else { vec![] });
    }
}

#[test]
fn nothing_less_than_a_recent_second_factor_of_a_user_makes_a_device_trusted() {
    let world = world();
    let wish = |asked: Request| asked.field("x-trust-device", "header");
    let signed_in = || request("GET", "/signed-in").user("viewer");
    let rows = [
        ("no second factor", wish(signed_in()), "mfa_required"),
        ("an old one", wish(careful(signed_in(), 11)), "mfa_expired"),
        ("two wishes", wish(wish(careful(signed_in(), 1))), "bad_trust_device"),
        ("an odd wish", careful(signed_in(), 1).field("x-trust-device", "yes"), "bad_trust_device"),
        ("not even a factor to forget", signed_in().field("x-trust-device", "forget"), "passed"),
    ];
    for (name, asked, code) in rows {
        assert_eq!(world.decide(&asked).code(), code, "{name}");
    }
    let acting = careful(request("GET", "/rest/v1/events").user("helga"), 1)
        .sent_from("10.0.0.1")
        .field("x-impersonate-user", "viewer")
        .field("x-impersonate-reason", "a ticket of theirs");
    assert_eq!(world.decide(&acting).code(), "passed");
    assert_eq!(world.decide(&wish(acting)).code(), "bad_trust_device");
}

#[test]
fn a_device_stands_in_for_its_user_for_a_time_and_until_it_is_taken_back() {
    let mut world = world();
    let show = |user: &str, token: &str| plain(user).field("x-trusted-device", token);
    let code = |world: &World, asked: &Request| world.decide(asked).code();
    let (known, token) = device(KEY, "viewer", 60);
    assert_eq!(code(&world, &show("viewer", &token)), "passed");
    assert_eq!(code(&world, &show("editor", &token)), "mfa_required");
    let (_, former) = device(FORMER_KEY, "viewer", 60);
    assert_eq!(code(&world, &show("viewer", &former)), "passed");
    let (_, strange) = device("a key that nobody here has stated", "viewer", 60);
    assert_eq!(code(&world, &show("viewer", &strange)), "mfa_required");
    for (ago, expected) in
        [(7 * DAY, "passed"), (7 * DAY + 1, "mfa_required"), (31 * DAY, "mfa_required")]
    {
        let (_, token) = device(KEY, "viewer", ago);
        assert_eq!(code(&world, &show("viewer", &token)), expected, "{ago}");
    }
    // A second factor of long ago is not enough, and neither takes anything from the other.
    assert_eq!(code(&world, &careful(show("viewer", &token), 600)), "passed");
    assert_eq!(code(&world, &careful(plain("viewer"), 600)), "mfa_expired");
    let beside_another = show("viewer", &strange).field("cookie", &cookie(&token));
    assert_eq!(code(&world, &beside_another), "mfa_required", "the header counts");
    world.forgotten.push(("viewer".parse().unwrap(), known.id));
    assert_eq!(code(&world, &show("viewer", &token)), "mfa_required");
}

#[test]
fn an_organization_says_for_how_long_and_a_condition_that_says_nothing_admits_none() {
    let world = world();
    let writer = |path: &str, token: &str| {
        let amr = json!([{ "method": "password", "timestamp": NOW.unix_secs() - 60 }]);
        let asked = request("GET", path).user("writer").claim("amr", amr).sent_from("10.1.2.3");
        asked.field("x-trusted-device", token)
    };
    for (ago, expected) in [(60, "passed"), (7 * DAY + 1, "mfa_required")] {
        let (_, token) = device(KEY, "writer", ago);
        assert_eq!(world.decide(&writer("/rest/v1/events", &token)).code(), expected);
    }
    let (_, token) = device(KEY, "viewer", 60);
    let strict = request("GET", "/factor").user("viewer").field("x-trusted-device", &token);
    assert_eq!(world.decide(&strict).code(), "mfa_required");
}

fn cookie(token: &str) -> String {
    format!("__Host-tollgate-device={token}")
}
