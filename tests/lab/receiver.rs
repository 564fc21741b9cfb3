//! Somebody on duty: takes webhooks, and remembers what was told.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

/// One message, as it came.
#[derive(Debug, Clone)]
pub struct Told {
    pub id: String,
    pub at: i64,
    pub signature: String,
    pub body: String,
}

/// Everything that was taken, in order.
#[derive(Clone, Default)]
pub struct Receiver(Arc<Mutex<Vec<Told>>>, Arc<std::sync::atomic::AtomicU32>);

impl Receiver {
    /// Takes what comes to the listener. The first `refuse` messages are answered with 503.
    pub fn listen(listener: TcpListener, mut refuse: u32) -> Receiver {
        let receiver = Receiver::default();
        let (told, barked) = (receiver.0.clone(), receiver.1.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut headers = std::collections::BTreeMap::new();
                let mut line = String::new();
                while reader.read_line(&mut line).unwrap() > 2 {
                    if let Some((name, value)) = line.trim_end().split_once(": ") {
                        headers.insert(name.to_lowercase(), value.to_owned());
                    }
                    line.clear();
                }
                let mut body = vec![0; headers["content-length"].parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                let header = |name: &str| headers[name].clone();
                let status = if refuse > 0 { "503 Service Unavailable" } else { "204 No Content" };
                if header("webhook-id").starts_with("watchdog-") {
                    barked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                } else if refuse == 0 {
                    told.lock().unwrap().push(Told {
                        id: header("webhook-id"),
                        at: header("webhook-timestamp").parse().unwrap(),
                        signature: header("webhook-signature"),
                        body: String::from_utf8(body).unwrap(),
                    });
                }
                refuse = refuse.saturating_sub(1);
                let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        receiver
    }

    /// What was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    /// How often the watchdog was heard.
    pub fn barked(&self) -> u32 {
        self.1.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Waits until so many were told, and gives them.
    pub fn wait(&self, count: usize) -> Vec<Told> {
        let began = std::time::Instant::now();
        while self.told().len() < count {
            assert!(began.elapsed().as_secs() < 60, "only {:#?} was told", self.told());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        self.told()
    }
}
