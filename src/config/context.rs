//! What reading a configuration needs and gathers: files, the environment, problems, places of
//! secrets, the hash of everything that was read.
//!
//! May import `domain`.

mod interpolate;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::domain::source::Source;

use super::defaults::Preset;
use super::files::{self, Files};
use super::problem::{Place, Problem, Severity};
use super::yaml::{self, Kind, Node, Span};

/// Reads a variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Whether `${…}` is read in a file. It is in `gateway.yaml` only: policies say the same on every
/// node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Interpolation {
    On,
    Off,
}

/// The state of one reading.
pub(super) struct Context<'a> {
    files: &'a dyn Files,
    environment: Environment<'a>,
    opened: Vec<Opened>,
    read: Vec<PathBuf>,
    directory: Option<PathBuf>,
    found: Vec<Found>,
    secrets: Vec<Span>,
    refused: BTreeSet<String>,
    /// Defaults that were needed, as trees: most are needed at every route, rule or member.
    presets: BTreeMap<&'static str, Option<Node>>,
    hasher: blake3::Hasher,
}

struct Opened {
    name: Arc<str>,
    directory: PathBuf,
    text: String,
    interpolation: Interpolation,
}

struct Found {
    severity: Severity,
    message: String,
    span: Span,
    related: Option<(Span, String)>,
    hint: Option<String>,
}

/// A problem that is still being described.
pub(super) struct Said<'c>(Option<&'c mut Found>);

impl Said<'_> {
    /// What to do about it.
    pub(super) fn hint(self, text: impl Into<String>) -> Self {
        self.0.map_or(Self(None), |found| {
            found.hint = Some(text.into());
            Self(Some(found))
        })
    }

    /// Another place that has to do with it.
    pub(super) fn related(self, span: Span, label: impl Into<String>) -> Self {
        self.0.map_or(Self(None), |found| {
            found.related = Some((span, label.into()));
            Self(Some(found))
        })
    }
}

impl<'a> Context<'a> {
    pub(super) fn new(files: &'a dyn Files, environment: Environment<'a>) -> Self {
        Self {
            files,
            environment,
            opened: Vec::new(),
            read: Vec::new(),
            directory: None,
            found: Vec::new(),
            secrets: Vec::new(),
            refused: BTreeSet::new(),
            presets: BTreeMap::new(),
            hasher: blake3::Hasher::new(),
        }
    }

    /// Opens a YAML file. What is wrong with the file as such is said where it is named.
    pub(super) fn open(
        &mut self,
        path: &Path,
        named_at: Option<Span>,
        interpolation: Interpolation,
    ) -> Option<Node> {
        let name: Arc<str> = path.to_string_lossy().into();
        let file = u16::try_from(self.opened.len()).ok()?;
        let text = match self.contents(path) {
            Ok(text) => text,
            Err(error) => {
                let span = named_at.unwrap_or(Span { file, ..Span::default() });
                if named_at.is_none() {
                    let directory = PathBuf::new();
                    let text = String::new();
                    self.opened.push(Opened { name: name.clone(), directory, text, interpolation });
                }
                self.error(span, format!("cannot read `{name}`: {error}"));
                return None;
            }
        };
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let (node, error) = yaml::parse(file, &text);
        self.opened.push(Opened { name, directory, text, interpolation });
        if let Some(error) = error {
            self.hide_line(error.span);
            let line = (error.span.line as usize).saturating_sub(1);
            let unquoted = self
                .opened
                .last()
                .and_then(|opened| opened.text.lines().nth(line))
                .is_some_and(|line| line.contains(" ${") || line.contains("[${"));
            let said = self.error(error.span, error.message);
            match error.hint {
                Some(hint) => {
                    said.hint(hint);
                }
                None if unquoted => {
                    said.hint("inside `{ }` and `[ ]`, put `${…}` in quotes");
                }
                None => {}
            }
        }
        let mut node = node?;
        if node.kind == Kind::Null {
            self.error(Span { file, ..Span::default() }, "the file is empty");
            return None;
        }
        self.interpolate(&mut node, interpolation);
        Some(node)
    }

