//! docs/POLICIES.md: its tables are what the program describes, and its examples compile.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run --test rules` writes the tables anew.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use tollgate::config::{self, Memory, defaults, expression, schema, suite};
use tollgate::policy::expression::Phase;

use crate::golden::environment;

fn document() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/POLICIES.md")
}

fn kinds() -> [(&'static str, Value); 5] {
    [
        ("gateway", schema::gateway()),
        ("policy", schema::policy()),
        ("rules", schema::rules()),
        ("directory", schema::directory()),
        ("test", schema::test()),
    ]
}

fn anchor(name: &str) -> String {
    format!("{}-keys", name.replace(' ', "-"))
}

/// The type of a value, for people.
fn kind(shape: &Value) -> String {
    if let Some(name) = shape["$ref"].as_str() {
        let name = name.trim_start_matches("#/$defs/");
        return format!("[{name}](#{})", anchor(name));
    }
    if let Some(title) = shape["title"].as_str() {
        return title.to_owned();
    }
    if let Some(words) = shape["enum"].as_array() {
        let words: Vec<String> = words.iter().map(|w| format!("`{}`", plain(w))).collect();
        return words.join(", ");
    }
    if !shape["const"].is_null() {
        return format!("`{}`", plain(&shape["const"]));
    }
    if let Some(choices) = shape["anyOf"].as_array() {
        let choices: Vec<String> =
            choices.iter().filter(|choice| choice["pattern"] != r"\$\{").map(kind).collect();
        return choices.join(" or ");
    }
    match shape["type"].as_str() {
        Some("array") => format!("list of {}", kind(&shape["items"])),
        Some("object") => format!("map of names to {}", kind(&shape["additionalProperties"])),
        other => panic!("{other:?} has no words: {shape}"),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn table(name: &str, definition: &Value) -> String {
    let empty = Vec::new();
    let required = definition["required"].as_array().unwrap_or(&empty);
    let one_of: Vec<&Value> = definition["oneOf"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .map(|choice| &choice["required"][0])
        .collect();
    let about = definition["description"].as_str().unwrap();
    let mut out = format!("#### {name} keys\n\n{about}\n\n");
    out += "| key | type | default | example | meaning |\n|---|---|---|---|---|\n";
    for (key, property) in definition["properties"].as_object().unwrap() {
        let name = Value::from(key.as_str());
        let default = if required.contains(&name) {
            "**must be stated**".to_owned()
        } else if one_of.contains(&&name) {
            "*one of these*".to_owned()
        } else if property["default"].is_null() {
            "–".to_owned()
        } else {
            format!("`{}`", plain(&property["default"]))
        };
        let meaning = property["description"].as_str().unwrap();
        let kind = kind(property);
        let example = example(property).unwrap_or_else(|| "–".to_owned());
        out += &format!("| `{key}` | {kind} | {default} | {example} | {meaning} |\n");
    }
    out + "\n"
}

/// The shortest example of a key, where its type does not say it all, as YAML on one line.
fn example(shape: &Value) -> Option<String> {
    let examples = shape["examples"].as_array()?;
    let shown = examples.iter().map(|example| {
        let depths = (0..4).rev().map(|depth| flow(example, depth));
        depths.into_iter().find(|text| text.len() <= 72).unwrap_or_else(|| flow(example, 0))
    });
    let shortest = shown.min_by_key(|text| (text.contains('…'), text.len()))?;
    Some(format!("`{}`", shortest.replace('|', "\\|")))
}

/// A value as YAML on one line; what lies deeper is `…`.
fn flow(value: &Value, depth: usize) -> String {
    match value {
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Array(items) if depth == 0 => match items.as_slice() {
            [one] => format!("[{}]", flow(one, 0)),
            [first, ..] => format!("[{}, …]", flow(first, 0)),
            [] => "[]".to_owned(),
        },
        Value::Object(entries) if depth == 0 => {
            let (key, value) = entries.iter().next().unwrap();
            let more = if entries.len() > 1 { ", …" } else { "" };
            format!("{{ {key}: {}{more} }}", flow(value, 0))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| flow(item, depth - 1)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) => {
            let entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{key}: {}", flow(value, depth - 1)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::String(text) => {
            let text = text.trim_end();
            if text.lines().nth(1).is_some() || text.len() > 64 {
                let first: String = text.lines().next().unwrap().chars().take(60).collect();
                return format!("{} …", first.trim_end());
            }
            let marked = text.is_empty() || text.contains([':', '#', ',', '{', '[', '*', '"']);
            if marked { format!("{text:?}") } else { text.to_owned() }
        }
        other => other.to_string(),
    }
}

fn tables(schema: &Value) -> String {
    let definitions: &Map<String, Value> = schema["$defs"].as_object().unwrap();
    definitions.iter().map(|(name, definition)| table(name, definition)).collect()
}

fn reasons() -> String {
    let mut out = String::from("| part | key | default | why |\n|---|---|---|---|\n");
    for preset in defaults::ALL {
        let (part, key, yaml, why) = (preset.part, preset.key, preset.yaml, preset.why);
        out += &format!("| {part} | `{key}` | `{}` | {why} |\n", yaml.trim_matches('"'));
    }
    out
}

/// Puts text between the two marks of that name.
pub(crate) fn filled(document: &str, mark: &str, text: &str) -> String {
    let (begin, end) = (format!("<!-- {mark} -->\n"), format!("<!-- /{mark} -->"));
    let (head, rest) = document.split_once(&begin).unwrap();
    let (_, tail) = rest.split_once(&end).unwrap();
    format!("{head}{begin}\n{}\n{end}{tail}", text.trim_end().to_owned() + "\n")
}

#[test]
fn its_tables_are_what_the_program_describes() {
    let stated = fs::read_to_string(document()).unwrap();
    let mut due = stated.clone();
    for (mark, schema) in kinds() {
        due = filled(&due, mark, &tables(&schema));
    }
    due = filled(&due, "defaults", &reasons());
    due = filled(&due, "expressions", &expression::reference());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(document(), &due).unwrap();
        return;
    }
    assert!(stated == due, "docs/POLICIES.md is out of date: run with UPDATE_GOLDEN=1");
}

#[test]
fn every_key_has_an_example() {
    let mut without = Vec::new();
    for (_, schema) in kinds() {
        for (name, definition) in schema["$defs"].as_object().unwrap() {
            for (key, property) in definition["properties"].as_object().unwrap() {
                if property["examples"].is_null() {
                    without.push(format!("{name}: {key}"));
                }
            }
        }
    }
    assert!(without.is_empty(), "put these into an example:\n{}", without.join("\n"));
}

#[test]
fn its_expressions_compile() {
    let document = fs::read_to_string(document()).unwrap();
    let blocks = document.split("```cel\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut count = 0;
    for block in blocks {
        count += 1;
        let compiled = expression::compile(block, Phase::Response);
        assert!(compiled.is_ok(), "{block}{compiled:?}");
    }
    assert!(count > 3, "{count}");
}

#[test]
fn every_default_stands_in_the_schema_with_its_part() {
    let kinds = kinds();
    for preset in defaults::ALL {
        let found = kinds.iter().any(|(_, schema)| {
            let default = &schema["$defs"][preset.part]["properties"][preset.key]["default"];
            !default.is_null() && plain(default) == preset.yaml.trim_matches('"')
        });
        assert!(found, "{preset:?}");
    }
}

/// The fenced examples with their info strings.
fn examples(document: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut rest = document;
    while let Some((_, after)) = rest.split_once("\n```yaml") {
        let (info, body) = after.split_once('\n').unwrap();
        let (body, tail) = body.split_once("\n```").unwrap();
        out.push((info.trim().to_owned(), format!("{body}\n")));
        rest = tail;
    }
    out
}

/// `text` without the parts of a top-level map that `other` states too.
fn without(text: &str, other: &str) -> String {
    let key = |line: &str| -> Option<String> {
        let key = line.split_once(':')?.0;
        (!key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
            .then(|| key.to_owned())
    };
    let gone: Vec<String> = other.lines().filter_map(key).collect();
    let mut keep = true;
    let kept = text.lines().filter(|line| {
        if let Some(key) = key(line) {
            keep = !gone.contains(&key);
        }
        keep
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// The examples of each kind are one configuration together; one marked `instead` takes the place
/// of those that state the same keys.
#[test]
fn its_examples_compile() {
    let document = fs::read_to_string(document()).unwrap();
    let examples = examples(&document);
    let of = |wanted: &str| -> Vec<&str> {
        let fits = examples.iter().filter(|(info, _)| info == wanted);
        fits.map(|(_, body)| body.as_str()).collect()
    };
    let known = [
        "gateway",
        "gateway instead",
        "policy",
        "policy shadow",
        "rules",
        "directory",
        "test",
        "test shadow",
    ];
    for (info, body) in &examples {
        assert!(known.contains(&info.as_str()), "mark this example as one of {known:?}:\n{body}");
    }
    let base = of("gateway").concat();
    assert!(of("gateway").len() >= 6 && of("policy").len() >= 6, "{examples:?}");
    for alternative in [""].into_iter().chain(of("gateway instead")) {
        let gateway = without(&base, alternative) + alternative;
        let files = laid_out(&gateway, &of);
        if let Err(problems) =
            suite::load_from(&files, Path::new("policies/0.test.yaml"), &documented)
        {
            panic!("{problems}");
        }
        let path = Path::new("config/gateway.yaml");
        match config::load_from(&files, path, &documented) {
            Ok(loaded) => {
                let warnings: Vec<String> =
                    loaded.warnings.iter().map(ToString::to_string).collect();
                assert!(warnings.is_empty(), "{}", warnings.join("\n"));
            }
            Err(problems) => panic!("{problems}\n{gateway}"),
        }
    }
}

/// A table in shadow is warned of, and an error behind tokens of the gateway's own.
#[test]
fn its_table_in_shadow_compiles_where_tokens_are_passed_through() {
    let document = fs::read_to_string(document()).unwrap();
    let examples = examples(&document);
    let of = |wanted: &str| -> Vec<&str> {
        let fits = examples.iter().filter(|(info, _)| info == wanted);
        fits.map(|(_, body)| body.as_str()).collect()
    };
    let base = of("gateway").concat();
    let [tried] = of("policy shadow")[..] else { panic!("one example of a table in shadow") };
    let passed = "upstreams:\n  rest: { kind: postgrest, addresses: [rest:3000] }\n  \
                  rest-next: { kind: postgrest, addresses: [rest-next:3000] }\n  \
                  auth: { kind: auth, addresses: [auth:9999] }\n  \
                  hosted: { kind: storage, addresses: [hosted:443] }\n";
    for (gateway, loads) in [(without(&base, passed) + passed, true), (base.clone(), false)] {
        let files = laid_out(&gateway, &of).with("policies/tried.yaml", tried);
        let loaded = config::load_from(&files, Path::new("config/gateway.yaml"), &documented);
        let (said, told) = match loaded {
            Ok(loaded) => {
                let warnings = loaded.warnings.iter().map(ToString::to_string);
                (warnings.collect::<String>(), "the gateway does not isolate the table `visits`")
            }
            Err(problems) => (problems.to_string(), "`visits` cannot be in shadow: the upstream"),
        };
        assert!(said.contains(told) && told.starts_with("the gateway") == loads, "{said}");
        let [test] = of("test shadow")[..] else { panic!("one test of a table in shadow") };
        let files = files.with("policies/tried.test.yaml", test);
        let suite = suite::load_from(&files, Path::new("policies/tried.test.yaml"), &documented);
        assert_eq!(suite.is_ok(), loads, "{suite:?}");
    }
}

/// The files of a configuration that the examples make together.
fn laid_out<'e>(gateway: &str, of: &dyn Fn(&str) -> Vec<&'e str>) -> Memory {
    let mut files = Memory::new()
        .with("config/gateway.yaml", gateway)
        .with("config/directory.yaml", of("directory").concat())
        .with("config/keys.json", include_str!("keys.json"))
        .with("config/issuer.pem", include_str!("issuer.pem"))
        .with("/run/secrets/jwt", "a-secret-in-a-file-of-thirty-two-bytes\n");
    for (number, policy) in of("policy").into_iter().enumerate() {
        files = files.with(format!("policies/{number}.yaml"), policy);
    }
    for (number, rules) in of("rules").into_iter().enumerate() {
        files = files.with(format!("lua-free-rules/{number}.yaml"), rules);
    }
    for (number, test) in of("test").into_iter().enumerate() {
        files = files.with(format!("policies/{number}.test.yaml"), test);
    }
    files
}

fn documented(name: &str) -> Option<String> {
    let value = match name {
        "DATABASE_URL" => "postgres://gateway:password@db/postgres",
        "REDIS_URL" => "redis://redis:6379/0",
        "LOGIN_PEPPER" => "a-pepper-for-accounts-of-32-bytes-and-more",
        "DEVICE_KEY" | "OLD_DEVICE_KEY" => "a-key-for-devices-of-32-bytes-and-more",
        "JWT_SECRET_384" | "JWT_SECRET_512" => {
            "a-secret-that-is-long-enough-for-sha-512-and-so-for-sha-384-as-well"
        }
        "SUPABASE_PUBLISHABLE_KEY" => "sb_publishable_0123456789abcdef",
        "SUPABASE_SECRET_KEY" => "sb_secret_0123456789abcdef",
        "TOLLGATE_OPERATOR_SECRET" => "what-operators-show-and-nobody-else-has",
        "TOLLGATE_KEY_PEPPER" => "a-pepper-of-thirty-two-bytes-or-more",
        other => return environment(other),
    };
    Some(value.to_owned())
}
