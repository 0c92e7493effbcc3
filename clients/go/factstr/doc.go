// Package factstr is the client of a FACTSTR event store over gRPC.
//
// A [Store] appends events, queries facts, appends on the condition that a context has not changed, and follows the log
// live, also under a name whose cursor the store keeps. It is a thin layer over the generated stubs of package
// factstrv1: it makes idempotency keys, repeats what may be repeated, and takes interrupted streams up again, so that
// no fact is lost, repeated, reordered or invented.
//
// # Contexts and timeouts
//
// Each call is bounded by its context's deadline; where that has none, by the store's timeout (30 s, [WithTimeout]),
// which of a query bounds each wait for the server. Cancelling the context ends the call, and nothing is repeated then.
//
// # Errors
//
// Every error of a server is an [*Error] whose Kind is one of the Err… values, so that both of these work:
//
//	errors.Is(err, factstr.ErrConflict)
//
//	var failure *factstr.Error
//	if errors.As(err, &failure) { … failure.Reason … }
//
// After an append failed with anything but [ErrOutcomeUnknown], nothing was committed.
package factstr
