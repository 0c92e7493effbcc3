// This file owns the tests of how a stream waits, against a server that follows a script, in a time of its own.

package factstr

import (
	"context"
	"errors"
	"math"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/durationpb"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

type scripted func(*factstrv1.StreamAllRequest, responses) error

type responses = grpc.ServerStreamingServer[factstrv1.StreamResponse]

// script is a server whose calls of StreamAll do one after the other what they are told, and the last again and again.
type script struct {
	factstrv1.UnimplementedEventStoreServiceServer
	calls []scripted
	asked int
}

func (s *script) StreamAll(request *factstrv1.StreamAllRequest, out responses) error {
	call := s.calls[min(s.asked, len(s.calls)-1)]
	s.asked++
	return call(request, out)
}

func begin(out responses) error { return beginWith(out, durationpb.New(time.Second)) }

func beginWith(out responses, heartbeat *durationpb.Duration) error {
	return out.Send(&factstrv1.StreamResponse{Content: &factstrv1.StreamResponse_Started{Started: &factstrv1.StreamStarted{
		StoreId: "store", HistoryId: "history", HeartbeatInterval: heartbeat,
	}}})
}

func send(out responses, sequenceNumbers ...uint64) error {
	batches := &factstrv1.CommittedBatches{}
	for _, n := range sequenceNumbers {
		batches.Batches = append(batches.Batches, &factstrv1.CommittedBatch{FirstSequenceNumber: n, LastSequenceNumber: n})
	}
	return out.Send(&factstrv1.StreamResponse{Content: &factstrv1.StreamResponse_Batches{Batches: batches}})
}

// silent says `started` and what is given, and then nothing until the call ends.
func silent(sequenceNumbers ...uint64) scripted {
	return func(_ *factstrv1.StreamAllRequest, out responses) error {
		if err := begin(out); err != nil {
			return err
		}
		if len(sequenceNumbers) > 0 {
			if err := send(out, sequenceNumbers...); err != nil {
				return err
			}
		}
		<-out.Context().Done()
		return nil
	}
}

// play runs a test against a server, in a time of its own. It fails when a goroutine is left over.
func play(t *testing.T, server factstrv1.EventStoreServiceServer, test func(t *testing.T, store *Store)) {
	synctest.Test(t, func(t *testing.T) {
		listener := bufconn.Listen(1 << 20)
		serving := grpc.NewServer()
		factstrv1.RegisterEventStoreServiceServer(serving, server)
		go func() { _ = serving.Serve(listener) }()
		conn, err := grpc.NewClient("passthrough:///script",
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
		if err != nil {
			t.Fatal(err)
		}
		store := &Store{
			conn: conn, events: factstrv1.NewEventStoreServiceClient(conn), timeout: defaultTimeout, retries: DefaultRetries(),
		}
		store.open, store.close = context.WithCancel(context.Background())
		test(t, store)
		_ = store.Close()
		serving.Stop()
	})
}

func TestAStreamWhoseContextIsCancelledFreesItsGoroutines(t *testing.T) {
	play(t, &script{calls: []scripted{silent()}},
		func(t *testing.T, store *Store) {
			openAndCancel := func() int {
				ctx, cancel := context.WithCancel(t.Context())
				stream, err := store.StreamAll(ctx)
				if err != nil {
					t.Fatal(err)
				}
				time.AfterFunc(time.Second, cancel)
				for _, err = range stream.Batches() {
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("it ended with %v", err)
				}
				if _, err := stream.Next(t.Context()); !errors.Is(err, context.Canceled) {
					t.Errorf("then %v", err)
				}
				synctest.Wait()
				return runtime.NumGoroutine()
			}
			// The first has brought about the connection, which stays.
			if first, second := openAndCancel(), openAndCancel(); first != second {
				t.Errorf("there were %d goroutines, and are %d", first, second)
			}
		})
}

func TestASilentServerIsLeftAfterThreeHeartbeatsAndFiveSeconds(t *testing.T) {
	server := &script{}
	server.calls = append(server.calls, silent(1, 2), func(request *factstrv1.StreamAllRequest, out responses) error {
		return errors.Join(begin(out), send(out, request.GetAfterSequenceNumber()+1))
	})
	play(t, server, func(t *testing.T, store *Store) {
		stream, err := store.StreamAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		began := time.Now()
		want := uint64(1)
		for batch, err := range stream.Batches() {
			if err != nil || batch.LastSequenceNumber != want {
				t.Fatalf("batch %d is %d, %v", want, batch.LastSequenceNumber, err)
			}
			if want++; want > 3 {
				break
			}
		}
		if waited := time.Since(began); waited < 8*time.Second || waited > 9*time.Second {
			t.Errorf("it was left after %v", waited)
		}
	})
}

func TestAStreamThatIsGivenUpSaysHowItWasInterrupted(t *testing.T) {
	server := &script{}
	server.calls = append(server.calls, func(_ *factstrv1.StreamAllRequest, out responses) error { return begin(out) })
	play(t, server, func(t *testing.T, store *Store) {
		stream, err := store.StreamAll(t.Context(), GiveUpAfter(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		_, err = stream.Next(t.Context())
		if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "the stream ended without a reason") {
			t.Errorf("it is %v", err)
		}
	})
}

func TestLeavingAWaitLosesNeitherTheCallNorABatch(t *testing.T) {
	server := &script{}
	server.calls = append(server.calls, func(_ *factstrv1.StreamAllRequest, out responses) error {
		if err := begin(out); err != nil {
			return err
		}
		time.Sleep(3 * time.Second)
		if err := send(out, 1); err != nil {
			return err
		}
		<-out.Context().Done()
		return nil
	})
	play(t, server, func(t *testing.T, store *Store) {
		stream, err := store.StreamAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := stream.Next(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("it is %v", err)
		}
		if batch, err := stream.Next(t.Context()); err != nil || batch.LastSequenceNumber != 1 || server.asked != 1 {
			t.Fatalf("it is %d, %v, asked %d times", batch.LastSequenceNumber, err, server.asked)
		}
	})
}

func TestOpeningAStreamThatNeverBeginsEndsAtTheTimeout(t *testing.T) {
	server := &script{}
	server.calls = append(server.calls, func(_ *factstrv1.StreamAllRequest, out responses) error {
		<-out.Context().Done()
		return nil
	})
	play(t, server, func(t *testing.T, store *Store) {
		began := time.Now()
		_, err := store.StreamAll(t.Context())
		if waited := time.Since(began); !errors.Is(err, ErrDeadlineExceeded) || waited != defaultTimeout {
			t.Errorf("after %v: %v", waited, err)
		}
	})
}

func TestOneGoroutineAtATimeReadsAStream(t *testing.T) {
	play(t, &script{calls: []scripted{silent()}},
		func(t *testing.T, store *Store) {
			stream, err := store.StreamAll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error)
			go func() {
				_, err := stream.Next(t.Context())
				ended <- err
			}()
			synctest.Wait()
			if _, err := stream.Next(t.Context()); !errors.Is(err, ErrUsage) {
				t.Errorf("it is %v", err)
			}
			stream.Close()
			if err := <-ended; !errors.Is(err, ErrClosed) {
				t.Errorf("it is %v", err)
			}
			for range stream.Batches() {
				t.Error("a batch of a closed stream")
			}
		})
}

func TestAStreamIsNotClosedByAnothersEnd(t *testing.T) {
	play(t, &script{calls: []scripted{silent()}}, func(t *testing.T, store *Store) {
		other, err := store.StreamAll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		other.Close()
		_, closed := other.Next(t.Context())
		ctx, cancel := context.WithCancelCause(t.Context())
		stream, err := store.StreamAll(ctx)
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() { cancel(closed) })
		var last error
		for _, last = range stream.Batches() {
		}
		if !errors.Is(last, context.Canceled) || errors.Is(last, ErrClosed) {
			t.Errorf("it ended with %v", last)
		}
	})
}

func TestAHeartbeatThatIsNoneIsTheUsualOneAndNoneIsTooLong(t *testing.T) {
	for _, heartbeat := range []struct {
		named     *durationpb.Duration
		forgiving time.Duration
		asked     int
	}{
		{nil, 34 * time.Second, 1},
		{nil, 36 * time.Second, 2},
		{durationpb.New(-time.Hour), 34 * time.Second, 1},
		{durationpb.New(-time.Hour), 36 * time.Second, 2},
		{&durationpb.Duration{Seconds: math.MaxInt64}, 10_000 * time.Hour, 1},
	} {
		server := &script{}
		server.calls = append(server.calls, func(_ *factstrv1.StreamAllRequest, out responses) error {
			err := beginWith(out, heartbeat.named)
			<-out.Context().Done()
			return err
		})
		play(t, server, func(t *testing.T, store *Store) {
			stream, err := store.StreamAll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			waiting, cancel := context.WithTimeout(t.Context(), heartbeat.forgiving)
			defer cancel()
			if _, err := stream.Next(waiting); !errors.Is(err, context.DeadlineExceeded) || server.asked != heartbeat.asked {
				t.Errorf("%v: after %v asked %d times, %v", heartbeat.named, heartbeat.forgiving, server.asked, err)
			}
		})
	}
}