    /// The directory file that is to be opened where this one is named.
    pub(super) fn directory(&mut self, stated: &Path) -> PathBuf {
        let path = self.files.directory(stated);
        self.directory = Some(path.clone());
        path
    }

    /// The directory file that the configuration is read with, if it is one.
    pub(super) fn directory_read(&self) -> Option<PathBuf> {
        self.directory.clone()
    }

    /// The text of a YAML file that the configuration names.
    fn contents(&mut self, path: &Path) -> std::io::Result<String> {
        self.remember(path);
        let text = self.files.read(path)?;
        self.hash(path, &text);
        Ok(text)
    }

    /// The text of a file with secrets or keys, which is never kept.
    pub(super) fn secret(&mut self, path: &Path) -> std::io::Result<String> {
        self.remember(path);
        let text = self.files.read_secret(path)?;
        self.hash(path, &text);
        Ok(text)
    }

    fn hash(&mut self, path: &Path, text: &str) {
        // Lengths keep apart what would otherwise run together.
        let name = path.to_string_lossy();
        for part in [name.as_bytes(), text.as_bytes()] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
    }

    /// A default as a tree. Its places are to be those of where it stands in.
    pub(super) fn preset(&mut self, preset: &Preset) -> Option<Node> {
        let read = || yaml::parse(0, preset.yaml).0;
        self.presets.entry(preset.yaml).or_insert_with(read).clone()
    }

    /// A change of this file is worth a reload, though the version does not depend on it.
    pub(super) fn involve(&mut self, path: &Path) {
        self.remember(path);
    }

    fn remember(&mut self, path: &Path) {
        if !self.read.iter().any(|known| known == path) {
            self.read.push(path.to_owned());
        }
    }

    /// The files that a pattern names.
    pub(super) fn matching(&mut self, pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
        self.look_into(pattern);
        files::matching(self.files, pattern)
    }

    /// The test files that a pattern names.
    pub(super) fn matching_tests(&mut self, pattern: &Path) -> std::io::Result<Vec<PathBuf>> {
        self.look_into(pattern);
        files::matching_tests(self.files, pattern)
    }

    /// A new file in the directory of a pattern changes what is in force.
    fn look_into(&mut self, pattern: &Path) {
        if let Some(directory) = pattern.parent().filter(|_| files::is_pattern(pattern)) {
            self.remember(match directory.as_os_str().is_empty() {
                true => Path::new("."),
                false => directory,
            });
        }
    }

    /// A path as seen from the file that states it.
    pub(super) fn beside(&self, span: Span, path: &str) -> PathBuf {
        let directory =
            self.opened.get(usize::from(span.file)).map(|file| file.directory.as_path());
        files::beside(directory.unwrap_or(Path::new("")), path)
    }

