//! What policies in shadow would have done, held against what a case expects.

use crate::config::suite::WouldExpected;
use crate::domain::would::WouldHave;

/// Both sides as texts that are the same where the case is right: of what happened it is told as
/// much as the case says.
pub(super) fn sides(due: &[WouldExpected], is: &[WouldHave]) -> (String, String) {
    let expected = due.iter().map(|due| line(due.policy.as_str(), &due.name, due.code.as_deref()));
    let actual = is.iter().enumerate().map(|(at, is)| {
        let like = due.get(at).filter(|due| due.policy == is.policy && due.name == is.name);
        let told = like.is_none_or(|due| due.code.is_some());
        line(is.policy.as_str(), &is.name, told.then_some(is.code.as_ref()))
    });
    (listed(expected), listed(actual))
}

fn line(policy: &str, name: &str, code: Option<&str>) -> String {
    let code = code.map(|code| format!(": {code}")).unwrap_or_default();
    format!("{policy} {name}{code}")
}

fn listed(lines: impl Iterator<Item = String>) -> String {
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() { "none".to_owned() } else { lines.join(", ") }
}
