//! One answer as it comes over a line (RFC 9112): its head, and its body wherever that ends, within one deadline.

use std::io::{ErrorKind, Read as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::HttpError;

/// The longest head of an answer; and what is read at once to find it, so that little of the body has to be moved.
const HEAD_BYTES: usize = 16 << 10;
const BEGINNING: usize = 1 << 10;
/// How long what has come is still read when the time is over. Where this machine stood still, it is no node that was slow; and who sends without
/// end does not gain more than this.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// How an answer begins.
const VERSION: &[u8] = b"HTTP/1.";

/// For how long it is looked whether an answer that is too long comes to an end.
pub(crate) fn passed_over_for(deadline: Duration) -> Duration {
    (deadline / 4).min(Duration::from_secs(1))
}

/// What an answer's head says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) body: Ends,
    pub(crate) stays_open: bool,
    /// For how long the node asks to be left alone, in its words.
    pub(crate) retry_after: Option<String>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    After(u64),
    InChunks,
    WithTheLine,
}

/// Why a line gave no answer.
pub(crate) enum Broken {
    /// It had waited so long that the other side closed it, before it said anything.
    Stale,
    /// See [`HttpError`].
    Http(HttpError),
}

impl Broken {
    pub(crate) fn of(error: &std::io::Error) -> Broken {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Broken::Stale,
            _ => Broken::Http(HttpError::Unreachable(error.to_string())),
        }
    }

    pub(crate) fn into_http(self) -> HttpError {
        match self {
            Broken::Stale => closed(),
            Broken::Http(error) => error,
        }
    }
}

fn garbled(what: &'static str) -> Broken {
    Broken::Http(HttpError::Garbled(what.into()))
}

fn closed() -> HttpError {
    HttpError::Unreachable("the connection was closed before an answer".into())
}

/// A length that is not more than this.
pub(crate) fn within(length: u64, limit: usize) -> Result<usize, Broken> {
    let too_large = || Broken::Http(HttpError::TooLarge(length, limit));
    usize::try_from(length).ok().filter(|length| *length <= limit).ok_or_else(too_large)
}

/// Room for so many bytes of a body that may come to `limit`, held before it is taken.
fn grow(
    body: &mut Vec<u8>,
    bytes: usize,
    limit: usize,
    hold: &dyn Fn(usize) -> Result<(), HttpError>,
) -> Result<(), Broken> {
    if bytes > body.capacity() {
        let room = bytes.max(body.capacity().saturating_mul(2).min(limit));
        hold(room).map_err(Broken::Http)?;
        body.reserve_exact(room - body.len());
    }
    Ok(())
}

/// An answer as it comes.
pub(crate) struct Incoming<'l> {
    line: &'l mut TcpStream,
    since: Instant,
    deadline: Duration,
    /// What was read, and belongs to what comes next.
    pub(crate) begun: Vec<u8>,
    has_begun: bool,
    has_head: bool,
    /// Bytes of the body that were read.
    body: usize,
    /// Since when there are more of them than are wanted.
    too_long: Option<(Instant, usize)>,
    /// Since when the time is over.
    late: Option<Instant>,
}

impl<'l> Incoming<'l> {
    pub(crate) fn new(line: &'l mut TcpStream, deadline: Duration) -> Incoming<'l> {
        Incoming {
            line,
            since: Instant::now(),
            deadline,
            begun: Vec::new(),
            has_begun: false,
            has_head: false,
            body: 0,
            too_long: None,
            late: None,
        }
    }

    /// Nothing where it is not one that is read here. Heads that only say that there will be one are passed over (RFC 9110, 15.2).
    pub(crate) fn head(&mut self) -> Result<Option<Head>, Broken> {
        let end = b"\r\n\r\n";
        let mut passed = 0;
        loop {
            let beginning = self.begun.len().min(VERSION.len());
            if self.begun[..beginning] != VERSION[..beginning] {
                return Err(garbled("is none of HTTP/1.1"));
            }
            if let Some(at) = self.begun.windows(end.len()).position(|four| four == end) {
                let head = Head::of(&self.begun[..at + end.len()]).map_err(garbled)?;
                self.begun.drain(..at + end.len());
                passed += at + end.len();
                match head {
                    Some(Head { status: 100 | 102..=199, .. }) if passed < HEAD_BYTES => continue,
                    Some(Head { status: 100..=199, .. }) => return Err(garbled("announces another one without end")),
                    head => {
                        self.has_head = true;
                        return Ok(head);
                    }
                }
            }
            if self.begun.len() >= HEAD_BYTES {
                return Err(Broken::Http(HttpError::HeadTooLarge));
            }
            self.more()?;
        }
    }

    /// A body of a stated length.
    pub(crate) fn fill(&mut self, into: &mut [u8]) -> Result<(), Broken> {
        let here = self.begun.len().min(into.len());
        into[..here].copy_from_slice(&self.begun[..here]);
        self.begun.drain(..here);
        self.body += here;
        let mut filled = here;
        while filled < into.len() {
            match self.read(&mut into[filled..])? {
                0 => return Err(self.cut()),
                count => {
                    filled += count;
                    self.body += count;
                }
            }
        }
        Ok(())
    }

    /// A body in chunks (RFC 9112, 7.1).
    pub(crate) fn chunks(
        &mut self,
        limit: usize,
        hold: &dyn Fn(usize) -> Result<(), HttpError>,
    ) -> Result<Vec<u8>, Broken> {
        let (mut body, mut length) = (Vec::new(), 0usize);
        loop {
            let size = self.text_line()?;
            let size = size.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| garbled("is followed by a chunk without a length"))?;
            if size == 0 {
                while !self.text_line()?.is_empty() {}
                within(length as u64, limit)?;
                return Ok(body);
            }
            length = length.saturating_add(size);
            if length > limit {
                body = Vec::new();
                self.pass_over(size, limit)?;
            } else {
                grow(&mut body, length, limit, hold)?;
                let from = body.len();
                body.resize(length, 0);
                self.fill(&mut body[from..])?;
            }
            if !self.text_line()?.is_empty() {
                return Err(garbled("is followed by a chunk of another length"));
            }
        }
    }

