//! JSON-RPC over [`assay_http`], so that no answer is endless and no error shows a key. An answer to one question is read once, as what was asked
//! for; only where that fails it is looked at what else it is.
//!
//! It carries, and does not judge: what a node's error means is decided in `meaning`. Where it means that the node is asked too
//! much, the endpoint's pace is told, and asks again.

use std::collections::HashSet;

use alloy::rpc::json_rpc::ErrorPayload;
use assay_http::{Answer, Endpoint, HttpError, Reply, is_refusal};
use assay_types::Fault;
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::{FromJson, Json};
use crate::node::meaning::Meaning;

/// The largest answer that is read, to one question or to a batch: a full block's receipts or traces take some tens of
/// megabytes.
const LARGEST_ANSWER: usize = 256 << 20;

/// The largest answer that this method can have: what is larger is none, and not worth the memory.
fn largest(method: &str) -> usize {
    match method {
        // One receipt's logs may be all of the block's.
        "eth_getBlockByHash"
        | "eth_getBlockReceipts"
        | "eth_getTransactionReceipt"
        | "debug_traceBlockByHash"
        | "trace_block" => LARGEST_ANSWER,
        // What moves nothing may come to any size: each call shows its input again.
        "debug_traceTransaction" => 32 << 20,
        // The ids of a block's transactions; a proof of many slots; what a contract returns within the gas that it is given;
        // a transaction's input, or a contract's code, of which nodes of other networks allow more than Ethereum's.
        "eth_getBlockByNumber"
        | "eth_getProof"
        | "eth_call"
        | "eth_getTransactionByHash"
        | "eth_getRawTransactionByHash"
        | "eth_getCode" => 8 << 20,
        _ => 1 << 16,
    }
}

/// Why there is no answer to a question.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The node says so.
    Said(ErrorPayload),
    /// There is one, and it is not what was asked for; is it `null`?
    Unread(serde_json::Error, bool),
    /// No JSON-RPC answer came.
    Broken(Broken),
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

/// One question.
#[derive(Serialize)]
struct Question<'q> {
    jsonrpc: &'static str,
    id: u64,
    method: &'q str,
    params: &'q Value,
}

impl<'q> Question<'q> {
    fn new(id: u64, method: &'q str, params: &'q Value) -> Question<'q> {
        Question { jsonrpc: "2.0", id, method, params }
    }
}

/// What comes back; what JSON-RPC lets out may not be there.
#[derive(Deserialize)]
#[serde(bound(deserialize = "T: Deserialize<'de>"))]
struct Response<'a, T> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(default = "nothing", deserialize_with = "something")]
    result: Option<T>,
    error: Option<ErrorPayload>,
}

fn nothing<T>() -> Option<T> {
    None
}

/// `null` is something too, if `T` can be that.
fn something<'de, T: Deserialize<'de>, D: Deserializer<'de>>(result: D) -> Result<Option<T>, D::Error> {
    T::deserialize(result).map(Some)
}

impl<T> Response<'_, T> {
    fn is_to(&self, id: u64) -> bool {
        self.id.is_some_and(|said| said.get().parse() == Ok(id))
    }
}

/// No batch has more questions, nor more answers.
const MOST_ANSWERS: usize = 1_024;

/// The answers to a batch, as many as there can be.
struct Responses<'a>(Vec<Response<'a, &'a RawValue>>);

impl<'de: 'a, 'a> Deserialize<'de> for Responses<'a> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Each<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Each<'a> {
            type Value = Responses<'a>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a batch of answers")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut answers: A) -> Result<Responses<'a>, A::Error> {
                let mut all = Vec::new();
                while let Some(answer) = answers.next_element()? {
                    if all.len() == MOST_ANSWERS {
                        return Err(A::Error::custom("more answers than there can be"));
                    }
                    all.push(answer);
                }
                Ok(Responses(all))
            }
        }
        json.deserialize_seq(Each(std::marker::PhantomData))
    }
}

/// Is it that the node did not come to an end with so many questions, or not to one that we can read?
pub(crate) fn is_too_much(failure: &Failure) -> bool {
    matches!(failure, Failure::Broken(Broken::Http(error)) if error.is_too_much())
}

/// Is it a refusal of all questions together, as the node is asked too much?
pub(crate) fn is_overload(failure: &Failure) -> bool {
    match failure {
        Failure::Broken(Broken::Status(status)) => is_refusal(*status),
        Failure::Broken(Broken::BatchRefused(error)) => Meaning::of(error).is_overload(),
        _ => false,
    }
}

