//! From trees to values. One function states a map's keys, types, defaults and meaning; it is run
//! over a tree to read it, and over nothing to describe it for the JSON Schema and the documents,
//! so that those cannot drift apart.
//!
//! Every key and every element is read on its own: one error never hides the next. May import
//! nothing of other rooms.

use serde_json::{Value, json};

use super::context::Context;
use super::defaults::Preset;
use super::yaml::{Entry, Kind, Node, Span};

/// A type that can be read from YAML.
pub(super) trait Decode: Sized {
    /// Reads the value. `None`: what is wrong was reported.
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self>;
    /// What is accepted, as JSON Schema.
    fn shape(shapes: &mut Shapes) -> Value;
}

/// A type that is read from a map with known keys.
pub(super) trait Fields: Sized {
    /// Its name in the schema and the documents.
    const NAME: &'static str;
    /// What it is.
    const ABOUT: &'static str;
    /// Reads or describes every key, then builds the value. All keys are asked for before the
    /// first `?`, so that every problem is reported.
    fn fields(table: &mut Table<'_, '_>) -> Option<Self>;
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A map with free keys, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Named<T>(pub(super) Vec<(At<Name>, At<T>)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// A name that operators choose: 1 to 64 letters, digits, `_`, `-` and `.`, so that it can stand in
/// metrics, headers and permissions as it is.
pub(super) type Name = std::sync::Arc<str>;

/// The keys of one map: either those of a tree, or those that are being described.
pub(super) struct Table<'t, 'c> {
    /// Where the map begins.
    pub(super) span: Span,
    mode: Mode<'t, 'c>,
}

enum Mode<'t, 'c> {
    Read {
        entries: &'t [Entry],
        asked: Vec<&'static str>,
        absent: Vec<(&'static str, &'static str)>,
        /// Keys of which one must be there, and none is.
        unchosen: Vec<&'static [&'static str]>,
        cx: &'t mut Context<'c>,
    },
    Describe {
        object: Object,
        shapes: &'t mut Shapes,
    },
}

/// The schema of a map, while it is described.
#[derive(Debug, Default)]
struct Object {
    properties: serde_json::Map<String, Value>,
    required: Vec<&'static str>,
    one_of: &'static [&'static str],
}

/// The definitions of a schema.
#[derive(Debug, Default)]
pub(super) struct Shapes(pub(super) serde_json::Map<String, Value>);

impl<'t, 'c> Table<'t, 'c> {
    /// A key that must be there.
    pub(super) fn required<T: Decode>(&mut self, key: &'static str, about: &str) -> Option<T> {
        if let Mode::Describe { object, .. } = &mut self.mode {
            object.required.push(key);
        }
        let value = self.optional(key, about);
        self.needs(key, "");
        value
    }

    /// Reports a key if it is not there; an empty hint is none.
    pub(super) fn needs(&mut self, key: &'static str, hint: &'static str) {
        let there = self.has(key);
        match &mut self.mode {
            Mode::Read { absent, .. } if !there => absent.push((key, hint)),
            Mode::Read { .. } | Mode::Describe { .. } => {}
        }
    }

    /// A key that may be there. `None` also where its value was refused.
    pub(super) fn optional<T: Decode>(&mut self, key: &'static str, about: &str) -> Option<T> {
        self.describe::<T>(key, about, None);
        let (node, cx) = self.find(key)?;
        T::decode(node, cx)
    }

    /// A key with a stated default.
    pub(super) fn or<T: Decode>(
        &mut self,
        key: &'static str,
        preset: &Preset,
        about: &str,
    ) -> Option<T> {
        self.describe::<T>(key, about, Some(preset));
        if let Some((node, cx)) = self.find(key) {
            return T::decode(node, cx);
        }
        let span = self.span;
        let cx = self.context()?;
        let node = Node { span, ..cx.preset(preset)? };
        T::decode(&node, cx)
    }

    /// A key with a default that is applied where all files are known.
    pub(super) fn or_later<T: Decode>(
        &mut self,
        key: &'static str,
        preset: &Preset,
        about: &str,
    ) -> Option<T> {
        self.describe::<T>(key, about, Some(preset));
        let (node, cx) = self.find(key)?;
        T::decode(node, cx)
    }

    /// A map that may be left out, since each of its keys may.
    pub(super) fn section<T: Fields>(&mut self, key: &'static str, about: &str) -> Option<T> {
        self.describe::<T>(key, about, None);
        let empty = Node { span: self.span, kind: Kind::Map(Vec::new()) };
        let (node, cx) = match self.find(key) {
            Some(found) => found,
            None => (&empty, self.context()?),
        };
        T::decode(node, cx)
    }

    /// A list or map that may be left out; then it is empty.
    pub(super) fn some<T: Decode + Default>(&mut self, key: &'static str, about: &str) -> T {
        self.optional(key, about).unwrap_or_default()
    }

