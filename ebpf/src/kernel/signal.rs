//! What the threads of a process share: its group, its session, its terminal.

use shrike_common::{Offset, Pid};

use super::{Signal, offset, read};

impl Signal {
    /// In the initial namespace, as all that follow.
    #[inline(always)]
    pub(crate) fn process_group(self) -> Pid {
        const PIDTYPE_PGID: u64 = 2;
        self.pid(PIDTYPE_PGID)
    }

    #[inline(always)]
    pub(crate) fn session(self) -> Pid {
        const PIDTYPE_SID: u64 = 3;
        self.pid(PIDTYPE_SID)
    }

    #[inline(always)]
    fn pid(self, ty: u64) -> Pid {
        const POINTER: u64 = 8;
        let pid: u64 = read(self.0 as u64 + ty * POINTER, Offset::SignalPids);
        // The first one is that of the initial namespace.
        Pid(read(pid + offset(Offset::PidNumbers) as u64, Offset::UpidNr))
    }

    /// The device of the controlling terminal (`tty_devnum`); 0 if there is none.
    #[inline(always)]
    pub(crate) fn terminal(self) -> u32 {
        const MINOR_BITS: u32 = 20;
        let tty: u64 = read(self.0 as u64, Offset::SignalTty);
        if tty == 0 {
            return 0;
        }
        let driver: u64 = read(tty, Offset::TtyDriver);
        let major: u32 = read(driver, Offset::TtyDriverMajor);
        let first: u32 = read(driver, Offset::TtyDriverMinorStart);
        let index: u32 = read(tty, Offset::TtyIndex);
        major << MINOR_BITS | (first + index)
    }
}
