//! Which variables of a process's environment are told: those that change what a program does or where it sends
//! things, never the rest, which is where secrets are.

/// A set of variables, by the beginnings of their names. The probes look at the first eight bytes only, so some
/// that are not listed are sent as well; the agent leaves them out again.
pub const ENVIRONMENT: [&str; 19] = [
    "ALL_PROXY=",
    "BASH_ENV=",
    "GCONV_PATH=",
    "GLIBC_TUNABLES=",
    "HISTFILE=",
    "HTTPS_PROXY=",
    "HTTP_PROXY=",
    "JAVA_TOOL_OPTIONS=",
    // The dynamic linker's.
    "LD_",
    "NODE_OPTIONS=",
    "PERL5LIB=",
    "PERL5OPT=",
    "PYTHONPATH=",
    "SSH_CONNECTION=",
    "SUDO_USER=",
    "all_proxy=",
    "http_proxy=",
    "https_proxy=",
    "no_proxy=",
];

/// The most bytes of them that are told of a process.
pub const ENVIRONMENT_BYTES: usize = 1024;

/// The most bytes that are told of one.
pub const VARIABLE_BYTES: usize = 512;

/// Whether a variable (`NAME=VALUE`) may be told, by its first eight bytes as a little-endian number.
pub const fn may_tell(start: u64) -> bool {
    let mut index = 0;
    while index < ENVIRONMENT.len() {
        let (mask, name) = STARTS[index];
        if start & mask == name {
            return true;
        }
        index += 1;
    }
    false
}

/// Whether a variable (`NAME=VALUE`) is told.
pub fn is_told(variable: &[u8]) -> bool {
    ENVIRONMENT.iter().any(|name| variable.starts_with(name.as_bytes()))
}

const STARTS: [(u64, u64); ENVIRONMENT.len()] = {
    let mut starts = [(0, 0); ENVIRONMENT.len()];
    let mut index = 0;
    while index < ENVIRONMENT.len() {
        let name = ENVIRONMENT[index].as_bytes();
        let (mut mask, mut start) = ([0; 8], [0; 8]);
        let mut at = 0;
        while at < name.len() && at < start.len() {
            (mask[at], start[at]) = (u8::MAX, name[at]);
            at += 1;
        }
        starts[index] = (u64::from_le_bytes(mask), u64::from_le_bytes(start));
        index += 1;
    }
    starts
};

#[cfg(test)]
mod tests {
    use super::*;

    fn start(variable: &[u8]) -> u64 {
        let mut bytes = [0; 8];
        let len = variable.len().min(8);
        bytes[..len].copy_from_slice(&variable[..len]);
        u64::from_le_bytes(bytes)
    }

    #[test]
    fn what_is_told_is_sent() {
        for name in ENVIRONMENT {
            assert!(is_told(name.as_bytes()) && may_tell(start(name.as_bytes())), "{name}");
        }
        for (variable, sent, told) in [
            (&b"LD_PRELOAD=/tmp/x.so"[..], true, true),
            (b"HTTP_PROXIES=x", true, false),
            (b"AWS_SECRET_ACCESS_KEY=x", false, false),
            (b"xLD_PRELOAD=", false, false),
            (b"LD", false, false),
            (b"", false, false),
        ] {
            assert_eq!((may_tell(start(variable)), is_told(variable)), (sent, told));
        }
    }
}
