// This file owns what can go wrong: the kinds of errors, and the way from a gRPC status to the right one.

package factstr

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

// The kinds of errors, for errors.Is and as [Error.Kind].
var (
	// ErrUsage is refused by this client itself: it can be sent to no server. Nothing was sent.
	ErrUsage = errors.New("factstr: wrong usage")
	// ErrClosed says that the store or the stream was closed before.
	ErrClosed = errors.New("factstr: closed")

	// ErrInvalidRequest breaks a law of the contract and will never succeed as it is; FieldViolations say where.
	ErrInvalidRequest = errors.New("factstr: invalid request")
	// ErrBatchTooLarge is an ErrInvalidRequest: the append holds too many events or bytes. Metadata has limit_name,
	// limit and actual.
	ErrBatchTooLarge = fmt.Errorf("%w: batch too large", ErrInvalidRequest)
	// ErrConflict says that the context changed: read, decide and append again. See [ConflictError].
	ErrConflict = errors.New("factstr: conflict")
	// ErrIdempotencyKeyReused says that the key belongs to an earlier, different request.
	ErrIdempotencyKeyReused = errors.New("factstr: idempotency key reused")
	// ErrUnavailable says that the server or its store does not answer now. An append was not committed.
	ErrUnavailable = errors.New("factstr: unavailable")
	// ErrServerBusy is an ErrUnavailable: the server's queue is full, or the caller's quota is used up.
	ErrServerBusy = fmt.Errorf("%w: server busy", ErrUnavailable)
	// ErrStoreFull says that the store has no room left.
	ErrStoreFull = errors.New("factstr: store full")
	// ErrOutcomeUnknown says that the append may or may not have been committed. With its IdempotencyKey it may be sent
	// again as it was.
	ErrOutcomeUnknown = errors.New("factstr: outcome unknown")
	// ErrDeadlineExceeded is of a read that took longer than its timeout.
	ErrDeadlineExceeded = errors.New("factstr: deadline exceeded")
	// ErrUnauthenticated says that the call carries no valid token or certificate.
	ErrUnauthenticated = errors.New("factstr: unauthenticated")
	// ErrPermissionDenied says that the caller's role does not allow this call.
	ErrPermissionDenied = errors.New("factstr: permission denied")
	// ErrNotImplemented says that the server does not offer this call, or not with this field.
	ErrNotImplemented = errors.New("factstr: not implemented by the server")
	// ErrCursorAheadOfLog says that the position asked for is beyond the head of the log.
	ErrCursorAheadOfLog = errors.New("factstr: cursor ahead of log")
	// ErrLogDiverged says that the log is not the one that the stream began on: a failover or a restore lost its tail,
	// or it is another store. Begin anew, from a position that both have.
	ErrLogDiverged = errors.New("factstr: log diverged")
	// ErrDurableStreamActive says that another consumer holds the durable stream's lease.
	ErrDurableStreamActive = errors.New("factstr: durable stream active")
	// ErrQueryMismatch says that the durable stream's name is bound to another query.
	ErrQueryMismatch = errors.New("factstr: durable stream query mismatch")
	// ErrLeaseLost says that the durable stream was reset or deleted by force, or taken by another consumer.
	ErrLeaseLost = errors.New("factstr: durable stream lease lost")
	// ErrDurableStreamNotFound says that there is no durable stream of this name.
	ErrDurableStreamNotFound = errors.New("factstr: durable stream not found")
	// ErrServer is a defect of the server or its store.
	ErrServer = errors.New("factstr: server error")
)

// Error says why a call failed. Decide by Kind or by Reason, never by Code alone.
type Error struct {
	// Kind is one of the Err… values; nil for an error of no special kind.
	Kind error
	// Code is the gRPC status.
	Code codes.Code
	// Reason is the name of the contract's ErrorReason, also one that this version does not know. Empty when the status
	// came without one: then it came from something between here and the server, and promises nothing.
	Reason string
	// Message is for people: what was wrong, where, and what would be right.
	Message string
	// Metadata has the numbers that go with the reason.
	Metadata map[string]string
	// FieldViolations are the fields that were invalid, at most eight.
	FieldViolations []FieldViolation
	// RetryDelay is how long the server asks to wait before a repetition; 0 when it does not.
	RetryDelay time.Duration
	// IdempotencyKey is of an ErrOutcomeUnknown: the key that the append was sent with, made or given. Empty without one.
	IdempotencyKey string

	cause error
}