    /// A body that ends with the connection.
    pub(crate) fn rest(
        &mut self,
        limit: usize,
        hold: &dyn Fn(usize) -> Result<(), HttpError>,
    ) -> Result<Vec<u8>, Broken> {
        let mut body = std::mem::take(&mut self.begun);
        loop {
            self.body = body.len();
            if body.len() > limit {
                drop(body);
                self.pass_over(usize::MAX, limit)?;
                return Err(Broken::Http(HttpError::TooLarge(self.body as u64, limit)));
            }
            let from = body.len();
            grow(&mut body, from + HEAD_BYTES, limit + HEAD_BYTES, hold)?;
            body.resize(from + HEAD_BYTES, 0);
            let count = self.read(&mut body[from..])?;
            body.truncate(from + count);
            if count == 0 {
                return Ok(body);
            }
        }
    }

    /// So many bytes of a body that is too long, or all that are left: does it come to an end soon?
    fn pass_over(&mut self, bytes: usize, limit: usize) -> Result<(), Broken> {
        let (since, _) = *self.too_long.get_or_insert_with(|| (Instant::now(), limit));
        let here = self.begun.len().min(bytes);
        self.begun.drain(..here);
        self.body += here;
        let (mut left, mut some) = (bytes - here, [0; HEAD_BYTES]);
        loop {
            if since.elapsed() >= passed_over_for(self.deadline) {
                return Err(Broken::Http(HttpError::NeverEnding { read: self.body, within: self.since.elapsed() }));
            }
            if left == 0 {
                return Ok(());
            }
            let most = some.len().min(left);
            match self.read(&mut some[..most])? {
                0 if bytes == usize::MAX => return Ok(()),
                0 => return Err(self.cut()),
                count => (left, self.body) = (left - count, self.body.saturating_add(count)),
            }
        }
    }

    fn text_line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(at) = self.begun.windows(2).position(|two| two == b"\r\n") {
                let text = self.begun[..at].to_vec();
                self.begun.drain(..at + 2);
                return Ok(text);
            }
            if self.begun.len() >= HEAD_BYTES {
                return Err(Broken::Http(HttpError::HeadTooLarge));
            }
            self.more()?;
        }
    }

    fn more(&mut self) -> Result<(), Broken> {
        let mut some = [0; BEGINNING];
        match self.read(&mut some)? {
            0 if !self.has_begun => Err(Broken::Stale),
            0 => Err(self.cut()),
            count => {
                self.has_begun = true;
                self.begun.extend_from_slice(&some[..count]);
                Ok(())
            }
        }
    }

    /// Reads what is there, waiting for some as long as there is time (see [`LAST_LOOK`]); 0 at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken> {
        loop {
            let mut left = self.deadline.saturating_sub(self.since.elapsed());
            if left.is_zero() {
                if self.late.get_or_insert_with(Instant::now).elapsed() >= LAST_LOOK {
                    return Err(self.over());
                }
                left = Duration::from_millis(1);
            }
            let read = self.line.set_read_timeout(Some(left)).and_then(|()| self.line.read(into));
            return match read {
                Ok(count) => Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) && self.late.is_none() => continue,
                Err(error) if is_timeout(&error) => Err(self.over()),
                Err(_) if self.has_begun => Err(self.cut()),
                Err(error) => Err(Broken::of(&error)),
            };
        }
    }

    /// It broke off: within what we are willing to read, or behind that.
    fn cut(&self) -> Broken {
        Broken::Http(match self.too_long {
            Some((_, limit)) => HttpError::TooLarge(self.body as u64, limit),
            None => HttpError::Truncated(self.body),
        })
    }

    fn over(&self) -> Broken {
        let is_silent = self.body == 0 && (self.has_head || self.begun.is_empty());
        Broken::Http(match self.body + self.begun.len() {
            _ if is_silent => HttpError::TimedOut(self.deadline),
            read => HttpError::NeverEnding { read, within: self.deadline },
        })
    }
}

