//! The two sides of a request, for people: a line for each piece, aligned, the reasons below.

use std::fmt::{self, Write};

use super::compare::{Change, Part, Piece};

/// The left side is no wider than this; what is longer has a line of its own.
const WIDTH: usize = 56;
/// Of a body so many characters are printed; all of it is in the JSON form.
const BODY: usize = 4_000;

/// Prints all pieces.
pub(super) fn sides(pieces: &[Piece], out: &mut String) -> fmt::Result {
    let lines = pieces.iter().filter(|piece| piece.part != Part::Body);
    let sizes = lines.clone().filter_map(left).map(|text| text.chars().count());
    let width = sizes.filter(|size| *size <= WIDTH).max().unwrap_or(0).max(12);
    writeln!(out, "\n    {:width$}  as it is sent", "as it came")?;
    for piece in lines {
        line(piece, width, out)?;
    }
    for piece in pieces.iter().filter(|piece| piece.part == Part::Body) {
        body(piece, out)?;
    }
    Ok(())
}

fn line(piece: &Piece, width: usize, out: &mut String) -> fmt::Result {
    let (mark, left, right) = (mark(piece.change), left(piece), right(piece));
    match (&left, &right) {
        (Some(left), Some(right)) if left.chars().count() > width => {
            writeln!(out, "  {mark} {left}\n    {:width$}  {right}", "")?;
        }
        (left, right) => {
            let left = left.as_deref().unwrap_or_default();
            let right = right.as_deref().unwrap_or_default();
            writeln!(out, "{}", format!("  {mark} {left:width$}  {right}").trim_end())?;
        }
    }
    reasons(piece, out)
}

fn reasons(piece: &Piece, out: &mut String) -> fmt::Result {
    for reason in &piece.reasons {
        match &reason.source {
            Some(source) => writeln!(out, "        {}  [{source}]", reason.text)?,
            None => writeln!(out, "        {}", reason.text)?,
        }
    }
    Ok(())
}

fn body(piece: &Piece, out: &mut String) -> fmt::Result {
    if piece.change == Change::Kept {
        writeln!(out, "\n    body, as it came and as it is sent:")?;
        return text(piece.sent.as_deref(), out);
    }
    writeln!(out, "\n    body, as it came:")?;
    text(piece.came.as_deref(), out)?;
    writeln!(out, "  {} body, as it is sent:", mark(piece.change))?;
    text(piece.sent.as_deref(), out)?;
    reasons(piece, out)
}

fn text(body: Option<&str>, out: &mut String) -> fmt::Result {
    let Some(body) = body else { return writeln!(out, "      (none)") };
    let end = body.char_indices().nth(BODY).map_or(body.len(), |(at, _)| at);
    for line in body.get(..end).unwrap_or(body).lines() {
        writeln!(out, "      {line}")?;
    }
    if end < body.len() {
        writeln!(out, "      … ({} bytes in all)", body.len())?;
    }
    Ok(())
}

fn mark(change: Change) -> char {
    match change {
        Change::Kept => ' ',
        Change::Changed => '~',
        Change::Added => '+',
        Change::Removed => '-',
    }
}

fn left(piece: &Piece) -> Option<String> {
    side(piece, piece.came.as_deref())
}

fn right(piece: &Piece) -> Option<String> {
    side(piece, piece.sent.as_deref())
}

fn side(piece: &Piece, text: Option<&str>) -> Option<String> {
    let text = text?;
    Some(match (&piece.name, piece.part) {
        (Some(name), Part::Header) => format!("{name}: {text}"),
        _ => text.to_owned(),
    })
}
