//! Which variables of a process's environment are told: those that change what a program does or where it sends
//! things, never the rest, which is where secrets are.

/// A set of variables, by the beginnings of their names. The probes look at the first sixteen bytes only, which
/// tell all of them but one from others; what else begins like that one the agent leaves out.
pub const ENVIRONMENT: [&str; 20] = [
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
    "NO_PROXY=",
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

/// Whether a variable (`NAME=VALUE`) may be told, by its first sixteen bytes as little-endian numbers. Without a
/// branch for each name: the verifier would follow all of them.
pub const fn may_tell(start: [u64; 2]) -> bool {
    let mut differs = u64::MAX;
    let mut index = 0;
    while index < ENVIRONMENT.len() {
        let [(mask, name), (more, rest)] = STARTS[index];
        let difference = (start[0] & mask ^ name) | (start[1] & more ^ rest);
        // The sign is set unless the number is 0.
        differs &= difference | difference.wrapping_neg();
        index += 1;
    }
    differs >> (u64::BITS - 1) == 0
}

/// Whether a variable (`NAME=VALUE`) is told.
pub fn is_told(variable: &[u8]) -> bool {
    ENVIRONMENT.iter().any(|name| variable.starts_with(name.as_bytes()))
}

/// Of each, which bits count of the two numbers, and what they must be.
const STARTS: [[(u64, u64); 2]; ENVIRONMENT.len()] = {
    let mut starts = [[(0, 0); 2]; ENVIRONMENT.len()];
    let mut index = 0;
    while index < ENVIRONMENT.len() {
        let name = ENVIRONMENT[index].as_bytes();
        let mut at = 0;
        while at < name.len() && at < 16 {
            let (mask, start) = &mut starts[index][at / 8];
            *mask |= 0xFF << (at % 8 * 8);
            *start |= (name[at] as u64) << (at % 8 * 8);
            at += 1;
        }
        index += 1;
    }
    starts
};

#[cfg(test)]
mod tests {
    use super::*;

    fn start(variable: &[u8]) -> [u64; 2] {
        let mut bytes = [0; 16];
        let len = variable.len().min(16);
        bytes[..len].copy_from_slice(&variable[..len]);
        let (first, second) = bytes.split_at(8);
        [first, second].map(|half| u64::from_le_bytes(half.try_into().unwrap()))
    }

    #[test]
    fn what_is_told_is_sent() {
        for name in ENVIRONMENT {
            assert!(is_told(name.as_bytes()) && may_tell(start(name.as_bytes())), "{name}");
        }
        for (variable, sent, told) in [
            (&b"LD_PRELOAD=/tmp/x.so"[..], true, true),
            (b"HTTP_PROXIES=x", false, false),
            (b"JAVA_TOOL_OPTION=x", true, false),
            (b"AWS_SECRET_ACCESS_KEY=x", false, false),
            (b"xLD_PRELOAD=", false, false),
            (b"LD", false, false),
            (b"", false, false),
        ] {
            assert_eq!((may_tell(start(variable)), is_told(variable)), (sent, told));
        }
    }
}
