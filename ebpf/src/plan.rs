//! Whether anybody wants an event, decided from what costs little: the common case is that nobody
//! does. See [`shrike_common::Plan`].

use aya_ebpf::btf_maps::Array;
use aya_ebpf::macros::btf_map;
use shrike_common::wire::Payload;
use shrike_common::{Abi, Alternatives, Control, Header, Kind, Plan};

use crate::emit::{Address, Record, emit_to};
use crate::kernel::{Dentry, Path, Superblock, Task, Vfsmount};
use crate::{member, outcome, syscall, verdict};

#[btf_map]
static PLANS: Array<Plan, { Control::PLANS }> = Array::new();

#[btf_map]
static CONTROL: Array<Control, 1> = Array::new();

/// The generation of a plan when no agent runs.
pub(crate) const UNATTENDED: u32 = 0;

/// The alternatives that an event may still satisfy; at least one.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    plan: *const Plan,
    bits: Alternatives,
    generation: u32,
}

/// The generation of the present plan; none when no agent runs.
#[inline(always)]
pub(crate) fn generation() -> Option<u32> {
    let control = CONTROL.get_ptr(0)?;
    // SAFETY: the map look-up gave a valid entry. Volatile: the agent changes it any time.
    let generation = unsafe { (&raw const (*control).generation).read_volatile() };
    (generation != UNATTENDED).then_some(generation)
}

/// A process ends. If it is the agent, nobody reads what is sent from now on.
#[inline(always)]
pub(crate) fn ended(task: Task) {
    let Some(control) = CONTROL.get_ptr_mut(0) else { return };
    if is_agent(task) {
        // SAFETY: the look-up gave a valid entry, which nobody else writes any more.
        unsafe { (&raw mut (*control).generation).write_volatile(UNATTENDED) };
    }
}

/// Whether the tasks that were there before the probes have been shown to them.
#[inline(always)]
pub(crate) fn is_roll_called() -> bool {
    let Some(control) = CONTROL.get_ptr(0) else { return false };
    // SAFETY: as above.
    unsafe { (&raw const (*control).roll_called).read_volatile() != 0 }
}

/// Whether a task is the agent's.
#[inline(always)]
pub(crate) fn is_agent(task: Task) -> bool {
    let Some(control) = CONTROL.get(0) else { return false };
    task.tgid() == control.own && task.start().0.wrapping_sub(control.own_start.0) < Control::TICK
}