/// Asks one question, with this number, and reads its answer.
pub(crate) async fn ask<T>(
    endpoint: &Endpoint,
    id: u64,
    method: &'static str,
    params: &Value,
    read: impl Fn(&Answer, u64) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let body = serde_json::to_vec(&Question::new(id, method, params))
        .map_err(|error| Failure::Broken(Broken::NotRpc(error)))?;
    let answered = |answer: Answer| {
        let (read, status) = (read(&answer, id), answer.status);
        endpoint.take_back(answer);
        match &read {
            // A gateway says so in words of its own.
            Err(Failure::Unread(..) | Failure::Broken(_)) if is_refusal(status) => {
                Reply::Refused(Err(Failure::Broken(Broken::Status(status))))
            }
            _ if is_refusal(status) => Reply::Refused(read),
            Err(Failure::Said(error)) if is_worth_asking_again(method, Meaning::of(error)) => Reply::Refused(read),
            _ => Reply::Answered(read),
        }
    };
    match endpoint.ask(body, 1, largest(method), answered).await {
        Ok(answer) => answer,
        Err(HttpError::LoginRefused(status, said)) => match read(&Answer { status, body: said.to_vec() }, id) {
            Err(Failure::Said(error)) if Meaning::of(&error) == Meaning::NoMethod => Err(Failure::Said(error)),
            _ => Err(Failure::Broken(Broken::Http(HttpError::LoginRefused(status, said)))),
        },
        Err(error) => Err(Failure::Broken(Broken::Http(error))),
    }
}

/// What takes a trace so long is in the block, and takes as long the next time.
fn is_worth_asking_again(method: &str, meaning: Meaning) -> bool {
    meaning.is_overload() && !(meaning == Meaning::Late && is_trace(method))
}

/// Is it a question for traces?
pub(crate) fn is_trace(method: &str) -> bool {
    method.starts_with("debug_trace") || method == "trace_block"
}

/// What became of each question of a batch, in order.
pub(crate) type Told = Vec<Result<Box<RawValue>, ErrorPayload>>;

/// Asks several questions by one method in one request, with numbers from this one on.
pub(crate) async fn ask_batch<'q>(
    endpoint: &Endpoint,
    first: u64,
    method: &'static str,
    questions: impl ExactSizeIterator<Item = &'q Value>,
) -> Result<Told, Failure> {
    let questions: Vec<_> = (first..).zip(questions).map(|(id, params)| Question::new(id, method, params)).collect();
    let body = serde_json::to_vec(&questions).map_err(|error| Failure::Broken(Broken::NotRpc(error)))?;
    let read = |answer: Answer| {
        let (read, status) = (read_batch(&answer, first, questions.len()), answer.status);
        endpoint.take_back(answer);
        let (refused, all) = match &read {
            Ok(told) => {
                let errors = told.iter().filter_map(|answer| answer.as_ref().err());
                (errors.filter(|error| Meaning::of(error).is_overload()).count(), told.len())
            }
            Err(Broken::BatchRefused(error)) => (usize::from(Meaning::of(error).is_overload()), 1),
            Err(_) => (0, 1),
        };
        match refused {
            _ if is_refusal(status) => Reply::Refused(match read {
                Err(Broken::NotRpc(_) | Broken::NotAnswers(..)) => Err(Broken::Status(status)),
                read => read,
            }),
            0 => Reply::Answered(read),
            refused if refused == all => Reply::Refused(read),
            _ => Reply::Partly(read),
        }
    };
    let limit = largest(method).saturating_mul(questions.len()).min(LARGEST_ANSWER);
    let is_no_method = |error: &ErrorPayload| Meaning::of(error) == Meaning::NoMethod;
    match endpoint.ask(body, questions.len(), limit, read).await {
        Ok(told) => told.map_err(Failure::Broken),
        Err(HttpError::LoginRefused(status, said)) => {
            match read_batch(&Answer { status, body: said.to_vec() }, first, questions.len()) {
                Ok(told) if told.iter().all(|one| one.as_ref().is_err_and(is_no_method)) => Ok(told),
                Err(Broken::BatchRefused(error)) if is_no_method(&error) => {
                    Err(Failure::Broken(Broken::BatchRefused(error)))
                }
                _ => Err(Failure::Broken(Broken::Http(HttpError::LoginRefused(status, said)))),
            }
        }
        Err(error) => Err(Failure::Broken(Broken::Http(error))),
    }
}

/// The answer to one question.
pub(crate) fn read_one<T: DeserializeOwned>(answer: &Answer, id: u64) -> Result<T, Failure> {
    if let Ok(response) = serde_json::from_slice::<Response<'_, T>>(&answer.body)
        && response.error.is_none()
        && response.is_to(id)
        && let Some(result) = response.result
    {
        return Ok(result);
    }
    let response: Response<'_, &RawValue> = match serde_json::from_slice(&answer.body) {
        Ok(response) => response,
        Err(_) if serde_json::from_slice::<Vec<IgnoredAny>>(&answer.body).is_ok() => {
            let why = "a batch of answers to one question".into();
            return Err(Failure::Broken(Broken::NotAnswers(why, Fault::Forged)));
        }
        Err(error) => return Err(Failure::Broken(not_rpc(answer, error))),
    };
    answers_to(id..id + 1, std::slice::from_ref(&response))
        .map_err(|(why, fault)| Failure::Broken(Broken::NotAnswers(why, fault)))?;
    match (response.error, response.result) {
        (Some(error), _) => Err(Failure::Said(error)),
        (None, Some(result)) => {
            serde_json::from_str(result.get()).map_err(|error| Failure::Unread(error, result.get() == "null"))
        }
        (None, None) => Err(Failure::Broken(Broken::NotRpc(serde_json::Error::missing_field("result")))),
    }
}