// FieldViolation is what is wrong with one field of a request.
type FieldViolation struct {
	// Field is its path, for example events[3].payload.
	Field string
	// Description says what was wrong and what would be right.
	Description string
}

// Error returns the message, with the reason or else the status.
func (e *Error) Error() string {
	name := cmp.Or(e.Reason, e.Code.String())
	switch e.Kind {
	case ErrUsage, ErrClosed:
		return "factstr: " + e.Message
	case ErrOutcomeUnknown:
		return fmt.Sprintf("factstr: %s (%s; it may or may not have been committed)", e.Message, name)
	default:
		return fmt.Sprintf("factstr: %s (%s)", e.Message, name)
	}
}

// Unwrap returns the kind, and where there is one the [ConflictError] or the error of the context.
func (e *Error) Unwrap() []error {
	var causes []error
	for _, cause := range []error{e.Kind, e.cause} {
		if cause != nil {
			causes = append(causes, cause)
		}
	}
	return causes
}

// ConflictError has the versions of an ErrConflict, for errors.As. In both, 0 is a context that no fact matches.
type ConflictError struct {
	// Expected is the version that was expected.
	Expected uint64
	// Actual is the version that the context has.
	Actual uint64
}

// Error names both versions.
func (c *ConflictError) Error() string {
	return fmt.Sprintf("factstr: expected context version %d, found %d", c.Expected, c.Actual)
}

var kindsByReason = map[string]error{
	"EMPTY_APPEND":                  ErrInvalidRequest,
	"INVALID_EVENT_TYPE":            ErrInvalidRequest,
	"INVALID_PAYLOAD":               ErrInvalidRequest,
	"INVALID_PREDICATE":             ErrInvalidRequest,
	"INVALID_METADATA":              ErrInvalidRequest,
	"INVALID_ARGUMENT":              ErrInvalidRequest,
	reasonBatchTooLarge:             ErrBatchTooLarge,
	"UNSUPPORTED_FIELD":             ErrNotImplemented,
	"CONDITIONAL_APPEND_CONFLICT":   ErrConflict,
	"IDEMPOTENCY_KEY_REUSED":        ErrIdempotencyKeyReused,
	"DURABLE_STREAM_ACTIVE":         ErrDurableStreamActive,
	"DURABLE_STREAM_QUERY_MISMATCH": ErrQueryMismatch,
	reasonLeaseLost:                 ErrLeaseLost,
	"DURABLE_STREAM_NOT_FOUND":      ErrDurableStreamNotFound,
	"CURSOR_AHEAD_OF_LOG":           ErrCursorAheadOfLog,
	reasonLogDiverged:               ErrLogDiverged,
	reasonServerBusy:                ErrServerBusy,
	"QUOTA_EXCEEDED":                ErrServerBusy,
	"STORE_FULL":                    ErrStoreFull,
	reasonStoreUnavailable:          ErrUnavailable,
	reasonServerDraining:            ErrUnavailable,
	reasonOutcomeUnknown:            ErrOutcomeUnknown,
	"STORE_CORRUPT":                 ErrServer,
	"UNAUTHENTICATED":               ErrUnauthenticated,
	"PERMISSION_DENIED":             ErrPermissionDenied,
	"NOT_IMPLEMENTED":               ErrNotImplemented,
	reasonInternal:                  ErrServer,
}

// The reasons that code here branches on or makes.
const (
	reasonBatchTooLarge    = "BATCH_TOO_LARGE"
	reasonInternal         = "INTERNAL"
	reasonLeaseLost        = "DURABLE_STREAM_LEASE_LOST"
	reasonLogDiverged      = "LOG_DIVERGED"
	reasonOutcomeUnknown   = "APPEND_OUTCOME_UNKNOWN"
	reasonServerBusy       = "SERVER_BUSY"
	reasonServerDraining   = "SERVER_DRAINING"
	reasonStoreUnavailable = "STORE_UNAVAILABLE"
)