    /// States that exactly one of these keys must be there; `None` where that is not so.
    pub(super) fn one_of(&mut self, keys: &'static [&'static str]) -> Option<&'static str> {
        match &mut self.mode {
            Mode::Describe { object, .. } => {
                object.one_of = keys;
                None
            }
            Mode::Read { entries, cx, unchosen, .. } => {
                let stated: Vec<&Entry> =
                    entries.iter().filter(|entry| keys.contains(&entry.key.as_str())).collect();
                match stated.as_slice() {
                    [] => {
                        unchosen.push(keys);
                        None
                    }
                    [one] => keys.iter().find(|key| **key == one.key).copied(),
                    [first, second, ..] => {
                        cx.error(
                            second.span,
                            format!("`{}` cannot stand beside `{}`", second.key, first.key),
                        )
                        .related(first.span, "stated here")
                        .hint(format!("state one of {}", listed(keys)));
                        None
                    }
                }
            }
        }
    }

    /// The place of a key, or of the map where it is not there.
    pub(super) fn key_span(&self, key: &str) -> Span {
        self.entry(key).map_or(self.span, |entry| entry.span)
    }

    /// Whether no key at all is there, not even one that nobody asks for.
    pub(super) fn is_empty(&self) -> bool {
        match &self.mode {
            Mode::Read { entries, .. } => entries.is_empty(),
            Mode::Describe { .. } => true,
        }
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// For checks over several keys. `None` while the map is described.
    pub(super) fn context(&mut self) -> Option<&mut Context<'c>> {
        match &mut self.mode {
            Mode::Read { cx, .. } => Some(cx),
            Mode::Describe { .. } => None,
        }
    }

    /// Reports an error; an empty hint is none.
    pub(super) fn error(&mut self, span: Span, message: impl Into<String>, hint: &str) {
        if let Some(cx) = self.context() {
            let said = cx.error(span, message);
            if !hint.is_empty() {
                said.hint(hint);
            }
        }
    }

    fn entry(&self, key: &str) -> Option<&'t Entry> {
        match &self.mode {
            Mode::Read { entries, .. } => entries.iter().find(|entry| entry.key == key),
            Mode::Describe { .. } => None,
        }
    }

    fn find(&mut self, key: &'static str) -> Option<(&'t Node, &mut Context<'c>)> {
        match &mut self.mode {
            Mode::Read { entries, asked, cx, .. } => {
                asked.push(key);
                let entries: &'t [Entry] = entries;
                let entry = entries.iter().find(|entry| entry.key == key)?;
                Some((&entry.value, cx))
            }
            Mode::Describe { .. } => None,
        }
    }

    fn describe<T: Decode>(&mut self, key: &'static str, about: &str, preset: Option<&Preset>) {
        let Mode::Describe { object, shapes } = &mut self.mode else { return };
        let mut shape = T::shape(shapes);
        if let Some(map) = shape.as_object_mut() {
            map.insert("description".into(), about.into());
            if let Some(preset) = preset {
                map.insert("default".into(), preset.json());
            }
        }
        object.properties.insert(key.into(), shape);
    }

    /// Reports keys that nobody asked for, and those that are missing unless one of the former
    /// was probably meant.
    fn finish(&mut self) {
        let span = self.span;
        let Mode::Read { entries, asked, absent, unchosen, cx } = &mut self.mode else { return };
        for entry in *entries {
            if asked.contains(&entry.key.as_str()) {
                continue;
            }
            // What stands behind a mistyped key can be a secret.
            cx.hide(&entry.value);
            let shown = shown(&entry.key);
            let hint = match nearest(&entry.key, asked.iter().copied()) {
                Some(near) => {
                    absent.retain(|(key, _)| *key != near);
                    unchosen.retain(|keys| !keys.contains(&near));
                    format!("did you mean `{near}`?")
                }
                None => format!("the keys here are {}", listed(asked)),
            };
            cx.error(entry.span, format!("unknown key `{shown}`")).hint(hint);
        }
        for keys in unchosen {
            cx.error(span, format!("one of {} is missing", listed(keys)));
        }
        for (key, hint) in absent {
            let said = cx.error(span, format!("key `{key}` is missing"));
            if !hint.is_empty() {
                said.hint(*hint);
            }
        }
    }
}

