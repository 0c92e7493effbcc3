// This file owns durable streams: live ones under a name whose cursor the store keeps.

package factstr

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"google.golang.org/grpc/codes"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

// DurableStream is the batches of a durable stream, in commit order, each at least once: read, and acknowledged when
// done. After an interruption it goes on under a new lease, after the cursor: what was not acknowledged is delivered
// again. Close it when done, from any goroutine; one at a time reads it, any may acknowledge.
type DurableStream struct {
	following
	name string

	// Guarded by `state`.
	cursor     uint64
	leaseEpoch uint64
	// What the store has certainly kept. The cursor may be beyond: passing over what does not match is stored later.
	kept uint64
}

// StreamAllDurable consumes every batch under a name: StreamToDurable with the query for everything.
func (s *Store) StreamAllDurable(ctx context.Context, name string, options ...DurableOption) (*DurableStream, error) {
	settings := settingsOf(options)
	request := &factstrv1.StreamAllDurableRequest{
		DurableStream:            name,
		MaxUnacknowledgedBatches: settings.maxUnacknowledged,
		WaitForLease:             settings.waitForLease,
	}
	switch {
	case settings.atHead:
		request.Start = &factstrv1.StreamAllDurableRequest_StartAtHead{StartAtHead: true}
	case settings.after != nil:
		request.Start = &factstrv1.StreamAllDurableRequest_StartAfterSequenceNumber{StartAfterSequenceNumber: *settings.after}
	}
	if _, err := encodedSize(request); err != nil {
		return nil, err
	}
	return s.consume(ctx, name, settings.giveUpAfter, func(ctx context.Context, again bool) (func() (message, error), error) {
		if again {
			request.WaitForLease, request.Start = true, nil
		}
		return messages(s.events.StreamAllDurable(ctx, request))
	})
}

// StreamToDurable consumes the batches that match under a name, after the cursor that the store keeps for it. When it
// returns, this consumer has the name's lease. A name is bound to its query; another one is ErrQueryMismatch. The context
// is the stream's: it ends with it.
func (s *Store) StreamToDurable(
	ctx context.Context, name string, query Query, options ...DurableOption,
) (*DurableStream, error) {
	return s.streamToDurable(ctx, name, query, settingsOf(options))
}

func settingsOf[O ProjectOption](options []O) streamSettings {
	var settings streamSettings
	for _, option := range options {
		option.project(&settings)
	}
	return settings
}

func (s *Store) streamToDurable(
	ctx context.Context, name string, query Query, settings streamSettings,
) (*DurableStream, error) {
	matching, err := query.message()
	if err != nil {
		return nil, err
	}
	request := &factstrv1.StreamToDurableRequest{
		DurableStream:            name,
		Query:                    matching,
		MaxUnacknowledgedBatches: settings.maxUnacknowledged,
		WaitForLease:             settings.waitForLease,
	}
	switch {
	case settings.atHead:
		request.Start = &factstrv1.StreamToDurableRequest_StartAtHead{StartAtHead: true}
	case settings.after != nil:
		request.Start = &factstrv1.StreamToDurableRequest_StartAfterSequenceNumber{StartAfterSequenceNumber: *settings.after}
	}
	if _, err := encodedSize(request); err != nil {
		return nil, err
	}
	return s.consume(ctx, name, settings.giveUpAfter, func(ctx context.Context, again bool) (func() (message, error), error) {
		if again {
			request.WaitForLease, request.Start = true, nil
		}
		return messages(s.events.StreamToDurable(ctx, request))
	})
}

// consume opens a durable stream. Each call after a first one that has begun is opened `again`: the server may not have
// noticed that the one before was interrupted, and hold this consumer's own lease; and where a new name starts is no
// matter for an old one.
func (s *Store) consume(
	ctx context.Context, name string, giveUpAfter *time.Duration,
	open func(ctx context.Context, again bool) (func() (message, error), error),
) (*DurableStream, error) {
	stream := &DurableStream{name: name}
	stream.giveUpAfter = giveUpAfter
	stream.begin = stream.beginLease
	err := stream.follow(ctx, s, func(ctx context.Context) (func() (message, error), error) {
		return open(ctx, stream.LeaseEpoch() != 0)
	})
	if err != nil {
		stream.Close()
		return nil, err
	}
	return stream, nil
}

