//! Signs of life: the agent does something harmless each second that reaches a probe of every
//! backend, and gets an answer in every lane.

use aya_ebpf::Global;
use shrike_common::{Backend, Lane, wire};

use crate::emit::{Address, emit_to};
use crate::kernel::Task;
use crate::{member, plan};

/// The backend whose probe is shown the tasks that were there before. The verifier does not look at what the
/// other one would do with them.
#[unsafe(no_mangle)]
static SHOWN_BY: Global<u32> = Global::new(0);

/// Answers the agent, which shows each task that was there before the probes in this way, too.
#[inline(always)]
pub(crate) fn asked_about(target: Task, backend: Backend) {
    let agent = Task::current();
    if !plan::is_agent(agent) {
        return;
    }
    if target.tgid() == agent.tgid() {
        if backend as u32 == SHOWN_BY.load() {
            member::leave(target);
        }
        beat(backend);
    } else if backend as u32 == SHOWN_BY.load() {
        member::found(target);
    }
}

/// Answers the agent; what other tasks do is not looked at.
#[inline(always)]
pub(crate) fn beat(backend: Backend) {
    if !plan::is_agent(Task::current()) {
        return;
    }
    for lane in Lane::ALL {
        answer(lane, backend as u32);
    }
}

#[inline(never)]
fn answer(lane: Lane, backend: u32) {
    emit_to(Address::now(lane), |_| wire::Heartbeat { backend, reserved: 0 });
}
