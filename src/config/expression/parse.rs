//! From the text of an expression to its syntax tree. The only file that runs the parser.
//!
//! The parser recurses as deep as the text is nested; it gets a text of bounded length, and where that
//! is long a thread with room for the deepest, so that no file can end the process. May import nothing of
//! other rooms.

use cel::common::ast::SourceInfo;
use cel::{IdedExpr, ParseErrors};

use super::Mistake;

/// Bytes of an expression.
pub(super) const MAX_BYTES: usize = 8_192;
/// Brackets in brackets.
const MAX_NESTED: u16 = 32;
/// Bytes of an expression that nests no deeper than any thread has room for. Almost all are as short,
/// and a thread of its own costs as much as reading one.
const SHORT: usize = 512;
/// Far more than the deepest tree of so many bytes takes. Only what is used of it costs memory.
const STACK: usize = 64 << 20;

/// Runs `then` over the syntax tree.
pub(super) fn parsed<T: Send>(
    text: &str,
    then: impl FnOnce(IdedExpr, SourceInfo) -> Result<T, Vec<Mistake>> + Send,
) -> Result<T, Vec<Mistake>> {
    bounded(text).map_err(|mistake| vec![mistake])?;
    let work = || match parser().parse_with_source_info(text) {
        Ok((tree, places)) => then(tree, places),
        Err(errors) => Err(syntax(text, errors)),
    };
    // A panic of the parser is a text that cannot be read.
    let outcome = if text.len() <= SHORT {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok()
    } else {
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
            thread.ok().and_then(|thread| thread.join().ok())
        })
    };
    outcome
        .unwrap_or_else(|| Err(vec![Mistake::new(0..text.len(), "the expression cannot be read")]))
}

fn parser() -> cel::parser::Parser {
    cel::parser::Parser::new().max_recursion_depth(MAX_NESTED).error_recovery_limit(4)
}

/// Texts that the parser need not see.
fn bounded(text: &str) -> Result<(), Mistake> {
    if text.trim().is_empty() {
        return Err(Mistake::new(0..text.len(), "the expression is empty"));
    }
    if text.len() > MAX_BYTES {
        let message = format!("the expression is longer than {MAX_BYTES} bytes");
        return Err(Mistake::new(0..text.len(), message)
            .hint("split it into several rules, or use a pattern in place of a long list"));
    }
    Ok(())
}

/// The parser's errors, in the words of the other messages.
fn syntax(text: &str, errors: ParseErrors) -> Vec<Mistake> {
    let mut mistakes: Vec<Mistake> = Vec::new();
    for error in errors.errors {
        let at = offset(text, error.pos);
        let said = error.msg.trim_start_matches("Syntax error: ");
        let said = said.replace('\'', "`").replace("<EOF>", "end of the expression");
        let said = said.lines().next().unwrap_or_default().to_owned();
        let end =
            text.get(at..).and_then(|rest| rest.chars().next()).map_or(at, |c| at + c.len_utf8());
        // Every token that could follow is no help.
        let said = ["mismatched input ", "extraneous input ", "no viable alternative at input "]
            .iter()
            .find_map(|start| said.strip_prefix(start))
            .and_then(|rest| rest.split(" expecting ").next())
            .map_or(said.clone(), |token| format!("unexpected {token}"));
        let said: String = said.chars().take(200).collect();
        let mistake = match said.strip_prefix("invalid argument to has() macro") {
            Some(_) => Mistake::new(at..end, "`has` takes a field, as in `has(client.country)`")
                .hint("of a map ask `key in map`"),
            None => Mistake::new(at..end, format!("not an expression: {said}")),
        };
        mistakes.push(mistake);
        if mistakes.len() == 4 {
            break;
        }
    }
    mistakes
}

/// The byte of a line and a column, both counted from 1, columns in characters.
fn offset(text: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).saturating_sub(1);
    let column = usize::try_from(column).unwrap_or(1).saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    before + rest.chars().take(column).map(char::len_utf8).sum::<usize>()
}
