// This file owns the tests of how a result is read from a server that never says all of it.

package factstr

import (
	"errors"
	"testing"

	"google.golang.org/grpc"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

// forgetful is a server that has the first of two facts, and then nothing more, however often it is asked.
type forgetful struct {
	factstrv1.UnimplementedEventStoreServiceServer
}

func (*forgetful) Query(request *factstrv1.QueryRequest, out grpc.ServerStreamingServer[factstrv1.QueryResponse]) error {
	version := uint64(2)
	answer := &factstrv1.QueryResponse{CurrentContextVersion: &version}
	if request.GetQuery().GetMinSequenceNumber() == 0 {
		answer.EventRecords = []*factstrv1.EventRecord{{SequenceNumber: 1, Payload: "1"}}
	}
	return out.Send(answer)
}

func TestARestThatNeverComesIsNotAskedForWithoutEnd(t *testing.T) {
	play(t, &forgetful{}, func(t *testing.T, store *Store) {
		read, err := store.ReadContext(t.Context(), Everything())
		if !errors.Is(err, ErrUnavailable) {
			t.Errorf("read %+v, %v", read, err)
		}
	})
}
