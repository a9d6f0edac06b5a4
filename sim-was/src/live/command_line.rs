//! How Windows takes the parameters of a program apart.
//!
//! `orphanActionParams` and `autoShutdownParams` are one text, which WAS hands to `CreateProcess`; the program
//! that is started takes it apart, mostly as `CommandLineToArgvW` does. Here a program gets its arguments one by
//! one, so this is done for it.

/// The arguments of a command line that has no program name in front.
///
/// Source: `CommandLineToArgvW`: spaces and tabs separate; double quotes group; 2n backslashes before a quote
/// are n backslashes and the quote groups; 2n+1 are n backslashes and a quote that is meant; all other
/// backslashes are themselves. Assumed, as the documentation is silent: two quotes within a group are one that
/// is meant, and end the group, as observed; a group that is not closed ends with the text.
pub(super) fn arguments(command_line: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut argument: Option<String> = None;
    let mut grouped = false;
    let mut rest = command_line.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            ' ' | '\t' if !grouped => arguments.extend(argument.take()),
            '\\' => {
                let mut backslashes = 1;
                while rest.next_if_eq(&'\\').is_some() {
                    backslashes += 1;
                }
                let argument = argument.get_or_insert_default();
                if rest.peek() == Some(&'"') {
                    argument.extend(std::iter::repeat_n('\\', backslashes / 2));
                    if backslashes % 2 == 1 {
                        argument.extend(rest.next());
                    }
                } else {
                    argument.extend(std::iter::repeat_n('\\', backslashes));
                }
            }
            '"' => {
                let argument = argument.get_or_insert_default();
                if grouped && rest.next_if_eq(&'"').is_some() {
                    argument.push('"');
                }
                grouped = !grouped;
            }
            other => argument.get_or_insert_default().push(other),
        }
    }
    arguments.extend(argument);
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_group_and_blanks_separate() {
        assert_eq!(
            arguments(r#"-c "echo off > /tmp/x""#),
            ["-c", "echo off > /tmp/x"]
        );
        assert_eq!(arguments(" a\t b  "), ["a", "b"]);
        assert_eq!(arguments(r#"/out:"my file".txt"#), ["/out:my file.txt"]);
        assert_eq!(arguments(r#"a "" b"#), ["a", "", "b"]);
        assert_eq!(arguments(r#""not closed"#), ["not closed"]);
        assert!(arguments("  ").is_empty());
    }

    #[test]
    fn backslashes_are_special_before_a_quote_only() {
        // Source: the table of results in the documentation of CommandLineToArgvW.
        assert_eq!(arguments(r#""abc" d e"#), ["abc", "d", "e"]);
        assert_eq!(arguments(r#"a\\\b d"e f"g h"#), [r"a\\\b", "de fg", "h"]);
        assert_eq!(arguments(r#"a\\\"b c d"#), [r#"a\"b"#, "c", "d"]);
        assert_eq!(arguments(r#"a\\\\"b c" d e"#), [r"a\\b c", "d", "e"]);
        assert_eq!(arguments(r"C:\temp\"), [r"C:\temp\"]);
    }

    #[test]
    fn two_quotes_in_a_group_are_one() {
        assert_eq!(arguments(r#""say ""hi""#), [r#"say "hi"#]);
    }
}
