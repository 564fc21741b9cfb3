//! Answers of a real node, kept in a file, and a server that gives them: a question is looked up by its words, and its answer read
//! from the page cache. What is not there is asked of the node, if there is one, and kept; if there is none, the answer is an error.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::hash::{DefaultHasher, Hasher as _};
use std::net::TcpListener;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::wire::Line;

/// A running server.
pub struct Replay {
    pub url: String,
    shared: Arc<Shared>,
}

struct Shared {
    file: File,
    /// Where the answer to each question is, by the hash of its words, and where the next one goes.
    places: RwLock<(HashMap<u64, Place>, u64)>,
    node: RwLock<Option<String>>,
    /// Everything goes to the node as it is, and nothing is kept.
    passes: AtomicBool,
    traces: bool,
    heard: Mutex<Heard>,
}

#[derive(Clone, Copy)]
struct Place {
    at: u64,
    length: usize,
}

#[derive(Default)]
struct Heard {
    /// The bodies of all requests, while somebody listens.
    requests: Option<Vec<Vec<u8>>>,
    /// What had no answer here.
    missing: Vec<String>,
}

#[derive(Deserialize)]
struct Question<'a> {
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    method: &'a RawValue,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

/// The part of a node's answer that is kept.
#[derive(Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
}

impl Replay {
    /// Serves what is in this file; without traces a node that knows none.
    pub fn start(path: &Path, traces: bool) -> Replay {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        let places = RwLock::new(read_places(&file));
        let (node, passes, heard) = Default::default();
        let shared = Shared { file, places, node, passes, traces, heard };
        let shared = Arc::new(shared);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (line, shared) = (Line::new(stream.unwrap()), serving.clone());
                std::thread::spawn(move || shared.serve(line));
            }
        });
        Replay { url, shared }
    }

    /// From now on this node answers everything but for traces, where there are to be none, and nothing of it is kept.
    pub fn pass_on(&self, node: &str) {
        self.ask(Some(node));
        self.shared.passes.store(true, Ordering::Relaxed);
    }

    /// From now on asks this node what it does not know, and keeps that; `None`: nobody any more.
    pub fn ask(&self, node: Option<&str>) {
        self.shared.passes.store(false, Ordering::Relaxed);
        *self.shared.node.write().unwrap() = node.map(Into::into);
    }

    /// The questions since this was asked last that had no answer here.
    pub fn missing(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.heard.lock().unwrap().missing)
    }

    /// All requests of this work, as they came, and the questions among them that had no answer here.
    pub fn listen(&self, work: impl FnOnce()) -> (Vec<Vec<u8>>, Vec<String>) {
        *self.shared.heard.lock().unwrap() = Heard { requests: Some(vec![]), missing: vec![] };
        work();
        let heard = std::mem::take(&mut *self.shared.heard.lock().unwrap());
        (heard.requests.unwrap(), heard.missing)
    }
}