/// Declares how a property of an event narrows down what it may satisfy.
macro_rules! narrow {
    ($($(#[$doc:meta])* $name:ident($($value:ident: $type:ty),*) => $table:ident[$index:expr];)*) => {
        $(
            $(#[$doc])*
            #[inline(always)]
            pub(crate) fn $name(self $(, $value: $type)*) -> Option<Self> {
                // SAFETY: `of` found a valid entry, and the index is within its table.
                let bits = unsafe {
                    (&raw const (*self.plan).$table).cast::<Alternatives>().add($index).read()
                };
                self.and(bits)
            }
        )*
    };
}

impl Wanted {
    /// What may be wanted of what the current task does.
    #[inline(always)]
    pub(crate) fn of(kind: Kind) -> Option<Self> {
        let generation = generation()?;
        let plan = PLANS.get_ptr(Control::plan_index(generation, kind))?;
        // SAFETY: the map look-up gave a valid entry.
        let [host, member, entering] = unsafe { (*plan).scope };
        if host | member | entering == 0 {
            return None;
        }
        // Where it does not matter, nobody asks whose task it is.
        let bits = if host == member && host == entering {
            host
        } else if member::get(Task::current()).is_some() {
            member
        } else if host == entering || !member::enters(Task::current()) {
            host
        } else {
            entering
        };
        (bits != 0).then_some(Self { plan, bits, generation })
    }

    narrow! {
        /// By the flags of an open.
        access(flags: u32) => access[flags as usize & 3];
        /// By the class of the kind.
        class(class: u32) => class[bounded(Plan::class_index(class))];
        /// By the file system.
        file_system(sb: Superblock) => magic[Plan::magic_index(sb.magic())];
        /// By the last name of the path.
        name(dentry: Dentry) => name[Plan::name_index(dentry.name_len(), dentry.name_start())];
    }

    /// By whether the mount belongs to another mount namespace than the task's.
    #[inline(always)]
    pub(crate) fn mount(self, mnt: Vfsmount) -> Option<Self> {
        // SAFETY: `of` found a valid entry.
        let [own, foreign] = unsafe { (*self.plan).foreign };
        if (own ^ foreign) & self.bits == 0 {
            return self.and(own);
        }
        let proxy = Task::current().nsproxy()?;
        let is_own = mnt.namespace_at() == proxy.mnt_ns().0 as u64;
        self.and(if is_own { own } else { own | foreign })
    }

    /// By the path, which is expensive: only if nothing else is left to decide by.
    #[inline(always)]
    pub(crate) fn path(self, kind: Kind, path: Path) -> Option<Self> {
        // SAFETY: `of` found a valid entry.
        let by_path = unsafe { (*self.plan).path };
        if self.bits & !by_path != 0 {
            return Some(self);
        }
        self.and(verdict::of(kind, self.generation, path))
    }

    /// What may be wanted of what the current task has tried, but failed to do.
    #[inline(always)]
    pub(crate) fn of_attempt(kind: Kind) -> Option<Self> {
        let wanted = Self::of(kind)?;
        // SAFETY: `of` found a valid entry.
        wanted.and(unsafe { (*wanted.plan).attempt })
    }

    /// Sends the event, unless it is the agent that acts.
    #[inline(always)]
    pub(crate) fn emit<P: Payload>(self, build: impl FnOnce(&mut Record) -> P) {
        if is_agent(Task::current()) {
            return;
        }
        let flags = if self.asks_for_outcome() && self.has_outcome() {
            outcome::expect();
            Header::OUTCOME
        } else {
            0
        };
        emit_to(Address { lane: P::KIND.lane(), generation: self.generation, flags }, build);
    }

    /// Sends an attempt, and that it failed with this result.
    #[inline(always)]
    pub(crate) fn emit_attempt<P: Payload>(
        self,
        result: i64,
        build: impl FnOnce(&mut Record) -> P,
    ) {
        if is_agent(Task::current()) {
            return;
        }
        let address = Address {
            lane: P::KIND.lane(),
            generation: self.generation,
            flags: Header::RAW | Header::OUTCOME,
        };
        let since = outcome::now();
        emit_to(address, build);
        outcome::report(P::KIND.lane(), result, since);
    }

    /// Whether the path is wanted as the program gave it.
    #[inline(always)]
    pub(crate) fn asks_for_given(self) -> bool {
        // SAFETY: `of` found a valid entry.
        self.bits & unsafe { (*self.plan).given } != 0
    }

    #[inline(always)]
    fn asks_for_outcome(self) -> bool {
        // SAFETY: `of` found a valid entry.
        self.bits & unsafe { (*self.plan).outcome } != 0
    }

    /// Whether the end of the system call that the task is in will be seen.
    #[inline(never)]
    fn has_outcome(self) -> bool {
        let (abi, number) = syscall::of(Task::current());
        let (table, word, bit) = Plan::exit(matches!(abi, Abi::I386), number);
        // SAFETY: `of` found a valid entry, and the indices are within its table.
        let exits = unsafe {
            let table = (&raw const (*self.plan).exits).cast::<[u64; Plan::EXITS]>().add(table);
            table.cast::<u64>().add(word).read()
        };
        number >= 0 && exits & bit != 0
    }

    #[inline(always)]
    fn and(self, bits: Alternatives) -> Option<Self> {
        let bits = self.bits & bits;
        (bits != 0).then_some(Self { bits, ..self })
    }
}

/// The index of a class, which is in its table; the verifier loses sight of that when it is compared
/// in one register and used in another.
#[inline(always)]
fn bounded(mut index: usize) -> usize {
    // SAFETY: the operation changes that register only.
    unsafe {
        core::arch::asm!("{index} &= {mask}", index = inout(reg) index, mask = const Plan::CLASSES - 1);
    }
    index
}
