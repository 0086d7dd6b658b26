//! Standard output: a line for a person on a terminal, a line of JSON otherwise.

use std::io::{self, Write};

use shrike_rules::Priority;

use super::Inbox;
use crate::alert::Alert;
use crate::config::Format;
use crate::metrics::AlertLoss;

/// Writes alerts until the queue is closed, or nobody reads them.
pub(super) fn write(mut inbox: Inbox, mut out: impl Write, format: Format) {
    while let Some(alert) = inbox.receiver.blocking_recv() {
        let written = line(&mut out, &alert, format);
        inbox.metrics.delivery(&inbox.name, written.is_ok());
        if let Err(error) = written {
            tracing::warn!("cannot write alerts to standard output any more: {error}");
            return inbox.lost(AlertLoss::Closed);
        }
        inbox.done();
    }
}

fn line(out: &mut impl Write, alert: &Alert, format: Format) -> io::Result<()> {
    match format {
        Format::Json => writeln!(out, "{}", alert.to_json())?,
        Format::Text { colour: false } => writeln!(out, "{alert}")?,
        Format::Text { colour: true } => {
            let Alert { time, priority, rule, message, .. } = alert;
            let (time, colour) = (time.strftime("%H:%M:%S.%3f"), colour(*priority));
            writeln!(
                out,
                "\x1b[2m{time}\x1b[0m \x1b[{colour}m{priority}\x1b[0m \x1b[1m{rule}\x1b[0m: {message}"
            )?;
        }
    }
    out.flush()
}

/// The colour of a priority, as the parameter of a terminal's "select graphic rendition".
fn colour(priority: Priority) -> &'static str {
    match priority {
        Priority::Emergency | Priority::Alert | Priority::Critical => "1;31",
        Priority::Error => "31",
        Priority::Warning => "33",
        Priority::Notice => "36",
        Priority::Informational | Priority::Debug => "2",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::alert;

    fn written(format: Format) -> String {
        let mut out = Vec::new();
        line(&mut out, &alert("File opened"), format).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn writes_one_line_in_each_format() {
        let text = written(Format::Text { colour: false });
        assert!(text.starts_with("00:00:00.000 Warning File opened: opened /tmp/a\\x1b"), "{text}");
        let json = written(Format::Json);
        assert!(json.starts_with("{\"uuid\":\""), "{json}");
        for line in [text, json] {
            assert!(line.ends_with('\n') && line.lines().count() == 1);
            assert!(!line.contains('\x1b'), "no colour unless asked for: {line}");
        }
    }

    #[test]
    fn colours_what_the_agent_writes_and_nothing_else() {
        let text = written(Format::Text { colour: true });
        assert!(text.contains("\x1b[33mWarning\x1b[0m"), "{text}");
        assert_eq!(text.matches('\x1b').count(), 6, "{text}");
    }
}
