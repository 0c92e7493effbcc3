// This file owns the receiving of a streaming call's messages, of which each is waited for only so long.

package factstr

import (
	"context"
	"math"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var errTimeout = status.Error(codes.DeadlineExceeded, "the server said nothing within the timeout")

// receiver receives from one call after the other. A wait can be left without losing the call or the message that it
// was for: the next wait is for the same.
type receiver[M any] struct {
	// open opens a call and returns its Recv.
	open func(context.Context) (recv func() (M, error), err error)

	// The call under way, if there is one.
	recv func() (M, error)
	ctx  context.Context
	end  context.CancelFunc

	// The message under way, if there is one, and the end of the wait for it.
	arriving chan received[M]
	waiting  *time.Timer
}

type received[M any] struct {
	recv    func() (M, error)
	message M
	err     error
}

// receive returns the next message of the call under way, or of a new one within `life`; `silence` when none has come
// before a moment, unless that is zero. An error ends the call, but not that of `ctx`, which bounds only this wait.
func (r *receiver[M]) receive(ctx, life context.Context, before time.Time, silence error) (M, error) {
	if r.arriving == nil {
		r.begin(life, before)
	}
	var none M
	select {
	case got := <-r.arriving:
		return r.take(got)
	default:
	}
	select {
	case got := <-r.arriving:
		return r.take(got)
	case <-r.waiting.C:
		r.end()
		if got := <-r.arriving; got.err == nil {
			// It came in this very moment; the call is over nevertheless.
			return r.take(got)
		}
		r.drop()
		return none, silence
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// isUnderWay tells whether there is a call that goes on.
func (r *receiver[M]) isUnderWay() bool { return r.recv != nil || r.arriving != nil }

func (r *receiver[M]) begin(life context.Context, before time.Time) {
	if r.recv == nil {
		r.ctx, r.end = context.WithCancel(life)
	}
	wait := time.Duration(math.MaxInt64)
	if !before.IsZero() {
		wait = time.Until(before)
	}
	r.waiting = time.NewTimer(wait)
	arriving, ctx, recv := make(chan received[M], 1), r.ctx, r.recv
	r.arriving = arriving
	go func() {
		var err error
		if recv == nil {
			recv, err = r.open(ctx)
		}
		got := received[M]{recv: recv, err: err}
		if err == nil {
			got.message, got.err = recv()
		}
		arriving <- got
	}()
}

func (r *receiver[M]) take(got received[M]) (M, error) {
	r.recv = got.recv
	r.arriving = nil
	r.waiting.Stop()
	if got.err != nil {
		r.drop()
	}
	return got.message, got.err
}

func (r *receiver[M]) drop() {
	r.end()
	r.recv, r.arriving = nil, nil
}
