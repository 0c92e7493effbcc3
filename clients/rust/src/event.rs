//! Owns facts as values: events to append, records that were read, and what an append answered.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::numbers::check_numbers;
use crate::v1;

/// A fact to append.
///
/// The limits of the contract are checked by the server.
///
/// ```
/// # fn main() -> Result<(), factstr_client::Error> {
/// use factstr_client::Event;
/// use serde_json::json;
///
/// let event = Event::new("tool-registered", json!({"tool": {"id": "drill-1"}}))?.with_metadata("desk", "north");
/// assert_eq!(event.payload_text(), r#"{"tool":{"id":"drill-1"}}"#);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Event(v1::NewEvent);

impl Event {
    /// Makes an event whose payload is the value as [`serde_json`] writes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when JSON cannot say the value.
    pub fn new(event_type: impl Into<String>, payload: impl Serialize) -> Result<Self, Error> {
        let event_type = event_type.into();
        match to_json_text(&payload) {
            Ok(text) => Ok(Self::from_payload_text(event_type, text)),
            Err(error) => {
                let message = format!("the payload of {event_type:?} cannot be written as JSON: {error}");
                Err(Error::usage(message).with_source(error))
            }
        }
    }

    /// Makes an event whose payload is a JSON text, which is sent byte for byte.
    #[must_use]
    pub fn from_payload_text(event_type: impl Into<String>, payload_text: impl Into<String>) -> Self {
        Self(v1::NewEvent { event_type: event_type.into(), payload: payload_text.into(), metadata: BTreeMap::new() })
    }

    /// Adds something about the fact that no query selects by.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.metadata.insert(key.into(), value.into());
        self
    }

    /// Returns what happened.
    #[must_use]
    pub fn event_type(&self) -> &str {
        &self.0.event_type
    }

    /// Returns the payload as it is sent.
    #[must_use]
    pub fn payload_text(&self) -> &str {
        &self.0.payload
    }

    /// Returns the metadata.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.0.metadata
    }

    pub(crate) fn into_message(self) -> v1::NewEvent {
        self.0
    }
}

/// One event is a batch of one.
impl From<Event> for Vec<Event> {
    fn from(event: Event) -> Self {
        vec![event]
    }
}

/// A committed fact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventRecord {
    /// Its place in the one global order: starts at 1, increases, has no gaps.
    pub sequence_number: u64,
    /// When its batch was committed, by the store's clock, to the microsecond. It is not the order.
    pub occurred_at: SystemTime,
    /// What happened.
    pub event_type: String,
    /// The payload as it was appended, byte for byte.
    pub payload_text: String,
    /// The metadata as it was appended.
    pub metadata: BTreeMap<String, String>,
}

impl EventRecord {
    /// Makes the record that an event would become, for tests of what reads records.
    ///
    /// It is of 1970: set `occurred_at` where that matters.
    #[must_use]
    pub fn new(sequence_number: u64, event: Event) -> Self {
        let v1::NewEvent { event_type, payload, metadata } = event.0;
        Self { sequence_number, occurred_at: SystemTime::UNIX_EPOCH, event_type, payload_text: payload, metadata }
    }

    /// Returns the payload as a value, for example a [`serde_json::Value`] or a type of your own.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when the payload is no such value.
    pub fn payload<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_str(&self.payload_text).map_err(|error| {
            let message = format!("the payload of fact {} ({}): {error}", self.sequence_number, self.event_type);
            Error::usage(message).with_source(error)
        })
    }

    pub(crate) fn from_message(message: v1::EventRecord) -> Self {
        Self {
            sequence_number: message.sequence_number,
            occurred_at: moment(message.occurred_at),
            event_type: message.event_type,
            payload_text: message.payload,
            metadata: message.metadata,
        }
    }
}

/// What an append committed: one consecutive range of sequence numbers, all at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppendResult {
    /// Of the first fact of the batch.
    pub first_sequence_number: u64,
    /// Of the last fact of the batch.
    pub last_sequence_number: u64,
    /// How many facts the batch holds.
    pub committed_count: u64,
    /// When it was committed, by the store's clock, to the microsecond.
    pub occurred_at: SystemTime,
    /// True when the caller's idempotency key had been used by the same request before: then this is the first result
    /// again, and nothing was committed now.
    pub repeated_request: bool,
}

impl AppendResult {
    pub(crate) fn from_message(message: v1::AppendResponse) -> Self {
        Self {
            first_sequence_number: message.first_sequence_number,
            last_sequence_number: message.last_sequence_number,
            committed_count: message.committed_count,
            occurred_at: moment(message.occurred_at),
            repeated_request: message.repeated_request,
        }
    }
}

/// The facts that a query selects, and the version of the context that they are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The facts, oldest first.
    pub records: Vec<EventRecord>,
    /// The highest sequence number among all that match; `None` when no fact does.
    pub version: Option<u64>,
}

