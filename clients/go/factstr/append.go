// This file owns appending: with and without a condition, and by deciding on a context.

package factstr

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

// Of one request. Beyond it gRPC refuses on the server's side, with a bare status that leaves the outcome open.
const maxRequestBytes = 16 << 20

// AppendResult is what an append committed: one consecutive range of sequence numbers, all at one time.
type AppendResult struct {
	// FirstSequenceNumber is of the first fact of the batch.
	FirstSequenceNumber uint64
	// LastSequenceNumber is of the last fact of the batch.
	LastSequenceNumber uint64
	// CommittedCount is how many facts the batch holds.
	CommittedCount uint64
	// OccurredAt is when it was committed, in UTC and microseconds.
	OccurredAt time.Time
	// RepeatedRequest is true when the caller's idempotency key had been used by the same request before: then this is
	// the first result again, and nothing was committed now.
	RepeatedRequest bool
}

// AppendOption is how Append and AppendIf append.
type AppendOption func(*appendSettings)

type appendSettings struct {
	key *string
}

// IdempotencyKey names an append: the same key with the same request returns the first result again, with another
// request it is ErrIdempotencyKeyReused. Without one, and unless retries are off, each append gets a random key of its
// own.
func IdempotencyKey(key string) AppendOption { return func(s *appendSettings) { s.key = &key } }

// Append commits events as one batch: all or none, durable when this returns.
func (s *Store) Append(ctx context.Context, events []Event, options ...AppendOption) (AppendResult, error) {
	messages, err := messagesOf(events)
	if err != nil {
		return AppendResult{}, err
	}
	request := &factstrv1.AppendRequest{Events: messages}
	return appended(ctx, s, options, &request.IdempotencyKey, s.events.Append, request)
}

// AppendIf commits events as one batch only if the query's context has exactly the expected version; 0 expects that no
// fact matches. When it has another one, that is ErrConflict, see [ConflictError], and nothing was committed.
func (s *Store) AppendIf(
	ctx context.Context, events []Event, query Query, expectedContextVersion uint64, options ...AppendOption,
) (AppendResult, error) {
	messages, err := messagesOf(events)
	if err != nil {
		return AppendResult{}, err
	}
	condition, err := query.message()
	if err != nil {
		return AppendResult{}, err
	}
	request := &factstrv1.AppendIfRequest{Events: messages, ContextQuery: condition}
	if expectedContextVersion != 0 {
		request.ExpectedContextVersion = &expectedContextVersion
	}
	return appended(ctx, s, options, &request.IdempotencyKey, s.events.AppendIf, request)
}

// appended makes the call of a request whose key is at `key`.
func appended[Request proto.Message](
	ctx context.Context, s *Store, options []AppendOption, key *string,
	method unaryCall[Request, *factstrv1.AppendResponse], request Request,
) (AppendResult, error) {
	var settings appendSettings
	for _, option := range options {
		option(&settings)
	}
	made := settings.key == nil && s.retries.Limit > 0
	switch {
	case made:
		*key = randomKey()
	case settings.key != nil && *settings.key == "":
		return AppendResult{}, usage("the idempotency key is empty; give 1 to 200 characters, or none")
	case settings.key != nil:
		*key = *settings.key
	}
	size, err := encodedSize(request)
	if err != nil {
		return AppendResult{}, err
	}
	if size > maxRequestBytes {
		return AppendResult{}, tooLarge(size)
	}
	response, err := call(ctx, s.appendAttempts(ctx), method, request)
	if err != nil {
		var failure *Error
		if errors.As(err, &failure) && failure.Kind == ErrOutcomeUnknown {
			failure.IdempotencyKey = *key
		}
		return AppendResult{}, err
	}
	return AppendResult{
		FirstSequenceNumber: response.GetFirstSequenceNumber(),
		LastSequenceNumber:  response.GetLastSequenceNumber(),
		CommittedCount:      response.GetCommittedCount(),
		OccurredAt:          response.GetOccurredAt().AsTime(),
		// Who has asked once is not told that a repetition of ours has found it committed.
		RepeatedRequest: response.GetRepeatedRequest() && !made,
	}, nil
}

// encodedSize refuses what cannot be sent, such as a text that is no UTF-8: gRPC would call that a defect of the server.
func encodedSize(request proto.Message) (int, error) {
	encoded, err := proto.Marshal(request)
	if err != nil {
		return 0, usage("the request cannot be encoded: %v", err)
	}
	return len(encoded), nil
}

func tooLarge(size int) error {
	return &Error{
		Kind:    ErrBatchTooLarge,
		Code:    codes.InvalidArgument,
		Reason:  reasonBatchTooLarge,
		Message: fmt.Sprintf("events: a request of %d bytes; it takes at most %d, split it", size, maxRequestBytes),
		Metadata: map[string]string{
			"limit_name": "max_request_bytes",
			"limit":      strconv.Itoa(maxRequestBytes),
			"actual":     strconv.Itoa(size),
		},
	}
}

// randomKey returns a UUID of version 4.
func randomKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // It never fails.
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// Context is the facts that a decision rests on.
type Context struct {
	// EventRecords are all facts that the query matches, oldest first.
	EventRecords []EventRecord
	// Version is the highest sequence number among them; 0 when no fact matches.
	Version uint64
}

// ReadContext returns all facts that match, with their version, to decide on.
func (s *Store) ReadContext(ctx context.Context, query Query) (Context, error) {
	result, err := s.Query(ctx, query)
	if err != nil {
		return Context{}, err
	}
	defer result.Close()
	read := Context{Version: result.ContextVersion()}
	for record, err := range result.Records() {
		if err != nil {
			return Context{}, err
		}
		read.EventRecords = append(read.EventRecords, record)
	}
	return read, nil
}

// DecideOption is how Decide decides.
type DecideOption func(*decideSettings)

type decideSettings struct {
	attempts int
}

// Attempts is how often Decide reads and decides at most; the default is 10.
func Attempts(attempts int) DecideOption { return func(s *decideSettings) { s.attempts = attempts } }

const (
	firstConflictDelay   = 10 * time.Millisecond
	longestConflictDelay = 500 * time.Millisecond
)

// Decide reads a context, asks the decision for events, and appends them on the condition that the context has not
// changed meanwhile. When it has, it reads and decides again, after a short random wait; after the last attempt the
// ErrConflict is returned. A decision for no events appends nothing: then the result's CommittedCount is 0. An error of
// the decision is returned as it is, and nothing was appended.
func (s *Store) Decide(
	ctx context.Context, query Query, decision func(Context) ([]Event, error), options ...DecideOption,
) (AppendResult, error) {
	settings := decideSettings{attempts: 10}
	for _, option := range options {
		option(&settings)
	}
	if settings.attempts < 1 {
		return AppendResult{}, usage("the attempts to decide are %d; it takes at least 1", settings.attempts)
	}
	for attempt := 1; ; attempt++ {
		read, err := s.ReadContext(ctx, query)
		if err != nil {
			return AppendResult{}, err
		}
		events, err := decision(read)
		if err != nil || len(events) == 0 {
			return AppendResult{}, err
		}
		result, err := s.AppendIf(ctx, events, query, read.Version)
		if attempt == settings.attempts || !errors.Is(err, ErrConflict) {
			return result, err
		}
		// All of it at random: those who lost to the same competitor must not meet again.
		longest := doubled(firstConflictDelay, attempt-1, longestConflictDelay)
		select {
		case <-time.After(mathrand.N(longest)):
		case <-ctx.Done():
			return AppendResult{}, ended(ctx)
		}
	}
}
