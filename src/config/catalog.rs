//! The catalogue in policy files: tables, views, functions, and how their rows belong to
//! organizations.
//!
//! Here each table and view is read by itself, and in `functions` what else there is; `compile`
//! resolves what they say about each other. May import `domain`.

pub(super) mod compile;
pub(super) mod functions;
pub(super) mod trial;

use serde_json::{Value, json};

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Named, Shapes, Table, name, shown};
use super::defaults as preset;
use super::leaf::{text, word, words};
use super::yaml::{Kind, Node, Span};
use trial::TableMode;

/// A table behind PostgREST.
pub(super) struct TableFields {
    pub(super) tenancy: TenancyFields,
    pub(super) columns: Vec<At<Name>>,
    pub(super) primary_key: Vec<At<Name>>,
    pub(super) unique: Vec<At<Vec<At<Name>>>>,
    pub(super) foreign_keys: Named<KeyFields>,
    pub(super) writable: bool,
    pub(super) requires_filter: bool,
    pub(super) ranks: Option<At<Name>>,
    /// Where it says that its isolation is only tried.
    pub(super) trial: Option<Span>,
    pub(super) view: bool,
}

/// How its rows belong to organizations.
pub(super) enum TenancyFields {
    Column { column: At<Name>, shared_null: bool },
    Through { via: ViaFields },
    Global,
    Denied,
}

/// The way to the parent whose organization a row has.
pub(super) struct ViaFields {
    pub(super) constraint: At<Name>,
    pub(super) parent: At<Name>,
}

impl Fields for ViaFields {
    const NAME: &'static str = "via";
    const ABOUT: &'static str = "The parent row that a row belongs to, and with it to an \
                                 organization.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let constraint = table.required("fk", "The foreign key's constraint, one of `fks`.");
        let parent = table.required("to", "The table that it points to.");
        Some(Self { constraint: constraint?, parent: parent? })
    }
}

/// The columns of a foreign key, each with the column that it points to.
pub(super) type KeyFields = FilledMap<At<ColumnRef>>;

/// `table.column`.
pub(super) struct ColumnRef {
    pub(super) table: Name,
    pub(super) column: Name,
}

impl Decode for ColumnRef {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        match stated.split_once('.') {
            Some((table, column)) if !column.contains('.') => {
                let table = name(table, node.span, cx);
                let column = name(column, node.span, cx);
                Some(Self { table: table?, column: column? })
            }
            Some(_) | None => {
                cx.error(node.span, format!("`{}` is not a column of a table", shown(stated)))
                    .hint("write `table.column`, such as `projects.id`");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "table.column", "type": "string", "pattern": r"^[A-Za-z0-9_-]{1,64}\.[A-Za-z0-9_-]{1,64}$" })
    }
}

/// A map with at least one key.
pub(super) struct FilledMap<T>(pub(super) Named<T>);

impl<T: Decode> Decode for FilledMap<T> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let named = Named::decode(node, cx)?;
        if matches!(&node.kind, Kind::Map(entries) if entries.is_empty()) {
            cx.error(node.span, "the map is empty").hint("state at least one key");
            return None;
        }
        Some(Self(named))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        let mut shape = Named::<T>::shape(shapes);
        if let Some(map) = shape.as_object_mut() {
            map.insert("minProperties".into(), json!(1));
        }
        shape
    }
}

