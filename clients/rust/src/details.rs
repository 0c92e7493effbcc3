//! Owns what the details trailer of a status says: the standard details of `google.rpc`, and the contract's own.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message;
use tonic::Status;
use tonic_types::pb;

use crate::error::{ErrorKind, FieldViolation};
use crate::event::duration;
use crate::v1;

const DOMAIN: &str = "factstr";

/// Empty where there is no trailer, or something on the way has damaged it or made a status of its own of the call's.
pub(crate) struct Details {
    pub(crate) reason: Option<String>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) field_violations: Vec<FieldViolation>,
    pub(crate) retry_delay: Option<Duration>,
    /// An `ErrorKind::Conflict`.
    pub(crate) conflict: ErrorKind,
}

impl Details {
    pub(crate) fn of(status: &Status) -> Self {
        let told = pb::Status::decode(status.details()).unwrap_or_default();
        let packed = if told.code == i32::from(status.code()) { told.details } else { Vec::new() };
        let info: pb::ErrorInfo = unpack(&packed, "google.rpc.ErrorInfo");
        let request: pb::BadRequest = unpack(&packed, "google.rpc.BadRequest");
        let retry: pb::RetryInfo = unpack(&packed, "google.rpc.RetryInfo");
        let conflict: v1::ConditionalAppendConflict = unpack(&packed, "factstr.v1.ConditionalAppendConflict");
        let is_ours = info.domain == DOMAIN && !info.reason.is_empty();
        let violations = request.field_violations.into_iter();
        Self {
            reason: is_ours.then_some(info.reason),
            metadata: if is_ours { info.metadata.into_iter().collect() } else { BTreeMap::new() },
            field_violations: violations
                .map(|violation| FieldViolation { field: violation.field, description: violation.description })
                .collect(),
            retry_delay: duration(retry.retry_delay),
            conflict: ErrorKind::Conflict {
                expected: conflict.expected_context_version,
                actual: conflict.actual_context_version,
            },
        }
    }
}

/// Returns the first detail of a type; an empty one when there is none.
fn unpack<M: Message + Default>(packed: &[prost_types::Any], name: &str) -> M {
    packed
        .iter()
        .filter(|detail| detail.type_url.rsplit('/').next() == Some(name))
        .find_map(|detail| M::decode(detail.value.as_slice()).ok())
        .unwrap_or_default()
}
