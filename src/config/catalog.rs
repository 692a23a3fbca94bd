//! The catalogue in policy files: tables, views, functions, and how their rows belong to
//! organizations.
//!
//! Here each entry is read by itself; `compile` (below) resolves what they say about each other.
//! May import `domain`.

pub(super) mod compile;

use serde_json::{Value, json};

use crate::domain::catalog::Argument;

use super::context::Context;
use super::decode::{
    At, Decode, Fields, Filled, Name, Named, Shapes, Table, expected, name, shown,
};
use super::defaults as preset;
use super::leaf::{text, word, words};
use super::yaml::{Kind, Node};

/// A table behind PostgREST.
pub(super) struct TableFields {
    pub(super) tenancy: TenancyFields,
    pub(super) columns: Vec<At<Name>>,
    pub(super) primary_key: Vec<At<Name>>,
    pub(super) unique: Vec<At<Vec<At<Name>>>>,
    pub(super) foreign_keys: Named<KeyFields>,
    pub(super) writable: bool,
    pub(super) requires_filter: bool,
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
        let write = table.optional::<At<Deny>>("write", "`deny`: the same as `writable: false`.");
        let writable = table.or::<At<bool>>(
            "writable",
            &preset::WRITABLE,
            "Whether clients may insert, update or delete at all.",
        );
        if write.is_some() && table.has("writable") {
            let message = "`write` cannot stand beside `writable`";
            table.error(table.key_span("write"), message, "state one of them");
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

/// A function that clients may call.
pub(super) struct FunctionFields {
    pub(super) arguments: Named<Argument>,
    pub(super) returns: Option<At<Name>>,
    pub(super) filtered: bool,
    pub(super) read_only: bool,
}

impl Fields for FunctionFields {
    const NAME: &'static str = "rpc";
    const ABOUT: &'static str = "A function that clients may call, and what confines it to their \
                                 organization: an argument, a filter on what it returns, or both.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let arguments = table.some::<Named<Argument>>(
            "args",
            "Its arguments by name. `$tenant`: the organization's id, whatever the client says; \
             `client`: what the client says. One that is not listed cannot be given.",
        );
        let returns = table.optional::<At<Name>>(
            "returns",
            "The table whose rows it returns, which can be selected from and filtered like it. \
             Not stated: a value, or rows of no catalogued table, which go back as they are.",
        );
        let filtered = table.or::<At<bool>>(
            "filter_result",
            &preset::FILTER_RESULT,
            "Whether only the organization's rows of what it returns go back.",
        );
        let unscoped = table.or::<At<bool>>(
            "unscoped",
            &preset::UNSCOPED,
            "`true`: nothing confines it, because it reads and changes nothing that belongs to an \
             organization.",
        );
        let read_only = table.or(
            "read_only",
            &preset::READ_ONLY,
            "Whether it changes nothing (`stable` or `immutable`), so that it may be called with \
             GET.",
        );
        let (filtered, unscoped) = (filtered?, unscoped?);
        let confined =
            filtered.value || arguments.0.iter().any(|(_, a)| a.value == Argument::Tenant);
        if filtered.value && returns.is_none() && !table.has("returns") {
            table.error(
                filtered.span,
                "`filter_result` needs the table whose rows are filtered",
                "state `returns: <table>`",
            );
        }
        if confined && unscoped.value {
            let message = "`unscoped` cannot stand beside what confines the function";
            table.error(table.key_span("unscoped"), message, "remove it");
        }
        if !confined && !unscoped.value {
            table.error(
                table.span,
                "nothing confines the function to an organization",
                "give it an argument `$tenant`, state `filter_result: true`, or say that it \
                 touches no organization's rows with `unscoped: true`",
            );
        }
        Some(Self { arguments, returns, filtered: filtered.value, read_only: read_only? })
    }
}

impl Decode for Argument {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, ARGUMENTS, "source of an argument", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(ARGUMENTS)
    }
}

const ARGUMENTS: &[(&str, Argument)] =
    &[("$tenant", Argument::Tenant), ("client", Argument::Client)];

/// The name of a type that a client may cast to.
pub(super) struct TypeName(pub(super) Name);

impl Decode for TypeName {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if stated.len() > 63 || !stated.bytes().all(fits) {
            cx.error(node.span, format!("`{}` is not the name of a type", shown(stated)))
                .hint("write it in lowercase and without its precision, such as `text` or `int8`");
            return None;
        }
        // They look texts up in the system catalogue, which tells what exists.
        if stated.starts_with("reg") {
            cx.error(node.span, format!("casts to `{stated}` ask the database what exists"))
                .hint("remove it");
            return None;
        }
        Some(Self(Name::from(stated)))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "type name", "type": "string", "pattern": "^[a-z0-9_]{1,63}$" })
    }
}

/// How large a PostgREST request may be.
pub(super) struct CapFields {
    pub(super) depth: u32,
    pub(super) embeds: u32,
    pub(super) filters: u32,
}

impl Fields for CapFields {
    const NAME: &'static str = "rest caps";
    const ABOUT: &'static str = "How large a PostgREST request may be. Beyond these it is refused \
                                 before any work is done.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let depth = table.or::<UpTo<16>>(
            "depth",
            &preset::CAP_DEPTH,
            "Levels of embeds, and apart from them of logic groups.",
        );
        let embeds = table.or::<UpTo<64>>("embeds", &preset::CAP_EMBEDS, "Embeds in one request.");
        let filters = table.or::<UpTo<1024>>(
            "filters",
            &preset::CAP_FILTERS,
            "Filters in one request, those within logic trees included.",
        );
        Some(Self { depth: depth?.0, embeds: embeds?.0, filters: filters?.0 })
    }
}

/// A number from 1 to `MAX`: what is above costs more than any client needs.
struct UpTo<const MAX: u32>(u32);

impl<const MAX: u32> Decode for UpTo<MAX> {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Int(number) = node.kind else {
            expected("a whole number", node, cx);
            return None;
        };
        match u32::try_from(number) {
            Ok(number) if (1..=MAX).contains(&number) => Some(Self(number)),
            Ok(_) | Err(_) => {
                cx.error(node.span, format!("`{number}` is out of range"))
                    .hint(format!("state a number from 1 to {MAX}"));
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        let title = format!("whole number from 1 to {MAX}");
        json!({ "title": title, "type": "integer", "minimum": 1, "maximum": MAX })
    }
}
