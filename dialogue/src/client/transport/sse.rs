//! An incremental parser of Server-Sent Events, as specified in the HTML standard, section 9.2.6 ([Interpreting an
//! event stream](https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation)).

use std::time::Duration;

/// Maximum size of one event: 16 MiB.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// Parses chunks of any size into events.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    /// Set after a carriage return: an immediately following line feed belongs to the same line end.
    cr: bool,
    begun: bool,
    event: String,
    data: String,
    has_data: bool,
    retry: Option<Duration>,
}

/// One event of a stream, without its id: positions are derived from the data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) event: String,
    pub(crate) data: String,
}

/// The error of an event larger than [`MAX_EVENT_BYTES`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Parser {
    /// Parses `bytes`, and appends the events that they complete.
    pub(crate) fn read(&mut self, bytes: &[u8], out: &mut Vec<Message>) -> Result<(), TooLong> {
        for &byte in bytes {
            match byte {
                b'\n' if self.cr => {
                    self.cr = false;
                    continue;
                }
                b'\n' | b'\r' => self.end_line(out),
                _ => self.line.push(byte),
            }
            self.cr = byte == b'\r';
            if self.line.len().saturating_add(self.data.len()) > MAX_EVENT_BYTES {
                return Err(TooLong);
            }
        }
        Ok(())
    }

    /// Returns the reconnection time that the server asked for.
    pub(crate) fn retry(&self) -> Option<Duration> {
        self.retry
    }

    fn end_line(&mut self, out: &mut Vec<Message>) {
        let bytes = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&bytes);
        let mut line = line.as_ref();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(out);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "retry" if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
                self.retry = value.parse().ok().map(Duration::from_millis);
            }
            _ => {}
        }
    }

    fn dispatch(&mut self, out: &mut Vec<Message>) {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            out.push(Message { event, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(bytes: &[u8]) -> Vec<Message> {
        let mut out = Vec::new();
        Parser::default().read(bytes, &mut out).unwrap();
        out
    }

    fn message(event: &str, data: &str) -> Message {
        Message { event: event.to_owned(), data: data.to_owned() }
    }

    #[test]
    fn fields_comments_and_line_ends_are_read() {
        let text = "\u{feff}event: a\ndata: 1\r\n\r\n:comment\rdata:x\rdata: y\r\rid: 7\n\ndata\n\ndata: cut";
        assert_eq!(whole(text.as_bytes()), [message("a", "1"), message("", "x\ny"), message("", "")]);
    }

    #[test]
    fn retry_is_kept_when_it_is_a_number() {
        let mut parser = Parser::default();
        parser.read(b"retry: 1500\nretry: soon\n\n", &mut Vec::new()).unwrap();
        assert_eq!(parser.retry(), Some(Duration::from_millis(1500)));
    }

    #[test]
    fn an_endless_event_is_an_error() {
        let mut parser = Parser::default();
        assert_eq!(parser.read(&vec![b'x'; MAX_EVENT_BYTES + 1], &mut Vec::new()), Err(TooLong));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_bytes_are_cut(
            text in "(event: [a-c]\r?\n|data: [a-cé]{0,3}\r\n|data:\r|\n|:x\n)*",
            cut in 1..7usize,
        ) {
            let (mut parser, mut out) = (Parser::default(), Vec::new());
            for part in text.as_bytes().chunks(cut) {
                parser.read(part, &mut out).unwrap();
            }
            prop_assert_eq!(out, whole(text.as_bytes()));
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _messages = whole(&bytes);
        }
    }
}
