//! Requests to nodes over HTTP: nothing endless, nothing huge, no secret in an error.
//!
//! A node is a stranger. Whatever it sends is read to a stated size and within a stated time, redirects are not
//! followed, and its URL, which may carry a key, never appears in an error. It is asked no faster than it bears, and than
//! the operator allows ([`Pace`]).

mod error;
mod flight;
mod incoming;
mod limits;
mod line;
mod pace;
mod rate;
mod url;

use std::future::Future;
use std::ops::DerefMut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use error::{chain_of, failure};
use flight::Flight;
use incoming::passed_over_for;
use line::Lines;
use url::{parse, show};

pub use error::HttpError;
pub use pace::{Pace, Reply, is_refusal};
pub use url::{check_url, shown};

/// How long a request may take from the first byte sent to the last byte read, unless [`set_deadline`] says otherwise.
pub const DEADLINE: Duration = Duration::from_secs(30);
static DEADLINE_SET: OnceLock<Duration> = OnceLock::new();
/// How long a connection may take to stand.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);

/// Sets how long a request may take: for nodes that are slower, or answers that must come sooner. Once, and before the
/// first endpoint is made; later calls change nothing.
pub fn set_deadline(deadline: Duration) {
    let _ = DEADLINE_SET.set(deadline);
}

fn deadline() -> Duration {
    DEADLINE_SET.get().copied().unwrap_or(DEADLINE)
}

/// Who we say that we are.
#[derive(Clone, Default)]
pub enum Login {
    /// Nobody, or the URL says it.
    #[default]
    None,
    /// HTTP basic authentication.
    Basic {
        /// The user.
        user: String,
        /// Its password.
        password: String,
    },
}

/// What came back, whatever its status; 401 and 403 are errors already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// One node's address, and the connections to it.
#[derive(Clone)]
pub struct Endpoint {
    url: reqwest::Url,
    login: Login,
    client: reqwest::Client,
    deadline: Duration,
    lines: Arc<Lines>,
    /// Does it answer so that its answers can be read on the calling thread? It is assumed to.
    is_plain: Arc<AtomicBool>,
    pace: Pace,
}

impl Endpoint {
    /// An endpoint at this `http://` or `https://` URL.
    ///
    /// # Errors
    /// When the URL cannot be used.
    pub fn new(url: &str, login: Login) -> Result<Endpoint, HttpError> {
        Ok(Endpoint {
            url: parse(url)?,
            login,
            client: client()?,
            deadline: deadline(),
            pace: Pace::default(),
            lines: Arc::default(),
            is_plain: Arc::new(AtomicBool::new(true)),
        })
    }

    /// The same endpoint, asked at this pace together with whoever else has it.
    #[must_use]
    pub fn paced(self, pace: Pace) -> Endpoint {
        Endpoint { pace, ..self }
    }

    /// Does it refuse whatever it is asked now, as too much?
    pub fn is_refusing(&self) -> bool {
        self.pace.is_refusing()
    }

    /// Has it refused everything for longer than we have patience?
    pub fn is_given_up(&self) -> bool {
        self.pace.is_given_up(self.deadline)
    }

    /// The pace at which it is asked.
    pub fn pace(&self) -> &Pace {
        &self.pace
    }

    /// The same endpoint, for what takes its time.
    #[must_use]
    pub fn within(&self, deadline: Duration) -> Endpoint {
        Endpoint { deadline, ..self.clone() }
    }

    /// How long a request to it may take.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Host and port, for people: no user, password, path or query, any of which may be a key.
    pub fn shown(&self) -> String {
        show(&self.url)
    }

