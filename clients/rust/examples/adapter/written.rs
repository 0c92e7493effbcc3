//! Owns requests as they are written, and what of the client they stand for.

use std::collections::BTreeMap;

use factstr_client::{Error, Event, EventFilter, EventQuery, Tls};
use serde::Deserialize;
use serde_json::Value;

use crate::shown::{Failure, usage};

/// All arguments of all requests.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct Request {
    pub(crate) id: u64,
    #[serde(rename = "do")]
    pub(crate) what: String,
    pub(crate) store: String,
    pub(crate) stream: String,
    pub(crate) target: String,
    pub(crate) tls: Option<WrittenTls>,
    pub(crate) token: Option<String>,
    pub(crate) allow_plaintext_token: bool,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) retries: WrittenRetries,
    pub(crate) events: Vec<WrittenEvent>,
    pub(crate) query: Option<WrittenQuery>,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) expected_context_version: Option<u64>,
    pub(crate) limit: Option<u64>,
    pub(crate) order: Option<String>,
    pub(crate) before: Option<u64>,
    pub(crate) unless_last: Option<String>,
    pub(crate) interfere: Interference,
    pub(crate) attempts: Option<u32>,
    pub(crate) after: Option<u64>,
    pub(crate) give_up_after_ms: Option<u64>,
    pub(crate) name: String,
    /// A number, or "head".
    pub(crate) start: Option<Value>,
    pub(crate) max_unacknowledged_batches: Option<u32>,
    pub(crate) wait_for_lease: bool,
    pub(crate) last_sequence_number: u64,
    pub(crate) fail_at: Option<u64>,
    pub(crate) request: u64,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum WrittenTls {
    System(bool),
    Files { ca: Option<String>, cert: Option<String>, key: Option<String>, server_name: Option<String> },
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WrittenRetries {
    pub(crate) limit: Option<u32>,
    pub(crate) first_delay_ms: Option<u64>,
    pub(crate) longest_delay_ms: Option<u64>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct WrittenEvent {
    pub(crate) event_type: String,
    #[serde(default)]
    pub(crate) payload: Value,
    pub(crate) payload_text: Option<String>,
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(crate) struct WrittenQuery {
    pub(crate) filters: Vec<WrittenFilter>,
    pub(crate) min_sequence_number: Option<u64>,
}

#[derive(Deserialize)]
pub(crate) struct WrittenFilter {
    pub(crate) event_types: Option<Vec<String>>,
    pub(crate) payload_predicates: Option<Vec<Value>>,
}

#[derive(Default, Deserialize)]
pub(crate) struct Interference {
    pub(crate) times: u64,
    pub(crate) events: Vec<WrittenEvent>,
}

pub(crate) fn tls(written: WrittenTls) -> Result<Option<Tls>, Failure> {
    let (ca, cert, key, server_name) = match written {
        WrittenTls::System(is_on) => return Ok(is_on.then(Tls::new)),
        WrittenTls::Files { ca, cert, key, server_name } => (ca, cert, key, server_name),
    };
    let mut tls = Tls::new();
    if let Some(ca) = ca {
        tls = tls.ca(ca);
    }
    match (cert, key) {
        (Some(cert), Some(key)) => tls = tls.cert(cert, key),
        (None, None) => {}
        // In Rust that cannot even be said.
        _ => return Err(usage("a certificate takes its key")),
    }
    if let Some(name) = server_name {
        tls = tls.server_name(name);
    }
    Ok(Some(tls))
}

pub(crate) fn events(written: Vec<WrittenEvent>) -> Result<Vec<Event>, Error> {
    let event = |one: WrittenEvent| {
        let event = match one.payload_text {
            Some(text) => Event::from_payload_text(one.event_type, text),
            None => Event::new(one.event_type, one.payload)?,
        };
        Ok(one.metadata.into_iter().fold(event, |event, (key, value)| event.with_metadata(key, value)))
    };
    written.into_iter().map(event).collect()
}

pub(crate) fn event_query(written: &WrittenQuery) -> Result<EventQuery, Error> {
    let mut filters = Vec::new();
    for one in &written.filters {
        let mut filter = EventFilter::new();
        if let Some(types) = &one.event_types {
            filter = filter.event_types(types);
        }
        if let Some(predicates) = &one.payload_predicates {
            filter = filter.payloads(predicates)?;
        }
        filters.push(filter);
    }
    let query = EventQuery::any_of(filters);
    Ok(match written.min_sequence_number {
        Some(sequence_number) => query.after(sequence_number),
        None => query,
    })
}
