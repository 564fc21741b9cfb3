//! Answers over plain HTTP/1.1, read by the thread that asks for them, straight into the memory where they are wanted: over the runtime, whose
//! threads hand them over piece by piece, a Bitcoin block takes a fifth longer, and what an EVM block takes many small answers for takes twice as long.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::ops::DerefMut;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{CONNECT_DEADLINE, HttpError};

/// How many connections wait for the next question.
const IDLE: usize = 16;
/// The longest head of an answer; and what is read at once to find it, so that little of the body has to be moved.
const HEAD_BYTES: usize = 16 << 10;
const BEGINNING: usize = 1 << 10;
/// Up to how many bytes a body's memory is kept for the next one: clean memory costs as much as what comes into it.
const SPARE_BYTES: usize = 1 << 20;

/// Connections to one node, each used by one thread at a time.
#[derive(Default)]
pub(crate) struct Lines {
    idle: Mutex<Vec<TcpStream>>,
    spare: Mutex<Vec<Vec<u8>>>,
}

/// What an answer's head says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    body: Ends,
    stays_open: bool,
    /// For how long the node asks to be left alone, in its words.
    pub(crate) retry_after: Option<String>,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    After(u64),
    InChunks,
    WithTheLine,
}

/// Why a line gave no answer.
enum Broken {
    /// It had waited so long that the other side closed it, before it said anything.
    Stale,
    /// See [`HttpError`].
    Http(HttpError),
}

/// An answer's head and body; nothing where it is of a kind that is not read here.
type Whole<B> = Option<(Head, B)>;

/// What was asked, and is answered on this line.
pub(crate) struct Asked<'r> {
    line: TcpStream,
    is_fresh: bool,
    request: &'r [u8],
}

impl Lines {
    /// Takes back a body that was read, so that its memory is used again.
    pub(crate) fn take_back(&self, body: Vec<u8>) {
        let mut spare = self.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if body.capacity() <= SPARE_BYTES && spare.len() < IDLE {
            spare.push(body);
        }
    }

    fn room(&self, length: usize) -> Vec<u8> {
        let mut room = self.spare.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        room.resize(length, 0);
        room
    }

    /// Sends a request to this host.
    pub(crate) fn ask<'r>(
        &self,
        (host, port): (&str, u16),
        request: &'r [u8],
        deadline: Duration,
    ) -> Result<Asked<'r>, HttpError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(line) = idle
            && let Ok(asked) = send(line, request, false, deadline)
        {
            return Ok(asked);
        }
        send(connect(host, port)?, request, true, deadline).map_err(Broken::into_http)
    }

    /// Reads the answer, which begins now to be awaited, into memory that `room` gives for a body of so many bytes, at most `limit`. One whose
    /// length is not said is declined.
    pub(crate) fn fill<B: DerefMut<Target = [u8]>>(
        &self,
        host: (&str, u16),
        asked: Asked<'_>,
        limit: usize,
        deadline: Duration,
        room: impl Fn(usize) -> B,
    ) -> Result<Whole<B>, HttpError> {
        self.answer(host, asked, deadline, |incoming, body| match body {
            Ends::After(length) => {
                let length = within(length, limit)?;
                let mut body = room(length);
                incoming.fill(&mut body)?;
                Ok(Some(body))
            }
            Ends::InChunks | Ends::WithTheLine => Ok(None),
        })
    }

    /// The same, wherever it ends. `hold` waits until there is room for a body of so many bytes.
    pub(crate) fn read(
        &self,
        host: (&str, u16),
        asked: Asked<'_>,
        limit: usize,
        deadline: Duration,
        hold: &dyn Fn(usize) -> Result<(), HttpError>,
    ) -> Result<Whole<Vec<u8>>, HttpError> {
        self.answer(host, asked, deadline, |incoming, body| {
            Ok(Some(match body {
                Ends::After(length) => {
                    let length = within(length, limit)?;
                    hold(length).map_err(Broken::Http)?;
                    let mut body = self.room(length);
                    incoming.fill(&mut body)?;
                    body
                }
                Ends::InChunks => incoming.chunks(limit, hold)?,
                Ends::WithTheLine => incoming.rest(limit, hold)?,
            }))
        })
    }

    fn answer<B>(
        &self,
        host: (&str, u16),
        asked: Asked<'_>,
        deadline: Duration,
        body: impl Fn(&mut Incoming<'_>, Ends) -> Result<Option<B>, Broken>,
    ) -> Result<Whole<B>, HttpError> {
        let Asked { mut line, is_fresh, request } = asked;
        let read = |line: &mut TcpStream| {
            let mut incoming = Incoming::new(line, deadline);
            let Some(head) = incoming.head()? else { return Ok(None) };
            let body = body(&mut incoming, head.body)?;
            let is_clean = incoming.begun.is_empty();
            Ok(body.map(|body| (Head { stays_open: head.stays_open && is_clean, ..head }, body)))
        };
        let whole = match read(&mut line) {
            Err(Broken::Stale) if !is_fresh => {
                line = send(connect(host.0, host.1)?, request, true, deadline).map_err(Broken::into_http)?.line;
                read(&mut line)
            }
            whole => whole,
        };
        let whole = whole.map_err(Broken::into_http)?;
        if whole.as_ref().is_some_and(|(head, _)| head.stays_open) {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < IDLE {
                idle.push(line);
            }
        }
        Ok(whole)
    }
}

