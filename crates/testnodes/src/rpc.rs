//! JSON-RPC to a node that we started.

use assay_http::{Endpoint, Login};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::TestNodeError;

/// More than any answer of a test node.
const LIMIT_BYTES: usize = 256 << 20;

/// Calls a method; the result's text is given as the node wrote it, so that no amount passes through a float.
pub(crate) fn call(endpoint: &Endpoint, method: &str, params: &Value) -> Result<Box<RawValue>, TestNodeError> {
    let no_answer = |why: String| TestNodeError::NoAnswer { method: method.into(), why };
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = assay_http::wait(endpoint.post(request.to_string().into_bytes(), LIMIT_BYTES))
        .map_err(|error| no_answer(error.to_string()))?;
    let text = std::str::from_utf8(&answer.body).map_err(|error| no_answer(error.to_string()))?;
    let envelope: std::collections::HashMap<&str, &RawValue> = serde_json::from_str(text)
        .map_err(|error| no_answer(format!("HTTP status {}, not JSON-RPC: {error}", answer.status)))?;
    match (envelope.get("error").filter(|error| error.get() != "null"), envelope.get("result")) {
        (Some(error), _) => Err(refused(method, error.get())),
        (None, Some(result)) => Ok(RawValue::to_owned(result)),
        (None, None) => Err(no_answer("neither a result nor an error".into())),
    }
}

/// The same, as a value.
pub(crate) fn call_value(endpoint: &Endpoint, method: &str, params: &Value) -> Result<Value, TestNodeError> {
    let result = call(endpoint, method, params)?;
    serde_json::from_str(result.get())
        .map_err(|error| TestNodeError::NoAnswer { method: method.into(), why: error.to_string() })
}

/// An endpoint of our own node.
pub(crate) fn endpoint(url: &str, login: Login) -> Result<Endpoint, TestNodeError> {
    Endpoint::new(url, login)
        .map_err(|error| TestNodeError::NoAnswer { method: "connect".into(), why: error.to_string() })
}

fn refused(method: &str, error: &str) -> TestNodeError {
    let error: Value = serde_json::from_str(error).unwrap_or_default();
    TestNodeError::Refused {
        method: method.into(),
        code: error["code"].as_i64().unwrap_or_default(),
        message: error["message"].as_str().unwrap_or("without a word").into(),
    }
}
