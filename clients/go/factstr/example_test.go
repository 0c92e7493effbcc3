// This file owns the examples of the documentation and the README, and the server that they run on.

package factstr_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"testing"
	"time"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
	"github.com/factstr/factstr-grpc/clients/go/factstr/factstrtest"
	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

var (
	ctx   = context.Background()
	store *factstr.Store
)

// TestMain gives the examples, which the README shows too, a store.
func TestMain(m *testing.M) {
	target, stop, err := factstrtest.Run()
	if err != nil {
		log.Fatal(err)
	}
	if store, err = factstr.Connect(target); err != nil {
		log.Fatal(err)
	}
	failed := m.Run()
	_ = store.Close()
	stop()
	os.Exit(failed)
}

func ExampleConnect() {
	store, err := factstr.Connect("localhost:50051")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
}

func ExampleConnect_secure() {
	store, err := factstr.Connect("facts.example:50051",
		factstr.WithTLS(factstr.TLS{}),
		factstr.WithToken(os.Getenv("FACTSTR_TOKEN")),
		factstr.WithTimeout(10*time.Second),
	)
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
}

func ExampleStore_Append() {
	result, err := store.Append(ctx, []factstr.Event{{
		EventType: "tool-registered",
		Payload:   map[string]any{"tool": map[string]any{"id": "drill-1"}},
		Metadata:  map[string]string{"desk": "north"},
	}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(result.CommittedCount)
	// Output: 1
}

func ExampleStore_Query() {
	register("saw-2")

	saw := factstr.Where(
		factstr.Types("tool-registered", "tool-returned").Payload(map[string]any{"tool": map[string]any{"id": "saw-2"}}),
		factstr.Types("audit-started"),
	)
	result, err := store.Query(ctx, saw, factstr.Descending(), factstr.Limit(10))
	if err != nil {
		log.Fatal(err)
	}
	defer result.Close()
	fmt.Println(result.ContextVersion() > 0)
	for record, err := range result.Records() {
		if err != nil {
			log.Fatal(err)
		}
		var fact struct{ Tool struct{ ID string } }
		if err := record.Decode(&fact); err != nil {
			log.Fatal(err)
		}
		fmt.Println(record.EventType, fact.Tool.ID)
	}
	// Output:
	// true
	// tool-registered saw-2
}

func ExampleStore_Decide() {
	register("lathe-3")

	payload := map[string]any{"tool": map[string]any{"id": "lathe-3"}}
	lathe := factstr.Where(factstr.Types("tool-registered", "tool-checked-out", "tool-returned").Payload(payload))
	checkOut := func(read factstr.Context) ([]factstr.Event, error) {
		if n := len(read.EventRecords); n == 0 || read.EventRecords[n-1].EventType == "tool-checked-out" {
			return nil, nil
		}
		return []factstr.Event{{EventType: "tool-checked-out", Payload: payload}}, nil
	}
	for range 2 {
		result, err := store.Decide(ctx, lathe, checkOut)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("checked out:", result.CommittedCount == 1)
	}
	// Output:
	// checked out: true
	// checked out: false
}

func ExampleStore_StreamTo() {
	register("plane-4")

	stream, err := store.StreamTo(ctx, factstr.Where(factstr.Types("tool-registered")), factstr.After(0))
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	for batch, err := range stream.UntilCaughtUp() {
		if err != nil {
			log.Fatal(err)
		}
		show(batch)
	}
	fmt.Println(stream.Position() > 0)
	// Output: true
}

func ExampleStore_Project() {
	register("vice-5")

	tools := map[string]string{}
	err := store.Project(ctx, "tools", factstr.Where(factstr.Types("tool-registered", "tool-returned")),
		func(_ context.Context, batch factstr.DurableBatch) error {
			for _, record := range batch.EventRecords {
				var fact struct{ Tool struct{ ID string } }
				if err := record.Decode(&fact); err != nil {
					return err
				}
				tools[fact.Tool.ID] = record.EventType
			}
			return nil
		}, factstr.StopWhenCaughtUp())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(tools["vice-5"])
	// Output: tool-registered
}

func ExampleStore_StreamAllDurable() {
	stream, err := store.StreamAllDurable(ctx, "audit", factstr.StartAtHead(), factstr.WaitForLease())
	if err != nil {
		log.Fatal(err)
	}
	defer stream.Close()
	for batch, err := range stream.UntilCaughtUp() {
		if err != nil {
			log.Fatal(err)
		}
		show(batch.CommittedBatch)
		if _, err := stream.Acknowledge(ctx, batch); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
}

func ExampleError() {
	register("drill-6")

	drill := factstr.Where(factstr.Payload(map[string]any{"tool": map[string]any{"id": "drill-6"}}))
	_, err := store.AppendIf(ctx, []factstr.Event{{EventType: "tool-registered"}}, drill, 0)
	var conflict *factstr.ConflictError
	var failure *factstr.Error
	switch {
	case errors.As(err, &conflict):
		fmt.Println("somebody was faster:", conflict.Expected, conflict.Actual > 0)
	case errors.Is(err, factstr.ErrOutcomeUnknown) && errors.As(err, &failure):
		fmt.Println("it may be committed; to ask again:", failure.IdempotencyKey)
	case errors.Is(err, factstr.ErrUnavailable):
		fmt.Println("later")
	}
	// Output: somebody was faster: 0 true
}

func ExampleStore_Conn() {
	streams := factstrv1.NewDurableStreamServiceClient(store.Conn())
	_, err := streams.GetDurableStream(ctx, &factstrv1.GetDurableStreamRequest{DurableStream: "nobody"})
	fmt.Println(err != nil)
	// Output: true
}

func register(id string) {
	payload := map[string]any{"tool": map[string]any{"id": id}}
	if _, err := store.Append(ctx, []factstr.Event{{EventType: "tool-registered", Payload: payload}}); err != nil {
		log.Fatal(err)
	}
}

func show(factstr.CommittedBatch) {}
