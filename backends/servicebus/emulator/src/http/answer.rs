//! What is answered.

use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};

use crate::entity::Refusal;

/// What is answered to a request.
pub(super) type Answer = Result<Response<Full<Bytes>>, Failure>;

/// Why there is no better answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is told.
    Told { status: StatusCode, why: String },
    /// The connection ends instead.
    Unanswered,
}

impl Failure {
    /// The answer that tells, as the SDKs read it; an error ends the connection.
    pub(super) fn response(&self) -> io::Result<Response<Full<Bytes>>> {
        let Self::Told { status, why } = self else {
            return Err(io::ErrorKind::ConnectionAborted.into());
        };
        let (code, why) = (status.as_u16(), escape(why));
        let body = format!("<Error><Code>{code}</Code><Detail>{why}</Detail></Error>");
        let kind = "application/xml; charset=utf-8";
        Ok(with_body(*status, kind, body))
    }
}

/// An answer with a body.
pub(super) fn with_body(
    status: StatusCode,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    if let Ok(content_type) = content_type.parse() {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, content_type);
    }
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

/// A failure with its reason.
pub(super) fn error(status: StatusCode, why: &str) -> Failure {
    Failure::Told {
        status,
        why: why.into(),
    }
}

/// The failure of what the rights do not allow.
pub(super) fn refused(right: &str) -> Failure {
    error(
        StatusCode::UNAUTHORIZED,
        &format!("Authorization failed: the claim '{right}' is required."),
    )
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::NotFound(_) => StatusCode::NOT_FOUND,
            Refusal::Exists(_) => StatusCode::CONFLICT,
            Refusal::LockLost => StatusCode::GONE,
            Refusal::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Invalid(_) => StatusCode::BAD_REQUEST,
            Refusal::Quota(_) => StatusCode::FORBIDDEN,
        };
        error(status, &refusal.to_string())
    }
}

/// Text for between tags or in an attribute. What XML cannot hold is left out.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c if c.is_control() && !"\t\n\r".contains(c) => {}
            c => escaped.push(c),
        }
    }
    escaped
}