impl Fields for TableFields {
    const NAME: &'static str = "table";
    const ABOUT: &'static str = "A table and how its rows belong to organizations.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["tenant", "via", "global", "deny"]);
        let common = Common::read(table);
        let via = table.optional::<ViaFields>(
            "via",
            "Instead of `tenant`: its rows belong to whom their parent row belongs. They are read \
             through the parent and never written.",
        );
        let primary_key = table.some::<Vec<At<Name>>>("pk", "The columns of the primary key.");
        let unique = table.some::<Vec<At<Vec<At<Name>>>>>(
            "unique",
            "Other sets of columns that are unique in the whole table: what an upsert may name in \
             `on_conflict`.",
        );
        let foreign_keys = table.some::<Named<KeyFields>>(
            "fks",
            "Its foreign keys: for each constraint its columns and the columns that they point \
             to, `{ project_id: projects.id }`. Embeds are resolved along them and no others.",
        );
        let ranks = table.optional::<At<Name>>(
            "ranks",
            "Beside `tenant`: the column that holds a role. Whoever writes gives, changes and takes \
             only roles whose `level` is below that of the own role.",
        );
        let write = table.optional::<At<Deny>>("write", "`deny`: the same as `writable: false`.");
        let writable = table.or::<At<bool>>(
            "writable",
            &preset::WRITABLE,
            "Whether clients may insert, update or delete at all.",
        );
        let mode = table.or::<At<TableMode>>(
            "mode",
            &preset::TABLE_MODE,
            "Beside `tenant` or `via`: `shadow` sends requests that touch nothing but such tables as \
             they were written, and records what isolation would have made of them. Only where the \
             upstream is passed the caller's own token.",
        );
        if write.is_some() && table.has("writable") {
            let message = "`write` cannot stand beside `writable`";
            table.error(table.key_span("write"), message, "state one of them");
        }
        if let Some(which) = which.filter(|which| *which != "tenant") {
            meaningless(table, &["ranks"], which);
        }
        if let Some(which @ ("global" | "deny")) = which {
            meaningless(table, &["mode"], which);
        }
        let trial = mode?.trial().filter(|_| matches!(which, Some("tenant" | "via")));
        if let (Some(_), Some(ranks)) = (trial, &ranks) {
            table.error(
                ranks.span,
                "`ranks` cannot stand beside `mode: shadow`",
                "whoever may write would give themselves any role: enforce the table",
            );
        }
        let rest = ["pk", "unique", "fks", "write", "writable"];
        let (tenancy, columns, requires_filter) = common.tenancy(table, which?, via, &rest)?;
        let mut writable = writable?;
        if write.is_some() {
            writable.value = false;
        }
        let writable = match &tenancy {
            TenancyFields::Column { .. } => writable.value,
            TenancyFields::Through { .. } => {
                if writable.value && table.has("writable") {
                    table.error(
                        writable.span,
                        "rows that belong to their parent's organization cannot be written",
                        "a request cannot be confined by its parent: give the table a tenant \
                         column, with a composite foreign key to the parent",
                    );
                }
                false
            }
            TenancyFields::Global | TenancyFields::Denied => false,
        };
        for set in [&primary_key].into_iter().chain(unique.iter().map(|set| &set.value)) {
            once_each(set, table);
        }
        for set in unique.iter().filter(|set| set.value.is_empty()) {
            table.error(set.span, "the list is empty", "state at least one column");
        }
        Some(Self {
            tenancy,
            columns,
            primary_key,
            unique,
            foreign_keys,
            writable,
            requires_filter,
            ranks,
            trial,
            view: false,
        })
    }
}

/// A view behind PostgREST.
pub(super) struct ViewFields(pub(super) TableFields);

impl Fields for ViewFields {
    const NAME: &'static str = "view";
    const ABOUT: &'static str = "A view and how its rows belong to organizations. What its query \
                                 reads is the database's business: only filters on its columns \
                                 reach it.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["tenant", "global", "deny"]);
        let common = Common::read(table);
        let writable = table.or(
            "writable",
            &preset::VIEW_WRITABLE,
            "Whether clients may insert, update or delete through it.",
        );
        let (tenancy, columns, requires_filter) =
            common.tenancy(table, which?, None, &["writable"])?;
        let writable = writable? && matches!(tenancy, TenancyFields::Column { .. });
        Some(Self(TableFields {
            tenancy,
            columns,
            primary_key: Vec::new(),
            unique: Vec::new(),
            foreign_keys: Named::default(),
            writable,
            requires_filter,
            ranks: None,
            trial: None,
            view: true,
        }))
    }
}

