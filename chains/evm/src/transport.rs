//! Carries alloy's JSON-RPC packets over [`assay_http`], so that no answer is endless and no error shows a key.
//!
//! It carries, and does not judge: what a node's error means is decided in `node`. Where it means that the node is asked too
//! much, the endpoint's pace is told, and asks again.

use std::collections::HashSet;
use std::task::{Context, Poll};

use alloy::rpc::json_rpc::{ErrorPayload, Id, RequestPacket, Response, ResponsePacket, ResponsePayload};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use assay_http::{Answer, Endpoint, HttpError, Reply};
use assay_types::Fault;
use tower_service::Service;

use crate::node::Meaning;

/// The largest answer that is read, to one question or to a batch: a full block's receipts or traces take some tens of
/// megabytes.
const LARGEST_ANSWER: usize = 256 << 20;

/// The largest answer that this method can have: what is larger is none, and not worth the memory.
fn largest(method: &str) -> usize {
    match method {
        "eth_getBlockByHash" | "eth_getBlockReceipts" | "debug_traceBlockByHash" => LARGEST_ANSWER,
        // One receipt's logs are bounded by a block's gas.
        "eth_getTransactionReceipt" => 32 << 20,
        // The ids of a block's transactions; a proof of many slots; what a contract returns within the gas that it is given;
        // a transaction's input, or a contract's code, of which nodes of other networks allow more than Ethereum's.
        "eth_getBlockByNumber"
        | "eth_getProof"
        | "eth_call"
        | "eth_getTransactionByHash"
        | "eth_getRawTransactionByHash"
        | "eth_getCode"
        | "eth_createAccessList" => 8 << 20,
        _ => 1 << 16,
    }
}

fn limit(request: &RequestPacket) -> usize {
    let all = request.method_names().map(largest).fold(0, usize::saturating_add);
    all.min(LARGEST_ANSWER)
}

/// Why no JSON-RPC answer came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// No HTTP answer.
    #[error(transparent)]
    Http(HttpError),
    /// An HTTP answer of this status, without a JSON-RPC answer in it.
    #[error("HTTP status {0}")]
    Status(u16),
    /// An answer that is not JSON-RPC.
    #[error("is not a JSON-RPC answer: {0}")]
    NotRpc(serde_json::Error),
    /// JSON-RPC, but not the answers to what was asked.
    #[error("{0}")]
    NotAnswers(String, Fault),
    /// One error for a whole batch.
    #[error("{0}")]
    BatchRefused(ErrorPayload),
}

/// A node's endpoint as alloy's transport.
#[derive(Clone)]
pub(crate) struct Bounded(pub(crate) Endpoint);

impl Service<RequestPacket> for Bounded {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        let endpoint = self.0.clone();
        Box::pin(async move { send(&endpoint, &request).await.map_err(TransportErrorKind::custom) })
    }
}

impl Broken {
    /// What is wrong with the answer, where one came.
    pub(crate) fn fault(&self) -> Option<Fault> {
        match self {
            Broken::Http(error) => error.fault(),
            Broken::NotRpc(error) => Some(unreadable(error)),
            Broken::NotAnswers(_, fault) => Some(*fault),
            Broken::Status(_) | Broken::BatchRefused(_) => None,
        }
    }
}

/// What is wrong with JSON that cannot be read.
pub(crate) fn unreadable(error: &serde_json::Error) -> Fault {
    if error.is_eof() {
        Fault::Truncated
    } else if error.is_data() && error.to_string().starts_with("missing field") {
        Fault::Omitted
    } else {
        Fault::Garbled
    }
}

/// Is it that the node did not come to an end with so many questions, or not to one that we can read?
pub(crate) fn is_too_much(error: &TransportError) -> bool {
    let TransportError::Transport(TransportErrorKind::Custom(cause)) = error else { return false };
    matches!(cause.downcast_ref(), Some(Broken::Http(error)) if error.is_too_much())
}

/// Is it a refusal of all questions together, as the node is asked too much?
pub(crate) fn is_overload(error: &TransportError) -> bool {
    let TransportError::Transport(TransportErrorKind::Custom(cause)) = error else { return false };
    match cause.downcast_ref() {
        Some(Broken::Status(status)) => matches!(status, 429 | 503),
        Some(Broken::BatchRefused(error)) => Meaning::of(error).is_overload(),
        _ => false,
    }
}

async fn send(endpoint: &Endpoint, request: &RequestPacket) -> Result<ResponsePacket, Broken> {
    let body = serde_json::to_vec(request).map_err(Broken::NotRpc)?;
    let read = |answer: Answer| {
        let status = answer.status;
        let packet = read(request, &answer);
        match overloaded(&packet) {
            _ if matches!(status, 429 | 503) => Reply::Refused(packet),
            (0, _) => Reply::Answered(packet),
            (refused, all) if refused == all => Reply::Refused(packet),
            _ => Reply::Partly(packet),
        }
    };
    endpoint.ask(body, request.len(), limit(request), read).await.map_err(Broken::Http)?
}

