//! A proxy before a node, which does to its answers what a bad node, a bad line or a bad intermediary would.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::missing_panics_doc)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

/// Alters a body's bytes.
type AlterBytes = dyn Fn(&mut Vec<u8>) + Send + Sync;
/// Answers a question, by its name and parameters.
type Says = dyn Fn(&str, &Value) -> Value + Send + Sync;
/// Tells by its name and parameters whether a question is meant.
type Means = dyn Fn(&str, &Value) -> bool + Send + Sync;

/// What happens to an answer.
#[derive(Clone)]
pub enum Fault {
    /// The JSON-RPC `result` is altered.
    Alter(Arc<dyn Fn(&mut Value) + Send + Sync>),
    /// The `result` is what this says, by the method and its parameters.
    Instead(Arc<Says>),
    /// The body's bytes are altered, whatever they are.
    Bytes(Arc<AlterBytes>),
    /// A JSON-RPC error instead.
    Refuse(i64, &'static str),
    /// The connection closes without an answer.
    Drop,
    /// No byte comes, and the connection stays open.
    Silence,
    /// Half of the body, with the length of the whole.
    Half,
    /// Half of the body, as if it were the whole.
    Cut,
    /// Blanks without end, some megabytes a second.
    Endless,
    /// One byte after the other, without end, slowly.
    Trickle,
    /// A length of many gigabytes is announced.
    Huge,
    /// This status, with some text.
    Status(u16),
    /// Something that is no JSON.
    Nonsense,
}

/// Which answers, and how many of them. The name of a question is its JSON-RPC method, or the path that is asked for.
#[derive(Clone)]
pub struct Rule {
    pub of: Arc<Means>,
    pub fault: Fault,
    /// How many answers are still to be spoiled.
    pub times: u64,
}

impl Rule {
    /// Spoils every answer to these methods, or to paths that begin like that.
    pub fn always(names: &'static [&'static str], fault: Fault) -> Rule {
        Rule { of: Arc::new(|name, _| names.iter().any(|known| name.starts_with(known))), fault, times: u64::MAX }
    }

    /// Spoils every answer to the questions that are meant.
    pub fn when(of: impl Fn(&str, &Value) -> bool + Send + Sync + 'static, fault: Fault) -> Rule {
        Rule { of: Arc::new(of), fault, times: u64::MAX }
    }

    pub fn first(self, times: u64) -> Rule {
        Rule { times, ..self }
    }
}

/// `alter(|result| ...)`
pub fn alter(with: impl Fn(&mut Value) + Send + Sync + 'static) -> Fault {
    Fault::Alter(Arc::new(with))
}

#[derive(Default)]
struct State {
    /// `host:port` of the node.
    node: String,
    rules: Vec<Rule>,
    asked: HashMap<String, u64>,
    applied: u64,
    open: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// A running proxy; it ends with the process.
pub struct Proxy {
    pub url: String,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Before the node at this URL.
    pub fn new(node: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Mutex::new(State { node: host_and_port(node), open: true, ..State::default() });
        let shared = Arc::new(Shared { state, changed: Condvar::new() });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = serving.clone();
                // What goes wrong on one connection is between these two.
                std::thread::spawn(move || drop(serve(stream.unwrap(), &shared)));
            }
        });
        Proxy { url, shared }
    }

    pub fn with(node: &str, rules: Vec<Rule>) -> Proxy {
        let proxy = Proxy::new(node);
        proxy.set(rules);
        proxy
    }

    /// From now on before another node.
    pub fn before(&self, node: &str) {
        self.shared.state.lock().unwrap().node = host_and_port(node);
    }

    /// From now on these rules alone.
    pub fn set(&self, rules: Vec<Rule>) {
        let mut state = self.shared.state.lock().unwrap();
        (state.rules, state.applied) = (rules, 0);
    }

    /// How many answers were spoiled since the rules were set.
    pub fn applied(&self) -> u64 {
        self.shared.state.lock().unwrap().applied
    }

    /// From now on every connection is closed at once, or none any more.
    pub fn open(&self, open: bool) {
        self.shared.state.lock().unwrap().open = open;
    }

    /// How often this was asked for so far.
    pub fn asked(&self, name: &str) -> u64 {
        self.shared.state.lock().unwrap().asked.get(name).copied().unwrap_or(0)
    }

    /// Waits until this was asked for so often, altogether; `false` if that does not happen.
    pub fn wait_for(&self, name: &str, times: u64) -> bool {
        let state = self.shared.state.lock().unwrap();
        let asked = |state: &State| state.asked.get(name).copied().unwrap_or(0) >= times;
        let waited =
            self.shared.changed.wait_timeout_while(state, Duration::from_secs(20), |state| !asked(state)).unwrap();
        !waited.1.timed_out()
    }
}

fn host_and_port(url: &str) -> String {
    url.strip_prefix("http://").unwrap().to_owned()
}

