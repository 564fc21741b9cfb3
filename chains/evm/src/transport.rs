//! Carries alloy's JSON-RPC packets over [`assay_http`], so that no answer is endless and no error shows a key.
//!
//! It carries, and does not judge: what a node's error means is decided in `node`.

use std::task::{Context, Poll};

use alloy::rpc::json_rpc::{ErrorPayload, RequestPacket, ResponsePacket, ResponsePayload};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use assay_http::{Endpoint, HttpError};
use tower_service::Service;

/// The largest answer that is read: a full block's receipts or traces take some tens of megabytes.
pub(crate) const LARGEST_ANSWER: usize = 256 << 20;

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

async fn send(endpoint: &Endpoint, request: &RequestPacket) -> Result<ResponsePacket, Broken> {
    let body = serde_json::to_vec(request).map_err(Broken::NotRpc)?;
    let answer = endpoint.post(body, LARGEST_ANSWER).await.map_err(Broken::Http)?;
    let packet = match serde_json::from_slice(&answer.body) {
        Ok(packet) => packet,
        Err(_) if !(200..300).contains(&answer.status) => return Err(Broken::Status(answer.status)),
        Err(error) => return Err(Broken::NotRpc(error)),
    };
    match (request, packet) {
        (RequestPacket::Batch(_), ResponsePacket::Single(alone)) => match alone.payload {
            ResponsePayload::Failure(error) => Err(Broken::BatchRefused(error)),
            ResponsePayload::Success(_) => Err(Broken::NotRpc(serde::de::Error::custom("one answer to a batch"))),
        },
        (RequestPacket::Single(_), ResponsePacket::Batch(_)) => {
            Err(Broken::NotRpc(serde::de::Error::custom("a batch of answers to one request")))
        }
        (_, packet) => Ok(packet),
    }
}
