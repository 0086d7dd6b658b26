//! Descriptors that one process hands another (`SCM_RIGHTS` of `unix(7)`).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The longest message that is read at once.
const LONGEST: usize = 4096;

/// How many descriptors there may be with it.
const MOST: usize = 4;

/// Sends a message with descriptors.
pub(super) fn send(to: &UnixStream, message: &[u8], fds: &[OwnedFd]) -> io::Result<()> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let rights: &[_] = if fds.is_empty() { &[] } else { &rights };
    let message = [IoSlice::new(message)];
    sendmsg::<()>(to.as_raw_fd(), &message, rights, MsgFlags::MSG_NOSIGNAL, None)?;
    Ok(())
}

/// Receives a message with its descriptors; an empty one at the end.
pub(super) fn receive(from: &UnixStream) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut message = vec![0; LONGEST];
    let mut rights = nix::cmsg_space!([RawFd; MOST]);
    let mut slices = [IoSliceMut::new(&mut message)];
    let (length, fds) = loop {
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(from.as_raw_fd(), &mut slices, Some(&mut rights), flags) {
            Ok(received) => {
                let fds = received.cmsgs()?.flat_map(|message| match message {
                    ControlMessageOwned::ScmRights(fds) => fds,
                    _ => Vec::new(),
                });
                // SAFETY: the kernel has just made these descriptors for us.
                let fds = fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }).collect();
                break (received.bytes, fds);
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    message.truncate(length);
    Ok((message, fds))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use super::*;

    #[test]
    fn a_descriptor_arrives_with_its_message() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send(&ours, b"one", &[writer.into()]).unwrap();
        let (message, mut fds) = receive(&theirs).unwrap();
        assert_eq!((message.as_slice(), fds.len()), (&b"one"[..], 1));
        File::from(fds.remove(0)).write_all(b"through").unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
        send(&ours, b"two", &[]).unwrap();
        drop(ours);
        let (message, fds) = receive(&theirs).unwrap();
        assert_eq!((message.as_slice(), fds.len()), (&b"two"[..], 0));
        let (message, fds) = receive(&theirs).unwrap();
        assert!(message.is_empty() && fds.is_empty());
    }
}
