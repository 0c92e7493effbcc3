// This file owns the way between requests, answers and the values of the client.

package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
)

// request is one line of input.
type request struct {
	ID                     json.RawMessage `json:"id"`
	Do                     string          `json:"do"`
	Store                  string          `json:"store"`
	Stream                 string          `json:"stream"`
	Target                 string          `json:"target"`
	TLS                    json.RawMessage `json:"tls"`
	Token                  *string         `json:"token"`
	AllowPlaintextToken    bool            `json:"allow_plaintext_token"`
	TimeoutMS              *float64        `json:"timeout_ms"`
	Retries                *retries        `json:"retries"`
	Events                 []event         `json:"events"`
	IdempotencyKey         *string         `json:"idempotency_key"`
	Query                  *query          `json:"query"`
	ExpectedContextVersion *uint64         `json:"expected_context_version"`
	Limit                  *uint64         `json:"limit"`
	Order                  string          `json:"order"`
	Before                 *uint64         `json:"before"`
	UnlessLast             *string         `json:"unless_last"`
	Interfere              *interference   `json:"interfere"`
	Attempts               *int            `json:"attempts"`
	After                  *uint64         `json:"after"`
	GiveUpAfterMS          *float64        `json:"give_up_after_ms"`
	Name                   string          `json:"name"`
	Start                  any             `json:"start"`
	MaxUnacknowledged      *uint32         `json:"max_unacknowledged_batches"`
	WaitForLease           bool            `json:"wait_for_lease"`
	LastSequenceNumber     uint64          `json:"last_sequence_number"`
	FailAt                 *uint64         `json:"fail_at"`
	Request                json.RawMessage `json:"request"`
}

type retries struct {
	Limit          *int     `json:"limit"`
	FirstDelayMS   *float64 `json:"first_delay_ms"`
	LongestDelayMS *float64 `json:"longest_delay_ms"`
}

type interference struct {
	Times  int     `json:"times"`
	Events []event `json:"events"`
}

type event struct {
	EventType   string            `json:"event_type"`
	Payload     any               `json:"payload"`
	PayloadText *string           `json:"payload_text"`
	Metadata    map[string]string `json:"metadata"`
}

type query struct {
	Filters []struct {
		EventTypes        *[]string `json:"event_types"`
		PayloadPredicates *[]any    `json:"payload_predicates"`
	} `json:"filters"`
	MinSequenceNumber *uint64 `json:"min_sequence_number"`
}

var empty = map[string]any{}

// decode keeps all digits, as the client does.
func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

func eventsOf(events []event) []factstr.Event {
	made := make([]factstr.Event, len(events))
	for i, e := range events {
		made[i] = factstr.Event{EventType: e.EventType, Payload: e.Payload, Metadata: e.Metadata}
		if e.PayloadText != nil {
			made[i].Payload = json.RawMessage(*e.PayloadText)
		}
	}
	return made
}

func queryOf(q *query) factstr.Query {
	if q == nil {
		return factstr.Everything()
	}
	filters := make([]factstr.Filter, len(q.Filters))
	for i, f := range q.Filters {
		if f.EventTypes != nil {
			filters[i] = filters[i].Types(*f.EventTypes...)
		}
		if f.PayloadPredicates != nil {
			filters[i] = filters[i].Payload(*f.PayloadPredicates...)
		}
	}
	made := factstr.Where(filters...)
	if q.MinSequenceNumber != nil {
		made = made.After(*q.MinSequenceNumber)
	}
	return made
}

func moment(at time.Time) string { return at.Format("2006-01-02T15:04:05.000000Z") }

