//! Hostile bytes as text that is safe to show.

use std::fmt::{self, Write as _};

/// Shows bytes as one line of text: what is not UTF-8 becomes U+FFFD, what would steer a terminal
/// or reorder the line (control characters, line separators, direction marks) is escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_escaped(formatter, chunk.valid())?;
            if !chunk.invalid().is_empty() {
                formatter.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

fn write_escaped(formatter: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    let mut rest = text;
    while let Some((position, character)) =
        rest.char_indices().find(|(_, character)| is_unsafe(*character))
    {
        formatter.write_str(&rest[..position])?;
        match character {
            '\n' | '\r' | '\t' => write!(formatter, "{}", character.escape_default())?,
            '\0'..='\u{7f}' => write!(formatter, "\\x{:02x}", u32::from(character))?,
            _ => write!(formatter, "{}", character.escape_unicode())?,
        }
        rest = &rest[position + character.len_utf8()..];
    }
    formatter.write_str(rest)
}

/// Whether the character acts on a terminal instead of being shown.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let shown = |bytes: &[u8]| Escaped(bytes).to_string();
        assert_eq!(shown(b"/etc/passwd"), "/etc/passwd");
        assert_eq!(shown(b"a\nb\x1b[31mc\x7f"), "a\\nb\\x1b[31mc\\x7f");
        assert_eq!(shown(b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
        assert_eq!(shown("a\u{9b}b\u{202e}c é".as_bytes()), "a\\u{9b}b\\u{202e}c é");
    }
}
