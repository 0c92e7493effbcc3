// This file owns the tests of when a call is repeated, and of what its failure means.

package factstr

import (
	"context"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

// refusal is a status as the server sends it.
func refusal(t *testing.T, code codes.Code, reason string, retryDelay time.Duration) error {
	t.Helper()
	state, err := status.New(code, "no").WithDetails(
		&errdetails.ErrorInfo{Domain: "factstr", Reason: reason},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(retryDelay)},
	)
	if err != nil {
		t.Fatal(err)
	}
	return state.Err()
}

func testStore(t *testing.T, options ...Option) *Store {
	t.Helper()
	store, err := Connect("localhost:1", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

func TestDelaysDoubleUpToTheLongestAndHalfOfThemIsRandom(t *testing.T) {
	retries := Retries{FirstDelay: 50 * time.Millisecond, LongestDelay: 2 * time.Second}
	for repetition, longest := range map[int]time.Duration{
		0: 50 * time.Millisecond, 1: 100 * time.Millisecond, 5: 1600 * time.Millisecond, 6: 2 * time.Second, math.MaxInt: 2 * time.Second,
	} {
		for range 100 {
			if delay := retries.delay(repetition); delay < longest/2 || delay > longest {
				t.Fatalf("repetition %d after %v", repetition, delay)
			}
		}
	}
	if delay := (Retries{}).delay(3); delay != 0 {
		t.Fatalf("it is %v", delay)
	}
}

func TestTheServersDelayIsKeptAndNoWaitIsBegunThatWouldNotEndInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := testStore(t)
		attempts := store.attempts(t.Context())
		began := time.Now()
		if err := attempts.pause(t.Context(), refusal(t, codes.ResourceExhausted, "SERVER_BUSY", 20*time.Second)); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited != 20*time.Second {
			t.Fatalf("it waited %v", waited)
		}
		err := attempts.pause(t.Context(), refusal(t, codes.ResourceExhausted, "SERVER_BUSY", 20*time.Second))
		if waited := time.Since(began); !errors.Is(err, ErrServerBusy) || waited != 20*time.Second {
			t.Fatalf("after %v: %v", waited, err)
		}
	})
}

func TestWhatTheCallerCancelsIsNotRepeated(t *testing.T) {
	store := testStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, attempts := range []*attempts{store.attempts(ctx), store.appendAttempts(ctx)} {
		err := attempts.pause(ctx, status.Error(codes.Canceled, "context canceled"))
		if !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) != attempts.appends {
			t.Errorf("appends %v: %v", attempts.appends, err)
		}
	}
	_, err := store.Append(ctx, []Event{{EventType: "a"}})
	if !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("an append that was never sent: %v", err)
	}
}

func TestACallThatIsCancelledWhileItWaitsEndsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := testStore(t)
		for _, doubt := range []bool{false, true} {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			failure := refusal(t, codes.Unavailable, "STORE_UNAVAILABLE", 10*time.Second)
			if doubt {
				failure = refusal(t, codes.Unknown, "APPEND_OUTCOME_UNKNOWN", 10*time.Second)
			}
			began := time.Now()
			err := store.appendAttempts(ctx).pause(ctx, failure)
			if time.Since(began) != time.Second || !errors.Is(err, context.Canceled) || errors.Is(err, ErrOutcomeUnknown) != doubt {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		}
	})
}

func TestAContextsDeadlineTakesThePlaceOfTheTimeout(t *testing.T) {
	store := testStore(t, WithTimeout(time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if end := store.attempts(ctx).attemptEnd(); end != deadline {
		t.Fatalf("it ends at %v", end)
	}
	if end := store.attempts(t.Context()).attemptEnd(); time.Until(end) > time.Second {
		t.Fatalf("it ends at %v", end)
	}
}

func TestAClosedStoreSendsNothing(t *testing.T) {
	store := testStore(t)
	_ = store.Close()
	_ = store.Close()
	if _, err := store.Append(t.Context(), []Event{{EventType: "a"}}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := store.Query(t.Context(), Everything()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := store.StreamAll(t.Context()); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestWhatCannotPassIsWrongUsage(t *testing.T) {
	store := testStore(t)
	for _, giveUpAfter := range []time.Duration{0, -1} {
		if _, err := store.StreamAll(t.Context(), GiveUpAfter(giveUpAfter)); !errors.Is(err, ErrUsage) {
			t.Errorf("a stream given up after %v: %v", giveUpAfter, err)
		}
		if _, err := store.StreamAllDurable(t.Context(), "name", GiveUpAfter(giveUpAfter)); !errors.Is(err, ErrUsage) {
			t.Errorf("a durable stream given up after %v: %v", giveUpAfter, err)
		}
	}
	decision := func(Context) ([]Event, error) { return nil, nil }
	if _, err := store.Decide(t.Context(), Everything(), decision, Attempts(0)); !errors.Is(err, ErrUsage) {
		t.Error(err)
	}
}

func TestANegativeDelayIsNone(t *testing.T) {
	if failure := failureOf(refusal(t, codes.ResourceExhausted, "SERVER_BUSY", -time.Second), false); failure.RetryDelay != 0 {
		t.Errorf("it is %v", failure.RetryDelay)
	}
}

func TestKindsAreAlsoWhatTheyAreASortOf(t *testing.T) {
	err := error(failureOf(refusal(t, codes.ResourceExhausted, "SERVER_BUSY", 0), true))
	if !errors.Is(err, ErrServerBusy) || !errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOutcomeUnknown) {
		t.Error(err)
	}
	if err := tooLarge(1); !errors.Is(err, ErrBatchTooLarge) || !errors.Is(err, ErrInvalidRequest) {
		t.Error(err)
	}
}

func TestTheCauseOfTheCallersContextIsNeverTakenForTheOutcome(t *testing.T) {
	foreign := &Error{Kind: ErrOutcomeUnknown, Code: codes.Unknown, IdempotencyKey: "of another append"}
	for name, cause := range map[string]error{
		"a conflict": &Error{Kind: ErrConflict, Code: codes.Aborted, Reason: "CONDITIONAL_APPEND_CONFLICT"},
		"in doubt":   foreign,
		"closed":     closed("stream"),
	} {
		synctest.Test(t, func(t *testing.T) {
			store := testStore(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			err := store.appendAttempts(ctx).pause(ctx, refusal(t, codes.Unknown, "APPEND_OUTCOME_UNKNOWN", 10*time.Second))
			if !errors.Is(err, ErrOutcomeUnknown) || !errors.Is(err, context.Canceled) || errors.Is(err, cause) {
				t.Errorf("%s, an append in doubt: %v", name, err)
			}
			_, err = store.Append(ctx, []Event{{EventType: "a"}})
			if !errors.Is(err, context.Canceled) || errors.Is(err, cause) {
				t.Errorf("%s, an append that was never sent: %v", name, err)
			}
		})
	}
	if foreign.IdempotencyKey != "of another append" {
		t.Errorf("its key is %s", foreign.IdempotencyKey)
	}
}