func texts(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// orNull is for sequence numbers of which 0 is none.
func orNull(n uint64) any {
	if n == 0 {
		return nil
	}
	return n
}

func appendedOf(r factstr.AppendResult) map[string]any {
	return map[string]any{
		"first_sequence_number": r.FirstSequenceNumber,
		"last_sequence_number":  r.LastSequenceNumber,
		"committed_count":       r.CommittedCount,
		"occurred_at":           moment(r.OccurredAt),
		"repeated_request":      r.RepeatedRequest,
	}
}

func recordOf(r factstr.EventRecord) (map[string]any, error) {
	var payload any
	if err := r.Decode(&payload); err != nil {
		return nil, err
	}
	return map[string]any{
		"sequence_number": r.SequenceNumber,
		"occurred_at":     moment(r.OccurredAt),
		"event_type":      r.EventType,
		"payload":         payload,
		"payload_text":    string(r.Payload),
		"metadata":        texts(r.Metadata),
	}, nil
}

func batchOf(b factstr.CommittedBatch) (map[string]any, error) {
	records := []any{}
	for _, r := range b.EventRecords {
		record, err := recordOf(r)
		if err != nil {
			return nil, err
		}
		records = append(records, record)
	}
	return map[string]any{
		"first_sequence_number": b.FirstSequenceNumber,
		"last_sequence_number":  b.LastSequenceNumber,
		"event_records":         records,
	}, nil
}

// handlerError is what the handler of `project` fails with.
type handlerError struct{ handled []uint64 }

func (*handlerError) Error() string { return "the handler failed" }

var kinds = map[error]string{
	factstr.ErrUsage:                 "usage",
	factstr.ErrClosed:                "closed",
	factstr.ErrInvalidRequest:        "invalid_request",
	factstr.ErrBatchTooLarge:         "batch_too_large",
	factstr.ErrConflict:              "conflict",
	factstr.ErrIdempotencyKeyReused:  "idempotency_key_reused",
	factstr.ErrUnavailable:           "unavailable",
	factstr.ErrServerBusy:            "server_busy",
	factstr.ErrStoreFull:             "store_full",
	factstr.ErrOutcomeUnknown:        "outcome_unknown",
	factstr.ErrDeadlineExceeded:      "deadline_exceeded",
	factstr.ErrUnauthenticated:       "unauthenticated",
	factstr.ErrPermissionDenied:      "permission_denied",
	factstr.ErrNotImplemented:        "not_implemented",
	factstr.ErrCursorAheadOfLog:      "cursor_ahead_of_log",
	factstr.ErrLogDiverged:           "log_diverged",
	factstr.ErrDurableStreamActive:   "durable_stream_active",
	factstr.ErrQueryMismatch:         "query_mismatch",
	factstr.ErrLeaseLost:             "lease_lost",
	factstr.ErrDurableStreamNotFound: "durable_stream_not_found",
	factstr.ErrServer:                "server_error",
}

func described(err error) map[string]any {
	answer := map[string]any{
		"kind": "other", "code": nil, "reason": nil, "message": err.Error(), "metadata": empty, "field_violations": []any{},
	}
	var handler *handlerError
	if errors.As(err, &handler) {
		answer["kind"] = "handler"
	}
	var failure *factstr.Error
	if !errors.As(err, &failure) {
		return answer
	}
	answer["code"] = code.Code(failure.Code).String()
	answer["message"] = failure.Message
	answer["metadata"] = texts(failure.Metadata)
	if failure.Reason != "" {
		answer["reason"] = failure.Reason
	}
	violations := []map[string]string{}
	for _, v := range failure.FieldViolations {
		violations = append(violations, map[string]string{"field": v.Field, "description": v.Description})
	}
	slices.SortStableFunc(violations, func(a, b map[string]string) int { return cmp.Compare(a["field"], b["field"]) })
	answer["field_violations"] = violations
	if kind, ok := kinds[failure.Kind]; ok {
		answer["kind"] = kind
	} else if errors.Is(err, context.Canceled) {
		answer["kind"] = "cancelled"
	}
	var conflict *factstr.ConflictError
	if errors.As(err, &conflict) {
		answer["expected"], answer["actual"] = orNull(conflict.Expected), orNull(conflict.Actual)
	}
	if failure.Kind == factstr.ErrOutcomeUnknown {
		answer["idempotency_key"] = nil
		if failure.IdempotencyKey != "" {
			answer["idempotency_key"] = failure.IdempotencyKey
		}
	}
	return answer
}
