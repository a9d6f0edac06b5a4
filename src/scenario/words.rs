//! What is wrong with a text, in words for whoever writes scenarios.

use std::string::FromUtf8Error;

/// What is wrong with a text: numbers and their ranges instead of the names of their types.
pub(crate) fn in_words(error: &str) -> String {
    // Those of u64 are the ones of TOML: its integers have a sign.
    let ranges = [
        ("u8", u64::from(u8::MAX)),
        ("u16", u64::from(u16::MAX)),
        ("u32", u64::from(u32::MAX)),
        ("u64", i64::MAX.unsigned_abs()),
    ];
    let ranges = ranges
        .iter()
        .map(|(name, most)| (*name, format!("a whole number from 0 to {most}")));
    let plain = [("f64", "a number"), ("i64", "a whole number")];
    let plain = plain.map(|(name, words)| (name, words.to_owned()));
    let types: Vec<(&str, String)> = ranges.chain(plain).collect();
    let of_line = |line: &str| {
        let of_type = types.iter().find_map(|(name, words)| {
            let before = line.strip_suffix(&format!(", expected {name}"))?;
            Some(format!("{before}, expected {words}"))
        });
        of_type.unwrap_or_else(|| line.to_owned())
    };
    let lines: Vec<String> = error.trim_end().lines().map(of_line).collect();
    lines.join("\n")
}

/// Where a text is no UTF-8.
pub(crate) fn not_utf8(error: &FromUtf8Error) -> String {
    let (bytes, at) = (error.as_bytes(), error.utf8_error().valid_up_to());
    let (before, byte) = (&bytes[..at], bytes.get(at).copied().unwrap_or_default());
    let line = before.split(|byte| *byte == b'\n').count();
    format!(
        "line {line}: byte {at} of the file, 0x{byte:02X}, is not UTF-8; save it in that encoding"
    )
}
