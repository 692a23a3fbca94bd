//! Functions that clients may call, types that they may cast to, and how much they may ask for.
//!
//! May import `domain`.

use serde_json::{Value, json};

use crate::config::context::Context;
use crate::config::decode::{At, Decode, Fields, Name, Named, Shapes, Table, expected, shown};
use crate::config::defaults as preset;
use crate::config::leaf::{text, word, words};
use crate::config::yaml::{Kind, Node};
use crate::domain::catalog::Argument;

/// A function that clients may call.
pub(in crate::config) struct FunctionFields {
    pub(in crate::config) arguments: Named<Argument>,
    pub(in crate::config) returns: Option<At<Name>>,
    pub(in crate::config) filtered: bool,
    pub(in crate::config) read_only: bool,
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
pub(in crate::config) struct TypeName(pub(in crate::config) Name);

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
pub(in crate::config) struct CapFields {
    pub(in crate::config) depth: u32,
    pub(in crate::config) embeds: u32,
    pub(in crate::config) filters: u32,
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
        let filters = table.or::<UpTo<64>>(
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