    /// Reports an error.
    pub(super) fn error(&mut self, span: Span, message: impl Into<String>) -> Said<'_> {
        self.report(Severity::Error, span, message.into())
    }

    /// Reports a warning.
    pub(super) fn warning(&mut self, span: Span, message: impl Into<String>) -> Said<'_> {
        self.report(Severity::Warning, span, message.into())
    }

    fn report(&mut self, severity: Severity, span: Span, message: String) -> Said<'_> {
        self.found.push(Found { severity, message, span, related: None, hint: None });
        Said(self.found.last_mut())
    }

    /// Masks a value in every line that is shown. Only the gateway file has secrets.
    pub(super) fn hide(&mut self, node: &Node) {
        let file = self.opened.get(usize::from(node.span.file));
        if file.is_none_or(|file| file.interpolation == Interpolation::Off) {
            return;
        }
        match &node.kind {
            Kind::List(items) => items.iter().for_each(|item| self.hide(item)),
            Kind::Map(entries) => entries.iter().for_each(|entry| self.hide(&entry.value)),
            // What is interpolated shows the variable's name, which helps and harms nobody.
            Kind::Text { interpolated: false, .. } => self.secrets.push(node.span),
            Kind::Text { .. } | Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float => {}
        }
    }

    /// Remembers that something of this name is there, though it cannot be used.
    pub(super) fn refuse(&mut self, name: &str) {
        self.refused.insert(name.to_owned());
    }

    /// Whether something of this name is there, though it cannot be used.
    pub(super) fn refused(&self, name: &str) -> bool {
        self.refused.contains(name)
    }

    /// Masks what may be a secret in a line that could not be read: there is no tree to tell.
    fn hide_line(&mut self, span: Span) {
        const KEYS: [&str; 9] =
            ["hs256", "hs384", "hs512", "secret", "publishable", "url", "api_key", "pem", "pepper"];
        let Some(opened) = self.opened.get(usize::from(span.file)) else { return };
        let mut offset = 0;
        for (line, number) in opened.text.split_inclusive('\n').zip(1u32..) {
            let value = KEYS
                .iter()
                .filter_map(|key| Some((line.find(&format!("{key}:"))?, key.len() + 1)))
                .map(|(at, len)| at + len)
                .min();
            if let Some(at) = value.filter(|_| number == span.line) {
                let small = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                let len = small(line.trim_end().len().saturating_sub(at));
                self.secrets.push(Span { offset: small(offset + at), len, ..span });
            }
            offset += line.len();
        }
    }

    /// The place for compiled policies.
    pub(super) fn source(&self, span: Span) -> Source {
        let file = self.name(span.file);
        Source { file, line: span.line, column: span.column }
    }

    /// The text of the file that something stands in, as it is written.
    pub(super) fn text(&self, span: Span) -> &str {
        self.opened.get(usize::from(span.file)).map_or("", |file| file.text.as_str())
    }

    fn name(&self, file: u16) -> Arc<str> {
        self.opened.get(usize::from(file)).map(|file| file.name.clone()).unwrap_or_default()
    }

    /// Whether anything is an error so far.
    pub(super) fn failed(&self) -> bool {
        self.found.iter().any(|found| found.severity == Severity::Error)
    }

    /// All problems in the order of files and lines, the files that were read, and the first 16
    /// hex digits of the hash over their names and contents.
    pub(super) fn finish(mut self) -> (Vec<Problem>, Vec<PathBuf>, Arc<str>) {
        let hash = self.hasher.finalize().to_hex();
        let version = hash.as_str().get(..16).unwrap_or_default().into();
        if self.found.is_empty() {
            return (Vec::new(), self.read, version);
        }
        self.found.sort_by_key(|found| found.span);
        let masked: Vec<String> = (0u16..)
            .zip(&self.opened)
            .map(|(file, opened)| {
                mask(&opened.text, self.secrets.iter().filter(|span| span.file == file))
            })
            .collect();
        let place = |span: Span| {
            let text = masked.get(usize::from(span.file)).map_or("", String::as_str);
            let line = text.lines().nth((span.line as usize).saturating_sub(1)).unwrap_or("");
            Place {
                file: self.name(span.file),
                line: span.line,
                column: span.column,
                width: width(text, span),
                // A tab would shift the caret.
                text: line.replace('\t', " ").trim_end().into(),
            }
        };
        let mut problems: Vec<Problem> = Vec::new();
        for found in &self.found {
            let problem = Problem {
                severity: found.severity,
                message: found.message.clone(),
                place: place(found.span),
                related: found.related.as_ref().map(|(span, label)| (place(*span), label.clone())),
                hint: found.hint.clone(),
            };
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
        (problems, self.read, version)
    }
}

fn width(text: &str, span: Span) -> u32 {
    let start = span.offset as usize;
    let stretch = text.get(start..start.saturating_add(span.len as usize)).unwrap_or("");
    let first = stretch.lines().next().unwrap_or("");
    u32::try_from(first.chars().count()).unwrap_or(1)
}

/// Replaces the characters of secrets, keeping columns.
fn mask<'s>(text: &str, secrets: impl Iterator<Item = &'s Span>) -> String {
    let mut stretches: Vec<(usize, usize)> = secrets
        .map(|span| (span.offset as usize, span.offset as usize + span.len as usize))
        .collect();
    stretches.sort_unstable();
    let mut out = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        let hidden = stretches.iter().any(|(from, to)| (*from..*to).contains(&at));
        // One byte for one byte, so that the offsets of other spans stay right.
        match hidden && c != '\n' {
            true => out.extend(std::iter::repeat_n('*', c.len_utf8())),
            false => out.push(c),
        }
    }
    out
}
