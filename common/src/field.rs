//! The values of an event's fields in few forms, for whoever shows events without knowing their kinds.

use crate::wire::Text;
use crate::{Address, CgroupId, ContainerId, Namespaces, NsId, Pid, StartTime, Uid};

/// The value of a field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value<'a> {
    /// An IP address.
    Address(Address),
    /// A name in a room of fixed size, ended by NUL.
    Name([u8; 16]),
    /// A namespace of each type.
    Namespaces(Namespaces),
    /// A number.
    Number(i128),
    /// A text.
    Text(Text<'a>),
}

impl<'a> From<Text<'a>> for Value<'a> {
    fn from(text: Text<'a>) -> Self {
        Self::Text(text)
    }
}

impl From<Address> for Value<'_> {
    fn from(address: Address) -> Self {
        Self::Address(address)
    }
}

impl From<[u8; 16]> for Value<'_> {
    fn from(name: [u8; 16]) -> Self {
        Self::Name(name)
    }
}

impl From<Namespaces> for Value<'_> {
    fn from(namespaces: Namespaces) -> Self {
        Self::Namespaces(namespaces)
    }
}

macro_rules! numbers {
    ($($int:ty)* ; $($id:ty)*) => {
        $(impl From<$int> for Value<'_> {
            fn from(number: $int) -> Self {
                Self::Number(number.into())
            }
        })*
        $(impl From<$id> for Value<'_> {
            fn from(id: $id) -> Self {
                Self::Number(id.0.into())
            }
        })*
    };
}
numbers!(u32 i32 u64 i64; CgroupId ContainerId NsId Pid StartTime Uid);
