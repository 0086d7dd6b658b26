//! `getopt(3)` as rules have it: which options a list of arguments has, and what they are given.

use std::borrow::Cow;

/// What was found: options and, behind each that takes one, its argument.
#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Found<'a>(Vec<(u8, Option<Cow<'a, [u8]>>)>);

/// The options among arguments, up to the first that is none, or to `--`. `accepted` names them as `getopt(3)` does:
/// a character each, with a colon behind it if it takes an argument. What is not accepted is left out, with what is
/// behind it in the same word.
pub(crate) fn parse<'a>(arguments: &[Cow<'a, [u8]>], accepted: &[u8]) -> Found<'a> {
    let mut found = Found::default();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let [b'-', cluster @ ..] = &**word else { break };
        if cluster.is_empty() || cluster == b"-" {
            break;
        }
        for (index, &option) in cluster.iter().enumerate() {
            match takes_argument(option, accepted) {
                None => break,
                Some(false) => found.0.push((option, None)),
                Some(true) => {
                    let rest = cluster.get(index + 1..).unwrap_or_default();
                    let argument = if rest.is_empty() {
                        words.next().cloned().unwrap_or_default()
                    } else {
                        Cow::Owned(rest.to_vec())
                    };
                    found.0.push((option, Some(argument)));
                    break;
                }
            }
        }
    }
    found
}

/// Whether an option takes an argument, if it is accepted.
fn takes_argument(option: u8, accepted: &[u8]) -> Option<bool> {
    let index = accepted.iter().position(|&byte| byte == option && byte != b':')?;
    Some(accepted.get(index + 1) == Some(&b':'))
}

impl<'a> Found<'a> {
    /// The options and their arguments, in order.
    pub(crate) fn words(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        self.0.iter().flat_map(|(option, argument)| {
            let argument = argument.as_deref().map(Cow::Borrowed);
            std::iter::once(Cow::Owned(vec![*option])).chain(argument)
        })
    }

    /// The argument of the last option of this name; of one that takes none, its name.
    pub(crate) fn of(self, name: u8) -> Option<Cow<'a, [u8]>> {
        let (option, argument) = self.0.into_iter().rfind(|(option, _)| *option == name)?;
        Some(argument.unwrap_or_else(|| Cow::Owned(vec![option])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_as_getopt_finds_them() {
        for (arguments, accepted, words) in [
            (&["-nt", "hello"][..], "nt:", &["n", "t", "hello"][..]),
            (&["-thello", "-n"], "t:n", &["t", "hello", "n"]),
            (&["-n", "--", "-t"], "nt", &["n"]),
            (&["x", "-n"], "n", &[]),
            (&["-", "-n"], "n", &[]),
            (&["-t"], ":t:", &["t", ""]),
            (&["-xn", "-n"], "n", &["n"]),
            (&["--exec"], "e:", &[]),
            (&[""], "n", &[]),
            (&["-:"], "a:", &[]),
        ] {
            let arguments: Vec<_> =
                arguments.iter().map(|text| Cow::from(text.as_bytes())).collect();
            let found = parse(&arguments, accepted.as_bytes());
            let found: Vec<_> =
                found.words().map(|word| String::from_utf8_lossy(&word).into_owned()).collect();
            assert_eq!(found, words, "{arguments:?} {accepted}");
        }
        let arguments = [b"-n", b"-t", b"-1"].map(|text| Cow::from(&text[..]));
        assert_eq!(parse(&arguments, b"nt:").of(b't').as_deref(), Some(&b"-1"[..]));
        assert_eq!(parse(&arguments, b"nt:").of(b'n').as_deref(), Some(&b"n"[..]));
        assert_eq!(parse(&arguments, b"nt:").of(b'x'), None);
    }
}
