//! The demo for people: what runs, and requests to paste.

use std::fmt::{self, Write};

use super::Scenery;
use super::scenes::Scene;

/// The whole text.
pub(super) fn text(scenery: &Scenery) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(scenery, &mut out);
    out
}

fn write_all(scenery: &Scenery, out: &mut String) -> fmt::Result {
    writeln!(out, "Tollgate runs, with two organizations and a sample service behind it.\n")?;
    writeln!(out, "  gateway    http://{}", scenery.gateway)?;
    writeln!(out, "  admin      http://{}  (/readyz, /metrics, /version)", scenery.admin)?;
    writeln!(out, "  service    http://{}  (what clients must not reach)", scenery.upstream)?;
    writeln!(out, "  audit log  {}\n", scenery.audit.display())?;
    for organization in &scenery.directory.organizations {
        let members: Vec<String> = scenery
            .directory
            .memberships
            .iter()
            .filter(|membership| membership.organization == organization.id)
            .map(|membership| format!("{} ({})", membership.user, membership.role))
            .collect();
        let (slug, plan) = (organization.slug.as_str(), &organization.plan);
        writeln!(out, "  {slug}, plan {plan}: {}", members.join(", "))?;
    }
    writeln!(out, "\nPaste this into another terminal first:\n")?;
    writeln!(out, "  GATE=http://{}", scenery.gateway)?;
    for (user, token) in &scenery.tokens {
        writeln!(out, "  {}={token}", user.to_uppercase())?;
    }
    writeln!(out, "\nThen try:")?;
    let program = program();
    for (number, scene) in scenery.scenes.iter().enumerate() {
        writeln!(out, "\n{}. {}\n", number + 1, scene.says)?;
        writeln!(out, "{}", curl(scene))?;
        writeln!(out, "{}", explain(scene, &program))?;
    }
    writeln!(out, "\nCtrl-C ends it and removes the audit log.")
}

fn curl(scene: &Scene) -> String {
    // One status each is enough where many answers come.
    let shown = if scene.times == 1 { "-i" } else { "-o /dev/null -w '%{http_code} '" };
    let mut words = vec![format!("curl -s {shown}")];
    if scene.method != "GET" {
        words.push(format!("-X {}", scene.method));
    }
    words.push(format!("-H \"Authorization: Bearer ${}\"", scene.user.to_uppercase()));
    if let Some(body) = &scene.body {
        words.push("-H 'Content-Type: application/json'".into());
        words.push(format!("-d '{body}'"));
    }
    words.push(format!("\"$GATE{}\"", scene.target));
    let command = words.join(" ");
    match scene.times {
        1 => format!("  {command}; echo"),
        times => format!("  for i in $(seq {times}); do {command}; done; echo"),
    }
}

fn explain(scene: &Scene, program: &str) -> String {
    let mut words = vec![format!("{program} explain --demo {} '{}'", scene.method, scene.target)];
    words.push(format!("--as {}", scene.user));
    if let Some(body) = &scene.body {
        words.push(format!("-H 'Content-Type: application/json' --body '{body}'"));
    }
    format!("  {}", words.join(" "))
}

/// How this program was called, so that what is printed can be pasted.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "tollgate".into())
}
