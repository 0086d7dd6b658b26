//! Tables for people.

use std::io;
use std::os::fd::AsRawFd;

use jiff::{SignedDuration, Timestamp};
use shrike_rules::Escaped;

/// Rows below headings, each column as wide as its widest cell.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// How long ago something was, in its largest unit.
pub(super) fn age(then: Timestamp) -> String {
    duration(Timestamp::now().duration_since(then))
}

/// How long something has taken, in its largest unit.
pub(super) fn duration(time: SignedDuration) -> String {
    const UNITS: [(i64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "min"), (1, "s")];
    let seconds = time.as_secs().max(0);
    let (length, unit) =
        UNITS.into_iter().find(|&(length, _)| seconds >= length).unwrap_or((1, "s"));
    format!("{} {unit}", seconds / length)
}

/// What somebody else has chosen, safe to show.
pub(super) fn escaped(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}

/// The beginning of a line that is too long.
pub(super) fn cut(line: &str, width: usize) -> String {
    if line.chars().count() <= width {
        return line.to_owned();
    }
    let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

/// How many columns and rows the terminal has at standard output, if there is one.
pub(super) fn terminal_size() -> Option<(usize, usize)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes a size where one is.
    let result = unsafe { libc::ioctl(io::stdout().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    // One that does not know its size has none.
    (result == 0 && size.ws_col > 0 && size.ws_row > 0)
        .then(|| (size.ws_col.into(), size.ws_row.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["A", "B", "C"], ["long", "é", ""], ["", "xy", "z"]]
            .map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "A      B    C\nlong   é\n       xy   z\n");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn long_lines_are_cut() {
        assert_eq!(["abc", "abcd", ""].map(|line| cut(line, 3)), ["abc", "ab…", ""]);
        assert_eq!(cut("abc", 0), "…");
    }

    #[test]
    fn times_are_in_their_largest_unit() {
        let times = [-5, 0, 59, 60, 7_300, 200_000];
        let shown = times.map(|seconds| duration(SignedDuration::from_secs(seconds)));
        assert_eq!(shown, ["0 s", "0 s", "59 s", "1 min", "2 h", "2 d"]);
    }
}
