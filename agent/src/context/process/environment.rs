//! The variables of a process's environment that are told, as they are shown.

use shrike_common::VARIABLE_BYTES;

use super::arguments;

/// Those that are told of all, without the secrets that they may have; each is ended by NUL.
pub(super) fn told(all: &[u8]) -> Vec<u8> {
    let told = arguments(all).filter(|variable| shrike_common::is_told(variable));
    told.flat_map(|variable| without_password(variable).into_iter().chain([0])).collect()
}

/// A variable (`NAME=VALUE`), without user and password if its value is a URL that has them: those of proxies do.
/// Proxies need no scheme in front.
pub(crate) fn without_password(variable: &[u8]) -> Vec<u8> {
    const SCHEME: &[u8] = b"://";
    const HIDDEN: &[u8] = b"***";
    let value = variable.iter().position(|&byte| byte == b'=').map_or(variable.len(), |at| at + 1);
    let (name, text) = variable.split_at(value);
    let scheme = text.windows(SCHEME.len()).position(|bytes| bytes == SCHEME);
    let is_proxy = name.to_ascii_uppercase().ends_with(b"PROXY=");
    let start = match scheme {
        Some(at) => value + at + SCHEME.len(),
        None if is_proxy => value,
        None => return variable.to_vec(),
    };
    let (before, rest) = variable.split_at(start);
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let authority = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
    match authority.iter().rposition(|&byte| byte == b'@') {
        Some(at) => [before, HIDDEN, rest.get(at..).unwrap_or_default()].concat(),
        // It was cut, maybe within a password.
        None if end.is_none() && variable.len() + 1 >= VARIABLE_BYTES => [before, HIDDEN].concat(),
        None => variable.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        for (variable, shown) in [
            ("https_proxy=http://user:secret@proxy:3128/x", "https_proxy=http://***@proxy:3128/x"),
            ("http_proxy=http://user:p@ss@proxy", "http_proxy=http://***@proxy"),
            ("http_proxy=http://proxy:3128/@x", "http_proxy=http://proxy:3128/@x"),
            ("LD_PRELOAD=/tmp/a@b.so", "LD_PRELOAD=/tmp/a@b.so"),
            ("ALL_PROXY=", "ALL_PROXY="),
            ("http_proxy=user:secret@proxy:3128", "http_proxy=***@proxy:3128"),
            ("http_proxy=proxy:3128", "http_proxy=proxy:3128"),
            ("JAVA_TOOL_OPTIONS=-Dx=http://a:b@c/", "JAVA_TOOL_OPTIONS=-Dx=http://***@c/"),
        ] {
            assert_eq!(without_password(variable.as_bytes()), shown.as_bytes());
        }
        let cut = format!("https_proxy=http://user:{}", "x".repeat(VARIABLE_BYTES));
        let shown = without_password(&cut.as_bytes()[..VARIABLE_BYTES - 1]);
        assert_eq!(shown, b"https_proxy=http://***");
        let all = b"SECRET=1\0HTTP_PROXIES=2\0http_proxy=http://a:b@c\0LD_PRELOAD=x\0";
        assert_eq!(told(all), b"http_proxy=http://***@c\0LD_PRELOAD=x\0");
    }
}
