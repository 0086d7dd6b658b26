//! What became of a system call, as rules see it.

use std::borrow::Cow;

use nix::errno::Errno;
use shrike_common::{Event, Header};

/// The result of an event that no outcome will follow, where the event itself tells it.
pub(crate) fn implied(header: &Header, event: &Event<'_>) -> Option<i64> {
    match event {
        _ if header.has(Header::RAW) => None,
        // Reported when it has happened.
        Event::Exec(_) | Event::CgroupAttach(_) | Event::CgroupMkdir(_) | Event::CgroupRmdir(_) => {
            Some(0)
        }
        Event::Fork(fork) => Some(fork.child.0.into()),
        _ => None,
    }
}

/// Falco's name of a result: that of the error, or `SUCCESS`.
pub(crate) fn name(result: i64) -> Cow<'static, str> {
    if result >= 0 {
        return "SUCCESS".into();
    }
    let number = i32::try_from(result.unsigned_abs());
    let errno = number.map_or(Errno::UnknownErrno, Errno::from_raw);
    match errno {
        Errno::UnknownErrno => result.to_string().into(),
        errno => format!("{errno:?}").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_their_names() {
        assert_eq!(name(0), "SUCCESS");
        assert_eq!(name(7), "SUCCESS");
        assert_eq!(name(-2), "ENOENT");
        assert_eq!(name(-115), "EINPROGRESS");
        // The kernel's own, which no program should see.
        assert_eq!(name(-512), "-512");
        assert_eq!(name(i64::MIN), i64::MIN.to_string());
    }
}
