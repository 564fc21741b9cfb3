//! HTTP/1.1 as plain as can be: one connection that is kept, one request after the other. What any client must do, and no more.

use std::io::{BufRead as _, BufReader, IoSlice, Read as _, Write as _};
use std::net::TcpStream;

/// A connection to a node, or to what stands in for one; either end of it.
pub struct Line {
    stream: BufReader<TcpStream>,
    head: String,
    body: Vec<u8>,
}

impl Line {
    /// To `http://host:port`, as nodes give their address.
    pub fn to(url: &str) -> Line {
        Line::new(TcpStream::connect(url.trim_start_matches("http://")).unwrap())
    }

    pub fn new(stream: TcpStream) -> Line {
        stream.set_nodelay(true).unwrap();
        Line { stream: BufReader::with_capacity(1 << 16, stream), head: String::new(), body: vec![] }
    }

    /// Posts a document and reads the whole answer.
    pub fn post(&mut self, body: &[u8]) -> &[u8] {
        self.send("POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json", body);
        self.read().expect("an answer")
    }

    /// Answers what was read last.
    pub fn answer(&mut self, body: &[u8]) {
        self.send("HTTP/1.1 200 OK\r\ncontent-type: application/json", body);
    }

    fn send(&mut self, head: &str, body: &[u8]) {
        let head = format!("{head}\r\ncontent-length: {}\r\n\r\n", body.len());
        let stream = self.stream.get_mut();
        // Together, so that the body waits for nothing. Whoever hung up does not want it.
        let sent = stream.write_vectored(&[IoSlice::new(head.as_bytes()), IoSlice::new(body)]).unwrap_or(0);
        let _ = stream.write_all(&head.as_bytes()[sent.min(head.len())..]);
        let _ = stream.write_all(&body[sent.saturating_sub(head.len())..]);
    }

    /// The body of the next message, either way; `None` when the other end has hung up.
    pub fn read(&mut self) -> Option<&[u8]> {
        let mut length = 0;
        loop {
            self.head.clear();
            if self.stream.read_line(&mut self.head).ok()? == 0 {
                return None;
            }
            if self.head == "\r\n" {
                break;
            }
            let (name, value) = self.head.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap();
            }
        }
        self.body.resize(length, 0);
        self.stream.read_exact(&mut self.body).ok()?;
        Some(&self.body)
    }
}
