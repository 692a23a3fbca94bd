//! A derived catalogue as a policy file. The same database gives the same text.

use super::derive::{Callable, Derived, Entry, Tenancy, is_name};

/// Lines are broken before they get longer.
const WIDTH: usize = 100;

/// The whole file.
pub(super) fn text(derived: &Derived<'_>) -> String {
    let mut out = format!(
        "# Written by `tollgate catalog introspect` from the schema `{schema}`. Review it: what \
         stands here\n# is what clients can reach.\n\nschema: {name}\n",
        schema = derived.schema,
        name = scalar(derived.schema),
    );
    section("tables", &derived.tables, &mut out);
    section("views", &derived.views, &mut out);
    functions(&derived.functions, &mut out);
    for name in &derived.left_out {
        comment("# ", &format!("Left out: {name:?}, a name that no policy can state."), &mut out);
    }
    out
}

fn section(key: &str, entries: &[Entry<'_>], out: &mut String) {
    if entries.is_empty() {
        return;
    }
    out.push_str(&format!("\n{key}:\n"));
    for entry in entries {
        remarks(&entry.remarks, out);
        let name = scalar(&entry.relation.name);
        if entry.tenancy == Tenancy::Denied {
            out.push_str(&format!("  {name}: {{ deny: true }}\n"));
            continue;
        }
        out.push_str(&format!("  {name}:\n"));
        body(entry, out);
    }
}

fn body(entry: &Entry<'_>, out: &mut String) {
    match entry.tenancy {
        Tenancy::Column(column) => out.push_str(&format!("    tenant: {}\n", scalar(column))),
        Tenancy::Root(column) => {
            out.push_str(&format!("    tenant: {}\n    write: deny\n", scalar(column)));
        }
        Tenancy::Through(key) => {
            let (name, table) = (scalar(key.name), scalar(key.table));
            out.push_str(&format!("    via: {{ fk: {name}, to: {table} }}\n"));
        }
        Tenancy::Global => out.push_str("    global: read\n"),
        Tenancy::Denied => {}
    }
    wrapped("    columns: [", entry.columns.iter().map(|c| scalar(c)), "]", out);
    if entry.relation.kind.is_view() {
        return;
    }
    if !entry.primary_key.is_empty() {
        wrapped("    pk: [", entry.primary_key.iter().map(|c| scalar(c)), "]", out);
    }
    if !entry.unique.is_empty() {
        let sets = entry.unique.iter().map(|set| {
            let names: Vec<String> = set.iter().map(|c| scalar(c)).collect();
            format!("[{}]", names.join(", "))
        });
        wrapped("    unique: [", sets, "]", out);
    }
    if !entry.foreign_keys.is_empty() {
        out.push_str("    fks:\n");
    }
    for key in &entry.foreign_keys {
        let pairs = key.columns.iter().zip(key.target_columns);
        let pairs = pairs.map(|(column, target)| {
            format!("{}: {}", scalar(column), scalar(&format!("{}.{target}", key.table)))
        });
        wrapped(&format!("      {}: {{ ", scalar(key.name)), pairs, " }", out);
    }
}

fn functions(functions: &[Callable<'_>], out: &mut String) {
    let (offered, doubtful): (Vec<_>, Vec<_>) =
        functions.iter().partition(|function| function.doubts.is_empty());
    if !offered.is_empty() {
        out.push_str("\nrpc:\n");
        for function in offered {
            out.push_str(&format!("  {}\n", call(function)));
        }
    }
    if doubtful.is_empty() {
        return;
    }
    out.push_str(
        "\n# Functions that somebody has to decide on. Nothing confines what a function does: offer \
         one\n# only if it keeps to its `$tenant` argument, or touches no organization's rows\n\
         # (`unscoped: true`).\n#\n",
    );
    for function in doubtful {
        comment("# ", &format!("`{}`: {}.", function.name, function.doubts.join(", ")), out);
        let names = function.arguments.iter().map(|(name, _)| *name);
        if names.chain([function.name]).all(is_name) {
            out.push_str(&format!("#   {}\n", call(function)));
        }
    }
}

fn call(function: &Callable<'_>) -> String {
    let mut parts = Vec::new();
    if !function.arguments.is_empty() {
        let arguments = function.arguments.iter().map(|(name, is_tenant)| {
            format!("{}: {}", scalar(name), if *is_tenant { "$tenant" } else { "client" })
        });
        parts.push(format!("args: {{ {} }}", arguments.collect::<Vec<_>>().join(", ")));
    }
    if let Some(table) = function.returns {
        parts.push(format!("returns: {}, filter_result: true", scalar(table)));
    }
    if function.read_only {
        parts.push("read_only: true".to_owned());
    }
    format!("{}: {{ {} }}", scalar(function.name), parts.join(", "))
}

fn remarks(remarks: &[String], out: &mut String) {
    for remark in remarks {
        comment("  # ", remark, out);
    }
}

/// A comment, broken between words.
fn comment(start: &str, text: &str, out: &mut String) {
    let mut line = start.to_owned();
    // Names of the database may hold anything, line ends included.
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    for word in text.split(' ') {
        if line.len() > start.len() && line.len() + 1 + word.len() > WIDTH {
            out.push_str(&format!("{line}\n"));
            line = start.to_owned();
        }
        if line.len() > start.len() {
            line.push(' ');
        }
        line.push_str(word);
    }
    out.push_str(&format!("{line}\n"));
}

/// A flow list or map, broken between its elements.
fn wrapped(start: &str, items: impl Iterator<Item = String>, end: &str, out: &mut String) {
    let indent = start.len() - start.trim_start().len() + 2;
    let mut line = start.to_owned();
    let mut first = true;
    for item in items {
        if !first {
            line.push(',');
            if line.len() + 1 + item.len() + end.len() > WIDTH {
                out.push_str(&format!("{line}\n"));
                line = " ".repeat(indent);
            } else {
                line.push(' ');
            }
        }
        first = false;
        line.push_str(&item);
    }
    out.push_str(&format!("{line}{end}\n"));
}

/// A text that YAML could read as something else is put in quotes.
fn scalar(text: &str) -> String {
    let word = text.to_ascii_lowercase();
    let other = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    if plain && !other.contains(&word.as_str()) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_yaml_could_read_as_something_else_stands_in_quotes() {
        assert_eq!(scalar("events"), "events");
        assert_eq!(scalar("projects.id"), "projects.id");
        for odd in ["true", "No", "null", "1e3", "-a", ".inf", "a b", "a\"b", "~"] {
            assert!(scalar(odd).starts_with('"'), "{odd}");
        }
    }

    #[test]
    fn long_lines_are_broken_between_elements_and_words() {
        let mut out = String::new();
        let names = (0..40).map(|n| format!("column_{n}"));
        wrapped("    columns: [", names, "]", &mut out);
        comment("  # ", &"word ".repeat(60), &mut out);
        assert!(out.lines().count() > 6 && out.lines().all(|line| line.len() <= WIDTH), "{out}");
        assert!(out.contains(",\n      column_"), "{out}");
    }
}
