// This file owns facts as values: events to append, records and batches that were read, and their JSON.

package factstr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

// Event is a fact to append.
type Event struct {
	// EventType says what happened.
	EventType string
	// Payload is any value that encoding/json can write, or a json.RawMessage, which is sent byte for byte. What in a value
	// is no UTF-8 is written as encoding/json does, as U+FFFD; in a json.RawMessage it is refused, with ErrUsage.
	Payload any
	// Metadata is anything about the fact that no query selects by.
	Metadata map[string]string
}

// EventRecord is a committed fact.
type EventRecord struct {
	// SequenceNumber is its place in the one global order.
	SequenceNumber uint64
	// OccurredAt is when its batch was committed, by the store's clock, in UTC and microseconds. It is not the order.
	OccurredAt time.Time
	// EventType says what happened.
	EventType string
	// Payload is the JSON text that was appended, byte for byte.
	Payload json.RawMessage
	// Metadata is as appended.
	Metadata map[string]string
}

// Decode stores the payload in the value that v points to, as json.Unmarshal does, but numbers in an any are
// json.Number: no integer loses a digit.
func (r EventRecord) Decode(v any) error {
	decoder := json.NewDecoder(bytes.NewReader(r.Payload))
	decoder.UseNumber()
	if err := decoder.Decode(v); err != nil {
		return fmt.Errorf("factstr: the payload of fact %d: %w", r.SequenceNumber, err)
	}
	return nil
}

// CommittedBatch is what one append committed, or the part of it that matches a stream's query. A reader that is done
// with it is done up to LastSequenceNumber.
type CommittedBatch struct {
	// FirstSequenceNumber is of the whole commit.
	FirstSequenceNumber uint64
	// LastSequenceNumber is of the whole commit.
	LastSequenceNumber uint64
	// EventRecords are the facts that match, in order.
	EventRecords []EventRecord
}

// DurableBatch is a batch of a durable stream, to be acknowledged.
type DurableBatch struct {
	CommittedBatch
	// LeaseEpoch is a fencing number: under one name it only ever rises.
	LeaseEpoch uint64

	acknowledgementToken string
}

// jsonText returns the JSON text of a value. json.Marshal would change a RawMessage, and escape what HTML needs escaped.
func jsonText(value any) (string, error) {
	if text, ok := value.(json.RawMessage); ok {
		return string(text), nil
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return "", err
	}
	return string(bytes.TrimSuffix(text.Bytes(), []byte("\n"))), nil
}

func messagesOf(events []Event) ([]*factstrv1.NewEvent, error) {
	messages := make([]*factstrv1.NewEvent, len(events))
	for i, event := range events {
		payload, err := jsonText(event.Payload)
		if err != nil {
			return nil, usage("events[%d].payload cannot be written as JSON: %v", i, err)
		}
		messages[i] = &factstrv1.NewEvent{EventType: event.EventType, Payload: payload, Metadata: event.Metadata}
	}
	return messages, nil
}

func recordsOf(messages []*factstrv1.EventRecord) []EventRecord {
	records := make([]EventRecord, len(messages))
	for i, message := range messages {
		records[i] = EventRecord{
			SequenceNumber: message.GetSequenceNumber(),
			OccurredAt:     message.GetOccurredAt().AsTime(),
			EventType:      message.GetEventType(),
			Payload:        json.RawMessage(message.GetPayload()),
			Metadata:       message.GetMetadata(),
		}
	}
	return records
}

func batchOf(message *factstrv1.CommittedBatch) CommittedBatch {
	if message == nil {
		return CommittedBatch{}
	}
	return CommittedBatch{message.GetFirstSequenceNumber(), message.GetLastSequenceNumber(), recordsOf(message.GetEventRecords())}
}
