//! Matrices: every role with every permission, in a table that people can read.
//!
//! A column is a resource, a row a role, a cell what the role may do there; every permission has a
//! request, so that a matrix of 27 roles and 63 permissions is 1,701 cases. May import `domain`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::context::Context;
use super::super::decode::{At, Fields, Filled, Name, Named, Table, listed, nearest, shown};
use super::super::leaf::Text;
use super::super::yaml::Span;
use super::expect::VerdictFields;
use super::fields::{AskedFields, CallerFields, SceneFields};

/// The word above the roles.
const CORNER: &str = "role";
/// The cell of a role that may do nothing.
const NOTHING: &str = "-";
/// What stands for the name of a resource in `otherwise`.
const RESOURCE: &str = "{resource}";

/// A matrix.
pub(super) struct MatrixFields {
    pub(super) name: At<Text>,
    pub(super) caller: Option<At<CallerFields>>,
    pub(super) scene: SceneFields,
    /// `None`: it is sent on.
    pub(super) expect: Option<VerdictFields>,
    requests: Named<Named<AskedFields>>,
    otherwise: Named<AskedFields>,
    table: Filled<At<Text>>,
}

impl Fields for MatrixFields {
    const NAME: &'static str = "matrix";
    const ABOUT: &'static str = "Which role may do what: every role is tried with every request, \
                                 and what the table does not allow must be refused with \
                                 `permission_denied`.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let name = table.required("name", "What it shows.");
        let caller = table.optional::<At<CallerFields>>(
            "as",
            "What every caller has besides the role, such as `{ aal: aal2 }`.",
        );
        let scene = SceneFields::read(table);
        let expect = table.optional(
            "expect",
            "What is to become of what the table allows, where something else refuses it: \
             `feature_disabled`; sent on if not stated.",
        );
        let requests = table.some(
            "requests",
            "For a resource the request of each action: `events: { read: GET /rest/v1/events }`.",
        );
        let otherwise = table.some(
            "otherwise",
            "The requests of all other resources; `{resource}` stands for the name.",
        );
        let rows = table.required(
            "table",
            "First `role` and the resources, then rows of a role and what it may do with each: \
             first letters of actions as `rwd`, whole words as `read,write`, or `-`.",
        );
        Some(Self { name: name?, caller, scene, expect, requests, otherwise, table: rows? })
    }
}

/// One role and one request.
pub(super) struct Cell {
    pub(super) role: At<Name>,
    pub(super) permission: Arc<str>,
    pub(super) request: AskedFields,
    pub(super) allowed: bool,
}

/// A word of a row and its place.
struct Word<'t> {
    text: &'t str,
    span: Span,
}

