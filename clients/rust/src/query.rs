//! Owns queries as values: which facts to select.

use std::ops::BitOr;

use serde::Serialize;

use crate::error::Error;
use crate::event::to_json_text;
use crate::v1;

/// One alternative of a query: event types AND payload predicates, each any-of. What is not set does not constrain;
/// what is set but empty matches nothing.
///
/// ```
/// # fn main() -> Result<(), factstr_client::Error> {
/// use factstr_client::EventFilter;
/// use serde_json::json;
///
/// let drill = EventFilter::new()
///     .event_types(["tool-registered", "tool-returned"])
///     .payload(json!({"tool": {"id": "drill-1"}}))?;
/// let query = drill | EventFilter::new().event_types(["audit-started"]);
/// # let _ = query;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct EventFilter(v1::EventFilter);

impl EventFilter {
    /// Matches every fact.
    pub fn new() -> Self {
        Self::default()
    }

    /// Matches facts of any of these types only; of none when there are none. Given again, it adds to them.
    pub fn event_types<T: Into<String>>(mut self, event_types: impl IntoIterator<Item = T>) -> Self {
        let any_of = &mut self.0.event_types.get_or_insert_default().any_of;
        any_of.extend(event_types.into_iter().map(Into::into));
        self
    }

    /// Matches facts whose payload holds at least what the predicate says: objects by a subset of keys, arrays by some
    /// element for each of the predicate's, numbers by exact value. Given again, either may match.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) when JSON cannot say the predicate.
    pub fn payload(self, predicate: impl Serialize) -> Result<Self, Error> {
        self.payloads([predicate])
    }

    /// Matches facts whose payload matches any of these predicates; none when there are none.
    ///
    /// # Errors
    ///
    /// As of [`payload`](EventFilter::payload).
    pub fn payloads<T: Serialize>(mut self, predicates: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let any_of = &mut self.0.payload_predicates.get_or_insert_default().any_of;
        for predicate in predicates {
            any_of.push(to_json_text(&predicate).map_err(|error| {
                Error::usage(format!("the predicate cannot be written as JSON: {error}")).with_source(error)
            })?);
        }
        Ok(self)
    }
}

/// Selects facts: those that any of its filters matches; without a filter, all.
///
/// Operations take it, a filter alone, or a reference to either.
#[derive(Clone, Debug, Default, PartialEq)]
#[must_use]
pub struct EventQuery(v1::EventQuery);

impl EventQuery {
    /// Selects every fact.
    pub fn all() -> Self {
        Self::default()
    }

    /// Selects what any of the filters matches; every fact when there are none.
    pub fn any_of(filters: impl IntoIterator<Item = EventFilter>) -> Self {
        let filters = filters.into_iter().map(|filter| filter.0).collect();
        Self(v1::EventQuery { filters, min_sequence_number: None })
    }

    /// Returns only facts strictly after a sequence number. It never narrows the context version or a condition.
    pub fn after(mut self, sequence_number: u64) -> Self {
        self.0.min_sequence_number = Some(sequence_number);
        self
    }

    pub(crate) fn into_message(self) -> v1::EventQuery {
        self.0
    }
}

impl From<EventFilter> for EventQuery {
    fn from(filter: EventFilter) -> Self {
        Self::any_of([filter])
    }
}

impl From<&EventFilter> for EventQuery {
    fn from(filter: &EventFilter) -> Self {
        filter.clone().into()
    }
}

impl From<&EventQuery> for EventQuery {
    fn from(query: &EventQuery) -> Self {
        query.clone()
    }
}

impl BitOr for EventFilter {
    type Output = EventQuery;

    /// Selects what either matches.
    fn bitor(self, other: Self) -> EventQuery {
        EventQuery::any_of([self, other])
    }
}

impl BitOr<EventFilter> for EventQuery {
    type Output = EventQuery;

    /// Selects what either selects; the position of [`after`](EventQuery::after) stays.
    fn bitor(mut self, filter: EventFilter) -> EventQuery {
        // No filter at all means every fact, and every fact or some is every fact.
        if !self.0.filters.is_empty() {
            self.0.filters.push(filter.0);
        }
        self
    }
}
