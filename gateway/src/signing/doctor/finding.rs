//! What the doctor finds: kinds of things, and words.

use http::HeaderName;

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Nothing is wrong with the request.
    Genuine,
    /// The timestamp is older than receivers tolerate.
    Stale,
    /// The timestamp is from further ahead than receivers tolerate.
    Future,
    /// The secret on one side has been replaced.
    OldSecret,
    /// The secret on one side counts only later.
    NextSecret,
    /// A header has another name than it was sent with.
    HeaderRenamed,
    /// A header is not there.
    HeaderMissing,
    /// A header is there twice, or can't be read.
    HeaderMalformed,
    /// A header has another value than it was sent with.
    HeaderChanged,
    /// The signature is another product's, or one of other settings.
    OtherScheme,
    /// The same JSON in other bytes.
    BodyReserialized,
    /// Another body.
    BodyChanged,
    /// Another id.
    IdChanged,
    /// Another timestamp.
    TimestampChanged,
    /// Another URL or method.
    OtherTarget,
    /// The signature is none that was sent.
    SignatureChanged,
    /// No signature matches, and nothing says why.
    Unexplained,
    /// No delivery is recorded that this could be.
    NotRecorded,
    /// The receiver's code computes the right signature.
    ComputedRight,
    /// It makes something else of the secret than the key.
    KeyMisread,
    /// It uses another hash.
    WrongAlgorithm,
    /// It signs something else.
    WrongContent,
    /// It writes the signature in another way.
    WrongEncoding,
    /// No usual mistake yields what it computed.
    ComputedUnexplained,
    /// There was nothing to hold it against.
    ComputedNotCompared,
}

impl Code {
    /// The word in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Genuine => "genuine",
            Self::Stale => "stale",
            Self::Future => "future",
            Self::OldSecret => "old_secret",
            Self::NextSecret => "next_secret",
            Self::HeaderRenamed => "header_renamed",
            Self::HeaderMissing => "header_missing",
            Self::HeaderMalformed => "header_malformed",
            Self::HeaderChanged => "header_changed",
            Self::OtherScheme => "other_scheme",
            Self::BodyReserialized => "body_reserialized",
            Self::BodyChanged => "body_changed",
            Self::IdChanged => "id_changed",
            Self::TimestampChanged => "timestamp_changed",
            Self::OtherTarget => "other_target",
            Self::SignatureChanged => "signature_changed",
            Self::Unexplained => "unexplained",
            Self::NotRecorded => "not_recorded",
            Self::ComputedRight => "computed_right",
            Self::KeyMisread => "key_misread",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::WrongContent => "wrong_content",
            Self::WrongEncoding => "wrong_encoding",
            Self::ComputedUnexplained => "computed_unexplained",
            Self::ComputedNotCompared => "computed_not_compared",
        }
    }

    /// Whether it tells of the looking and not of the request.
    pub(super) fn is_remark(self) -> bool {
        matches!(self, Self::NotRecorded | Self::ComputedNotCompared)
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of thing.
    pub code: Code,
    /// What it is and what to do, in sentences.
    pub detail: String,
    /// The header that it is about.
    pub header: Option<HeaderName>,
    /// The first byte of the body that is another, counted from 0.
    pub offset: Option<usize>,
    /// The first place in the body's JSON that is another, as an RFC 6901 pointer.
    pub pointer: Option<String>,
    /// How many seconds the timestamp is off.
    pub off_s: Option<u64>,
}

impl Finding {
    pub(super) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), header: None, offset: None, pointer: None, off_s: None }
    }

    pub(super) fn about(self, header: &HeaderName) -> Self {
        Self { header: Some(header.clone()), ..self }
    }
}
