//! A name server of the test's own, which knows one name (RFC 1035, 4.1).

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;

use anyhow::{Context, Result};

/// Makes this the guest's name server, and answers that `name` is 127.0.0.1.
pub fn start(name: &str) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:53").context("bind the name server")?;
    fs::write("/etc/resolv.conf", "nameserver 127.0.0.1\n")?;
    let known = labels(name);
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((len, client)) = socket.recv_from(&mut query) {
            if let Some(answer) = answer(&query[..len], &known) {
                // A client that is gone needs no answer.
                let _ = socket.send_to(&answer, client);
            }
        }
    });
    Ok(())
}

/// A name as it stands in messages.
fn labels(name: &str) -> Vec<u8> {
    let mut labels = Vec::new();
    for label in name.split('.') {
        labels.push(u8::try_from(label.len()).unwrap_or_default());
        labels.extend(label.as_bytes());
    }
    labels.push(0);
    labels
}

fn answer(query: &[u8], known: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    /// A question for an IPv4 address, class Internet.
    const A: [u8; 4] = [0, 1, 0, 1];
    let end = HEADER + query.get(HEADER..)?.iter().position(|&byte| byte == 0)? + 1;
    let asked = query.get(HEADER..end)?;
    let kind = query.get(end..end + A.len())?;
    let is_known = asked.eq_ignore_ascii_case(known);
    let has_address = is_known && kind == A;
    // The query's id; a response, recursion available; no error, or no such name.
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, if is_known { 0x80 } else { 0x83 }]);
    answer.extend([0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(asked);
    answer.extend(kind);
    if has_address {
        // The name above; one minute; four bytes.
        answer.extend([0xC0, u8::try_from(HEADER).ok()?]);
        answer.extend(A);
        answer.extend([0, 0, 0, 60, 0, 4]);
        answer.extend(Ipv4Addr::LOCALHOST.octets());
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_one_name_and_its_address() {
        let query = |name: &str, kind: u8| {
            let mut query = vec![7, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            query.extend(labels(name));
            query.extend([0, kind, 0, 1]);
            query
        };
        let known = labels("alerts.test");
        let yes = answer(&query("Alerts.test", 1), &known).unwrap();
        assert!(yes.starts_with(&[7, 7, 0x81, 0x80]) && yes.ends_with(&[0, 4, 127, 0, 0, 1]));
        let empty = answer(&query("alerts.test", 28), &known).unwrap();
        assert_eq!((empty[3], empty[7]), (0x80, 0), "it has no IPv6 address");
        let no = answer(&query("other.test", 1), &known).unwrap();
        assert_eq!(no[3], 0x83);
        assert!(answer(&[1, 2, 3], &known).is_none());
    }
}
