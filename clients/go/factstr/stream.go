// This file owns live streams, and the options of streams of both kinds.

package factstr

import (
	"context"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc/codes"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

// StreamOption is how StreamTo and StreamAll stream.
type StreamOption interface{ stream(*streamSettings) }

// DurableOption is how StreamToDurable, StreamAllDurable and Project stream.
type DurableOption interface {
	ProjectOption
	durable()
}

// ProjectOption is how Project projects: any DurableOption, and StopWhenCaughtUp.
type ProjectOption interface{ project(*streamSettings) }

// streamSettings are of all of them; an option is of those whose interface it has.
type streamSettings struct {
	after             *uint64
	atHead            bool
	maxUnacknowledged uint32
	waitForLease      bool
	giveUpAfter       *time.Duration
	stopWhenCaughtUp  bool
}

type option func(*streamSettings)

func (o option) stream(s *streamSettings)  { o(s) }
func (o option) project(s *streamSettings) { o(s) }
func (option) durable()                    {}

// After streams everything strictly after a sequence number first; 0 is from the beginning. Without it a stream begins
// with what is appended from now on.
func After(sequenceNumber uint64) StreamOption {
	return option(func(s *streamSettings) { s.after = &sequenceNumber })
}

// GiveUpAfter ends a stream that is interrupted and has not come further for so long, which must be positive. Without it,
// it is taken up again for as long as it takes.
func GiveUpAfter(duration time.Duration) interface {
	StreamOption
	DurableOption
} {
	return option(func(s *streamSettings) { s.giveUpAfter = &duration })
}

// StartAfter is where a new name starts: strictly after a sequence number. Without it, before the first fact.
func StartAfter(sequenceNumber uint64) DurableOption {
	return option(func(s *streamSettings) { s.after, s.atHead = &sequenceNumber, false })
}

// StartAtHead is where a new name starts: after the head.
func StartAtHead() DurableOption {
	return option(func(s *streamSettings) { s.after, s.atHead = nil, true })
}

// MaxUnacknowledgedBatches is how many batches may be delivered beyond the acknowledged ones. Without it the server
// decides.
func MaxUnacknowledgedBatches(batches uint32) DurableOption {
	return option(func(s *streamSettings) { s.maxUnacknowledged = batches })
}

// WaitForLease stands by while another consumer holds the lease, for as long as it takes, instead of failing with
// ErrDurableStreamActive.
func WaitForLease() DurableOption {
	return option(func(s *streamSettings) { s.waitForLease = true })
}

// StopWhenCaughtUp ends Project when all up to the head is handled and acknowledged.
func StopWhenCaughtUp() ProjectOption {
	return option(func(s *streamSettings) { s.stopWhenCaughtUp = true })
}

// Stream is committed batches in commit order, each once, without an end. An interruption that may pass is gone over
// without a batch lost or repeated. Close it when done, from any goroutine; one at a time reads it.
type Stream struct {
	following
}

// StreamAll streams every batch: StreamTo with the query for everything.
func (s *Store) StreamAll(ctx context.Context, options ...StreamOption) (*Stream, error) {
	request := &factstrv1.StreamAllRequest{}
	return s.streamLive(ctx, options, &request.AfterSequenceNumber, func(ctx context.Context) (func() (message, error), error) {
		return messages(s.events.StreamAll(ctx, request))
	})
}

// StreamTo streams the batches that match. When it returns, whatever is appended from then on will be delivered. The
// context is the stream's: it ends with it.
func (s *Store) StreamTo(ctx context.Context, query Query, options ...StreamOption) (*Stream, error) {
	matching, err := query.message()
	if err != nil {
		return nil, err
	}
	request := &factstrv1.StreamToRequest{Query: matching}
	if _, err := encodedSize(request); err != nil {
		return nil, err
	}
	return s.streamLive(ctx, options, &request.AfterSequenceNumber, func(ctx context.Context) (func() (message, error), error) {
		return messages(s.events.StreamTo(ctx, request))
	})
}

// streamLive opens a stream whose request holds its position at `after`.
func (s *Store) streamLive(
	ctx context.Context, options []StreamOption, after **uint64, open opener,
) (*Stream, error) {
	var settings streamSettings
	for _, option := range options {
		option.stream(&settings)
	}
	stream := &Stream{}
	stream.giveUpAfter = settings.giveUpAfter
	*after = settings.after
	if settings.after != nil {
		stream.position = *settings.after
	}
	stream.begin = func(received message) (time.Duration, bool, error) {
		started := received.(*factstrv1.StreamResponse).GetStarted()
		if started == nil {
			return 0, false, nil
		}
		if err := stream.beganOn(started); err != nil {
			return 0, true, err
		}
		if begins := started.GetAfterSequenceNumber(); *after != nil && begins > stream.position {
			return 0, true, &Error{
				Kind: ErrServer,
				Code: codes.DataLoss,
				Message: fmt.Sprintf("the server begins after %d, but was asked to after %d: it would leave out what is between",
					begins, stream.position),
			}
		}
		stream.position = max(stream.position, started.GetAfterSequenceNumber())
		return started.GetHeartbeatInterval().AsDuration(), true, nil
	}
	err := stream.follow(ctx, s, func(ctx context.Context) (func() (message, error), error) {
		if stream.hasStarted {
			position := stream.Position()
			*after = &position
		}
		return open(ctx)
	})
	if err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

// Next returns the next batch as soon as it is committed. The context bounds this wait alone: when it ends it, neither
// the stream nor a batch is lost. On a closed stream it is ErrClosed.
func (s *Stream) Next(ctx context.Context) (CommittedBatch, error) {
	batch, err := s.next(ctx, never)
	return batchOf(batch), err
}

// Batches iterates the batches as they are committed. Leaving the loop leaves the stream open; the next loop goes on
// after the last batch. It ends when the stream is closed, or with the error that ends the stream.
func (s *Stream) Batches() iter.Seq2[CommittedBatch, error] { return s.iterate(s.untilClosed) }

// UntilCaughtUp iterates the batches up to the head of the log, and stops there; Batches then goes on. A stream that is
// closed has not reached the head: that is ErrClosed.
func (s *Stream) UntilCaughtUp() iter.Seq2[CommittedBatch, error] { return s.iterate(s.untilCaughtUp) }

// Close ends the stream, also for whoever is reading it. Harmless again.
func (s *Stream) Close() { s.end(s.closed) }

func (s *Stream) iterate(next func() (*factstrv1.CommittedBatch, error)) iter.Seq2[CommittedBatch, error] {
	return each(func() (CommittedBatch, bool, error) {
		batch, err := next()
		return batchOf(batch), batch != nil, err
	})
}
