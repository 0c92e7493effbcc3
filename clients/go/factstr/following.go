// This file owns how far a stream has come, what of it is still to be handed over, and how it goes on after an
// interruption.

package factstr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

const (
	heartbeatsMissed = 3
	// Beyond the heartbeats, for a server, a network or a caller's machine that is busy.
	silenceGrace = 5 * time.Second
	// Between the messages of a server that has not said yet how often they come.
	usualHeartbeat = 10 * time.Second
	// What a Duration can hold three of.
	longestHeartbeat = (math.MaxInt64 - silenceGrace) / heartbeatsMissed
)

var errSilence = status.Error(codes.Unavailable, "the server said nothing for longer than its heartbeats allow")

// message is what both kinds of streams say.
type message interface {
	GetBatches() *factstrv1.CommittedBatches
	GetCaughtUp() *factstrv1.CaughtUp
	GetCheckpoint() *factstrv1.Checkpoint
}

// opener opens a call and returns what receives its messages.
type opener = func(context.Context) (recv func() (message, error), err error)

// beginning is what both kinds of streams say first, in each call.
type beginning interface {
	GetStoreId() string
	GetHistoryId() string
}

// following is one stream, through all its calls. Messages are taken in only when all batches before them are handed
// over, so that a call that follows an interrupted one begins at the position.
type following struct {
	store *Store
	// Done once the stream has ended; its cause is why.
	ctx    context.Context
	cancel context.CancelCauseFunc
	// What ends the stream when its caller closes it.
	closed *Error
	// begin takes in the message that a call begins with, and returns how often one comes from then on; false for any
	// other message. It is called with `state` locked.
	begin       func(message) (heartbeat time.Duration, isBeginning bool, err error)
	giveUpAfter *time.Duration

	// Held by who reads, and so are these.
	reading   sync.Mutex
	calls     receiver[message]
	attempts  *attempts
	heartbeat time.Duration
	// Whether it is taken up again after a failure: from the first `started` or `waiting` on.
	isLasting  bool
	hasStarted bool
	// Whether the call under way waits for its lease.
	isWaiting bool

	// Guards what follows.
	state     sync.Mutex
	isOpen    bool
	pending   []*factstrv1.CommittedBatch
	caughtUp  bool
	position  uint64
	storeID   string
	historyID string
}

// follow opens a stream: from then on the context ends it.
func (f *following) follow(ctx context.Context, s *Store, open opener) error {
	f.store = s
	f.calls.open = open
	f.heartbeat = usualHeartbeat
	f.closed = closed("stream")
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	if f.giveUpAfter != nil && *f.giveUpAfter <= 0 {
		return usage("the stream is to be given up after %v; it must be positive", *f.giveUpAfter)
	}
	// The stream ends with its store; and once it has ended, the store knows nothing of it any more.
	forget := context.AfterFunc(s.open, func() { f.end(closed("store")) })
	context.AfterFunc(f.ctx, func() { forget() })
	f.attempts = f.newAttempts()
	// Read now, so that registration is active and an error belongs to the opening.
	return f.advance(f.ctx, func() bool { return f.isOpen })
}

// end ends the stream, also for whoever is reading it. Only the first time says why.
func (f *following) end(why error) { f.cancel(ending{why}) }

// messages adapts a call to what receives from it.
func messages[M any, P interface {
	*M
	message
}](call grpc.ServerStreamingClient[M], err error) (func() (message, error), error) {
	if err != nil {
		return nil, err
	}
	return func() (message, error) {
		received, err := call.Recv()
		return P(received), err
	}, nil
}

// each iterates batches until the stream fails, or there is none.
func each[B any](next func() (batch B, ok bool, err error)) iter.Seq2[B, error] {
	return func(yield func(B, error) bool) {
		for {
			batch, ok, err := next()
			if err == nil && !ok {
				return
			}
			if !yield(batch, err) || err != nil {
				return
			}
		}
	}
}

// next returns the next batch; none when it has to be waited for and `isOver`. The context bounds this wait alone.
func (f *following) next(ctx context.Context, isOver func() bool) (*factstrv1.CommittedBatch, error) {
	if err := f.advance(ctx, func() bool { return len(f.pending) > 0 || isOver() }); err != nil {
		return nil, err
	}
	f.state.Lock()
	defer f.state.Unlock()
	if len(f.pending) == 0 {
		return nil, nil
	}
	batch := f.pending[0]
	f.pending = f.pending[1:]
	f.position = max(f.position, batch.GetLastSequenceNumber())
	return batch, nil
}

func never() bool { return false }

// untilClosed returns the next batch; none when the caller has closed the stream.
func (f *following) untilClosed() (*factstrv1.CommittedBatch, error) {
	batch, err := f.next(f.ctx, never)
	if errors.Is(err, f.closed) {
		return nil, nil
	}
	return batch, err
}

// untilCaughtUp returns the next batch; none at the head, which a stream that is closed does not reach.
func (f *following) untilCaughtUp() (*factstrv1.CommittedBatch, error) {
	return f.next(f.ctx, func() bool { return f.caughtUp })
}