impl MatrixFields {
    /// Spreads the table out. What is wrong with it was reported.
    pub(super) fn cells(&self, cx: &mut Context<'_>) -> Vec<Cell> {
        let Some((head, rows)) = self.table.0.split_first() else { return Vec::new() };
        let Some(resources) = self.head(head, cx) else { return Vec::new() };
        let mut cells = Vec::new();
        let mut seen: Vec<(&str, Span)> = Vec::new();
        for row in rows {
            let words = words(row);
            let Some((role, granted)) = words.split_first() else { continue };
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == role.text) {
                cx.error(role.span, format!("the role `{}` has two rows", shown(role.text)))
                    .related(*first, "the first one");
            }
            seen.push((role.text, role.span));
            if granted.len() != resources.len() {
                let (cells, columns) = (granted.len(), resources.len());
                cx.error(row.span, format!("the row has {cells} cells for {columns} resources"))
                    .hint("a cell that allows nothing is `-`");
                continue;
            }
            let Some(name) = super::super::decode::name(role.text, role.span, cx) else { continue };
            let role = At { value: name, span: role.span };
            for ((resource, actions), cell) in resources.iter().zip(granted) {
                let Some(allowed) = allowed(cell, resource, actions, cx) else { continue };
                for (action, request) in actions {
                    cells.push(Cell {
                        role: role.clone(),
                        permission: Arc::from(format!("{resource}:{action}")),
                        request: request.clone(),
                        allowed: allowed.contains(&&**action),
                    });
                }
            }
        }
        cells
    }

    /// The resources of the first row, each with its actions and their requests.
    #[allow(clippy::type_complexity, reason = "used in the one place above")]
    fn head<'r>(
        &self,
        row: &'r At<Text>,
        cx: &mut Context<'_>,
    ) -> Option<Vec<(&'r str, BTreeMap<Name, AskedFields>)>> {
        let words = words(row);
        let (corner, names) = words.split_first()?;
        if corner.text != CORNER {
            cx.error(corner.span, format!("the table begins with `{}`", shown(corner.text)))
                .hint(format!("the first row is `{CORNER}` and the names of resources"));
            return None;
        }
        let mut out = Vec::new();
        for word in names {
            let own = self.requests.0.iter().find(|(name, _)| &*name.value == word.text);
            let actions: BTreeMap<Name, AskedFields> = match own {
                Some((_, own)) => entries(&own.value).collect(),
                None => entries(&self.otherwise)
                    .map(|(action, request)| (action, about(request, word.text)))
                    .collect(),
            };
            if actions.is_empty() {
                let said = format!("there is no request for the resource `{}`", shown(word.text));
                let known = self.requests.0.iter().map(|(name, _)| &*name.value);
                let hint = match nearest(word.text, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "state it under `requests`, or one for all under `otherwise`".into(),
                };
                cx.error(word.span, said).hint(hint);
            }
            out.push((word.text, actions));
        }
        for (name, _) in &self.requests.0 {
            if !names.iter().any(|word| word.text == &*name.value) {
                cx.error(name.span, format!("the table has no column `{}`", name.value))
                    .hint("add it to the first row, or remove the requests");
            }
        }
        Some(out)
    }
}

fn entries(named: &Named<AskedFields>) -> impl Iterator<Item = (Name, AskedFields)> + '_ {
    named.0.iter().map(|(action, request)| (action.value.clone(), request.value.clone()))
}

fn about(mut request: AskedFields, resource: &str) -> AskedFields {
    request.line.1 = request.line.1.replace(RESOURCE, resource);
    request.body = request.body.map(|body| body.replace(RESOURCE, resource));
    request
}

/// The actions that a cell allows.
fn allowed<'a>(
    cell: &Word<'_>,
    resource: &str,
    actions: &'a BTreeMap<Name, AskedFields>,
    cx: &mut Context<'_>,
) -> Option<Vec<&'a str>> {
    if cell.text == NOTHING {
        return Some(Vec::new());
    }
    let names: Vec<&'a str> = actions.keys().map(AsRef::as_ref).collect();
    let mut out = Vec::new();
    for part in cell.text.split(',') {
        if let Some(action) = names.iter().find(|name| **name == part) {
            out.push(*action);
            continue;
        }
        for letter in part.chars() {
            let fits: Vec<&&str> = names.iter().filter(|name| name.starts_with(letter)).collect();
            match fits.as_slice() {
                [one] => out.push(**one),
                [] => {
                    let message = format!("`{}` has no action `{}`", resource, shown(part));
                    cx.error(cell.span, message).hint(format!("it has {}", listed(&names)));
                    return None;
                }
                [..] => {
                    let message = format!("`{letter}` may be several actions of `{resource}`");
                    cx.error(cell.span, message)
                        .hint(format!("write words and commas: it has {}", listed(&names)));
                    return None;
                }
            }
        }
    }
    Some(out)
}

/// The words of a row, each with its place where the row is written without quotes.
fn words(row: &At<Text>) -> Vec<Word<'_>> {
    let whole = &row.value.0;
    let exact = row.span.len as usize == whole.len();
    let base = whole.as_ptr().addr();
    let place = |text: &str| {
        let ahead = u32::try_from(text.as_ptr().addr().saturating_sub(base)).unwrap_or(0);
        let len = u32::try_from(text.len()).unwrap_or(0);
        match exact {
            true => Span {
                column: row.span.column.saturating_add(ahead),
                offset: row.span.offset.saturating_add(ahead),
                len,
                ..row.span
            },
            false => row.span,
        }
    };
    whole.split_whitespace().map(|text| Word { text, span: place(text) }).collect()
}
