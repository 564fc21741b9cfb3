//! Large answers of one node, read by the thread that asks for them, straight into the memory where they are wanted: over the runtime, whose
//! threads hand them over piece by piece, a block takes a fifth longer.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::ops::DerefMut;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::{CONNECT_DEADLINE, HttpError};

/// How many connections wait for the next question.
const IDLE: usize = 16;
/// The longest head of an answer.
const HEAD_BYTES: usize = 16 << 10;

/// Connections to one node, each used by one thread at a time.
#[derive(Default)]
pub(crate) struct Lines {
    idle: Mutex<Vec<TcpStream>>,
}

/// What an answer's head says.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    length: u64,
    stays_open: bool,
}

/// Why a line gave no answer.
enum Broken {
    /// It had waited so long that the other side closed it, before it said anything.
    Stale,
    /// See [`HttpError`].
    Http(HttpError),
}

impl Lines {
    /// Gets `path` from this host. `room` gives the memory for a body, which has at most `limit` bytes. Nothing where the answer is of a kind that is
    /// not read here.
    pub(crate) fn get<B: DerefMut<Target = [u8]>>(
        &self,
        (host, port): (&str, u16),
        path: &str,
        limit: usize,
        deadline: Duration,
        room: impl Fn(usize) -> B,
    ) -> Result<Option<(u16, B)>, HttpError> {
        let clock = Clock { since: Instant::now(), deadline };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}:{port}\r\naccept: */*\r\n\r\n");
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let is_fresh = idle.is_none();
            let mut line = idle.map_or_else(|| connect(host, port), Ok)?;
            match ask(&mut line, &request, limit, &clock, &room) {
                Ok(Some((head, body))) => {
                    let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
                    if head.stays_open && idle.len() < IDLE {
                        idle.push(line);
                    }
                    return Ok(Some((head.status, body)));
                }
                Ok(None) => return Ok(None),
                Err(Broken::Stale) if !is_fresh => {}
                Err(Broken::Stale) => {
                    return Err(HttpError::Unreachable("the connection was closed before an answer".into()));
                }
                Err(Broken::Http(error)) => return Err(error),
            }
        }
    }
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

fn ask<B: DerefMut<Target = [u8]>>(
    line: &mut TcpStream,
    request: &str,
    limit: usize,
    clock: &Clock,
    room: impl Fn(usize) -> B,
) -> Result<Option<(Head, B)>, Broken> {
    line.set_write_timeout(Some(clock.left(0)?)).map_err(|error| clock.broken(&error, 0))?;
    line.write_all(request.as_bytes()).map_err(|error| clock.broken(&error, 0))?;
    let mut begin = [0; HEAD_BYTES];
    let (mut read, end) = (0, b"\r\n\r\n");
    let body_at = loop {
        if let Some(at) = begin[..read].windows(end.len()).position(|four| four == end) {
            break at + end.len();
        }
        if read == HEAD_BYTES {
            return Ok(None);
        }
        read += clock.read(line, &mut begin[read..], read)?;
    };
    let Some(head) = Head::of(&begin[..body_at]) else { return Ok(None) };
    if matches!(head.status, 401 | 403) {
        return Err(Broken::Http(HttpError::LoginRefused(head.status)));
    }
    let too_large = || Broken::Http(HttpError::TooLarge(head.length, limit));
    let length = usize::try_from(head.length).ok().filter(|length| *length <= limit).ok_or_else(too_large)?;
    let here = &begin[body_at..read];
    if here.len() > length {
        return Ok(None);
    }
    let mut body = room(length);
    body[..here.len()].copy_from_slice(here);
    let mut filled = here.len();
    while filled < length {
        filled += clock.read(line, &mut body[filled..], body_at + filled)?;
    }
    Ok(Some((head, body)))
}

/// One deadline for the whole of an answer.
struct Clock {
    since: Instant,
    deadline: Duration,
}

impl Clock {
    fn left(&self, read: usize) -> Result<Duration, Broken> {
        let left = self.deadline.saturating_sub(self.since.elapsed());
        if left.is_zero() { Err(self.over(read)) } else { Ok(left) }
    }

    /// Reads some of it, behind so many bytes.
    fn read(&self, line: &mut TcpStream, into: &mut [u8], behind: usize) -> Result<usize, Broken> {
        line.set_read_timeout(Some(self.left(behind)?)).map_err(|error| self.broken(&error, behind))?;
        match line.read(into) {
            Ok(0) if behind == 0 => Err(Broken::Stale),
            Ok(0) => Err(Broken::Http(HttpError::Truncated(behind))),
            Ok(count) => Ok(count),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(self.broken(&error, behind)),
        }
    }

    fn broken(&self, error: &std::io::Error, read: usize) -> Broken {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.over(read),
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe if read == 0 => {
                Broken::Stale
            }
            _ if read > 0 => Broken::Http(HttpError::Truncated(read)),
            _ => Broken::Http(HttpError::Unreachable(error.to_string())),
        }
    }

    fn over(&self, read: usize) -> Broken {
        Broken::Http(match read {
            0 => HttpError::TimedOut(self.deadline),
            read => HttpError::NeverEnding { read, within: self.deadline },
        })
    }
}

impl Head {
    /// Nothing where it is not certain how long the body is (RFC 9112, 6.3).
    fn of(bytes: &[u8]) -> Option<Head> {
        let mut lines = std::str::from_utf8(bytes).ok()?.split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let (mut length, mut stays_open) = (None, true);
        for line in lines.take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" if length.is_some() => return None,
                "content-length" => length = Some(value.parse().ok()?),
                "transfer-encoding" | "content-encoding" => return None,
                "connection" => stays_open = !value.eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
        // What has no body, or may have none whatever it says, is not asked for here.
        let has_body = !matches!(status, 100..=199 | 204 | 304);
        length.filter(|_| has_body).map(|length| Head { status, length, stays_open })
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

    fn get(lines: &Lines, port: u16) -> Result<Option<(u16, Vec<u8>)>, HttpError> {
        let room = |length| vec![0; length].into_boxed_slice();
        let answer = lines.get(("127.0.0.1", port), "/it", 10, DEADLINE, room)?;
        Ok(answer.map(|(status, body)| (status, body.into_vec())))
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
        let asked =
            Lines::default().get(("127.0.0.1", port), "/it", 10, within, |length| vec![0; length].into_boxed_slice());
        assert_eq!(asked.map(|_| ()), Err(HttpError::TimedOut(within)));
    }

    #[test]
    fn what_is_not_plain_is_not_read_here() {
        for head in [
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: -3\r\n\r\n",
            "HTTP/1.1 204 No\r\ncontent-length: 3\r\n\r\n",
            "SSH-2.0 200\r\ncontent-length: 3\r\n\r\n",
        ] {
            assert_eq!(Head::of(head.as_bytes()), None, "{head}");
        }
        let closing = Head::of(b"HTTP/1.1 404 No\r\nConnection: close\r\nContent-Length:3\r\n\r\n");
        assert_eq!(closing, Some(Head { status: 404, length: 3, stays_open: false }));
    }
}
