//! What is JSON, by the side of `serde_json`.

use proptest::prelude::*;
use serde_json::value::RawValue;

use super::*;

fn whole(text: &str) -> Result<&str, RestRefusal> {
    let mut scanner = Scanner::new(text);
    scanner.space();
    let value = scanner.value()?;
    scanner.space();
    if scanner.is_at_end() { Ok(std::str::from_utf8(value.raw).unwrap()) } else { Err(MALFORMED) }
}

fn agrees(text: &str) {
    let ours = whole(text).ok();
    let theirs = serde_json::from_str::<&RawValue>(text).ok().map(RawValue::get);
    assert_eq!(ours, theirs, "{text:?}");
}

#[test]
fn what_is_json_and_what_is_not_is_what_serde_json_says() {
    for text in [
        "",
        " ",
        "0",
        "-0",
        "-",
        "01",
        "1.",
        ".1",
        "1.0",
        "1e",
        "1e+",
        "1e+5",
        "1E-05",
        "1.5e3",
        "--1",
        "+1",
        "0x1",
        "1_0",
        "NaN",
        "Infinity",
        "true",
        "tru",
        "truex",
        "null",
        "nul",
        "\"\"",
        "\"",
        "\"a",
        "\"\\\"",
        "\"\\\"\"",
        "\"\\u12\"",
        "\"\\u12G4\"",
        "\"\\u0000\"",
        "\"\\ud800\"",
        "\"\\x\"",
        "\"\\",
        "\"\t\"",
        "\"\u{7f}\u{80}é🦀\"",
        "'a'",
        "[]",
        "[ ]",
        "[,]",
        "[1,]",
        "[1 2]",
        "[1,2]",
        "[[[]]]",
        "[}",
        "[1}",
        "{}",
        "{ }",
        "{1:2}",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{\"a\":1]",
        "{\"a\" : [ { } , null ] }",
        "{\"a\":{\"b\":[true,false]}}",
        "[1]]",
        "{}{}",
        "/**/1",
        "1//",
        "\u{feff}1",
        "\u{a0}1",
        "\u{0b}1",
        "[1\u{0c}]",
        "\0",
        "1\0",
    ] {
        agrees(text);
    }
    for length in 0..40 {
        for special in ["\"", "\\\"", "\u{1f}", "\u{0}", "é", "\u{7f}", "\\u00e9", "!", "#"] {
            agrees(&format!("\"{}{special}{}\"", "a".repeat(length), "b".repeat(17)));
        }
    }
}

#[test]
fn nesting_ends_at_its_cap() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(whole(&nested(64)).is_ok());
    assert_eq!(whole(&nested(65)), Err(RestRefusal::BodyMalformed("nested too deep")));
    // Neither a deep one that never closes nor one that only closes ends otherwise.
    assert!(whole(&"[".repeat(1_000_000)).is_err());
    assert!(whole(&"]".repeat(10)).is_err());
}

#[test]
fn a_word_of_eight_is_searched_as_byte_by_byte() {
    for byte in 0..=255_u8 {
        for (at, other) in
            (0..8).flat_map(|at| [0x20, 0x21, 0x23, 0x5b, 0x5d, 0xff].map(|o| (at, o)))
        {
            let mut eight = [other; 8];
            eight[at] = byte;
            let slow = eight.iter().take_while(|b| **b >= 0x20 && !matches!(b, b'"' | b'\\'));
            assert_eq!(plain_bytes(u64::from_le_bytes(eight)), slow.count(), "{eight:?}");
        }
    }
}

/// Pieces of which a text is made that is nearly JSON.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"\\u0061\"",
        "\\",
        "1",
        "-0.5e7",
        "true",
        "null",
        " ",
        "\n",
        "é",
        "\u{1}",
        "\"k\":",
        "{\"a\":1}",
        "[1,2]",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn valid() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::Array),
            prop::collection::vec((any::<String>(), inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn nearly_json_is_taken_as_serde_json_takes_it(text in pieces()) {
        agrees(&text);
    }

    #[test]
    fn json_is_taken_in_either_print(value in valid()) {
        agrees(&value.to_string());
        agrees(&serde_json::to_string_pretty(&value).unwrap());
    }

    #[test]
    fn one_broken_byte_is_seen_as_serde_json_sees_it(
        value in valid(), at in any::<prop::sample::Index>(), byte in 0_u8..0x80,
    ) {
        let mut text = value.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] = byte;
        if let Ok(text) = std::str::from_utf8(&text) {
            agrees(text);
        }
    }

    #[test]
    fn a_string_stands_for_what_serde_json_makes_of_it(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        let value = Scanner::new(&quoted).value().unwrap();
        prop_assert_eq!(value.string.unwrap().decode().unwrap(), text);
    }
}