/// The same, where it is large.
pub(crate) fn read_large<T: FromJson + DeserializeOwned>(answer: &Answer, id: u64) -> Result<T, Failure> {
    let (mut json, mut said, mut result, mut is_error) = (Json::new(&answer.body), None, None, false);
    let read = json.fields(|name, json| {
        match name {
            b"id" => said = Some(json.skip()?),
            b"result" => result = Some(T::from_json(json)?),
            b"error" => is_error |= json.something()?.is_some(),
            _ => _ = json.skip()?,
        }
        Ok(())
    });
    let is_answer = read.is_ok() && json.is_over() && !is_error && said == Some(id.to_string().as_bytes());
    match result {
        Some(result) if is_answer => Ok(result),
        _ => read_one(answer, id),
    }
}

fn read_batch(answer: &Answer, first: u64, count: usize) -> Result<Told, Broken> {
    let responses = match serde_json::from_slice(&answer.body) {
        Ok(Responses(responses)) => responses,
        Err(error) => {
            return Err(match serde_json::from_slice::<Response<'_, &RawValue>>(&answer.body) {
                Ok(Response { error: Some(error), .. }) => Broken::BatchRefused(error),
                Ok(_) => Broken::NotAnswers("one answer to a batch".into(), Fault::Omitted),
                Err(_) => not_rpc(answer, error),
            });
        }
    };
    let asked = first..first + count as u64;
    answers_to(asked.clone(), &responses).map_err(|(why, fault)| Broken::NotAnswers(why, fault))?;
    let mut told: Vec<Option<Result<Box<RawValue>, ErrorPayload>>> = (0..count).map(|_| None).collect();
    let mut without_id = Vec::new();
    for response in responses {
        let place = response.id.and_then(|id| id.get().parse::<u64>().ok()).and_then(|id| id.checked_sub(first));
        let said = match (response.error, response.result) {
            (Some(error), _) => Err(error),
            (None, Some(result)) => Ok(result.to_owned()),
            (None, None) => return Err(Broken::NotRpc(serde_json::Error::missing_field("result"))),
        };
        match place.and_then(|place| told.get_mut(usize::try_from(place).ok()?)) {
            Some(place) => *place = Some(said),
            None => without_id.push(said),
        }
    }
    let mut without_id = without_id.into_iter();
    Ok(told.into_iter().filter_map(|said| said.or_else(|| without_id.next())).collect())
}

fn not_rpc(answer: &Answer, error: serde_json::Error) -> Broken {
    if (200..300).contains(&answer.status) { Broken::NotRpc(error) } else { Broken::Status(answer.status) }
}

/// Each question is answered once, and nothing else is. Nodes that fail before they have read a question refuse it without
/// its id.
fn answers_to<T>(asked: std::ops::Range<u64>, answers: &[Response<'_, T>]) -> Result<(), (String, Fault)> {
    let count = asked.end - asked.start;
    let mut open: HashSet<u64> = asked.clone().collect();
    let mut without_id = 0;
    for answer in answers {
        let said = answer.id.map_or("null", RawValue::get);
        match said.parse::<u64>() {
            Ok(id) if open.remove(&id) => {}
            Ok(id) if asked.contains(&id) => return Err((format!("question {id} is answered twice"), Fault::Forged)),
            Err(_) if said == "null" && answer.error.is_some() => without_id += 1,
            Err(_) if said == "null" && answer.result.is_none() => {
                return Err(("it is neither an answer nor an error".into(), Fault::Omitted));
            }
            _ => return Err((format!("it answers question {said}, which is another one"), Fault::Reordered)),
        }
    }
    match open.len().cmp(&without_id) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => {
            let why = format!("{} of {count} questions are not answered", open.len() - without_id);
            Err((why, Fault::Omitted))
        }
        std::cmp::Ordering::Less => Err(("there are more answers than questions".into(), Fault::Forged)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(ids: &[i64]) -> Vec<String> {
        let answer = |id: &i64| match id {
            -1 => r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"no"}}"#.to_owned(),
            -2 => r#"{"jsonrpc":"2.0","id":null,"result":1}"#.to_owned(),
            id => format!(r#"{{"jsonrpc":"2.0","id":{id},"result":1}}"#),
        };
        ids.iter().map(answer).collect()
    }

    #[test]
    fn every_question_is_answered_once() {
        let fault = |ids: &[i64]| {
            let answers = answers(ids);
            let read = |answer: &'_ String| serde_json::from_str::<Response<'_, Value>>(answer).map(drop);
            assert!(answers.iter().all(|answer| read(answer).is_ok()));
            let read: Vec<Response<'_, Value>> =
                answers.iter().filter_map(|answer| serde_json::from_str(answer).ok()).collect();
            answers_to(1..3, &read).err().map(|(_, fault)| fault)
        };
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
