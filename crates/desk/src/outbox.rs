//! What is still to be told to whoever is on duty: kept in the same write as the alert that it tells of, and let go once the
//! receiver has taken it. So a kill loses nothing; what was on its way may come twice, under the same id.

use assay_store::{Records, Row, Table};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::json;

use crate::{Alert, DeskError, State};

/// No more wait for one receiver; the oldest goes then.
const MOST_WAITING: u64 = 10_000;

/// One message for one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its place in the receiver's row.
    pub number: u64,
    /// The same however often it is sent: by it a receiver knows what it has had.
    pub id: String,
    /// JSON.
    pub body: String,
}

/// The rows by which a change is told to these receivers. What is only pending is told to nobody.
pub(crate) fn rows(records: &Records, receivers: &[String], changed: &[Alert]) -> Result<Vec<Row>, DeskError> {
    let mut rows = Vec::new();
    for receiver in receivers {
        let ends = [oldest(records, receiver)?, newest(records, receiver)?];
        let (oldest, mut next) = (ends[0], ends[1].map_or(1, |last| last + 1));
        for alert in changed.iter().filter(|alert| alert.state != State::Pending) {
            rows.push(Row { table: Table::Outbox, key: key(receiver, next), value: Some(message(alert)) });
            next += 1;
        }
        for lost in oldest.into_iter().flat_map(|oldest| oldest..next.saturating_sub(MOST_WAITING)) {
            tracing::error!(receiver, lost, "too much waits for this receiver: the oldest message is dropped");
            rows.push(Row { table: Table::Outbox, key: key(receiver, lost), value: None });
        }
    }
    Ok(rows)
}

/// The oldest message that waits.
pub(crate) fn next(records: &Records, receiver: &str) -> Result<Option<Message>, DeskError> {
    let Some((row, value)) = records.oldest_first(Table::Outbox, &prefix(receiver), 1)?.pop() else { return Ok(None) };
    let damaged = || records.damaged("a message's row is cut short");
    let number = number_of(&row).ok_or_else(damaged)?;
    let text = String::from_utf8(value).map_err(|_| damaged())?;
    let (id, body) = text.split_once('\n').ok_or_else(damaged)?;
    Ok(Some(Message { number, id: id.to_owned(), body: body.to_owned() }))
}

/// The row by which a message waits no more.
pub(crate) fn done(receiver: &str, number: u64) -> Row {
    Row { table: Table::Outbox, key: key(receiver, number), value: None }
}

/// The header `webhook-signature` of the Standard Webhooks specification, version 1: HMAC-SHA256 over id, time and body.
///
/// # Errors
/// When the secret is not `whsec_` and Base64.
pub fn sign(secret: &str, id: &str, unix_s: i64, body: &str) -> Result<String, String> {
    let wrong = || "is not a secret: `whsec_` and Base64 are expected".to_owned();
    let secret = secret.trim().strip_prefix("whsec_").and_then(|text| STANDARD.decode(text).ok()).ok_or_else(wrong)?;
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(&secret).map_err(|_| wrong())?;
    mac.update(format!("{id}.{unix_s}.{body}").as_bytes());
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

fn message(alert: &Alert) -> Vec<u8> {
    let (state, at) = match alert.state {
        State::Resolved => ("resolved", alert.resolved_at),
        State::Pending | State::Firing => ("firing", alert.fired_at),
    };
    // What becomes worse is another message about the same alert.
    let severity = json!(alert.severity);
    let how = if alert.state == State::Resolved { state } else { severity.as_str().unwrap_or(state) };
    let id = format!("{}-{}-{how}", alert.id, alert.episodes);
    let body = json!({ "type": format!("alert.{state}"), "timestamp": at, "data": alert });
    format!("{id}\n{body}").into_bytes()
}

fn prefix(receiver: &str) -> Vec<u8> {
    [receiver.as_bytes(), &[0]].concat()
}

fn key(receiver: &str, number: u64) -> Vec<u8> {
    [receiver.as_bytes(), &[0], &number.to_be_bytes()].concat()
}

fn number_of(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes))
}

fn oldest(records: &Records, receiver: &str) -> Result<Option<u64>, DeskError> {
    let rows = records.oldest_first(Table::Outbox, &prefix(receiver), 1)?;
    Ok(rows.first().and_then(|(key, _)| number_of(key)))
}

fn newest(records: &Records, receiver: &str) -> Result<Option<u64>, DeskError> {
    let rows = records.newest_first(Table::Outbox, &prefix(receiver), &key(receiver, u64::MAX), 1)?;
    Ok(rows.first().and_then(|(key, _)| number_of(key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specification() {
        // The example of the Standard Webhooks specification.
        let signature = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            "{\"test\": 2432232314}",
        );
        assert_eq!(signature.as_deref(), Ok("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        assert!(sign("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "a", 1, "b").is_err());
    }
}
