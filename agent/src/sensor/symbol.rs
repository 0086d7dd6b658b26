//! Addresses of the kernel's own data, which `/proc/kallsyms` tells root.

use std::fs::File;
use std::io::{BufRead, BufReader};

/// The list of symbols.
const SYMBOLS: &str = "/proc/kallsyms";

/// The addresses of the kernel's variables with these names; 0 where one is not told.
pub(super) fn addresses<const N: usize>(names: [&str; N]) -> std::io::Result<[u64; N]> {
    let mut found = [0; N];
    for line in BufReader::new(File::open(SYMBOLS)?).lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(name), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            // Modules' symbols have one word more.
            continue;
        };
        if let Some(index) = names.iter().position(|&wanted| wanted == name) {
            found[index] = u64::from_str_radix(address, 16).unwrap_or(0);
        }
    }
    Ok(found)
}
