//! Shell patterns as `fnmatch(3)` takes them without flags: `*` crosses `/`.

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(crate) struct Glob {
    tokens: Box<[Token]>,
    folded: bool,
}

#[derive(Clone, Debug)]
enum Token {
    /// `?`
    Any,
    /// A byte for itself.
    Byte(u8),
    /// `[…]`, as one bit for each byte.
    Class(Box<[bool; 256]>),
    /// `*`
    Run,
}

impl Glob {
    /// Compiles `pattern`; with `folded`, ASCII letters match in either case.
    pub(crate) fn new(pattern: &[u8], folded: bool) -> Self {
        let mut tokens = Vec::with_capacity(pattern.len());
        let mut rest = pattern;
        while let [first, tail @ ..] = rest {
            rest = tail;
            match first {
                b'*' => {
                    if !matches!(tokens.last(), Some(Token::Run)) {
                        tokens.push(Token::Run);
                    }
                }
                b'?' => tokens.push(Token::Any),
                b'[' if let Some((class, length)) = class(tail, folded) => {
                    tokens.push(Token::Class(class));
                    rest = &tail[length..];
                }
                b'\\' if let [escaped, tail @ ..] = rest => {
                    tokens.push(byte(*escaped, folded));
                    rest = tail;
                }
                literal => tokens.push(byte(*literal, folded)),
            }
        }
        Self { tokens: tokens.into(), folded }
    }

    /// Whether the whole of `text` matches.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut position) = (0, 0);
        // Where to go on when a match fails: after the last `*`, one byte further each time.
        // Earlier ones need no second try, so the time is at most pattern times text.
        let mut retry = None;
        loop {
            match self.tokens.get(token) {
                Some(Token::Run) => {
                    retry = Some((token + 1, position));
                    token += 1;
                    continue;
                }
                Some(single)
                    if text.get(position).is_some_and(|byte| self.accepts(single, *byte)) =>
                {
                    token += 1;
                    position += 1;
                    continue;
                }
                None if position == text.len() => return true,
                _ => {}
            }
            match retry {
                Some((after, from)) if from < text.len() => {
                    retry = Some((after, from + 1));
                    (token, position) = (after, from + 1);
                }
                _ => return false,
            }
        }
    }

    /// Some text that matches.
    pub(crate) fn example(&self) -> Vec<u8> {
        let byte = |token: &Token| match token {
            Token::Any => Some(b'x'),
            Token::Byte(byte) => Some(*byte),
            Token::Class(class) => (0..=u8::MAX)
                .rev()
                .find(|byte| class[usize::from(*byte)] && byte.is_ascii_graphic()),
            Token::Run => None,
        };
        self.tokens.iter().filter_map(byte).collect()
    }

    /// The text that the pattern stands for, if it has no special characters.
    pub(crate) fn literal(&self) -> Option<Vec<u8>> {
        let bytes = self.tokens.iter().map(|token| match token {
            Token::Byte(byte) if !self.folded => Some(*byte),
            _ => None,
        });
        bytes.collect()
    }

    fn accepts(&self, token: &Token, byte: u8) -> bool {
        let byte = if self.folded { byte.to_ascii_lowercase() } else { byte };
        match token {
            Token::Any | Token::Run => true,
            Token::Byte(expected) => *expected == byte,
            Token::Class(members) => members[usize::from(byte)],
        }
    }
}

fn byte(byte: u8, folded: bool) -> Token {
    Token::Byte(if folded { byte.to_ascii_lowercase() } else { byte })
}

