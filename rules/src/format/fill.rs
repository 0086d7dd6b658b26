//! Lines filled with words.

use super::WIDTH;

/// The columns that a text takes.
pub(super) fn width(text: &str) -> usize {
    text.chars().count()
}

/// Writes words to lines of their own, each line as full as it can be.
pub(super) fn fill<'a>(text: &mut String, words: impl Iterator<Item = &'a str>, indent: usize) {
    let mut column = 0;
    for word in words {
        let length = width(word);
        if column > 0 && column + 1 + length <= WIDTH {
            text.push(' ');
            column += 1 + length;
        } else {
            start_line(text, indent);
            column = indent + length;
        }
        text.push_str(word);
    }
}

/// Starts a line at a column.
pub(super) fn start_line(text: &mut String, indent: usize) {
    text.push('\n');
    text.extend(std::iter::repeat_n(' ', indent));
}
