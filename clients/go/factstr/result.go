// This file owns the reading of a query's result, across lost connections as if there had been none.

package factstr

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

var errStopped = status.Error(codes.Unavailable, "the result ended before all of it was there")

// QueryOption is which part of a result Query returns.
type QueryOption func(*querySettings)

type querySettings struct {
	limit      *uint64
	before     *uint64
	descending bool
}

// Limit returns at most so many facts; 0 returns none, only the context version.
func Limit(limit uint64) QueryOption { return func(s *querySettings) { s.limit = &limit } }

// Descending returns the newest facts first.
func Descending() QueryOption { return func(s *querySettings) { s.descending = true } }

// Before returns only facts strictly before a sequence number. It never narrows the context version.
func Before(sequenceNumber uint64) QueryOption {
	return func(s *querySettings) { s.before = &sequenceNumber }
}

// QueryResult is the facts that a query returns: one snapshot, read from the server as they are iterated, in bounded
// memory. It is for one goroutine; Close may be called by any.
type QueryResult struct {
	store  *Store
	ctx    context.Context
	cancel context.CancelCauseFunc

	// What is still to be asked for, should the call be interrupted.
	request *factstrv1.QueryRequest
	calls   receiver[*factstrv1.QueryResponse]
	// Whether the call under way, or the last one, has brought a message: even an empty result has one.
	answered bool
	// Whether it is known without the server where the result ends: with its limit, or the fact of its context version.
	endsAtVersion bool

	started bool
	records []EventRecord
	version uint64
	last    uint64
}

// Query returns the facts that match, oldest first unless Descending. It waits for the first part of the result, so that
// the context version is known and an error belongs to the query itself. Without a deadline of the context, the store's
// timeout bounds each wait for the server, not the whole reading.
func (s *Store) Query(ctx context.Context, query Query, options ...QueryOption) (*QueryResult, error) {
	var settings querySettings
	for _, option := range options {
		option(&settings)
	}
	message, err := query.message()
	if err != nil {
		return nil, err
	}
	request := &factstrv1.QueryRequest{
		Query: message, Limit: settings.limit, Order: factstrv1.Order_ORDER_ASCENDING, BeforeSequenceNumber: settings.before,
	}
	if settings.descending {
		request.Order = factstrv1.Order_ORDER_DESCENDING
	}
	if _, err := encodedSize(request); err != nil {
		return nil, err
	}
	result := &QueryResult{store: s, request: request, endsAtVersion: !settings.descending && settings.before == nil}
	result.calls.open = func(ctx context.Context) (func() (*factstrv1.QueryResponse, error), error) {
		result.answered = false
		call, err := s.events.Query(ctx, request)
		if err != nil {
			return nil, err
		}
		return call.Recv, nil
	}
	result.ctx, result.cancel = context.WithCancelCause(ctx)
	if err := result.advance(); err != nil {
		result.Close()
		return nil, err
	}
	return result, nil
}

// ContextVersion returns the version of the full context in this snapshot; 0 when no fact matches.
func (r *QueryResult) ContextVersion() uint64 { return r.version }

// LastReturnedSequenceNumber returns the last fact received so far, in the order asked; 0 while there was none.
func (r *QueryResult) LastReturnedSequenceNumber() uint64 { return r.last }

// Close ends the reading before its end. Harmless after it, and again.
func (r *QueryResult) Close() { r.cancel(ending{closed("result")}) }

// Records iterates the facts, once. Leaving the loop closes the result; an error ends it.
func (r *QueryResult) Records() iter.Seq2[EventRecord, error] {
	return func(yield func(EventRecord, error) bool) {
		defer r.Close()
		for {
			for len(r.records) > 0 {
				record := r.records[0]
				r.records = r.records[1:]
				if !yield(record, nil) {
					return
				}
			}
			if err := r.advance(); errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				yield(EventRecord{}, err)
				return
			}
		}
	}
}

// advance takes in the next message, through as many calls as it takes; io.EOF at the end.
func (r *QueryResult) advance() error {
	attempts := r.store.attempts(r.ctx)
	if err := attempts.begin(r.ctx); err != nil {
		return err
	}
	for {
		message, err := r.calls.receive(r.ctx, r.ctx, attempts.attemptEnd(), errTimeout)
		if err == nil {
			isFirst := !r.started
			if err := r.take(message); err != nil || isFirst || len(r.records) > 0 {
				return err
			}
			// It brings nothing, and so no attempts anew: a server could answer like that without end.
			continue
		}
		if r.isComplete() {
			return io.EOF
		}
		if errors.Is(err, io.EOF) {
			if r.answered && !r.endsAtVersion {
				return io.EOF
			}
			err = errStopped
		}
		if err := attempts.pause(r.ctx, err); err != nil {
			return err
		}
	}
}

// take takes in a message, and narrows what would still have to be asked for to what has not come yet.
func (r *QueryResult) take(message *factstrv1.QueryResponse) error {
	version := message.GetCurrentContextVersion()
	// Of each call only the first message says it for certain: others may be content of a later version.
	if !r.answered && version < r.version {
		return &Error{
			Kind:   ErrLogDiverged,
			Code:   codes.DataLoss,
			Reason: reasonLogDiverged,
			Message: fmt.Sprintf("the result began with the context version %d, and its rest has %d: the log has grown shorter; "+
				"ask anew", r.version, version),
		}
	}
	if !r.started {
		r.started = true
		r.version = version
		// The log is immutable: the rest of a snapshot is what it has up to its context version.
		end := r.version + 1
		if r.request.BeforeSequenceNumber != nil {
			end = min(end, r.request.GetBeforeSequenceNumber())
		}
		r.request.BeforeSequenceNumber = &end
	}
	r.answered = true
	r.records = recordsOf(message.GetEventRecords())
	if len(r.records) == 0 {
		return nil
	}
	r.last = r.records[len(r.records)-1].SequenceNumber
	if r.request.Order == factstrv1.Order_ORDER_DESCENDING {
		r.request.BeforeSequenceNumber = &r.last
	} else {
		r.request.Query.MinSequenceNumber = &r.last
	}
	if r.request.Limit != nil {
		left := r.request.GetLimit() - uint64(len(r.records))
		r.request.Limit = &left
	}
	return nil
}

// isComplete tells whether nothing is left to be asked for.
func (r *QueryResult) isComplete() bool {
	after, before := r.request.GetQuery().GetMinSequenceNumber(), r.request.GetBeforeSequenceNumber()
	noneLeft := r.request.Limit != nil && r.request.GetLimit() == 0
	return r.started && (noneLeft || before <= after || before-after == 1)
}
