//! Why there is no answer, without anything secret.

use std::time::Duration;

use assay_types::Fault;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// The URL cannot be used.
    #[error("the URL cannot be used: {0}")]
    Url(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// No whole answer in time.
    #[error("no whole answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Not asked: there was no answer to what others asked before, for so long.
    #[error("not asked, as nothing was answered for {} s", .0.as_secs())]
    Unanswered(Duration),
    /// Not asked: it refused, as too much, whatever it was asked for so long.
    #[error("not asked, as everything was refused for {:.1} s", .0.as_secs_f32())]
    Refusing(Duration),
    /// Ended before its stated length.
    #[error("the answer broke off after {0} bytes")]
    Truncated(usize),
    /// Longer than we are willing to read, or announced to be.
    #[error("the answer is longer than {1} bytes: it has {0}")]
    TooLarge(u64, usize),
    /// It began, and was not over after so many bytes, or when the time was.
    #[error("no whole answer within {:.1} s: {read} bytes, and no end", .within.as_secs_f32())]
    NeverEnding {
        /// How much came.
        read: usize,
        /// How long that took.
        within: Duration,
    },
    /// Its head is longer than any.
    #[error("the answer's head is longer than any")]
    HeadTooLarge,
    /// It is no HTTP.
    #[error("the answer's head {0}")]
    Garbled(String),
    /// 401 or 403, with what it says: some gateways answer so to a method that they do not pass on.
    #[error("HTTP status {0}")]
    LoginRefused(u16, Box<[u8]>),
}

impl HttpError {
    /// What is wrong with the answer, where one came.
    pub fn fault(&self) -> Option<Fault> {
        match self {
            HttpError::Truncated(_) => Some(Fault::Truncated),
            HttpError::TooLarge(..) | HttpError::HeadTooLarge => Some(Fault::Oversized),
            HttpError::Garbled(_) => Some(Fault::Garbled),
            HttpError::NeverEnding { .. } => Some(Fault::NeverEnding),
            HttpError::Url(_)
            | HttpError::Unreachable(_)
            | HttpError::TimedOut(_)
            | HttpError::Unanswered(_)
            | HttpError::Refusing(_)
            | HttpError::LoginRefused(..) => None,
        }
    }

    /// Did it take longer, or come to more, than we are willing to wait for or to read? Less at a time may do.
    pub fn is_too_much(&self) -> bool {
        self.is_late() || matches!(self, HttpError::TooLarge(..))
    }

    /// Did it take longer? What is only too long comes as soon as anything.
    pub(crate) fn is_late(&self) -> bool {
        matches!(self, HttpError::TimedOut(_) | HttpError::NeverEnding { .. })
    }
}

/// Why a request came to nothing after so many bytes of the answer.
pub(crate) fn failure(error: reqwest::Error, read: usize, deadline: Duration) -> HttpError {
    match error {
        error if error.is_timeout() && read > 0 => HttpError::NeverEnding { read, within: deadline },
        error if error.is_timeout() => HttpError::TimedOut(deadline),
        error if error.is_body() || error.is_decode() => HttpError::Truncated(read),
        error => match innermost(&error).downcast_ref::<hyper::Error>() {
            Some(head) if head.is_parse_too_large() => HttpError::HeadTooLarge,
            Some(head) if head.is_parse() => HttpError::Garbled(format!("is no HTTP: {head}")),
            _ => HttpError::Unreachable(chain_of(&error.without_url())),
        },
    }
}

/// The innermost cause says the most: "connection refused" rather than "error sending request".
pub(crate) fn chain_of(error: &(dyn std::error::Error + 'static)) -> String {
    innermost(error).to_string()
}

fn innermost<'e>(error: &'e (dyn std::error::Error + 'static)) -> &'e (dyn std::error::Error + 'static) {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error)
}
