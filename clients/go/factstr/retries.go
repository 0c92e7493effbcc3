// This file owns when a call is repeated, how often, and after how long: decided by the reason of its failure.

package factstr

import (
	"context"
	"math"
	"math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// Retries says how often a failed call is repeated, and how long is waited before: a delay that doubles each time, of
// which half is random. A longer delay that the server asks for is kept. The zero value repeats nothing.
type Retries struct {
	// Limit is the most repetitions of one call.
	Limit int
	// FirstDelay is before the first repetition.
	FirstDelay time.Duration
	// LongestDelay is what the doubling ends at.
	LongestDelay time.Duration
}

// DefaultRetries returns 20 repetitions, after 50 ms and at most 2 s: about as long as the timeout, so that an append
// goes on over a restart of the server.
func DefaultRetries() Retries {
	return Retries{Limit: 20, FirstDelay: 50 * time.Millisecond, LongestDelay: 2 * time.Second}
}

func (r Retries) check() error {
	if r.Limit < 0 || r.FirstDelay < 0 || r.LongestDelay < 0 {
		return usage("the retries are %+v; nothing of them may be negative", r)
	}
	return nil
}

// delay returns how long to wait before a repetition, counted from 0.
func (r Retries) delay(repetition int) time.Duration {
	longest := doubled(r.FirstDelay, repetition, r.LongestDelay)
	// Half of it at random, so that callers who failed together do not come back together.
	return longest - time.Duration(rand.Int64N(int64(longest)/2+1))
}

func doubled(first time.Duration, times int, longest time.Duration) time.Duration {
	// A stream is taken up again for as long as it takes: the exponent must not run away.
	return time.Duration(min(math.Ldexp(float64(first), min(times, 64)), float64(longest)))
}

// attempts are those of one call, within one deadline.
type attempts struct {
	store *Store
	// appends is of a call that may commit something. A repetition commits nothing twice: an append without a key is one
	// without repetitions.
	appends bool
	// limit is the most repetitions.
	limit int
	// deadline is of all together; zero when there is none.
	deadline time.Time
	// timeout is of each one; 0 when there is none.
	timeout time.Duration

	// lasting is of what belongs to a stream: a defect of the server ends it, because nobody waits for ever for one to
	// pass. The deadline is giveUpAfter from the first failure on, where there is one.
	lasting     bool
	giveUpAfter *time.Duration

	repetitions int
	// Whether an attempt before may have committed, so that a later failure must not say that nothing was.
	inDoubt bool
}

// attempts returns those of an ordinary call that reads or acknowledges.
func (s *Store) attempts(ctx context.Context) *attempts {
	a := &attempts{store: s, limit: s.retries.Limit}
	if deadline, ok := ctx.Deadline(); ok {
		a.deadline = deadline
	} else {
		a.deadline = time.Now().Add(s.timeout)
	}
	return a
}

// appendAttempts returns those of an append.
func (s *Store) appendAttempts(ctx context.Context) *attempts {
	a := s.attempts(ctx)
	a.appends = true
	return a
}

// lastingAttempts returns those of a call that belongs to a stream, of which only time is the limit.
func (s *Store) lastingAttempts(giveUpAfter *time.Duration) *attempts {
	return &attempts{store: s, limit: math.MaxInt, timeout: s.timeout, lasting: true, giveUpAfter: giveUpAfter}
}

// attemptEnd returns when the next attempt is to be given up; zero for never.
func (a *attempts) attemptEnd() time.Time {
	if a.timeout == 0 {
		return a.deadline
	}
	end := time.Now().Add(a.timeout)
	if !a.deadline.IsZero() && a.deadline.Before(end) {
		return a.deadline
	}
	return end
}

// begin returns why no attempt is made, if that is so.
func (a *attempts) begin(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return a.judged(ended(ctx))
	case a.store.open.Err() != nil:
		return a.judged(closed("store"))
	default:
		return nil
	}
}

// pause waits after a failed attempt until the next, or returns the failure when there is none.
func (a *attempts) pause(ctx context.Context, err error) error {
	failure := a.judged(failureOf(err, a.appends))
	if ctx.Err() != nil || a.store.open.Err() != nil {
		return a.cutOff(ctx, failure)
	}
	delay, repeat := a.delayAfter(failure)
	if !repeat {
		return failure
	}
	waiting := time.NewTimer(delay)
	defer waiting.Stop()
	select {
	case <-waiting.C:
	case <-ctx.Done():
	case <-a.store.open.Done():
	}
	return a.begin(ctx)
}

// cutOff returns what a failure means that came when the caller had ended the call, or closed the store.
func (a *attempts) cutOff(ctx context.Context, failure *Error) error {
	if failure.Reason == "" && failure.Kind != ErrOutcomeUnknown {
		// Not the server's word: whatever it looks like, that is why.
		return a.begin(ctx)
	}
	if failure.cause == nil {
		failure.cause = ctx.Err()
	}
	return failure
}

// delayAfter returns how long to wait after a failure, and whether there is another attempt at all.
func (a *attempts) delayAfter(failure *Error) (time.Duration, bool) {
	if a.giveUpAfter != nil && a.deadline.IsZero() {
		a.deadline = time.Now().Add(*a.giveUpAfter)
	}
	repeat := a.repetitions < a.limit && a.mayRepeat(failure) || a.store.hasEndedLease(failure)
	delay := max(a.store.retries.delay(a.repetitions), failure.RetryDelay)
	if !repeat || !a.deadline.IsZero() && delay >= time.Until(a.deadline) {
		return 0, false
	}
	a.repetitions++
	a.inDoubt = failure.Kind == ErrOutcomeUnknown
	return delay, true
}

func (a *attempts) mayRepeat(failure *Error) bool {
	switch failure.Reason {
	case reasonServerBusy, reasonServerDraining, reasonStoreUnavailable, reasonOutcomeUnknown:
		return true
	case reasonInternal:
		return !a.lasting
	}
	if _, known := kindsByReason[failure.Reason]; known {
		return false
	}
	switch failure.Code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown, codes.Internal:
		return true
	default:
		return false
	}
}

// judged returns what a failure means after the attempts before.
func (a *attempts) judged(failure *Error) *Error {
	if a.inDoubt {
		return failure.inDoubt()
	}
	return failure
}

// hasEndedLease tells whether a durable stream is active only because the server has not noticed yet that this store
// has closed it.
func (s *Store) hasEndedLease(failure *Error) bool {
	if failure.Kind != ErrDurableStreamActive {
		return false
	}
	epoch, err := strconv.ParseUint(failure.Metadata["lease_epoch"], 10, 64)
	if err != nil {
		return false
	}
	_, ended := s.endedLeases.Load(epoch)
	return ended
}

type unaryCall[Request, Response any] = func(context.Context, Request, ...grpc.CallOption) (Response, error)

// call makes a call with its repetitions.
func call[Request, Response any](
	ctx context.Context, a *attempts, method unaryCall[Request, Response], request Request,
) (Response, error) {
	err := a.begin(ctx)
	for err == nil {
		bounded, cancel := ctx, context.CancelFunc(func() {})
		if end := a.attemptEnd(); !end.IsZero() {
			bounded, cancel = context.WithDeadline(ctx, end)
		}
		response, failure := method(bounded, request)
		cancel()
		if failure == nil {
			return response, nil
		}
		err = a.pause(ctx, failure)
	}
	var none Response
	return none, err
}