/// The keys that tables and views share.
struct Common {
    tenant: Option<At<Name>>,
    deny: Option<At<bool>>,
    columns: Option<Filled<At<Name>>>,
    shared_null: bool,
    requires_filter: bool,
}

impl Common {
    fn read(table: &mut Table<'_, '_>) -> Self {
        let tenant = table.optional("tenant", "The column that holds the organization's id.");
        let _: Option<ReadOnly> = table.optional(
            "global",
            "`read`: the same rows for every organization, which clients can only read.",
        );
        let deny = table.optional("deny", "`true`: not reachable through the gateway.");
        let columns = table.optional(
            "columns",
            "The columns that clients may name; others do not exist for them.",
        );
        let shared_null = table.or(
            "shared_null",
            &preset::SHARED_NULL,
            "Beside `tenant`: every organization may read the rows whose tenant column is NULL.",
        );
        let requires_filter = table.or(
            "require_filter",
            &preset::REQUIRE_FILTER,
            "Whether an update or delete must state a filter of its own.",
        );
        Self {
            tenant,
            deny,
            columns,
            shared_null: shared_null.unwrap_or_default(),
            requires_filter: requires_filter.unwrap_or_default(),
        }
    }

    /// What the keys say together. `rest` are the keys of the caller, none of which means anything
    /// where the table cannot be reached.
    fn tenancy(
        self,
        table: &mut Table<'_, '_>,
        which: &'static str,
        via: Option<ViaFields>,
        rest: &[&'static str],
    ) -> Option<(TenancyFields, Vec<At<Name>>, bool)> {
        if which == "deny" {
            if let Some(At { value: false, span }) = self.deny {
                table.error(span, "`deny: false` says nothing", "state `tenant` or `global`");
                return None;
            }
            meaningless(table, &["columns", "shared_null", "require_filter"], "deny");
            meaningless(table, rest, "deny");
            return Some((TenancyFields::Denied, Vec::new(), false));
        }
        table.needs("columns", "list the columns that clients may name");
        let columns = self.columns?.0;
        once_each(&columns, table);
        let tenancy = match which {
            "tenant" => {
                let tenant = self.tenant?;
                if !columns.iter().any(|column| column.value == tenant.value) {
                    let message =
                        format!("the tenant column `{}` is not among the columns", tenant.value);
                    table.error(tenant.span, message, "add it to `columns`");
                }
                TenancyFields::Column { column: tenant, shared_null: self.shared_null }
            }
            "via" => {
                meaningless(table, &["shared_null", "require_filter"], "via");
                TenancyFields::Through { via: via? }
            }
            _ => {
                meaningless(
                    table,
                    &["shared_null", "require_filter", "write", "writable"],
                    "global",
                );
                TenancyFields::Global
            }
        };
        Some((tenancy, columns, self.requires_filter))
    }
}

/// Reports keys that are there and change nothing.
fn meaningless(table: &mut Table<'_, '_>, keys: &[&'static str], beside: &str) {
    for key in keys.iter().filter(|key| table.has(key)).collect::<Vec<_>>() {
        let message = format!("`{key}` has no meaning beside `{beside}`");
        table.error(table.key_span(key), message, "remove it");
    }
}

/// Reports columns that are listed twice.
fn once_each(columns: &[At<Name>], table: &mut Table<'_, '_>) {
    for (index, column) in columns.iter().enumerate() {
        if columns.iter().take(index).any(|earlier| earlier.value == column.value) {
            table.error(column.span, format!("the column `{}` is listed twice", column.value), "");
        }
    }
}

struct ReadOnly;

impl Decode for ReadOnly {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, &[("read", ())], "access", cx).map(|()| Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(&[("read", ())])
    }
}

struct Deny;

impl Decode for Deny {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, &[("deny", ())], "access", cx).map(|()| Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(&[("deny", ())])
    }
}
