//! Questions that a product asks before it sends events, and what they are answered. Nothing of them is stored.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::extract::{Posted, Reader};
use super::{IngestProblem, ItemError, Pipeline};
use crate::domain::HandshakeMethod;
use crate::filter::Node;
use crate::registry::{Answer, Filling, From, Inlet, Question, Reply};

/// The longest text of a question that is given back, in bytes.
const LONGEST_ECHO: usize = 4_096;

/// Why a question is not answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Unanswered {
    /// It brings another token.
    #[error("the handshake brings another token than the source's")]
    WrongToken,
    /// What the answer is made of is not there.
    #[error("{}", .0.detail)]
    Incomplete(ItemError),
}

impl Pipeline {
    /// The question that a request is, if it is one.
    pub fn question<'i>(inlet: &'i Inlet, method: HandshakeMethod, posted: &Posted<'_>) -> Option<&'i Question> {
        if inlet.handshakes.is_empty() {
            return None;
        }
        let body = Node::parse(&posted.whole).ok()?;
        let reader = Reader { posted, body: &body };
        inlet.handshakes.iter().find(|question| {
            question.method == method && question.when.iter().all(|(from, wanted)| holds(&reader, from, wanted))
        })
    }

    /// What a question is answered. It has proved itself by now, if it must.
    ///
    /// # Errors
    /// If its token is another one, or the answer cannot be made of it.
    pub fn answer(
        inlet: &Inlet,
        question: &Question,
        posted: &Posted<'_>,
        now: Timestamp,
    ) -> Result<Reply, Unanswered> {
        let body = Node::parse(&posted.whole).map_err(|error| incomplete(error.to_string()))?;
        let reader = Reader { posted, body: &body };
        let text = |from: &From| -> Result<String, Unanswered> {
            let found = reader.text(from).map_err(Unanswered::Incomplete)?;
            let found = found.ok_or_else(|| incomplete("the handshake does not have what its answer is made of"))?;
            if found.len() > LONGEST_ECHO {
                return Err(incomplete(format!("the handshake has more than {LONGEST_ECHO} bytes to be given back")));
            }
            Ok(found)
        };
        if let Some(from) = &question.token
            && !inlet.is_token(text(from).map_err(|_| Unanswered::WrongToken)?.as_bytes(), now)
        {
            return Err(Unanswered::WrongToken);
        }
        let (body, content_type) = match &question.answer {
            Answer::Nothing => (String::new(), None),
            Answer::Text(from) => (text(from)?, Some(HeaderValue::from_static("text/plain; charset=utf-8"))),
            Answer::Json(members) => {
                let mut object = Map::new();
                for (name, filling) in members {
                    let value = match filling {
                        Filling::Fixed(value) => value.clone(),
                        Filling::Place(from) => text(from)?.into(),
                        Filling::Hmac(from) => inlet
                            .hmac(text(from)?.as_bytes(), now)
                            .ok_or_else(|| incomplete("the source's secret is no key for an HMAC-SHA-256"))?
                            .into(),
                    };
                    object.insert(name.clone(), value);
                }
                (Value::Object(object).to_string(), Some(HeaderValue::from_static("application/json")))
            }
        };
        // An answer of these has no body, whatever it is made of.
        let body = if [StatusCode::NO_CONTENT, StatusCode::RESET_CONTENT].contains(&question.status) {
            String::new()
        } else {
            body
        };
        Ok(Reply { status: question.status, body, content_type })
    }
}

fn incomplete(detail: impl Into<String>) -> Unanswered {
    Unanswered::Incomplete(ItemError::new(IngestProblem::Invalid, detail.into()))
}

/// Whether something is at a place, or anything where nothing of its own kind could be `true`.
fn holds(reader: &Reader<'_>, from: &From, wanted: &Value) -> bool {
    let Ok(Some(found)) = reader.text(from) else { return false };
    match wanted {
        Value::Bool(true) if !matches!(from, From::Path(_)) => true,
        Value::String(text) => found == *text,
        other => {
            let spelled = other.to_string();
            spelled == found
        }
    }
}

impl Reply {
    /// The body, to be sent.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        Bytes::from(self.body.clone())
    }
}