/// A length that is not more than this.
fn within(length: u64, limit: usize) -> Result<usize, Broken> {
    let too_large = || Broken::Http(HttpError::TooLarge(length, limit));
    usize::try_from(length).ok().filter(|length| *length <= limit).ok_or_else(too_large)
}

impl Broken {
    fn of(error: &std::io::Error) -> Broken {
        match error.kind() {
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Broken::Stale,
            _ => Broken::Http(HttpError::Unreachable(error.to_string())),
        }
    }

    fn into_http(self) -> HttpError {
        match self {
            Broken::Stale => closed(),
            Broken::Http(error) => error,
        }
    }
}

fn closed() -> HttpError {
    HttpError::Unreachable("the connection was closed before an answer".into())
}

fn connect(host: &str, port: u16) -> Result<TcpStream, HttpError> {
    let unreachable = |error: std::io::Error| HttpError::Unreachable(error.to_string());
    let mut last = HttpError::Unreachable(format!("{host} has no address"));
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    for address in (bare, port).to_socket_addrs().map_err(unreachable)? {
        match TcpStream::connect_timeout(&address, CONNECT_DEADLINE) {
            Ok(line) => {
                line.set_nodelay(true).map_err(unreachable)?;
                return Ok(line);
            }
            Err(error) => last = unreachable(error),
        }
    }
    Err(last)
}

fn send<'r>(line: TcpStream, request: &'r [u8], is_fresh: bool, deadline: Duration) -> Result<Asked<'r>, Broken> {
    let mut line = line;
    let sent = line.set_write_timeout(Some(deadline)).and_then(|()| line.write_all(request));
    sent.map_err(|error| match is_timeout(&error) {
        true => Broken::Http(HttpError::TimedOut(deadline)),
        false => Broken::of(&error),
    })?;
    Ok(Asked { line, is_fresh, request })
}

/// An answer as it comes.
struct Incoming<'l> {
    line: &'l mut TcpStream,
    since: Instant,
    deadline: Duration,
    /// What was read, and belongs to what comes next.
    begun: Vec<u8>,
    has_begun: bool,
    /// Bytes of the body that were read.
    body: usize,
}