func (d *DurableStream) beginLease(received message) (time.Duration, bool, error) {
	started := received.(*factstrv1.DurableStreamResponse).GetStarted()
	if started == nil {
		return 0, false, nil
	}
	// First, so that whatever ends the stream now ends this lease.
	d.leaseEpoch = started.GetLeaseEpoch()
	if err := d.beganOn(started); err != nil {
		return 0, true, err
	}
	if started.GetCursor() < d.kept {
		return 0, true, &Error{
			Kind:   ErrLeaseLost,
			Code:   codes.Aborted,
			Reason: reasonLeaseLost,
			Message: fmt.Sprintf("%s stands at %d, but %d was acknowledged: it was reset or deleted while this consumer was not "+
				"connected", d.name, started.GetCursor(), d.kept),
		}
	}
	d.cursor, d.position, d.kept = started.GetCursor(), started.GetCursor(), started.GetCursor()
	return started.GetHeartbeatInterval().AsDuration(), true, nil
}

// Next returns the next batch as soon as it is committed: see [Stream.Next].
func (d *DurableStream) Next(ctx context.Context) (DurableBatch, error) {
	batch, err := d.next(ctx, never)
	return d.batchOf(batch), err
}

// Batches iterates the batches as they are committed, without an end: see [Stream.Batches].
func (d *DurableStream) Batches() iter.Seq2[DurableBatch, error] { return d.iterate(d.untilClosed) }

// UntilCaughtUp iterates the batches up to the head of the log, and stops there: see [Stream.UntilCaughtUp].
func (d *DurableStream) UntilCaughtUp() iter.Seq2[DurableBatch, error] {
	return d.iterate(d.untilCaughtUp)
}

func (d *DurableStream) iterate(next func() (*factstrv1.CommittedBatch, error)) iter.Seq2[DurableBatch, error] {
	return each(func() (DurableBatch, bool, error) {
		batch, err := next()
		return d.batchOf(batch), batch != nil, err
	})
}

func (d *DurableStream) batchOf(message *factstrv1.CommittedBatch) DurableBatch {
	if message == nil {
		return DurableBatch{}
	}
	return DurableBatch{batchOf(message), d.LeaseEpoch(), message.GetAcknowledgementToken()}
}

// Acknowledge acknowledges a batch and all before it, and returns the cursor. It is repeated for as long as the stream
// itself would be taken up again. A batch that came before an interruption that this stream has gone over since is not
// acknowledged, because it is delivered again. ErrLeaseLost and ErrDurableStreamNotFound end the stream.
func (d *DurableStream) Acknowledge(ctx context.Context, batch DurableBatch) (cursor uint64, err error) {
	return d.acknowledge(ctx, batch, d.store.lastingAttempts(d.giveUpAfter))
}

func (d *DurableStream) acknowledge(ctx context.Context, batch DurableBatch, attempts *attempts) (uint64, error) {
	if d.isEarlier(batch) {
		return d.Cursor(), nil
	}
	request := &factstrv1.AcknowledgeDurableRequest{
		DurableStream: d.name, AcknowledgementToken: batch.acknowledgementToken,
	}
	response, err := call(ctx, attempts, d.store.events.AcknowledgeDurable, request)
	switch {
	case errors.Is(err, ErrLeaseLost) && d.isGivingUp(batch):
		return d.Cursor(), nil
	case errors.Is(err, ErrLeaseLost), errors.Is(err, ErrDurableStreamNotFound):
		d.end(err)
		return 0, err
	case err != nil:
		return 0, err
	}
	d.state.Lock()
	defer d.state.Unlock()
	d.cursor = max(d.cursor, response.GetCursor())
	d.kept = max(d.kept, batch.LastSequenceNumber)
	return d.cursor, nil
}

// isEarlier tells whether a batch came under an earlier lease of this stream. Epochs only rise.
func (d *DurableStream) isEarlier(batch DurableBatch) bool {
	return d.has(func() bool { return batch.LeaseEpoch < d.leaseEpoch })
}

// isGivingUp tells whether this stream itself has ended the lease of a batch, in going on after an interruption.
func (d *DurableStream) isGivingUp(batch DurableBatch) bool {
	return d.isEarlier(batch) || d.has(func() bool { return batch.LeaseEpoch == d.leaseEpoch && !d.isOpen })
}

// Cursor returns where the store stands, as it last said: everything up to it is acknowledged or does not match.
func (d *DurableStream) Cursor() uint64 {
	d.state.Lock()
	defer d.state.Unlock()
	return d.cursor
}

// LeaseEpoch returns the epoch of the lease: a fencing number. It rises whenever this stream is taken up again.
func (d *DurableStream) LeaseEpoch() uint64 {
	d.state.Lock()
	defer d.state.Unlock()
	return d.leaseEpoch
}

// Close ends the stream, also for whoever is reading it, and the lease with it. Harmless again.
func (d *DurableStream) Close() {
	d.end(d.closed)
	if epoch := d.LeaseEpoch(); epoch != 0 {
		d.store.endedLeases.Store(epoch, struct{}{})
	}
}
