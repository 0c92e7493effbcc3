// This file owns the tests of what a projection leaves acknowledged, against a server.

package factstr_test

import (
	"context"
	"errors"
	"testing"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
	"github.com/factstr/factstr-grpc/clients/go/factstr/factstrtest"
	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

func TestACancelledProjectionAcknowledgesWhatItHasHandled(t *testing.T) {
	store := factstrtest.Start(t).Connect()
	for range 5 {
		if _, err := store.Append(t.Context(), []factstr.Event{{EventType: "a"}}); err != nil {
			t.Fatal(err)
		}
	}
	for name, finished := range map[string]bool{"finished": true, "unfinished": false} {
		ctx, cancel := context.WithCancel(t.Context())
		err := store.Project(ctx, name, factstr.Everything(), func(ctx context.Context, batch factstr.DurableBatch) error {
			if batch.LastSequenceNumber < 3 {
				return nil
			}
			cancel()
			if finished {
				return nil
			}
			return ctx.Err()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: it ended with %v", name, err)
		}
		want := uint64(2)
		if finished {
			want = 3
		}
		streams := factstrv1.NewDurableStreamServiceClient(store.Conn())
		kept, err := streams.GetDurableStream(t.Context(), &factstrv1.GetDurableStreamRequest{DurableStream: name})
		if err != nil || kept.GetDurableStream().GetCursor() != want {
			t.Errorf("%s: it stands at %d, %v", name, kept.GetDurableStream().GetCursor(), err)
		}
	}
}