var kindsByCode = map[codes.Code]error{
	codes.InvalidArgument:   ErrInvalidRequest,
	codes.Unavailable:       ErrUnavailable,
	codes.ResourceExhausted: ErrUnavailable,
	codes.DeadlineExceeded:  ErrDeadlineExceeded,
	codes.Unauthenticated:   ErrUnauthenticated,
	codes.PermissionDenied:  ErrPermissionDenied,
	codes.Unimplemented:     ErrNotImplemented,
	codes.Internal:          ErrServer,
	codes.Unknown:           ErrServer,
	codes.DataLoss:          ErrServer,
}

// failureOf returns what a status means. With appends what matters is whether they were committed.
func failureOf(err error, appends bool) *Error {
	state := ownStatus(status.Convert(err))
	failure := &Error{Code: state.Code(), Message: state.Message()}
	for _, detail := range state.Details() {
		failure.takeIn(detail)
	}
	kind, known := kindsByReason[failure.Reason]
	if !known {
		kind = kindsByCode[failure.Code]
	}
	failure.Kind = kind
	if failure.Code == codes.DeadlineExceeded {
		failure.cause = context.DeadlineExceeded
	}
	leavesOpen := known && kind == ErrServer || !known && (failure.Reason == "" || promisesNothing(failure.Code))
	if appends && leavesOpen {
		failure.Kind = ErrOutcomeUnknown
	}
	return failure
}

// What grpc-go says, as INTERNAL, in place of a status whose details are of another one.
var mismatch = regexp.MustCompile(`(?s)^grpc-status-details-bin mismatch: grpc-status=(\w+), grpc-message=("(?:[^"\\]|\\.)*"),`)

// ownStatus returns a status without the details of another one, which promise nothing. grpc-go keeps the call's own code
// in the text alone; were it put otherwise, INTERNAL stays, which without a reason leaves as much open.
func ownStatus(state *status.Status) *status.Status {
	parts := mismatch.FindStringSubmatch(state.Message())
	if state.Code() != codes.Internal || parts == nil {
		return state
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		if message, err := strconv.Unquote(parts[2]); err == nil && code.String() == parts[1] {
			return status.New(code, message)
		}
	}
	return state
}

func (e *Error) takeIn(detail any) {
	switch detail := detail.(type) {
	case *errdetails.ErrorInfo:
		if detail.GetDomain() == "factstr" && detail.GetReason() != "" {
			e.Reason, e.Metadata = detail.GetReason(), detail.GetMetadata()
		}
	case *errdetails.BadRequest:
		for _, violation := range detail.GetFieldViolations() {
			e.FieldViolations = append(e.FieldViolations, FieldViolation{violation.GetField(), violation.GetDescription()})
		}
	case *errdetails.RetryInfo:
		e.RetryDelay = max(0, detail.GetRetryDelay().AsDuration())
	case *factstrv1.ConditionalAppendConflict:
		e.cause = &ConflictError{detail.GetExpectedContextVersion(), detail.GetActualContextVersion()}
	}
}

// promisesNothing tells whether an append may have been committed after a status whose reason does not say otherwise.
func promisesNothing(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown,
		codes.DataLoss:
		return true
	default:
		return false
	}
}

// inDoubt returns what a failure means for an append of which an earlier attempt may have been committed: only a known
// reason that judges the append itself excludes that.
func (e *Error) inDoubt() *Error {
	for _, judgement := range []error{ErrInvalidRequest, ErrConflict, ErrIdempotencyKeyReused} {
		if errors.Is(kindsByReason[e.Reason], judgement) {
			return e
		}
	}
	doubtful := *e
	doubtful.Kind = ErrOutcomeUnknown
	return &doubtful
}

func usage(format string, arguments ...any) error {
	return &Error{Kind: ErrUsage, Code: codes.InvalidArgument, Message: fmt.Sprintf(format, arguments...)}
}

func closed(what string) *Error {
	return &Error{Kind: ErrClosed, Code: codes.Canceled, Message: "the " + what + " is closed"}
}

// ending is the cause of a context that this package has ended itself. Another cause is the caller's, also when it is an
// Error: that is of another call, and says nothing about this one.
type ending struct{ error }

// ended returns what a call is refused with whose context is done.
func ended(ctx context.Context) *Error {
	var why *Error
	if own, ok := context.Cause(ctx).(ending); ok && errors.As(own.error, &why) {
		return why
	}
	failure := failureOf(status.FromContextError(ctx.Err()).Err(), false)
	failure.cause = ctx.Err()
	return failure
}
