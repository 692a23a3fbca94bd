//! What is printed, compared with what stands in a file.

use std::fs;
use std::path::Path;

use regex::Regex;

/// Compares with `golden/NAME.txt`, or writes it where `UPDATE_GOLDEN` is set.
pub(crate) fn compare(name: &str, printed: &str) {
    let said = masked(printed);
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/golden");
    let file = directory.join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(&directory).unwrap();
        fs::write(&file, &said).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(said == expected, "{name}: expected\n{expected}\nbut it says\n{said}");
}

/// Ids, times and versions are different each time.
fn masked(text: &str) -> String {
    let masks = [
        // UUIDv7: request ids. Those of organizations are fixed and of other versions.
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "REQUEST-ID"),
        (r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]", "TRACEPARENT"),
        (r"policy version [0-9a-f]{16}", "policy version VERSION"),
        (r#""snapshot":"[0-9a-f]{16}""#, r#""snapshot":"VERSION""#),
        (r#""(iat|exp)":[0-9]{10}"#, r#""$1":TIME"#),
    ];
    masks.iter().fold(text.to_owned(), |text, (pattern, name)| {
        Regex::new(pattern).unwrap().replace_all(&text, *name).into_owned()
    })
}
