//! What is of interest in `/proc/PID/stat` (`proc_pid_stat(5)`).

use std::str;

use shrike_common::{Pid, StartTime};

use super::{Name, Standing, TICK};

/// Set in the flags of a task that ends: an exit may have been told already.
const PF_EXITING: u32 = 0x4;

/// Of a process or a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stat {
    pub(super) name: Name,
    pub(super) start: StartTime,
    pub(super) ppid: Pid,
    group: Pid,
    session: Pid,
    /// As `new_encode_dev` has it.
    tty: u32,
    /// Whether the thread has ended, or is about to and has let go of its program.
    pub(super) is_exiting: bool,
}

impl Stat {
    pub(super) fn parse(stat: &[u8]) -> Option<Self> {
        // The name may contain anything, also blanks and parentheses: what follows it is found from the end.
        let name = stat.iter().position(|&byte| byte == b'(')? + 1;
        let end = stat.windows(2).rposition(|bytes| bytes == b") ")?;
        let mut fields = str::from_utf8(stat.get(end + 2..)?).ok()?.split_ascii_whitespace();
        let ppid = Pid(fields.nth(1)?.parse().ok()?);
        let group = Pid(fields.next()?.parse().ok()?);
        let session = Pid(fields.next()?.parse().ok()?);
        let tty = fields.next()?.parse::<i32>().ok()?.cast_unsigned();
        let flags = fields.nth(1)?.parse::<u32>().ok()?;
        let ticks = fields.nth(12)?.parse::<u64>().ok()?;
        Some(Self {
            name: Name::new(stat.get(name..end)?),
            start: StartTime(ticks.saturating_mul(TICK)),
            ppid,
            group,
            session,
            tty,
            is_exiting: flags & PF_EXITING != 0,
        })
    }

    /// What the process belongs to, where nobody has logged in.
    pub(super) fn standing(&self) -> Standing {
        let Self { group, session, tty, .. } = *self;
        // `new_decode_dev`.
        let (major, minor) = ((tty & 0xF_FF00) >> 8, (tty & 0xFF) | ((tty >> 12) & 0xF_FF00));
        Standing { group, session, tty: major << 20 | minor, ..Standing::default() }
    }

    #[cfg(test)]
    pub(super) fn new(name: &[u8], start: StartTime, ppid: Pid) -> Self {
        let (name, one) = (Name::new(name), Pid(1));
        Self { name, start, ppid, session: one, group: one, tty: 0, is_exiting: false }
    }
}
