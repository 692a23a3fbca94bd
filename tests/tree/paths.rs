//! Finds every path a source file names (`use` trees, groups, inline paths) and resolves
//! `crate::`, `self::` and `super::` against the module it stands in.

use crate::lexer::{Placed, Token, tokens};

/// A path as it resolves, with the line that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    pub(crate) target: Target,
}

/// Where a path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// Segments from the root of this crate; a trailing `*` is a glob.
    Internal(Vec<String>),
    /// Segments from another crate, or from a name in scope.
    External(Vec<String>),
}

/// Every path in `source`, a file whose module path is `module` (`["stores", "redis"]`).
pub(crate) fn named_paths(source: &str, module: &[String]) -> Vec<Named> {
    let tokens = tokens(source);
    let mut found = Vec::new();
    let mut inline: Vec<(String, usize)> = Vec::new();
    let mut depth = 0_usize;
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at].token {
            Token::Mark('{') => depth += 1,
            Token::Mark('}') => {
                depth = depth.saturating_sub(1);
                inline.retain(|(_, opened)| *opened <= depth);
            }
            Token::Word(word) if word == "mod" => {
                if let (Some(name), Some(Token::Mark('{'))) =
                    (word_at(&tokens, at + 1), mark_at(&tokens, at + 2))
                {
                    inline.push((name.to_owned(), depth + 1));
                }
            }
            Token::Word(word) => {
                let is_use = word == "use";
                if is_use || (starts_a_path(&tokens, at)) {
                    let mut here = module.to_vec();
                    here.extend(inline.iter().map(|(name, _)| name.clone()));
                    let start = if is_use { at + 1 } else { at };
                    let mut leaves = Vec::new();
                    let end = tree(&tokens, start, &[], &mut leaves);
                    found.extend(
                        leaves.into_iter().map(|(line, segments)| Named {
                            line,
                            target: resolve(segments, &here),
                        }),
                    );
                    at = end.max(at + 1);
                    continue;
                }
            }
            Token::PathSep | Token::Mark(_) => {}
        }
        at += 1;
    }
    found
}

/// The first word of `a::b`, but not `b` itself, nor a type's tail as in `<T as U>::b`.
fn starts_a_path(tokens: &[Placed], at: usize) -> bool {
    let follows = matches!(mark_at(tokens, at + 1), Some(Token::PathSep));
    let before = |back: usize| at.checked_sub(back).and_then(|index| mark_at(tokens, index));
    let continues = matches!(before(1), Some(Token::PathSep))
        && matches!(before(2), Some(Token::Word(_) | Token::Mark('>')));
    follows && !continues
}

type Leaf = (usize, Vec<String>);

/// Reads one use tree; returns the index behind it.
fn tree(tokens: &[Placed], start: usize, prefix: &[String], out: &mut Vec<Leaf>) -> usize {
    let mut at = start;
    let mut path = prefix.to_vec();
    let mut line = tokens.get(start).map_or(0, |placed| placed.line);
    loop {
        match mark_at(tokens, at) {
            Some(Token::PathSep) => at += 1,
            Some(Token::Word(word)) if word == "as" => {
                out.push((line, path));
                return at + 2;
            }
            Some(Token::Word(word)) => {
                line = tokens[at].line;
                path.push(word.clone());
                at += 1;
                if !matches!(mark_at(tokens, at), Some(Token::PathSep))
                    && word_at(tokens, at) != Some("as")
                {
                    out.push((line, path));
                    return at;
                }
            }
            Some(Token::Mark('*')) => {
                path.push("*".to_owned());
                out.push((line, path));
                return at + 1;
            }
            Some(Token::Mark('{')) => return group(tokens, at + 1, &path, out),
            Some(Token::Mark(_)) | None => {
                if path.len() > prefix.len() {
                    out.push((line, path));
                }
                return at;
            }
        }
    }
}

fn group(tokens: &[Placed], start: usize, prefix: &[String], out: &mut Vec<Leaf>) -> usize {
    let mut at = start;
    loop {
        match mark_at(tokens, at) {
            Some(Token::Mark('}')) => return at + 1,
            Some(Token::Mark(',')) => at += 1,
            None => return at,
            Some(_) => {
                let next = tree(tokens, at, prefix, out);
                at = next.max(at + 1);
            }
        }
    }
}

fn resolve(segments: Vec<String>, here: &[String]) -> Target {
    let mut base = match segments.first().map(String::as_str) {
        Some("crate") => Vec::new(),
        Some("self" | "super") => here.to_vec(),
        Some(_) | None => return Target::External(segments),
    };
    for segment in segments {
        match segment.as_str() {
            "crate" | "self" => {}
            "super" => {
                base.pop();
            }
            _ => base.push(segment),
        }
    }
    Target::Internal(base)
}

fn mark_at(tokens: &[Placed], at: usize) -> Option<&Token> {
    tokens.get(at).map(|placed| &placed.token)
}

fn word_at(tokens: &[Placed], at: usize) -> Option<&str> {
    match mark_at(tokens, at) {
        Some(Token::Word(word)) => Some(word),
        Some(Token::PathSep | Token::Mark(_)) | None => None,
    }
}

#[test]
fn groups_globs_and_supers_resolve_to_full_paths() {
    let source = "use crate::{policy::{Plan, roles::*}, domain::ids as i};\n\
                  mod tests { use super::*; use super::super::super::proxy::X; }\n\
                  fn f(x: crate::stores::Y) { self::g(); super::h() }";
    let module = ["pipeline".to_owned(), "limit".to_owned()];
    let paths: Vec<String> = named_paths(source, &module)
        .into_iter()
        .map(|named| match named.target {
            Target::Internal(path) => format!("{}:{}", named.line, path.join("/")),
            Target::External(path) => format!("{}:extern {}", named.line, path.join("/")),
        })
        .collect();
    assert_eq!(
        paths,
        [
            "1:policy/Plan",
            "1:policy/roles/*",
            "1:domain/ids",
            "2:pipeline/limit/*",
            "2:proxy/X",
            "3:stores/Y",
            "3:pipeline/limit/g",
            "3:pipeline/h",
        ]
    );
}
