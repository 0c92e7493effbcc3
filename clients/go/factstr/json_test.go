// This file owns the tests of payloads, against a server.

package factstr_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
)

// stored appends a payload and returns it as a record.
func stored(t *testing.T, payload any) factstr.EventRecord {
	t.Helper()
	result, err := store.Append(t.Context(), []factstr.Event{{EventType: "stored", Payload: payload}})
	if err != nil {
		t.Fatal(err)
	}
	read, err := store.ReadContext(t.Context(), factstr.Where(factstr.Types("stored")).After(result.LastSequenceNumber-1))
	if err != nil || len(read.EventRecords) != 1 {
		t.Fatalf("read %+v, %v", read, err)
	}
	return read.EventRecords[0]
}

func TestIntegersKeepAllDigits(t *testing.T) {
	type numbers struct {
		Largest  uint64 `json:"largest"`
		Smallest int64  `json:"smallest"`
	}
	written := numbers{math.MaxUint64, math.MinInt64}
	record := stored(t, written)
	var read numbers
	if err := record.Decode(&read); err != nil || read != written {
		t.Errorf("read %+v, %v", read, err)
	}
	var values any
	if err := record.Decode(&values); err != nil {
		t.Fatal(err)
	}
	if largest := values.(map[string]any)["largest"]; largest != json.Number("18446744073709551615") {
		t.Errorf("the largest is %#v", largest)
	}
	if again := stored(t, values); string(again.Payload) != string(record.Payload) {
		t.Errorf("read and written again it is %s", again.Payload)
	}
}

func TestARawMessageIsStoredByteForByte(t *testing.T) {
	text := `{ "b":1.50, "a" : "<\u00e9&é>" ,"a":9007199254740993}`
	if record := stored(t, json.RawMessage(text)); string(record.Payload) != text {
		t.Errorf("it is %s", record.Payload)
	}
}

func TestAValueIsWrittenWithoutEscapingForHTML(t *testing.T) {
	if record := stored(t, "<a & b>"); string(record.Payload) != `"<a & b>"` {
		t.Errorf("it is %s", record.Payload)
	}
	if record := stored(t, nil); string(record.Payload) != "null" {
		t.Errorf("it is %s", record.Payload)
	}
}

func TestWhatCannotBeSentIsWrongUsage(t *testing.T) {
	for name, event := range map[string]factstr.Event{
		"NaN":                    {EventType: "a", Payload: math.NaN()},
		"a function":             {EventType: "a", Payload: func() {}},
		"a type that is no text": {EventType: "\xff", Payload: 1},
		"a raw message likewise": {EventType: "a", Payload: json.RawMessage("\"\xff\"")},
	} {
		if _, err := store.Append(t.Context(), []factstr.Event{event}); !errors.Is(err, factstr.ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := store.Query(t.Context(), factstr.Where(factstr.Payload(math.Inf(1)))); !errors.Is(err, factstr.ErrUsage) {
		t.Error(err)
	}
	if _, err := store.StreamTo(t.Context(), factstr.Where(factstr.Types("\xff"))); !errors.Is(err, factstr.ErrUsage) {
		t.Error(err)
	}
}

func TestAFilterWithoutATypeMatchesNothing(t *testing.T) {
	stored(t, 1)
	var none []string
	for name, filter := range map[string]factstr.Filter{"types": factstr.Types(none...), "predicates": factstr.Payload()} {
		read, err := store.ReadContext(t.Context(), factstr.Where(filter))
		if err != nil || len(read.EventRecords) != 0 {
			t.Errorf("without %s: %d facts, %v", name, len(read.EventRecords), err)
		}
	}
}