impl<'l> Incoming<'l> {
    fn new(line: &'l mut TcpStream, deadline: Duration) -> Incoming<'l> {
        Incoming { line, since: Instant::now(), deadline, begun: Vec::new(), has_begun: false, body: 0 }
    }

    /// Nothing where it is not one that is read here.
    fn head(&mut self) -> Result<Option<Head>, Broken> {
        let end = b"\r\n\r\n";
        loop {
            if let Some(at) = self.begun.windows(end.len()).position(|four| four == end) {
                let head = Head::of(&self.begun[..at + end.len()]);
                self.begun.drain(..at + end.len());
                return match head {
                    Some(Head { status: status @ (401 | 403), .. }) => {
                        Err(Broken::Http(HttpError::LoginRefused(status)))
                    }
                    head => Ok(head),
                };
            }
            if self.begun.len() >= HEAD_BYTES {
                return Ok(None);
            }
            self.more()?;
        }
    }

    /// A body of a stated length.
    fn fill(&mut self, into: &mut [u8]) -> Result<(), Broken> {
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
    fn chunks(&mut self, limit: usize, hold: &dyn Fn(usize) -> Result<(), HttpError>) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let size = self.text_line()?;
            let size = size.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let size = std::str::from_utf8(size).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| self.cut())?;
            if size == 0 {
                while !self.text_line()?.is_empty() {}
                return Ok(body);
            }
            let from = body.len();
            self.is_within(from.saturating_add(size), limit)?;
            hold(from + size).map_err(Broken::Http)?;
            body.resize(from + size, 0);
            self.fill(&mut body[from..])?;
            if !self.text_line()?.is_empty() {
                return Err(self.cut());
            }
        }
    }

    /// A body that ends with the connection.
    fn rest(&mut self, limit: usize, hold: &dyn Fn(usize) -> Result<(), HttpError>) -> Result<Vec<u8>, Broken> {
        let mut body = std::mem::take(&mut self.begun);
        loop {
            self.body = body.len();
            self.is_within(body.len(), limit)?;
            hold(body.len()).map_err(Broken::Http)?;
            let from = body.len();
            body.resize(from + HEAD_BYTES, 0);
            let count = self.read(&mut body[from..])?;
            body.truncate(from + count);
            if count == 0 {
                return Ok(body);
            }
        }
    }

    fn is_within(&self, bytes: usize, limit: usize) -> Result<(), Broken> {
        let never_ending = HttpError::NeverEnding { read: bytes, within: self.since.elapsed() };
        if bytes > limit { Err(Broken::Http(never_ending)) } else { Ok(()) }
    }

    fn text_line(&mut self) -> Result<Vec<u8>, Broken> {
        loop {
            if let Some(at) = self.begun.windows(2).position(|two| two == b"\r\n") {
                let text = self.begun[..at].to_vec();
                self.begun.drain(..at + 2);
                return Ok(text);
            }
            if self.begun.len() >= HEAD_BYTES {
                return Err(self.cut());
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

    /// Reads what is there, waiting for some as long as there is time; 0 at the end.
    fn read(&mut self, into: &mut [u8]) -> Result<usize, Broken> {
        loop {
            let left = self.deadline.saturating_sub(self.since.elapsed());
            if left.is_zero() {
                return Err(self.over());
            }
            let read = self.line.set_read_timeout(Some(left)).and_then(|()| self.line.read(into));
            return match read {
                Ok(count) => Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if is_timeout(&error) => Err(self.over()),
                Err(_) if self.has_begun => Err(self.cut()),
                Err(error) => Err(Broken::of(&error)),
            };
        }
    }

    fn cut(&self) -> Broken {
        Broken::Http(HttpError::Truncated(self.body))
    }

    fn over(&self) -> Broken {
        Broken::Http(match self.body {
            0 => HttpError::TimedOut(self.deadline),
            read => HttpError::NeverEnding { read, within: self.deadline },
        })
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

impl Head {
    /// Nothing where it is not certain where the body ends (RFC 9112, 6.3), or what it is encoded by.
    fn of(bytes: &[u8]) -> Option<Head> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let (mut length, mut is_chunked, mut stays_open, mut retry_after) = (None, false, true, None);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" if length.is_some() => return None,
                "content-length" => length = Some(value.parse().ok()?),
                "transfer-encoding" if value.eq_ignore_ascii_case("chunked") && !is_chunked => is_chunked = true,
                "transfer-encoding" | "content-encoding" => return None,
                "retry-after" => retry_after = Some(value.to_owned()),
                "connection" => stays_open = !value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        let body = match (length, is_chunked) {
            (Some(length), false) => Ends::After(length),
            (None, true) => Ends::InChunks,
            (None, false) => Ends::WithTheLine,
            (Some(_), true) => return None,
        };
        // What has no body, or may have none whatever it says, is not asked for here.
        let has_body = !matches!(status, 100..=199 | 204 | 304);
        let stays_open = stays_open && body != Ends::WithTheLine;
        has_body.then_some(Head { status, body, stays_open, retry_after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    const DEADLINE: Duration = Duration::from_secs(5);

    /// Serves these answers, each on a connection of its own unless it ends with nothing.
    fn serve(answers: Vec<&'static [u8]>) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
            }
        });
        port
    }

    fn get_within(lines: &Lines, port: u16, deadline: Duration) -> Result<Option<(u16, Vec<u8>)>, HttpError> {
        let host = ("127.0.0.1", port);
        let asked = lines.ask(host, b"GET /it HTTP/1.1\r\n\r\n", deadline)?;
        let answer = lines.fill(host, asked, 10, deadline, |length| vec![0; length])?;
        Ok(answer.map(|(head, body)| (head.status, body)))
    }

    fn get(lines: &Lines, port: u16) -> Result<Option<(u16, Vec<u8>)>, HttpError> {
        get_within(lines, port, DEADLINE)
    }

    #[test]
    fn a_body_is_read_to_its_stated_length_and_a_closed_line_is_opened_anew() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        let (port, lines) = (serve(vec![whole, whole]), Lines::default());
        for _ in 0..2 {
            assert_eq!(get(&lines, port), Ok(Some((200, b"hello".to_vec()))));
        }
    }

    #[test]
    fn what_ends_early_is_too_long_or_refused_is_told() {
        let get = |answer: &'static [u8]| get(&Lines::default(), serve(vec![answer]));
        let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell";
        assert!(matches!(get(cut), Err(HttpError::Truncated(_))));
        assert_eq!(get(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n"), Err(HttpError::TooLarge(11, 10)));
        assert_eq!(get(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"), Err(HttpError::LoginRefused(401)));
        assert!(matches!(get(b""), Err(HttpError::Unreachable(_))));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, within) = (silent.local_addr().unwrap().port(), Duration::from_millis(50));
        assert_eq!(get_within(&Lines::default(), port, within), Err(HttpError::TimedOut(within)));
    }

    #[test]
    fn what_is_not_plain_is_not_read_here() {
        for head in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n",
            "HTTP/1.1 204 No\r\ncontent-length: 3\r\n\r\n",
            "SSH-2.0 200\r\ncontent-length: 3\r\n\r\n",
        ] {
            assert_eq!(Head::of(head.as_bytes()), None, "{head}");
        }
        let closing = Head::of(b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length:3\r\n\r\n");
        assert_eq!(closing, Some(Head { status: 404, body: Ends::After(3), stays_open: false, retry_after: None }));
    }

    #[test]
    fn a_body_whose_length_is_not_said_is_read_to_its_end() {
        let read = |answer: &'static [u8], limit: usize| {
            let (port, lines) = (serve(vec![answer]), Lines::default());
            let asked = lines.ask(("127.0.0.1", port), b"GET /it HTTP/1.1\r\n\r\n", DEADLINE)?;
            let answer = lines.read(("127.0.0.1", port), asked, limit, DEADLINE, &|_| Ok(()))?;
            Ok(answer.map(|(_, body)| body))
        };
        let chunks = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhel\r\n00a;x=y\r\nlo, world!\r\n0\r\nt: 1\r\n\r\n";
        assert_eq!(read(chunks, 13), Ok(Some(b"hello, world!".to_vec())));
        assert!(matches!(read(chunks, 12), Err(HttpError::NeverEnding { read: 13, .. })));
        assert_eq!(read(&chunks[..chunks.len() - 13], 13), Err(HttpError::Truncated(13)));
        assert_eq!(read(&chunks[..chunks.len() - 19], 13), Err(HttpError::Truncated(7)));
        let odd = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n";
        assert_eq!(read(odd, 13), Err(HttpError::Truncated(0)));
        let rest = b"HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(read(rest, 5), Ok(Some(b"hello".to_vec())));
        assert!(matches!(read(rest, 4), Err(HttpError::NeverEnding { read: 5, .. })));
    }
}
