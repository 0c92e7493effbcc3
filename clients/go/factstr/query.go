// This file owns queries as values: which facts to select.

package factstr

import (
	"slices"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

// Query selects facts: those that match any of its alternatives. The zero value selects every fact. A Query never
// changes; its methods return new ones.
type Query struct {
	filters []Filter
	after   *uint64
}

// Filter is one alternative of a query: event types AND payload predicates. The zero value matches every fact.
type Filter struct {
	eventTypes        []string // nil does not constrain
	payloadPredicates []any    // nil does not constrain
}

// Everything returns the query for every fact.
func Everything() Query { return Query{} }

// Where returns the query for facts that match any of the filters. Without a filter it selects every fact.
func Where(filters ...Filter) Query { return Query{filters: slices.Clone(filters)} }

// Types returns the filter for facts of any of these types. Without a type it matches nothing.
func Types(eventTypes ...string) Filter { return Filter{}.Types(eventTypes...) }

// Payload returns the filter for facts whose payload matches any of these predicates: see [Filter.Payload].
func Payload(predicates ...any) Filter { return Filter{}.Payload(predicates...) }

// Types returns this filter for facts of any of these types. Without a type it matches nothing.
func (f Filter) Types(eventTypes ...string) Filter {
	f.eventTypes = append([]string{}, eventTypes...)
	return f
}

// Payload returns this filter for facts whose payload matches any of these predicates. Each is a JSON value, given as in
// [Event.Payload], and matches every payload that holds at least what it says. Without a predicate it matches nothing.
func (f Filter) Payload(predicates ...any) Filter {
	f.payloadPredicates = append([]any{}, predicates...)
	return f
}

// After returns this query for facts strictly after a sequence number. That narrows what [Store.Query] returns, never a
// context version, a condition or a stream.
func (q Query) After(sequenceNumber uint64) Query {
	q.after = &sequenceNumber
	return q
}

func (q Query) message() (*factstrv1.EventQuery, error) {
	message := &factstrv1.EventQuery{MinSequenceNumber: q.after}
	for i, filter := range q.filters {
		alternative := &factstrv1.EventFilter{}
		if filter.eventTypes != nil {
			alternative.EventTypes = &factstrv1.EventTypes{AnyOf: filter.eventTypes}
		}
		if filter.payloadPredicates != nil {
			alternative.PayloadPredicates = &factstrv1.PayloadPredicates{}
		}
		for j, predicate := range filter.payloadPredicates {
			text, err := jsonText(predicate)
			if err != nil {
				return nil, usage("query.filters[%d].payload_predicates[%d] cannot be written as JSON: %v", i, j, err)
			}
			alternative.PayloadPredicates.AnyOf = append(alternative.PayloadPredicates.AnyOf, text)
		}
		message.Filters = append(message.Filters, alternative)
	}
	return message, nil
}
