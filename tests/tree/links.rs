//! Links from one document of this repository to another, and to places inside of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What leads nowhere in a document: the links, as they are written.
pub(crate) fn broken(document: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(document).expect("a readable document");
    let here = document.parent().expect("a directory");
    let prose: String = prose(&text).collect();
    let links = prose.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let own = links.map(|(link, _)| link).filter(|link| !link.contains("://") && *link != "…");
    own.filter(|link| !leads(document, here, link)).map(str::to_owned).collect()
}

fn leads(document: &Path, here: &Path, link: &str) -> bool {
    let (file, place) = link.split_once('#').unwrap_or((link, ""));
    let target: PathBuf = if file.is_empty() { document.to_owned() } else { here.join(file) };
    if place.is_empty() || !target.exists() {
        return target.exists();
    }
    let text = std::fs::read_to_string(&target).expect("a readable document");
    let mut places = BTreeSet::new();
    for heading in prose(&text).filter(|line| line.starts_with('#')) {
        let name = anchor(heading.trim_start_matches('#').trim());
        // The second of a name gets a number.
        let free = (0..).map(|number| match number {
            0 => name.clone(),
            number => format!("{name}-{number}"),
        });
        places.extend(free.into_iter().find(|name| !places.contains(name)));
    }
    places.contains(place)
}

/// The lines outside of examples.
fn prose(text: &str) -> impl Iterator<Item = String> {
    let mut code = false;
    text.lines().filter_map(move |line| {
        let fence = line.trim_start().starts_with("```");
        code ^= fence;
        (!code && !fence).then(|| format!("{line}\n"))
    })
}

/// As GitHub makes it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().to_lowercase().replace(' ', "-")
}

#[test]
fn a_heading_is_found_as_its_readers_find_it() {
    assert_eq!(anchor("What `a` does, and why"), "what-a-does-and-why");
    assert_eq!(prose("a\n```\n# b\n```\nc\n").collect::<String>(), "a\nc\n");
}
