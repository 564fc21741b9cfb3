//! What `bitcoincore-rpc` talks through: bounded in size and time, and telling a refused login apart.

use std::fmt;

use assay_http::{Answer, Endpoint, HttpError, Reply};
use assay_types::Fault;
use jsonrpc::{Error, Request, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::block::MAX_BLOCK_BYTES;

/// The longest answer that is read: a block in hexadecimal digits, and what is around it.
pub(crate) const LIMIT_BYTES: usize = 2 * MAX_BLOCK_BYTES + 100_000;
/// How much of an answer that is not JSON-RPC is shown.
const SHOWN_CHARACTERS: usize = 120;

/// JSON-RPC over one endpoint.
pub(crate) struct Transport {
    pub(crate) endpoint: Endpoint,
    pub(crate) limit_bytes: usize,
}

/// Why there is no JSON-RPC answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportFault {
    /// See [`HttpError`].
    #[error("{0}")]
    Http(HttpError),
    /// An HTTP status with words that are not JSON-RPC, such as "Work queue depth exceeded".
    #[error("HTTP status {0}: {1}")]
    Status(u16, String),
    /// An answer that is not JSON-RPC, or not to this question.
    #[error("{1}")]
    NotAnAnswer(Fault, String),
}

impl jsonrpc::Transport for Transport {
    fn send_request(&self, request: Request) -> Result<Response, Error> {
        let response: Response = self.send(&request, 1)?;
        if response.id != request.id {
            return Err(fault(TransportFault::NotAnAnswer(Fault::Reordered, "it answers another question".into())));
        }
        Ok(response)
    }

    /// Whether each answers one of the questions is for the caller, [`jsonrpc::Client`], to see to.
    fn send_batch(&self, requests: &[Request]) -> Result<Vec<Response>, Error> {
        self.send(&requests, requests.len())
    }

    fn fmt_target(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.endpoint.shown())
    }
}

impl Transport {
    fn send<T: DeserializeOwned>(&self, questions: &impl Serialize, count: usize) -> Result<T, Error> {
        let json = serde_json::to_vec(questions)?;
        // By 503 it says that others have filled its queue: whoever asks has a patience of his own for that.
        let read = |answer: Answer| if answer.status == 503 { Reply::once(answer) } else { Reply::by_status(answer) };
        let answer = assay_http::wait(self.endpoint.ask(json, count, self.limit_bytes, read));
        let answer = answer.map_err(|error| fault(TransportFault::Http(error)))?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            fault(match answer.status {
                200 => {
                    let fault = if error.is_eof() { Fault::Truncated } else { Fault::Garbled };
                    TransportFault::NotAnAnswer(fault, format!("not JSON-RPC: {error}"))
                }
                status => TransportFault::Status(status, shortened(&answer.body)),
            })
        })
    }
}

fn fault(fault: TransportFault) -> Error {
    Error::Transport(Box::new(fault))
}

fn shortened(body: &[u8]) -> String {
    String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(SHOWN_CHARACTERS).collect()
}