// advance reads until it is enough, through as many calls as it takes. An error ends the stream, unless it is that the
// caller's context has ended this wait.
func (f *following) advance(ctx context.Context, isEnough func() bool) error {
	if !f.reading.TryLock() {
		return usage("another goroutine is reading this stream; give each a stream of its own")
	}
	defer f.reading.Unlock()
	if ctx != f.ctx {
		var leave context.CancelFunc
		ctx, leave = context.WithCancel(ctx)
		defer leave()
		defer context.AfterFunc(f.ctx, leave)()
	}
	for {
		if f.ctx.Err() != nil {
			return ended(f.ctx)
		}
		if f.has(isEnough) {
			return nil
		}
		if ctx.Err() != nil {
			return ended(ctx)
		}
		message, err := f.receive(ctx)
		if err == nil {
			if err := f.take(message); err != nil {
				f.end(err)
			}
		} else if !f.calls.isUnderWay() { // Else only the wait was left.
			if err := f.pauseAfter(ctx, err); err != nil && ctx.Err() == nil {
				f.end(err)
			}
		}
	}
}

func (f *following) has(isEnough func() bool) bool {
	f.state.Lock()
	defer f.state.Unlock()
	return isEnough()
}

// receive returns the next message. A silence is an interruption: the channel's pings do not show it, because they are
// answered by the nearest proxy, and for a server whose own work hangs.
func (f *following) receive(ctx context.Context) (message, error) {
	patience := heartbeatsMissed*f.heartbeat + silenceGrace
	before, silence := time.Now().Add(patience), errSilence
	if f.attempts != nil && !f.has(func() bool { return f.isOpen }) {
		end := f.attempts.attemptEnd()
		if f.isWaiting {
			// It has been answered; only a lease takes as long as it takes.
			end = f.attempts.deadline
		}
		if !end.IsZero() && end.Before(before) {
			before = end
			if !f.isLasting {
				silence = errTimeout
			}
		}
	}
	received, err := f.calls.receive(ctx, f.ctx, before, silence)
	if errors.Is(err, io.EOF) {
		err = status.Error(codes.Unavailable, "the stream ended without a reason")
	}
	return received, err
}

// take takes in a message. Content that this version does not know is skipped.
func (f *following) take(received message) error {
	f.state.Lock()
	defer f.state.Unlock()
	heartbeat, isBeginning, err := f.begin(received)
	if err != nil {
		return err
	}
	if isBeginning {
		f.open(heartbeat)
		return nil
	}
	if durable, ok := received.(*factstrv1.DurableStreamResponse); ok && durable.GetWaiting() != nil {
		// Whoever is told to wait for a lease is alive, and does so as lastingly as who has it.
		f.isWaiting, f.isLasting = true, true
		f.attempts = nil
	}
	before := f.position
	if caughtUp := received.GetCaughtUp(); caughtUp != nil {
		f.caughtUp = true
		f.position = max(f.position, caughtUp.GetHeadSequenceNumber())
	}
	f.position = max(f.position, received.GetCheckpoint().GetSequenceNumber())
	f.pending = append(f.pending, received.GetBatches().GetBatches()...)
	// Only then it has come further: a server may fail after each beginning, and say for ever what is not known here.
	if f.isOpen && (f.position > before || len(f.pending) > 0 || received.GetCheckpoint() != nil) {
		f.attempts = nil
	}
	return nil
}

// open takes in that a call has begun. Call it with `state` locked.
func (f *following) open(heartbeat time.Duration) {
	f.isOpen, f.isWaiting = true, false
	f.heartbeat = usualHeartbeat
	if heartbeat > 0 {
		f.heartbeat = min(heartbeat, longestHeartbeat)
	}
	if !f.hasStarted {
		f.isLasting, f.hasStarted = true, true
		f.attempts = nil
	}
}

// pauseAfter waits after an interruption until the next call, or returns why there is none.
func (f *following) pauseAfter(ctx context.Context, err error) error {
	f.state.Lock()
	f.isOpen, f.isWaiting = false, false
	f.caughtUp = false
	f.state.Unlock()
	if f.attempts == nil {
		f.attempts = f.newAttempts()
	}
	return f.attempts.pause(ctx, err)
}

func (f *following) newAttempts() *attempts {
	if f.isLasting {
		return f.store.lastingAttempts(f.giveUpAfter)
	}
	// A call like any other. The deadline of the context is not the opening's: the stream lasts until then.
	return f.store.attempts(context.WithoutCancel(f.ctx))
}

// beganOn takes in the log that a call has begun on, which must be the first one. Call it with `state` locked.
func (f *following) beganOn(began beginning) error {
	if f.storeID != "" && (f.storeID != began.GetStoreId() || f.historyID != began.GetHistoryId()) {
		return &Error{
			Kind:   ErrLogDiverged,
			Code:   codes.DataLoss,
			Reason: reasonLogDiverged,
			Message: fmt.Sprintf("the stream began on the log %s / %s; the server has %s / %s now, where its positions mean "+
				"nothing: read that one from the beginning", f.storeID, f.historyID, began.GetStoreId(), began.GetHistoryId()),
		}
	}
	f.storeID, f.historyID = began.GetStoreId(), began.GetHistoryId()
	return nil
}

// Position returns how far the stream has come: everything up to it was handed over or does not match.
func (f *following) Position() uint64 {
	f.state.Lock()
	defer f.state.Unlock()
	return f.position
}
