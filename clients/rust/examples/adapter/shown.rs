//! Owns answers as they are written.

use std::fmt;
use std::time::SystemTime;

use factstr_client::{AppendResult, Code, Error, ErrorKind, EventRecord};
use serde_json::{Value, json};

/// An error as it is answered.
pub(crate) struct Failure(pub(crate) Value);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(shown_error(&error))
    }
}

pub(crate) fn closed() -> Failure {
    Failure(json!({"kind": "closed", "message": "it was closed"}))
}

/// A panic that nobody has expected.
pub(crate) fn defect(panic: impl fmt::Display) -> Failure {
    Failure(json!({"kind": "defect", "message": panic.to_string()}))
}

pub(crate) fn usage(message: impl fmt::Display) -> Failure {
    Failure(json!({"kind": "usage", "message": message.to_string()}))
}

pub(crate) fn shown_moment(moment: SystemTime) -> String {
    let moment = jiff::Timestamp::try_from(moment).expect("a moment of this age");
    moment.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

pub(crate) fn shown_append(result: &AppendResult) -> Value {
    json!({
        "first_sequence_number": result.first_sequence_number,
        "last_sequence_number": result.last_sequence_number,
        "committed_count": result.committed_count,
        "occurred_at": shown_moment(result.occurred_at),
        "repeated_request": result.repeated_request,
    })
}

pub(crate) fn shown_record(record: &EventRecord) -> Result<Value, Error> {
    Ok(json!({
        "sequence_number": record.sequence_number,
        "occurred_at": shown_moment(record.occurred_at),
        "event_type": record.event_type,
        "payload": record.payload::<Value>()?,
        "payload_text": record.payload_text,
        "metadata": record.metadata,
    }))
}

pub(crate) fn shown_batch(first: u64, last: u64, records: &[EventRecord]) -> Result<Value, Error> {
    let records: Vec<Value> = records.iter().map(shown_record).collect::<Result<_, _>>()?;
    Ok(json!({"first_sequence_number": first, "last_sequence_number": last, "event_records": records}))
}

pub(crate) fn shown_error(error: &Error) -> Value {
    let kind = error.kind();
    let violations = error.field_violations().iter();
    let mut shown = json!({
        "kind": shown_kind(kind),
        "code": error.code().map(shown_code),
        "reason": error.reason(),
        "message": error.message(),
        "metadata": error.metadata(),
        "field_violations": violations
            .map(|violation| json!({"field": violation.field, "description": violation.description}))
            .collect::<Vec<_>>(),
    });
    if let ErrorKind::Conflict { expected, actual } = kind {
        shown["expected"] = json!(expected);
        shown["actual"] = json!(actual);
    }
    if kind == ErrorKind::OutcomeUnknown {
        shown["idempotency_key"] = json!(error.idempotency_key());
    }
    shown
}

pub(crate) fn shown_kind(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::Conflict { .. } => "conflict".to_owned(),
        other => in_snake_case(&format!("{other:?}")),
    }
}

pub(crate) fn shown_code(code: Code) -> String {
    in_snake_case(&format!("{code:?}")).to_uppercase()
}

pub(crate) fn in_snake_case(name: &str) -> String {
    let mut written = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !written.is_empty() {
            written.push('_');
        }
        written.extend(letter.to_lowercase());
    }
    written
}
