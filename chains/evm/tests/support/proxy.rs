//! A proxy before a node, which alters what passes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use assay_http::{Endpoint, Login};
use serde_json::{Value, json};

/// What to do with an answer.
pub enum Pass {
    /// Give it on, as it was or as it was altered.
    On,
    /// This status without a body.
    Status(u16),
    /// It with this status.
    As(u16),
    /// Half of it, with the length of the whole.
    Half,
    /// Half of it, as if it were the whole.
    Cut,
    /// Without end.
    Endless,
}

/// Looks at a question's method and parameters, and at its answer, which it may alter.
pub type Lie = dyn Fn(&str, &Value, &mut Value) -> Pass + Send + Sync;

/// A proxy that applies the lie to everything; gives its URL.
pub fn lying(node: &str, lie: impl Fn(&str, &Value, &mut Value) -> Pass + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (node, lie): (_, Arc<Lie>) = (Endpoint::new(node, Login::None).unwrap(), Arc::new(lie));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (node, lie) = (node.clone(), lie.clone());
            std::thread::spawn(move || serve(stream.unwrap(), &node, &*lie));
        }
    });
    url
}

/// A proxy that answers what the guard says, a whole HTTP answer, to a question or a batch, and else what the node says.
pub fn guarded(node: &str, guard: impl Fn(&Value) -> Option<String> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (node, guard) = (Endpoint::new(node, Login::None).unwrap(), Arc::new(guard));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (node, guard) = (node.clone(), guard.clone());
            std::thread::spawn(move || {
                let mut stream = stream.unwrap();
                let Some(question) = read_request(&stream) else { return };
                match guard(&serde_json::from_slice(&question).unwrap()) {
                    Some(answer) => drop(stream.write_all(answer.as_bytes())),
                    None => pass_on(stream, &node, &|_, _, _| Pass::On, question),
                }
            });
        }
    });
    url
}

/// An HTTP answer with this status, these headers and this body.
pub fn answer(status: u16, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status} x\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
}

/// A proxy to a node that knows none of these methods.
pub fn without(node: &str, methods: &'static [&'static str]) -> String {
    lying(node, move |method, _, answer| {
        if methods.contains(&method) {
            refuse(answer, -32601, "Method not found");
        }
        Pass::On
    })
}

/// Puts a JSON-RPC error in the place of an answer.
pub fn refuse(answer: &mut Value, code: i64, message: &str) {
    *answer = json!({ "jsonrpc": "2.0", "id": answer["id"], "error": { "code": code, "message": message } });
}

fn serve(stream: TcpStream, node: &Endpoint, lie: &Lie) {
    if let Some(question) = read_request(&stream) {
        pass_on(stream, node, lie, question);
    }
}

fn pass_on(mut stream: TcpStream, node: &Endpoint, lie: &Lie, question: Vec<u8>) {
    let answer = assay_http::wait(node.post(question.clone(), 1 << 28)).unwrap();
    let question: Value = serde_json::from_slice(&question).unwrap();
    let mut answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let mut pass = Pass::On;
    match (&question, &mut answer) {
        (Value::Array(questions), Value::Array(answers)) => {
            for (question, answer) in questions.iter().zip(answers) {
                pass = lie(question["method"].as_str().unwrap(), &question["params"], answer);
            }
        }
        (question, answer) => pass = lie(question["method"].as_str().unwrap(), &question["params"], answer),
    }
    let body = serde_json::to_vec(&answer).unwrap();
    let (status, length, body) = match pass {
        Pass::On => (200, body.len(), &body[..]),
        Pass::Status(status) => (status, 0, &body[..0]),
        Pass::As(status) => (status, body.len(), &body[..]),
        Pass::Half => (200, body.len(), &body[..body.len() / 2]),
        Pass::Cut => (200, body.len() / 2, &body[..body.len() / 2]),
        Pass::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
            while stream.write_all(&[b' '; 1 << 20]).is_ok() {}
            return;
        }
    };
    let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
}

fn read_request(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        if line.is_empty() {
            return None;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}