pub(crate) fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Head {
    /// Nothing where the body is encoded, or may not be there whatever the head says (RFC 9112, 6.3): that is not asked for here.
    ///
    /// # Errors
    /// In words, why it is no head.
    fn of(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
        let mut lines = std::str::from_utf8(bytes).map_err(|_| "is no text")?.split("\r\n");
        let first = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.split_once(' '));
        let (version, status) = first.ok_or("is none of HTTP/1.1")?;
        let status = status.get(..3).and_then(|status| status.parse().ok()).ok_or("says no status")?;
        // Before 1.1 a line ends with its answer.
        let (mut length, mut is_chunked, mut stays_open, mut retry_after) = (None, false, version == "1", None);
        let mut is_plain = !matches!(status, 101 | 204 | 304);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':').ok_or("has a line without a name")?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => {
                    let said = value.parse().map_err(|_| "says a length that is no number")?;
                    if length.replace(said).is_some_and(|before: u64| before != said) {
                        return Err("says two lengths");
                    }
                }
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") && !is_chunked => is_chunked = true,
                "transfer-encoding" | "content-encoding" => is_plain = false,
                "retry-after" => retry_after = Some(value.to_owned()),
                "connection" => stays_open &= !value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let body = match (length, is_chunked) {
            (Some(length), false) => Ends::After(length),
            (None, true) => Ends::InChunks,
            (None, false) => Ends::WithTheLine,
            (Some(_), true) => return Err("says a length, and that it comes in chunks"),
        };
        let stays_open = stays_open && body != Ends::WithTheLine;
        Ok(is_plain.then_some(Head { status, body, stays_open, retry_after }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_is_not_plain_is_not_read_here() {
        for head in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 204 No\r\ncontent-length: 3\r\n\r\n",
        ] {
            assert_eq!(Head::of(head.as_bytes()), Ok(None), "{head}");
        }
        let plain = |status, stays_open| Ok(Some(Head { status, body: Ends::After(3), stays_open, retry_after: None }));
        assert_eq!(Head::of(b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\n"), plain(200, false));
        let closing = Head::of(b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length:3\r\n\r\n");
        assert_eq!(closing, plain(404, false));
        let twice = Head::of(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nContent-Length: 3\r\n\r\n");
        assert_eq!(twice, plain(200, true));
    }

    #[test]
    fn what_had_come_before_this_machine_stood_still_is_read() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut line = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut node, _) = listener.accept().unwrap();
        let (deadline, mut body) = (Duration::from_millis(50), vec![0; 3 * BEGINNING]);
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
        node.write_all(&[head.as_bytes(), &vec![b'x'; body.len()]].concat()).unwrap();
        let mut incoming = Incoming::new(&mut line, deadline);
        let read = |result: Result<(), Broken>| result.map_err(Broken::into_http);
        assert!(matches!(incoming.head(), Ok(Some(_))));
        std::thread::sleep(2 * deadline);
        assert_eq!(read(incoming.fill(&mut body)), Ok(()));
        // What had not come is not waited for.
        let since = Instant::now();
        assert_eq!(
            read(incoming.fill(&mut [0; 1])),
            Err(HttpError::NeverEnding { read: body.len(), within: deadline })
        );
        assert!(since.elapsed() < LAST_LOOK);
    }

    #[test]
    fn what_is_no_head_is_garbled() {
        for (head, why) in [
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n", "in chunks"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n", "two lengths"),
            ("HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n", "no number"),
            ("HTTP/1.1 OK\r\n\r\n", "no status"),
            ("HTTP/1.1 200 OK\r\nhello\r\n\r\n", "without a name"),
            ("SSH-2.0 200\r\ncontent-length: 3\r\n\r\n", "HTTP/1.1"),
        ] {
            let said = Head::of(head.as_bytes()).unwrap_err();
            assert!(said.contains(why), "{head}: {said}");
        }
    }
}
