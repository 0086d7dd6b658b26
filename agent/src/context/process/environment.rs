//! The variables of a process's environment that are told, as they are shown.

use super::arguments;

/// Those that are told of all, without the secrets that they may have; each is ended by NUL.
pub(super) fn told(all: &[u8]) -> Vec<u8> {
    let told = arguments(all).filter(|variable| shrike_common::is_told(variable));
    told.flat_map(|variable| without_password(variable).into_iter().chain([0])).collect()
}

/// A variable (`NAME=VALUE`), without user and password if its value is a URL that has them: those of proxies do.
pub(crate) fn without_password(variable: &[u8]) -> Vec<u8> {
    const SCHEME: &[u8] = b"://";
    let found = variable.windows(SCHEME.len()).position(|bytes| bytes == SCHEME);
    let start = found.map_or(variable.len(), |at| at + SCHEME.len());
    let (before, rest) = variable.split_at(start);
    let authority = rest.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(rest.len());
    match rest[..authority].iter().rposition(|&byte| byte == b'@') {
        Some(at) => [before, b"***", &rest[at..]].concat(),
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
        ] {
            assert_eq!(without_password(variable.as_bytes()), shown.as_bytes());
        }
        let all = b"SECRET=1\0HTTP_PROXIES=2\0http_proxy=http://a:b@c\0LD_PRELOAD=x\0";
        assert_eq!(told(all), b"http_proxy=http://***@c\0LD_PRELOAD=x\0");
    }
}