impl Shared {
    /// The fault for a question, if a rule is about it.
    fn fault(&self, name: &str, params: &Value) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        *state.asked.entry(name.to_owned()).or_default() += 1;
        self.changed.notify_all();
        let rule = state.rules.iter_mut().find(|rule| rule.times > 0 && (rule.of)(name, params))?;
        rule.times = rule.times.saturating_sub(u64::from(rule.times != u64::MAX));
        let fault = rule.fault.clone();
        state.applied += 1;
        Some(fault)
    }
}

struct Request {
    head: String,
    path: String,
    body: Vec<u8>,
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    // A client keeps its connection for the next question.
    while let Some(request) = read_request(&mut reader)? {
        if !shared.state.lock().unwrap().open {
            return Ok(());
        }
        let faults = faults(shared, &request);
        let node = shared.state.lock().unwrap().node.clone();
        let (status, mut body) = forward(&node, &request)?;
        let mut whole = None;
        if let Ok(mut json) = serde_json::from_slice::<Value>(&body) {
            let mut changed = false;
            let answers = match &mut json {
                Value::Array(answers) => answers.iter_mut().collect(),
                answer => vec![answer],
            };
            for (answer, fault) in answers.into_iter().zip(&faults) {
                match fault {
                    Some(Fault::Alter(with)) => with(&mut answer["result"]),
                    Some(Fault::Refuse(code, message)) => {
                        let error = json!({ "code": code, "message": message });
                        *answer = json!({ "jsonrpc": "2.0", "id": answer["id"], "error": error });
                    }
                    _ => continue,
                }
                changed = true;
            }
            if changed {
                body = serde_json::to_vec(&json)?;
            }
        }
        for fault in faults.into_iter().flatten() {
            match fault {
                Fault::Alter(_) | Fault::Instead(_) | Fault::Refuse(..) => {}
                Fault::Bytes(with) => with(&mut body),
                fault => whole = Some(fault),
            }
        }
        if !answer(&mut stream, status, &body, whole.as_ref())? {
            return Ok(());
        }
    }
    Ok(())
}

/// One for each question of the request.
fn faults(shared: &Shared, request: &Request) -> Vec<Option<Fault>> {
    let fault = |question: &Value| {
        let (name, params) = (question["method"].as_str().unwrap_or(&request.path), &question["params"]);
        match shared.fault(name, params) {
            Some(Fault::Instead(says)) => {
                let said = says(name, params);
                Some(alter(move |result| *result = said.clone()))
            }
            fault => fault,
        }
    };
    match serde_json::from_slice(&request.body).unwrap_or(Value::Null) {
        Value::Array(questions) => questions.iter().map(fault).collect(),
        question => vec![fault(&question)],
    }
}

/// Answers, and says whether the connection may be used again.
fn answer(stream: &mut TcpStream, status: u16, body: &[u8], fault: Option<&Fault>) -> std::io::Result<bool> {
    let head =
        |status: u16, length: u64| format!("HTTP/1.1 {status} x\r\ncontent-length: {length}\r\n\r\n").into_bytes();
    let length = body.len() as u64;
    match fault {
        None => {
            stream.write_all(&[&head(status, length), body].concat())?;
            return Ok(true);
        }
        Some(Fault::Cut) => {
            stream.write_all(&[&head(status, length / 2), &body[..body.len() / 2]].concat())?;
            return Ok(true);
        }
        Some(Fault::Half) => stream.write_all(&[&head(status, length), &body[..body.len() / 2]].concat())?,
        Some(Fault::Silence) => drop(stream.read(&mut [0; 1])?),
        Some(Fault::Endless) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            while stream.write_all(&[b' '; 1 << 14]).is_ok() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Some(Fault::Trickle) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
            while stream.write_all(b" ").is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Some(Fault::Huge) => stream.write_all(&[&head(200, 1 << 40), body].concat())?,
        Some(Fault::Status(status)) => {
            stream.write_all(&[&head(*status, 4)[..], b"Busy"].concat())?;
            return Ok(true);
        }
        Some(Fault::Nonsense) => {
            stream.write_all(&[&head(200, 13)[..], b"<html></html>"].concat())?;
            return Ok(true);
        }
        Some(Fault::Drop | Fault::Alter(_) | Fault::Instead(_) | Fault::Refuse(..) | Fault::Bytes(_)) => {}
    }
    Ok(false)
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Request>> {
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        let lower = line.to_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { head, path, body }))
}

/// Asks the node, on a connection of its own.
fn forward(node: &str, request: &Request) -> std::io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(node)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[request.head.as_bytes(), b"connection: close\r\n\r\n", &request.body].concat())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0) + 4;
    let head = String::from_utf8_lossy(&answer[..end.min(answer.len())]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(502);
    let body = answer.get(end..).unwrap_or_default().to_vec();
    assert!(!head.contains("transfer-encoding: chunked"), "the nodes give lengths");
    Ok((status, body))
}