impl Shared {
    fn serve(&self, mut line: Line) {
        let mut node: Option<Line> = None;
        let (mut request, mut answer) = (vec![], vec![]);
        while let Some(body) = line.read() {
            request.clear();
            request.extend_from_slice(body);
            if let Some(requests) = &mut self.heard.lock().unwrap().requests {
                requests.push(request.clone());
            }
            let url = self.node.read().unwrap().clone().filter(|_| self.passes.load(Ordering::Relaxed));
            if let Some(url) = url.filter(|_| self.traces || !asks_for_traces(&request)) {
                line.answer(node.get_or_insert_with(|| Line::to(&url)).post(&request));
                continue;
            }
            answer.clear();
            if request.starts_with(b"[") {
                answer.push(b'[');
                for question in serde_json::from_slice::<Vec<Question<'_>>>(&request).unwrap() {
                    self.answer(&question, &mut answer, &mut node);
                    answer.push(b',');
                }
                answer.pop();
                answer.push(b']');
            } else {
                self.answer(&serde_json::from_slice(&request).unwrap(), &mut answer, &mut node);
            }
            line.answer(&answer);
        }
    }

    fn answer(&self, question: &Question<'_>, into: &mut Vec<u8>, node: &mut Option<Line>) {
        let (method, params) = (question.method.get(), question.params.map_or("[]", RawValue::get));
        if !self.traces && asks_for_traces(method.as_bytes()) {
            let id = question.id.get();
            let refusal = "{\"code\":-32601,\"message\":\"the method does not exist/is not available\"}";
            into.extend_from_slice(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{refusal}}}").as_bytes());
            return;
        }
        let key = key_of(method, params);
        let mut place = self.places.read().unwrap().0.get(&key).copied();
        let node_url = self.node.read().unwrap();
        // What changes while a chain grows is asked for anew.
        let changes = params == "[]"
            || params.starts_with("[\"") && !params.starts_with("[\"0x")
            || place.is_some_and(|place| place.length == NULL.len());
        if place.is_none() {
            let words = format!("{method} {params}").chars().take(300).collect();
            self.heard.lock().unwrap().missing.push(words);
        }
        if let Some(url) = node_url.as_ref().filter(|_| changes || place.is_none()) {
            place = self.learn(node.get_or_insert_with(|| Line::to(url)), key, method, params);
        }
        drop(node_url);
        for part in ["{\"jsonrpc\":\"2.0\",\"id\":", question.id.get(), ","] {
            into.extend_from_slice(part.as_bytes());
        }
        match place {
            Some(Place { at, length }) => {
                let from = into.len();
                into.resize(from + length, 0);
                self.file.read_exact_at(&mut into[from..], at).unwrap();
            }
            None => into.extend_from_slice(b"\"error\":{\"code\":-32000,\"message\":\"this was not recorded\"}"),
        }
        into.push(b'}');
    }

    /// Asks the node, and keeps its answer; an error is none.
    fn learn(&self, node: &mut Line, key: u64, method: &str, params: &str) -> Option<Place> {
        let body = format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":{method},\"params\":{params}}}");
        let answer = node.post(body.as_bytes());
        let told: Told<'_> = serde_json::from_slice(answer).unwrap();
        let member = match told.result {
            Some(result) => format!("\"result\":{result}"),
            None if answer.windows(8).any(|word| word == b"\"error\":") => return None,
            None => NULL.into(),
        };
        let (places, end) = &mut *self.places.write().unwrap();
        let place = Place { at: *end + FRAME, length: member.len() };
        // The frame last: an answer that was not wholly written is none.
        self.file.write_all_at(member.as_bytes(), place.at).unwrap();
        let frame = [key.to_be_bytes(), (member.len() as u64).to_be_bytes()].concat();
        self.file.write_all_at(&frame, *end).unwrap();
        *end = place.at + member.len() as u64;
        places.insert(key, place);
        Some(place)
    }
}

fn asks_for_traces(question: &[u8]) -> bool {
    let question = String::from_utf8_lossy(question);
    ["\"debug_", "\"trace_"].iter().any(|group| question.contains(group))
}

/// An answer that there is nothing, which may be otherwise later.
const NULL: &str = "\"result\":null";

/// Bytes before each answer in the file: the hash of its question, and its length. Of several answers the last one counts.
const FRAME: u64 = 16;

fn read_places(file: &File) -> (HashMap<u64, Place>, u64) {
    let (mut places, mut at) = (HashMap::new(), 0);
    let mut frame = [0; 16];
    while file.read_exact_at(&mut frame, at).is_ok() {
        let [key, length] = [0, 8].map(|from| u64::from_be_bytes(frame[from..from + 8].try_into().unwrap()));
        let length = usize::try_from(length).unwrap();
        places.insert(key, Place { at: at + FRAME, length });
        at += FRAME + length as u64;
    }
    (places, at)
}

fn key_of(method: &str, params: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(method.as_bytes());
    hasher.write(params.as_bytes());
    hasher.finish()
}