    /// Posts a JSON document to the endpoint itself and reads at most `limit` bytes.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn post(&self, json: Vec<u8>, limit: usize) -> Result<Answer, HttpError> {
        self.ask(json, 1, limit, Reply::by_status).await
    }

    /// The same, with a document that asks so many questions, which are as many requests for the pace; `read` makes of the answer
    /// what it is, and says whether it is a refusal. It is called once for each time that is asked. For a thread that waits for it, as [`wait`]
    /// does: the answer is read on it.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn ask<T>(
        &self,
        json: Vec<u8>,
        questions: usize,
        limit: usize,
        read: impl Fn(Answer) -> Reply<T>,
    ) -> Result<T, HttpError> {
        self.send(Request::Post(json), questions, limit, read).await
    }

    /// Takes back an answer that was read, so that its memory is used for the next one.
    pub fn take_back(&self, answer: Answer) {
        self.lines.take_back(answer.body);
    }

    /// Gets `path`, which replaces the endpoint's own, and reads at most `limit` bytes. A refusal is given to the caller.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn get(&self, path: &str, limit: usize) -> Result<Answer, HttpError> {
        let mut url = self.url.clone();
        url.set_path(path);
        url.set_query(None);
        self.send(Request::Get(url), 1, limit, Reply::once).await
    }

    /// Gets `path`, which replaces the endpoint's own, on the calling thread and into memory that `room` gives for a body of so many
    /// bytes, at most `limit`: for large answers, one after another. Says the status and the body; nothing where it is to be got by
    /// [`Endpoint::get`]: over TLS, with a login, under a cap, of a length that is not said, or while too much is on its way; also what is
    /// refused as too much, so that it is asked for again at the node's pace.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub fn get_here<B: DerefMut<Target = [u8]>>(
        &self,
        path: &str,
        limit: usize,
        room: impl Fn(usize) -> B,
    ) -> Result<Option<(u16, B)>, HttpError> {
        let Some(host) = self.plain_host().filter(|_| !self.pace.is_capped()) else { return Ok(None) };
        let Some(_held) = flight::try_hold(limit) else { return Ok(None) };
        let request = format!("GET {path} HTTP/1.1\r\nhost: {}:{}\r\naccept: */*\r\n\r\n", host.0, host.1);
        let asked = self.lines.ask(host, request.as_bytes(), self.deadline)?;
        let answer = self.lines.fill(host, asked, limit, self.deadline, room)?;
        let answer = answer.map(|(head, body)| (head.status, body));
        Ok(answer.filter(|(status, _)| !is_refusal(*status)))
    }

    /// Host and port, where nothing stands between them and us: no TLS, and no login.
    fn plain_host(&self) -> Option<(&str, u16)> {
        let is_plain = self.url.scheme() == "http" && self.url.username().is_empty() && self.url.password().is_none();
        let is_open = is_plain && matches!(self.login, Login::None);
        is_open.then(|| Some((self.url.host_str()?, self.url.port_or_known_default()?))).flatten()
    }

    /// Posts a document from the calling thread, and reads the answer there, once whoever asks beside it on that thread has asked too. Over the
    /// runtime, whose threads hand an answer over piece by piece, that takes twice as long. Nothing where it is to be had in the other way.
    async fn post_here(&self, json: &[u8], limit: usize) -> Result<Option<Came>, HttpError> {
        let is_wanted = self.is_plain.load(Ordering::Relaxed) && !self.pace.is_capped();
        let Some(host) = self.plain_host().filter(|_| is_wanted) else { return Ok(None) };
        let (path, query) = (self.url.path(), self.url.query().map(|query| format!("?{query}")).unwrap_or_default());
        let head = format!(
            "POST {path}{query} HTTP/1.1\r\nhost: {}:{}\r\naccept: */*\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            host.0,
            host.1,
            json.len()
        );
        let request = [head.as_bytes(), json].concat();
        let asked = self.lines.ask(host, &request, self.deadline)?;
        tokio::task::yield_now().await;
        let flight = std::cell::RefCell::new(Flight::default());
        let hold = |bytes| flight.borrow_mut().hold_here(bytes, self.deadline);
        match self.lines.read(host, asked, limit, self.deadline, &hold)? {
            Some((head, body)) => {
                let retry_after = head.retry_after.and_then(|header| pace::retry_after(&header, SystemTime::now()));
                Ok(Some((Answer { status: head.status, body }, retry_after, flight.into_inner())))
            }
            None => {
                self.is_plain.store(false, Ordering::Relaxed);
                Ok(None)
            }
        }
    }

    /// Gets the endpoint itself, with its own path and query, and reads at most `limit` bytes. A refusal is given to the caller.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn read(&self, limit: usize) -> Result<Answer, HttpError> {
        self.send(Request::Get(self.url.clone()), 1, limit, Reply::once).await
    }

    /// When it is our turn, and again where it is refused.
    async fn send<T>(
        &self,
        request: Request,
        questions: usize,
        limit: usize,
        read: impl Fn(Answer) -> Reply<T>,
    ) -> Result<T, HttpError> {
        let questions = u32::try_from(questions).unwrap_or(u32::MAX);
        let (mut attempts, mut refused) = (0, None);
        loop {
            attempts += 1;
            let (again, refusal) = Option::unzip(refused.take());
            let ticket = match self.pace.turn(questions, self.deadline, again).await {
                Ok(ticket) => ticket,
                Err(error) => return refusal.ok_or(error),
            };
            let (answer, retry_after, _held) = self.once(&request, limit).await.inspect_err(|error| {
                if error.is_late() {
                    ticket.overdue();
                }
            })?;
            let read = {
                let _alone = flight::alone(answer.body.len());
                read(answer)
            };
            match read {
                Reply::Answered(answer) => {
                    ticket.answered();
                    return Ok(answer);
                }
                Reply::Partly(answer) => {
                    ticket.partly(retry_after);
                    return Ok(answer);
                }
                Reply::Refused(answer) => match ticket.refused(attempts, retry_after, self.deadline) {
                    None => return Ok(answer),
                    Some(again) => {
                        refused = Some((again, answer));
                        self.tell_of_long(retry_after);
                    }
                },
            }
        }
    }

    /// So that nobody wonders why nothing happens.
    fn tell_of_long(&self, retry_after: Option<Duration>) {
        const LONG: Duration = Duration::from_secs(5);
        if let Some(wish) = retry_after.filter(|wish| *wish >= LONG) {
            let (wish, pause) = (wish.as_secs(), wish.min(limits::LONGEST_RETRY_AFTER).as_secs());
            tracing::warn!(
                node = self.shown(),
                "it asks to be left alone for {wish} s: it is asked again after {pause} s"
            );
        }
    }

    /// The answer, for how long the node asks to be left alone, and what is held until the answer is read.
    async fn once(&self, request: &Request, limit: usize) -> Result<Came, HttpError> {
        let built = match request {
            Request::Post(json) => {
                if let Some(answer) = self.post_here(json, limit).await? {
                    return Ok(answer);
                }
                self.client.post(self.url.clone()).header("content-type", "application/json").body(json.clone())
            }
            Request::Get(url) => self.client.get(url.clone()),
        };
        let built = match &self.login {
            Login::None => built,
            Login::Basic { user, password } => built.basic_auth(user, Some(password)),
        };
        let request = built.timeout(self.deadline).build();
        let request = request.map_err(|error| HttpError::Url(chain_of(&error.without_url())))?;
        let since = Instant::now();
        let failure = |error, read| failure(error, read, self.deadline);
        let mut response = self.client.execute(request).await.map_err(|error| failure(error, 0))?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|header| header.to_str().ok());
        let retry_after = retry_after.and_then(|header| pace::retry_after(header, SystemTime::now()));
        let announced = match response.content_length().map(|length| (length, usize::try_from(length))) {
            Some((_, Ok(length))) if length <= limit => length,
            Some((length, _)) => return Err(HttpError::TooLarge(length, limit)),
            None => 0,
        };
        let mut flight = Flight::default();
        let until = self.deadline.saturating_sub(since.elapsed());
        flight.hold(announced, until).await?;
        let mut body = Vec::with_capacity(announced);
        while let Some(chunk) = response.chunk().await.map_err(|error| failure(error, body.len()))? {
            if body.len() + chunk.len() > limit {
                let mut read = body.len() + chunk.len();
                drop(body);
                // Does it come to an end soon?
                let too_long = Instant::now();
                // Where it breaks off, it has come to too much all the same.
                while let Ok(Some(chunk)) = response.chunk().await {
                    read = read.saturating_add(chunk.len());
                    if too_long.elapsed() >= passed_over_for(self.deadline) {
                        return Err(HttpError::NeverEnding { read, within: since.elapsed() });
                    }
                }
                return Err(HttpError::TooLarge(read as u64, limit));
            }
            flight.hold(body.len() + chunk.len(), self.deadline.saturating_sub(since.elapsed())).await?;
            body.extend_from_slice(&chunk);
        }
        match status {
            401 | 403 => Err(HttpError::LoginRefused(status, body.into())),
            _ => Ok((Answer { status, body }, retry_after, flight)),
        }
    }
}