/// How many of the answers are that the node is asked too much, and how many there are.
fn overloaded(packet: &Result<ResponsePacket, Broken>) -> (usize, usize) {
    let is_refusal = |error: &ErrorPayload| Meaning::of(error).is_overload();
    match packet {
        Ok(packet) => {
            let errors = packet.responses().iter().filter_map(|response| response.payload.as_error());
            (errors.filter(|error| is_refusal(error)).count(), packet.responses().len())
        }
        Err(Broken::BatchRefused(error)) => (usize::from(is_refusal(error)), 1),
        Err(_) => (0, 1),
    }
}

fn read(request: &RequestPacket, answer: &Answer) -> Result<ResponsePacket, Broken> {
    let packet = match serde_json::from_slice(&answer.body) {
        Ok(packet) => packet,
        Err(_) if !(200..300).contains(&answer.status) => return Err(Broken::Status(answer.status)),
        Err(error) => return Err(Broken::NotRpc(error)),
    };
    match (request, packet) {
        (RequestPacket::Batch(_), ResponsePacket::Single(alone)) => match alone.payload {
            ResponsePayload::Failure(error) => Err(Broken::BatchRefused(error)),
            ResponsePayload::Success(_) => Err(Broken::NotAnswers("one answer to a batch".into(), Fault::Omitted)),
        },
        (RequestPacket::Single(_), ResponsePacket::Batch(_)) => {
            Err(Broken::NotAnswers("a batch of answers to one question".into(), Fault::Forged))
        }
        (request, packet) => {
            let asked: Vec<&Id> = request.requests().iter().map(|request| request.id()).collect();
            match answers_to(&asked, packet.responses()) {
                Ok(()) => Ok(packet),
                Err((why, fault)) => Err(Broken::NotAnswers(why, fault)),
            }
        }
    }
}

/// Each question is answered once, and nothing else is. Nodes that fail before they have read a question refuse it without
/// its id.
fn answers_to(asked: &[&Id], answers: &[Response]) -> Result<(), (String, Fault)> {
    let mut open: HashSet<&Id> = asked.iter().copied().collect();
    let mut without_id = 0;
    for answer in answers {
        if answer.id == Id::None && matches!(answer.payload, ResponsePayload::Failure(_)) {
            without_id += 1;
        } else if !open.remove(&answer.id) {
            return Err(match asked.contains(&&answer.id) {
                true => (format!("question {} is answered twice", answer.id), Fault::Forged),
                false => (format!("it answers question {}, which is another one", answer.id), Fault::Reordered),
            });
        }
    }
    match open.len().cmp(&without_id) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => {
            let why = format!("{} of {} questions are not answered", open.len() - without_id, asked.len());
            Err((why, Fault::Omitted))
        }
        std::cmp::Ordering::Less => Err(("there are more answers than questions".into(), Fault::Forged)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(ids: &[i64]) -> Vec<Response> {
        let answer = |id: &i64| match id {
            -1 => r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}"#.to_owned(),
            -2 => r#"{"jsonrpc":"2.0","id":null,"result":1}"#.to_owned(),
            id => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#),
        };
        ids.iter().map(|id| serde_json::from_str(&answer(id)).unwrap_or_else(|error| panic!("{error}"))).collect()
    }

    #[test]
    fn every_question_is_answered_once() {
        let asked = [Id::Number(1), Id::Number(2)];
        let asked: Vec<&Id> = asked.iter().collect();
        let fault = |ids: &[i64]| answers_to(&asked, &answers(ids)).err().map(|(_, fault)| fault);
        for fine in [&[1, 2][..], &[2, 1], &[1, -1], &[-1, -1]] {
            assert_eq!(fault(fine), None, "{fine:?}");
        }
        assert_eq!(fault(&[1]), Some(Fault::Omitted));
        assert_eq!(fault(&[]), Some(Fault::Omitted));
        assert_eq!(fault(&[1, 1]), Some(Fault::Forged));
        assert_eq!(fault(&[1, 2, -1]), Some(Fault::Forged));
        assert_eq!(fault(&[1, 3]), Some(Fault::Reordered));
        assert_eq!(fault(&[1, -2]), Some(Fault::Reordered));
    }

    #[test]
    fn what_is_wrong_with_json_is_told() {
        #[derive(Debug, serde::Deserialize)]
        struct One {
            #[allow(dead_code, reason = "only whether it can be read matters")]
            a: u8,
        }
        let fault = |text: &str| serde_json::from_str::<One>(text).map_err(|error| unreadable(&error)).unwrap_err();
        assert_eq!(fault(r#"{"a": 1"#), Fault::Truncated);
        assert_eq!(fault(r#"{"b": 1}"#), Fault::Omitted);
        assert_eq!(fault("<html>"), Fault::Garbled);
        assert_eq!(fault(r#"{"a": "x"}"#), Fault::Garbled);
    }
}