impl Context {
    /// Makes the context of all these facts, oldest first, for tests of decisions: its version is the last one's number.
    ///
    /// ```
    /// # fn main() -> Result<(), factstr_client::Error> {
    /// use factstr_client::{Context, Event, EventRecord};
    ///
    /// let context = Context::new(vec![EventRecord::new(7, Event::new("tool-registered", ())?)]);
    /// assert_eq!(context.version, Some(7));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn new(records: Vec<EventRecord>) -> Self {
        let version = records.last().map(|record| record.sequence_number);
        Self { records, version }
    }
}

pub(crate) fn to_json_text(value: &impl Serialize) -> Result<String, serde_json::Error> {
    check_numbers(value)?;
    serde_json::to_string(value)
}

fn moment(timestamp: Option<prost_types::Timestamp>) -> SystemTime {
    timestamp.and_then(|timestamp| timestamp.try_into().ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Returns a positive duration of a message, however long it is; `None` for any other.
pub(crate) fn duration(message: Option<prost_types::Duration>) -> Option<Duration> {
    const NANOS: i128 = 1_000_000_000;
    // Prost's own conversion overflows at the ends.
    let message = message?;
    let nanos = i128::from(message.seconds) * NANOS + i128::from(message.nanos);
    let (seconds, rest) = (u64::try_from(nanos / NANOS).ok()?, u32::try_from(nanos % NANOS).ok()?);
    Some(Duration::new(seconds, rest)).filter(|duration| !duration.is_zero())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::*;
    use crate::ErrorKind;

    fn record(event: &Event) -> EventRecord {
        EventRecord::new(1, event.clone())
    }

    #[test]
    fn a_context_can_be_made_as_one_is_read() {
        let event = Event::new("a", 1).unwrap().with_metadata("desk", "north");
        let message = v1::EventRecord {
            sequence_number: 7,
            event_type: "a".into(),
            payload: "1".into(),
            metadata: event.metadata().clone(),
            ..Default::default()
        };
        let made = EventRecord::new(7, event);
        assert_eq!(made, EventRecord::from_message(message));
        assert_eq!(Context::new(vec![made.clone()]), Context { records: vec![made], version: Some(7) });
        assert_eq!(Context::new(vec![]).version, None);
    }

    #[test]
    fn no_integer_of_64_bits_loses_a_digit() {
        for text in ["18446744073709551615", "9223372036854775807", "-9223372036854775808", "9007199254740993"] {
            let event = Event::new("a", text.parse::<i128>().unwrap()).unwrap();
            assert_eq!(event.payload_text(), text);
            assert_eq!(record(&event).payload::<Value>().unwrap().to_string(), text);
            assert_eq!(record(&event).payload::<i128>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_text_is_kept_byte_for_byte() {
        let text = " {\"n\" : 1.50, \"n\":2e0}\n";
        let event = Event::from_payload_text("a", text);
        assert_eq!(event.payload_text(), text);
        assert_eq!(record(&event).payload_text, text);
        assert_eq!(record(&event).payload::<Value>().unwrap(), json!({"n": 2.0}));
    }

    #[test]
    fn a_payload_is_read_as_the_type_that_is_asked_for() {
        #[derive(Debug, Deserialize, PartialEq)]
        struct Tool {
            id: String,
            price: Option<u64>,
        }
        let event = Event::new("a", json!({"id": "drill-1", "price": null})).unwrap();
        assert_eq!(record(&event).payload::<Tool>().unwrap(), Tool { id: "drill-1".into(), price: None });
        let error = record(&event).payload::<Vec<u8>>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert_eq!(error.code(), None);
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn a_float_is_read_as_the_one_that_was_written() {
        for float in [219.998_900_000_000_02, 0.1, -f64::MAX, f64::MIN_POSITIVE, 5e-324, -0.0] {
            let read = record(&Event::new("a", float).unwrap()).payload::<f64>().unwrap();
            assert_eq!(read.to_bits(), float.to_bits());
        }
    }

    #[test]
    fn what_json_cannot_say_is_wrong_usage() {
        let error = Event::new("a", HashMap::from([((1, 2), 3)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Usage);
        assert!(error.message().contains("\"a\""), "{error}");
    }

    #[test]
    fn a_duration_is_positive_and_as_long_as_it_is() {
        let read = |seconds, nanos| duration(Some(prost_types::Duration { seconds, nanos }));
        assert_eq!(read(1, 500_000_000), Some(Duration::from_millis(1_500)));
        assert_eq!(read(2, -500_000_000), Some(Duration::from_millis(1_500)));
        assert_eq!(read(i64::MAX, 0), Some(Duration::from_secs(i64::MAX.unsigned_abs())));
        assert!(read(i64::MAX, i32::MAX) > read(i64::MAX, 0));
        for (seconds, nanos) in [(0, 0), (0, -1), (-1, 1), (1, i32::MIN), (i64::MIN, 0), (i64::MIN, i32::MIN)] {
            assert_eq!(read(seconds, nanos), None);
        }
        assert_eq!(duration(None), None);
    }

    #[test]
    fn a_moment_is_kept_to_the_microsecond() {
        let timestamp = prost_types::Timestamp { seconds: 1_790_000_000, nanos: 123_456_000 };
        let since = moment(Some(timestamp)).duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(since.as_micros(), 1_790_000_000_123_456);
    }
}
