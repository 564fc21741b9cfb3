//! A node that lies: a real one behind a proxy that alters what it says.

use std::io::{BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What happens to an answer that carries a block. Everything else passes unaltered.
#[derive(Debug, Clone, Default)]
pub enum Lie {
    /// Nothing.
    #[default]
    None,
    /// The byte at this place of the block is another one.
    Flip(usize),
    /// The block ends so many bytes early.
    Shorten(usize),
    /// So many bytes follow the block.
    Append(usize),
    /// The block with this hash instead.
    Instead(String),
    /// The connection ends before the answer does.
    CutOff,
    /// The connection ends without an answer.
    Drop,
    /// This status and body, where `:ID` is the request's own.
    Say(u16, &'static str),
}

/// The proxy. Its thread ends with the test's process.
pub struct Proxy {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    /// Host and port of the real node.
    upstream: String,
    lie: Lie,
}

impl Proxy {
    pub fn before(rpc_url: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Mutex::new(Shared::default()));
        let proxy = Proxy { url, shared: shared.clone() };
        proxy.turn_to(rpc_url);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(client.unwrap(), &shared));
            }
        });
        proxy
    }

    pub fn turn_to(&self, rpc_url: &str) {
        self.shared.lock().unwrap().upstream = rpc_url.trim_start_matches("http://").into();
    }

    pub fn tell(&self, lie: Lie) {
        self.shared.lock().unwrap().lie = lie;
    }
}

/// One request and its answer; nothing that fails here matters, as it shows at the other end.
fn serve(mut client: TcpStream, shared: &Mutex<Shared>) -> Option<()> {
    let (head, body) = message(&mut BufReader::new(client.try_clone().ok()?))?;
    let (upstream, lie) = {
        let shared = shared.lock().unwrap();
        (shared.upstream.clone(), shared.lie.clone())
    };
    let over_rest = head.starts_with("GET /rest/block/");
    let carries_block = over_rest || String::from_utf8_lossy(&body).contains("\"getblock\"");
    let lie = if carries_block { lie } else { Lie::None };
    match lie {
        Lie::Drop => return None,
        Lie::Say(status, words) => {
            let asked: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            let words = words.replace(":ID", &format!(":{}", asked["id"]));
            return answer(&mut client, status, words.as_bytes(), 0);
        }
        _ => {}
    }
    let (head, body) = match &lie {
        Lie::Instead(hash) => (with_hash(&head, hash), with_hash(&String::from_utf8_lossy(&body), hash).into_bytes()),
        _ => (head, body),
    };
    let (status, body) = ask(&upstream, &head, &body)?;
    let body = if status == 200 && carries_block { altered(over_rest, body, &lie) } else { body };
    answer(&mut client, status, &body, if matches!(lie, Lie::CutOff) { 10 } else { 0 })
}

fn ask(upstream: &str, head: &str, body: &[u8]) -> Option<(u16, Vec<u8>)> {
    let mut node = TcpStream::connect(upstream).ok()?;
    let kept = head.lines().filter(|line| !line.is_empty() && !line.to_lowercase().starts_with("connection:"));
    let head = kept.collect::<Vec<_>>().join("\r\n");
    node.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).ok()?;
    node.write_all(body).ok()?;
    let (head, body) = message(&mut BufReader::new(node))?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body))
}

fn answer(client: &mut TcpStream, status: u16, body: &[u8], missing: usize) -> Option<()> {
    let length = body.len() + missing;
    write!(client, "HTTP/1.1 {status} So\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n").ok()?;
    client.write_all(body).ok()
}

/// Head and body of a request or answer with a stated length.
fn message(from: &mut impl std::io::BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    from.read_exact(&mut body).ok()?;
    Some((head, body))
}

/// The same text with another block's hash, the only word of 64 hexadecimal digits in it.
fn with_hash(text: &str, hash: &str) -> String {
    let is_hash = |word: &&str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    match text.split(|c: char| !c.is_ascii_alphanumeric()).find(is_hash) {
        Some(found) => text.replace(found, hash),
        None => text.into(),
    }
}

fn altered(over_rest: bool, body: Vec<u8>, lie: &Lie) -> Vec<u8> {
    if over_rest {
        return altered_block(body, lie);
    }
    let mut json: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let block = const_hex::decode(json["result"].as_str().unwrap()).unwrap();
    json["result"] = const_hex::encode(altered_block(block, lie)).into();
    json.to_string().into_bytes()
}

fn altered_block(mut block: Vec<u8>, lie: &Lie) -> Vec<u8> {
    match lie {
        Lie::Flip(place) => block[*place] ^= 0x01,
        Lie::Shorten(bytes) => block.truncate(block.len() - bytes),
        Lie::Append(bytes) => block.resize(block.len() + bytes, 0),
        _ => {}
    }
    block
}
