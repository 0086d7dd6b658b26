//! How values stand in a record: little-endian, in the layout that `repr(C)` gives them, without
//! padding. Reading never assumes alignment or length.

use crate::Header;

pub use crate::kinds::wire::*;

/// A type that stands in a record.
pub trait Wire: Sized {
    /// What the agent sees of it; borrows from the record where the value is a text.
    type View<'a>;

    /// Reads the value at the byte offset `at` of `record`; `None` if it does not lie within.
    fn view(record: &[u8], at: usize) -> Option<Self::View<'_>>;
}

/// Declares structs that are their own view: fixed size, no texts. A gap between fields is a
/// compile error, since its bytes would be whatever was in kernel memory before.
macro_rules! layout {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
        #[repr(C)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        const _: () = assert!(
            size_of::<$name>() == 0 $(+ size_of::<$type>())*,
            concat!(stringify!($name), " has padding")
        );

        impl $crate::wire::Wire for $name {
            type View<'a> = Self;

            fn view(record: &[u8], at: usize) -> Option<Self> {
                Some(Self {
                    $($field: <$type as $crate::wire::Wire>::view(
                        record,
                        at.checked_add(core::mem::offset_of!($name, $field))?,
                    )?,)*
                })
            }
        }
    };
}
pub(crate) use layout;

/// Where a text stands in its record.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(C)]
pub struct Span {
    /// The offset of its first byte from the start of the record.
    pub offset: u32,
    /// Its length in bytes.
    pub len: u16,
    /// A set of the `Text::*` flags.
    pub flags: u16,
}

/// A path or another text of an event: bytes that an attacker may have chosen, in no encoding.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Text<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    flags: u16,
}

impl<'a> Text<'a> {
    /// The beginning is missing (of a path) or the end (of anything else): it was too long.
    pub const TRUNCATED: u16 = 1;
    /// The path's last component had no name any more when it was read.
    pub const DELETED: u16 = 1 << 1;
    /// The path does not lead up to the root of the mount's namespace.
    pub const UNREACHABLE: u16 = 1 << 2;
    /// A part of the text could not be read.
    pub const UNREADABLE: u16 = 1 << 3;

    /// A text with this set of flags.
    pub const fn new(bytes: &'a [u8], flags: u16) -> Self {
        Self { bytes, flags }
    }

    /// Whether all of `flags` are set.
    pub const fn has(self, flags: u16) -> bool {
        self.flags & flags == flags
    }
}

impl Wire for Span {
    type View<'a> = Text<'a>;

    fn view(record: &[u8], at: usize) -> Option<Text<'_>> {
        let offset = u32::view(record, at)? as usize;
        let len = usize::from(u16::view(record, at.checked_add(4)?)?);
        let flags = u16::view(record, at.checked_add(6)?)?;
        // A text lies behind the header: no field of the record can be read as another's text.
        let bytes = record.get(offset..offset.checked_add(len)?)?;
        (len == 0 || offset >= size_of::<Header>()).then_some(Text { bytes, flags })
    }
}

impl<const N: usize> Wire for [u8; N] {
    type View<'a> = Self;

    fn view(record: &[u8], at: usize) -> Option<Self> {
        record.get(at..at.checked_add(N)?)?.try_into().ok()
    }
}

macro_rules! integers {
    ($($int:ty)*) => {
        $(impl Wire for $int {
            type View<'a> = Self;

            fn view(record: &[u8], at: usize) -> Option<Self> {
                <[u8; size_of::<$int>()]>::view(record, at).map(<$int>::from_le_bytes)
            }
        })*
    };
}
integers!(u16 u32 i32 u64 i64);
