//! The size of a text, before it is parsed: parsing is the most expensive thing that happens to a document, and
//! recursive.
//!
//! Nothing is judged here. What is no GraphQL gets some count, and the parser refuses it.

/// What was counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// The lexical tokens (GraphQL specification, section 2.1.6).
    pub(super) count: u64,
    /// How deep brackets are nested: those of selections, arguments, lists and objects alike.
    pub(super) nesting: u64,
    /// In bytes.
    pub(super) longest_name: u64,
}

impl Tokens {
    /// Counts in one pass, each byte once.
    pub(super) fn count(text: &str) -> Self {
        let mut rest = text.as_bytes();
        let (mut tokens, mut open) = (Self::default(), 0_u64);
        while let Some(&first) = rest.first() {
            let length = match first {
                b' ' | b'\t' | b'\n' | b'\r' | b',' => {
                    rest = &rest[1..];
                    continue;
                }
                b'#' => {
                    rest = &rest[length_while(rest, |byte| !matches!(byte, b'\n' | b'\r'))..];
                    continue;
                }
                b'"' => string(rest),
                b'.' => length_while(rest, |byte| byte == b'.').min(3),
                b'-' | b'0'..=b'9' => number(rest),
                _ if is_name(first) => {
                    let length = length_while(rest, is_name);
                    tokens.longest_name = tokens.longest_name.max(length as u64);
                    length
                }
                b'(' | b'[' | b'{' => {
                    open += 1;
                    tokens.nesting = tokens.nesting.max(open);
                    1
                }
                b')' | b']' | b'}' => {
                    open = open.saturating_sub(1);
                    1
                }
                _ => 1,
            };
            tokens.count += 1;
            rest = &rest[length..];
        }
        tokens
    }
}

fn is_name(byte: u8) -> bool {
    byte == b'_' || byte.is_ascii_alphanumeric()
}

fn length_while(bytes: &[u8], belongs: impl Fn(u8) -> bool) -> usize {
    bytes.iter().position(|&byte| !belongs(byte)).unwrap_or(bytes.len())
}

/// The length of a number. Its sign has come, and another is part of it only behind an exponent's letter.
fn number(bytes: &[u8]) -> usize {
    let mut before = b'-';
    let ends = |&byte: &u8| {
        let sign = matches!(byte, b'+' | b'-') && matches!(before, b'e' | b'E');
        before = byte;
        !(sign || byte == b'.' || is_name(byte))
    };
    1 + bytes[1..].iter().position(ends).unwrap_or(bytes.len() - 1)
}

/// The length of a string or a block string, quotes included; all that is left where it does not end.
fn string(bytes: &[u8]) -> usize {
    let block = bytes.starts_with(b"\"\"\"");
    let mut at = if block { 3 } else { 1 };
    while at < bytes.len() {
        let rest = &bytes[at..];
        at += match rest[0] {
            b'\\' if block && rest.starts_with(b"\\\"\"\"") => 4,
            b'\\' if !block => 2,
            b'"' if !block => return at + 1,
            b'"' if rest.starts_with(b"\"\"\"") => return at + 3,
            _ => 1,
        };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, count: u64) {
        assert_eq!(Tokens::count(text).count, count, "{text}");
    }

    #[test]
    fn tokens_are_those_of_the_specification() {
        check("", 0);
        check(" \t\r\n,,, # a comment { a }", 0);
        check("{ a }", 3);
        check("query Q($id: ID! = \"x\") @d { a: b(c: [1, -2.5e-3, null]) ...F ... on T { d } }", 35);
        check("[1-2-3]", 5);
        check("{a#\n}", 3);
        check(r#"(a: "b \" { c" d: "")"#, 8);
        check(r#"(a: """ "b" \""" { c """)"#, 5);
        check("...", 1);
        check("......", 2);
        check("é", 2);
    }

    #[test]
    fn what_does_not_end_is_counted_as_well() {
        for text in ["\"", "\"\\", "\"\"\"", "\"\"\"\\", "-", "1e-", "#", "{", "....", "\"\"\"\""] {
            assert!(Tokens::count(text).count <= 2, "{text}");
        }
    }

    #[test]
    fn brackets_of_every_kind_are_nested() {
        let nesting = |text| Tokens::count(text).nesting;
        assert_eq!(nesting("{ a(b: [{ c: 1 }]) } { d }"), 4);
        assert_eq!(nesting("{ a { b } c { d } }"), 2);
        assert_eq!(nesting("}}}{"), 1);
        assert_eq!(nesting("\"{{{{\" # {{"), 0);
        assert_eq!(Tokens::count("{ a bcd(e: ENUM_9) }").longest_name, 6);
    }
}