type Came = (Answer, Option<Duration>, Flight);

/// What is asked, as often as it is asked.
enum Request {
    /// This document is posted to the endpoint.
    Post(Vec<u8>),
    Get(reqwest::Url),
}

/// One for all endpoints: making it reads every certificate that the system trusts, which takes longer than many a request.
fn client() -> Result<reqwest::Client, HttpError> {
    static CLIENT: OnceLock<reqwest::Client> = OnceLock::new();
    if let Some(client) = CLIENT.get() {
        return Ok(client.clone());
    }
    let client = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_DEADLINE)
        .tcp_nodelay(true)
        .build()
        .map_err(|error| HttpError::Url(chain_of(&error.without_url())))?;
    Ok(CLIENT.get_or_init(|| client).clone())
}

/// Waits for a request from a thread that is not part of an async runtime.
///
/// # Panics
/// When called from within an async runtime, or when the process cannot start threads.
pub fn wait<F: Future>(request: F) -> F::Output {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME
        .get_or_init(|| {
            tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .thread_name("node-io")
                .enable_all()
                .build()
                .unwrap_or_else(|error| panic!("cannot start the threads that talk to nodes: {error}"))
        })
        .block_on(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use assay_types::Fault;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    /// Serves one connection with these bytes, then holds it open for as long as `linger` says.
    fn serve(answer: Vec<u8>, linger: bool) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/key?secret=1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(&answer);
            while linger && stream.write_all(&[b'x'; 65536]).is_ok() {}
        });
        url
    }

    fn ask(url: &str) -> Result<Answer, HttpError> {
        let endpoint = Endpoint::new(url, Login::None).unwrap();
        assert!(!endpoint.shown().contains("secret") && !endpoint.shown().contains("key"));
        wait(endpoint.post(b"{}".to_vec(), 1_000_000))
    }

    #[test]
    fn a_whole_answer_is_given_whatever_its_status() {
        let url = serve(b"HTTP/1.1 500 No\r\ncontent-length: 2\r\n\r\nhi".to_vec(), false);
        assert_eq!(ask(&url), Ok(Answer { status: 500, body: b"hi".to_vec() }));
    }

    #[test]
    fn a_truncated_answer_is_no_answer() {
        let url = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhi".to_vec(), false);
        assert_eq!(ask(&url), Err(HttpError::Truncated(2)));
    }

    #[test]
    fn an_answer_that_is_too_long_is_looked_at_for_an_end() {
        let ask = |answer: Vec<u8>| ask(&serve(answer, false));
        let rest = [b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b' '; 3_000_000]].concat();
        assert_eq!(ask(rest), Err(HttpError::TooLarge(3_000_000, 1_000_000)));
        let chunk = [b"f4240\r\n".to_vec(), vec![b' '; 1_000_000], b"\r\n".to_vec()].concat();
        let chunks = |end: &[u8]| {
            let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
            [head.to_vec(), chunk.repeat(3), end.to_vec()].concat()
        };
        assert_eq!(ask(chunks(b"0\r\n\r\n")), Err(HttpError::TooLarge(3_000_000, 1_000_000)));
        assert_eq!(ask(chunks(b"")), Err(HttpError::TooLarge(3_000_000, 1_000_000)), "wherever it breaks off");
    }

    #[test]
    fn an_endless_answer_is_cut_off() {
        let url = serve(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), true);
        let Err(HttpError::NeverEnding { read, .. }) = ask(&url) else { panic!("an end") };
        assert!(read > 1_000_000);
        let url = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n".to_vec(), true);
        assert_eq!(ask(&url), Err(HttpError::TooLarge(99_999_999, 1_000_000)));
    }

    #[test]
    fn a_head_that_is_none_is_named() {
        let ask = |head: &str| ask(&serve(head.as_bytes().to_vec(), false));
        for head in ["SSH-2.0-OpenSSH\r\n", "HTTP/1.1 200 OK\r\ncontent-length: -2\r\n\r\nhi"] {
            assert_eq!(ask(head).unwrap_err().fault(), Some(Fault::Garbled), "{head}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20));
        assert_eq!(ask(&long), Err(HttpError::HeadTooLarge));
        let soon = "HTTP/1.1 100 Continue\r\n\r\n";
        assert_eq!(ask(&soon.repeat(9_999)).unwrap_err().fault(), Some(Fault::Garbled));
        let whole = format!("{soon}HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi");
        assert_eq!(ask(&whole), Ok(Answer { status: 200, body: b"hi".to_vec() }));
    }

    #[test]
    fn an_answer_that_trickles_has_no_end_and_silence_is_no_answer() {
        let within = Duration::from_millis(300);
        let ask = |url: &str| {
            let endpoint = Endpoint::new(url, Login::None).unwrap().within(within);
            wait(endpoint.post(b"{}".to_vec(), 1_000_000))
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let began = Instant::now();
        assert!(matches!(ask(&url), Err(HttpError::NeverEnding { read: 1.., .. })));
        assert!(began.elapsed() < 3 * within, "one deadline for the whole answer");
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        assert_eq!(ask(&url), Err(HttpError::TimedOut(within)));
    }

    #[test]
    fn refused_logins_and_closed_ports_are_told_apart() {
        let url = serve(b"HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n".to_vec(), false);
        assert_eq!(ask(&url), Err(HttpError::LoginRefused(401, [].into())));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let Err(HttpError::Unreachable(why)) = ask(&format!("http://127.0.0.1:{port}")) else { panic!("reached") };
        assert!(why.contains("refused"), "{why}");
        assert!(Endpoint::new("ftp://host", Login::None).is_err());
    }
}