impl<T: Fields> Decode for T {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            expected("a map", node, cx);
            return None;
        };
        let mode =
            Mode::Read { entries, asked: Vec::new(), absent: Vec::new(), unchosen: Vec::new(), cx };
        let mut table = Table { span: node.span, mode };
        let value = T::fields(&mut table);
        table.finish();
        value
    }

    fn shape(shapes: &mut Shapes) -> Value {
        let reference = json!({ "$ref": format!("#/$defs/{}", T::NAME) });
        if shapes.0.contains_key(T::NAME) {
            return reference;
        }
        // Taken before its keys are described, so that definitions stand in the order of use.
        shapes.0.insert(T::NAME.into(), Value::Null);
        let mode = Mode::Describe { object: Object::default(), shapes };
        let mut table = Table { span: Span::default(), mode };
        // Describing gives no value.
        let _: Option<T> = T::fields(&mut table);
        if let Mode::Describe { object, shapes } = table.mode {
            shapes.0.insert(T::NAME.into(), object.schema(T::ABOUT));
        }
        reference
    }
}

impl Object {
    fn schema(self, about: &str) -> Value {
        let mut schema = json!({
            "type": "object",
            "description": about,
            "additionalProperties": false,
            "properties": self.properties,
        });
        if let Some(map) = schema.as_object_mut() {
            if !self.required.is_empty() {
                map.insert("required".into(), json!(self.required));
            }
            if !self.one_of.is_empty() {
                let each: Vec<Value> =
                    self.one_of.iter().map(|key| json!({ "required": [key] })).collect();
                map.insert("oneOf".into(), json!(each));
            }
        }
        schema
    }
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        Some(Self { value: T::decode(node, cx)?, span: node.span })
    }

    fn shape(shapes: &mut Shapes) -> Value {
        T::shape(shapes)
    }
}

impl<T: Decode> Decode for Vec<T> {
    /// Elements that are refused are left out, since they were reported.
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::List(items) = &node.kind else {
            expected("a list", node, cx);
            return None;
        };
        Some(items.iter().filter_map(|item| T::decode(item, cx)).collect())
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "type": "array", "items": T::shape(shapes) })
    }
}

/// A list with at least one element.
#[derive(Debug, Clone)]
pub(super) struct Filled<T>(pub(super) Vec<T>);

impl<T: Decode> Decode for Filled<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let items = Vec::decode(node, cx)?;
        if matches!(&node.kind, Kind::List(items) if items.is_empty()) {
            cx.error(node.span, "the list is empty").hint("state at least one element");
            return None;
        }
        Some(Self(items))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "type": "array", "minItems": 1, "items": T::shape(shapes) })
    }
}

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            expected("a map", node, cx);
            return None;
        };
        let mut out = Vec::new();
        for entry in entries {
            let name = name(&entry.key, entry.span, cx);
            let value = T::decode(&entry.value, cx);
            let span = entry.span;
            match (value, name) {
                (Some(value), Some(name)) => {
                    out.push((At { value: name, span }, At { value, span }));
                }
                (None, _) | (_, None) => cx.refuse(&entry.key),
            }
        }
        Some(Self(out))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "type": "object", "additionalProperties": T::shape(shapes) })
    }
}

/// Checks a name that the operator chose.
pub(super) fn name(text: &str, span: Span, cx: &mut Context<'_>) -> Option<Name> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Some(Name::from(text));
    }
    cx.error(span, format!("`{}` cannot be a name", shown(text)))
        .hint("a name is 1 to 64 letters (a-z, A-Z), digits, `_`, `-` and `.`");
    None
}

/// Reports that something else was expected.
pub(super) fn expected(what: &str, node: &Node, cx: &mut Context<'_>) {
    let found = match &node.kind {
        Kind::Null => "nothing".to_owned(),
        Kind::Bool(value) => format!("`{value}`"),
        Kind::Int(value) => format!("the number `{value}`"),
        Kind::Float => "a number with a fraction".to_owned(),
        Kind::Text { interpolated: true, .. } => "an interpolated text".to_owned(),
        Kind::Text { text, .. } => format!("the text `{}`", shown(text)),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
    };
    let said = cx.error(node.span, format!("expected {what}, found {found}"));
    match &node.kind {
        Kind::Null => {
            said.hint("state a value or remove the key");
        }
        Kind::Int(_) | Kind::Float | Kind::Bool(_) if what.contains("text") => {
            said.hint("put it in quotes");
        }
        Kind::Bool(_) | Kind::Int(_) | Kind::Float => {}
        Kind::Text { .. } | Kind::List(_) | Kind::Map(_) => {}
    }
}

/// A text of the operator's, fit for a message: short and without control characters.
pub(super) fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().count() > 60 {
        out.push('…');
    }
    out
}

/// The nearest of some names, if one is near enough to have been meant.
pub fn nearest<'n>(text: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let names: Vec<&str> = names.into_iter().collect();
    if let Some(same) = names.iter().find(|name| name.eq_ignore_ascii_case(text)) {
        return Some(same);
    }
    let reach = (text.chars().count() / 3).clamp(1, 3);
    names
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, _)| *distance <= reach)
        .min()
        .map(|(_, name)| name)
}

/// Names as a list for messages.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match quoted.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}
