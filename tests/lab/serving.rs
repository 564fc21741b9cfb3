//! A running `assay serve`, and how to ask it over HTTP.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, dead_code)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::Lab;

/// How long anything that must come may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon of one test's own; killed with it.
pub struct Serving {
    process: Child,
    address: String,
    /// Whose token is sent where nothing else is said.
    secret: String,
    said: Receiver<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Serving {
    /// Starts it, and waits until it listens. Asked plainly, this token is sent.
    pub fn start(lab: &Lab, secret: &str) -> Serving {
        Serving::start_with(lab, secret, &[])
    }

    /// The same, with these in its environment.
    pub fn start_with(lab: &Lab, secret: &str, environment: &[(&str, &str)]) -> Serving {
        let mut command = lab.command(&["serve"]);
        command.envs(environment.iter().copied());
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let errors = BufReader::new(process.stderr.take().unwrap());
        let (tell, said) = channel();
        std::thread::spawn(move || errors.lines().map_while(Result::ok).for_each(|line| drop(tell.send(line))));
        let mut before = Vec::new();
        let address = loop {
            let line = said.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it does not listen: {before:#?}"));
            match line.split_once("listening on http://") {
                Some((_, address)) => break address.trim().to_owned(),
                None => before.push(line),
            }
        };
        Serving { process, address, secret: secret.into(), said }
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Asks, with these headers and this body.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        let mut head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        Answer::read(&String::from_utf8(answer).unwrap())
    }

    /// Gets what is no text, whole.
    pub fn download(&self, path: &str, headers: &[(&str, &str)]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        // HTTP/1.0 has no chunks: what comes is the file.
        stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: localhost\r\n{headers}\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        assert!(answer.starts_with(b"HTTP/1.0 200"), "{path}");
        answer.split_off(head + 4)
    }

    /// Asks as the holder of this token.
    pub fn ask_as(&self, secret: &str, method: &str, path: &str, body: &[u8]) -> Answer {
        let bearer = format!("Bearer {secret}");
        self.ask(method, path, &[("authorization", &bearer), ("content-type", "application/json")], body)
    }

    /// Listens to server-sent events as the holder of this token.
    pub fn listen(&self, secret: &str, path: &str) -> Listening {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        let head = format!("{head}authorization: Bearer {secret}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{path}: {line}");
        Listening { lines }
    }

    /// Gets a document.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.ask_as(&self.secret, "GET", path, &[]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.json()
    }

    /// The metrics, as text.
    pub fn metrics(&self) -> String {
        self.ask_as(&self.secret, "GET", "/metrics", &[]).body
    }

    /// Gets a document again and again until it is as wished.
    pub fn wait(&self, path: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(path);
            if wished(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{path} stays as it is: {answer:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Has it said this by now, since it was last asked?
    pub fn has_said(&self, words: &str) -> bool {
        self.said.try_iter().any(|line| line.contains(words))
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to stop, and gives its exit code with what it said.
    pub fn stop(mut self) -> (i32, Vec<String>) {
        let pid = i32::try_from(self.process.id()).unwrap().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = self.process.wait().unwrap().code().unwrap_or(-1);
        (code, self.said.try_iter().collect())
    }
}

/// An open stream of events.
pub struct Listening {
    lines: BufReader<TcpStream>,
}

impl Listening {
    /// The next event of this kind.
    pub fn next(&mut self, kind: &str) -> Value {
        let mut found = false;
        loop {
            let mut line = String::new();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "the stream ends");
            if let Some(name) = line.strip_prefix("event: ") {
                found = name.trim() == kind;
            }
            if let Some(data) = line.strip_prefix("data: ").filter(|_| found) {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// The next event of this kind that is as wished.
    pub fn wait(&mut self, kind: &str, wished: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let told = self.next(kind);
            if wished(&told) {
                return told;
            }
            assert!(began.elapsed() < PATIENCE, "{told:#}");
        }
    }

    /// Does the other side end it in time?
    pub fn ends_within(mut self, time: Duration) -> bool {
        self.lines.get_ref().set_read_timeout(Some(time)).unwrap();
        let began = Instant::now();
        let mut line = String::new();
        while began.elapsed() < time {
            line.clear();
            match self.lines.read_line(&mut line) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        false
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What came in chunks, together: it ends with an empty one, else it broke off.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").expect("the answer broke off");
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole += &rest[..length];
        body = &rest[length + 2..];
    }
}

impl Answer {
    fn read(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
        let headers: Vec<_> = lines.filter_map(header).collect();
        let chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        Answer { status, headers, body: if chunked { unchunked(body) } else { body.to_owned() } }
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}
