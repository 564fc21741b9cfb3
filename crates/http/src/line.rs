//! Answers over plain HTTP/1.1, read by the thread that asks for them, straight into the memory where they are wanted: over the runtime, whose
//! threads hand them over piece by piece, a Bitcoin block takes a fifth longer, and what an EVM block takes many small answers for takes twice as long.

use std::io::Write as _;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::incoming::{Broken, Ends, Head, Incoming, is_timeout, within};
use crate::{CONNECT_DEADLINE, HttpError};

/// How many connections wait for the next question, and for how long: what stands between may have forgotten older ones.
const IDLE: usize = 16;
const IDLE_FOR: Duration = Duration::from_secs(30);
/// Up to how many bytes a body's memory is kept for the next one: clean memory costs as much as what comes into it.
const SPARE_BYTES: usize = 1 << 20;

/// Connections to one node, each used by one thread at a time.
#[derive(Default)]
pub(crate) struct Lines {
    /// With when each was used last; the one that was used last of all comes last.
    idle: Mutex<Vec<(TcpStream, Instant)>>,
    spare: Mutex<Vec<Vec<u8>>>,
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
        let mut spare = self.spare.lock();
        if body.capacity() <= SPARE_BYTES && spare.len() < IDLE {
            spare.push(body);
        }
    }

    fn room(&self, length: usize) -> Vec<u8> {
        let mut room = self.spare.lock().pop().unwrap_or_default();
        room.resize(length, 0);
        room
    }

    fn idle(&self) -> Option<TcpStream> {
        let mut idle = self.idle.lock();
        idle.retain(|(_, since)| since.elapsed() < IDLE_FOR);
        idle.pop().map(|(line, _)| line)
    }

    /// Sends a request to this host.
    pub(crate) fn ask<'r>(
        &self,
        (host, port): (&str, u16),
        request: &'r [u8],
        deadline: Duration,
    ) -> Result<Asked<'r>, HttpError> {
        if let Some(line) = self.idle()
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

    fn answer<B: Deref<Target = [u8]>>(
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
        if let Some((Head { status: status @ (401 | 403), .. }, said)) = &whole {
            return Err(HttpError::LoginRefused(*status, (**said).into()));
        }
        if whole.as_ref().is_some_and(|(head, _)| head.stays_open) {
            let mut idle = self.idle.lock();
            if idle.len() < IDLE {
                idle.push((line, Instant::now()));
            }
        }
        Ok(whole)
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

fn send<'r>(line: TcpStream, request: &'r [u8], is_fresh: bool, deadline: Duration) -> Result<Asked<'r>, Broken> {
    let mut line = line;
    let sent = line.set_write_timeout(Some(deadline)).and_then(|()| line.write_all(request));
    sent.map_err(|error| match is_timeout(&error) {
        true => Broken::Http(HttpError::TimedOut(deadline)),
        false => Broken::of(&error),
    })?;
    Ok(Asked { line, is_fresh, request })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
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
        assert_eq!(get(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n"), Err(HttpError::LoginRefused(401, [].into())));
        assert!(matches!(get(b""), Err(HttpError::Unreachable(_))));
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, within) = (silent.local_addr().unwrap().port(), Duration::from_millis(50));
        assert_eq!(get_within(&Lines::default(), port, within), Err(HttpError::TimedOut(within)));
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
        assert_eq!(read(chunks, 12), Err(HttpError::TooLarge(13, 12)));
        assert_eq!(read(&chunks[..chunks.len() - 13], 13), Err(HttpError::Truncated(13)));
        assert_eq!(read(&chunks[..chunks.len() - 19], 13), Err(HttpError::Truncated(7)));
        let odd = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n";
        assert!(matches!(read(odd, 13), Err(HttpError::Garbled(_))));
        let rest = b"HTTP/1.1 200 OK\r\n\r\nhello";
        assert_eq!(read(rest, 5), Ok(Some(b"hello".to_vec())));
        assert_eq!(read(rest, 4), Err(HttpError::TooLarge(5, 4)));
    }
}