/// The members of a bracket expression, and its length after the opening bracket; none if it is
/// not closed, which makes the bracket an ordinary character.
fn class(pattern: &[u8], folded: bool) -> Option<(Box<[bool; 256]>, usize)> {
    let mut members = Box::new([false; 256]);
    let negated = matches!(pattern.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let mut position = start;
    loop {
        match *pattern.get(position)? {
            b']' if position > start => break,
            b'[' if let Some((name, length)) = named_class(&pattern[position..]) => {
                (0..=u8::MAX).filter(name).for_each(|b| members[usize::from(b)] = true);
                position += length;
            }
            _ => {
                let (low, after) = member(pattern, position)?;
                let is_range = pattern.get(after) == Some(&b'-')
                    && pattern.get(after + 1).is_some_and(|next| *next != b']');
                let (high, after) =
                    if is_range { member(pattern, after + 1)? } else { (low, after) };
                (low..=high).for_each(|byte| members[usize::from(byte)] = true);
                position = after;
            }
        }
    }
    if folded {
        for letter in b'a'..=b'z' {
            let upper = usize::from(letter.to_ascii_uppercase());
            members[usize::from(letter)] |= members[upper];
        }
    }
    if negated {
        members.iter_mut().for_each(|member| *member = !*member);
    }
    Some((members, position + 1))
}

/// One member of a bracket expression and the position after it.
fn member(pattern: &[u8], position: usize) -> Option<(u8, usize)> {
    match *pattern.get(position)? {
        b'\\' => Some((*pattern.get(position + 1)?, position + 2)),
        byte => Some((byte, position + 1)),
    }
}

/// Whether a byte belongs to a named class.
type Membership = fn(&u8) -> bool;

/// A named class of bracket expressions.
type NamedClass = (&'static [u8], Membership);

/// The predicate of `[:name:]` at the start of `pattern`, and its length.
fn named_class(pattern: &[u8]) -> Option<(Membership, usize)> {
    const CLASSES: [NamedClass; 12] = [
        (b"[:alnum:]", u8::is_ascii_alphanumeric),
        (b"[:alpha:]", u8::is_ascii_alphabetic),
        (b"[:blank:]", |byte| matches!(byte, b' ' | b'\t')),
        (b"[:cntrl:]", u8::is_ascii_control),
        (b"[:digit:]", u8::is_ascii_digit),
        (b"[:graph:]", u8::is_ascii_graphic),
        (b"[:lower:]", u8::is_ascii_lowercase),
        (b"[:print:]", |byte| matches!(byte, b' '..=b'~')),
        (b"[:punct:]", u8::is_ascii_punctuation),
        (b"[:space:]", |byte| matches!(byte, b' ' | b'\t'..=b'\r')),
        (b"[:upper:]", u8::is_ascii_uppercase),
        (b"[:xdigit:]", u8::is_ascii_hexdigit),
    ];
    CLASSES
        .into_iter()
        .find(|(name, _)| pattern.starts_with(name))
        .map(|(name, predicate)| (predicate, name.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern.as_bytes(), false).matches(text.as_bytes())
    }

    #[test]
    fn patterns_match_as_fnmatch_does() {
        assert!(matches("/a/*", "/a/b/c"));
        assert!(matches("/a/?/c", "/a/b/c"));
        assert!(!matches("/a/?/c", "/a/bb/c"));
        assert!(matches("*.s[oh]", "lib.so"));
        assert!(!matches("x[!0-9]", "x1"));
        assert!(matches("x[^0-9]", "xa"));
        assert!(matches("[]a]", "]"));
        assert!(matches("[a-]", "-"));
        assert!(matches("[[:digit:]_]*", "7up"));
        assert!(matches(r"a\*b", "a*b"));
        assert!(!matches(r"a\*b", "axb"));
        assert!(matches("[open", "[open"));
        assert!(matches("", ""));
        assert!(!matches("", "a"));
        assert!(matches("a*b*c", "a-b-b-c"));
        assert!(!matches("a*b*c", "a-b-b"));
    }

    #[test]
    fn case_is_ignored_on_request() {
        let glob = Glob::new(b"/A/b[C-D]*", true);
        assert!(glob.matches(b"/a/BcX") && glob.matches(b"/a/bD") && !glob.matches(b"/a/be"));
    }

    #[test]
    fn many_stars_take_bounded_time() {
        let pattern = "*a".repeat(200) + "b";
        assert!(!matches(&pattern, &"a".repeat(4_096)));
    }
}
