// This file owns projecting: a handler that is run on each batch of a durable stream.

package factstr

import (
	"context"
	"time"
)

// What is handled is acknowledged after so long at the latest. Batches that came together are acknowledged together: an
// acknowledgement each would cost a replay most of its time, and a later one no more than a few batches that are handled
// again after a crash.
const longestUnacknowledged = 100 * time.Millisecond

// How long what was handled may take to be acknowledged when the projecting ends, also when its context is done.
const longestLastAcknowledging = 3 * time.Second

// Project runs the handler on each batch of a durable stream, and acknowledges it after the handler has returned. An
// error of the handler is returned as it is: what was handled before is acknowledged, that batch is not. Without one it
// returns only when the context ends it, or with StopWhenCaughtUp. When the context ends it, what was handled is
// acknowledged first, within 3 s.
//
// Delivery is at least once: after a crash the last few batches come again.
func (s *Store) Project(
	ctx context.Context, name string, query Query, handler func(context.Context, DurableBatch) error, options ...ProjectOption,
) error {
	settings := settingsOf(options)
	stream, err := s.streamToDurable(ctx, name, query, settings)
	if err != nil {
		return err
	}
	defer stream.Close()
	batches := stream.Batches()
	if settings.stopWhenCaughtUp {
		batches = stream.UntilCaughtUp()
	}
	var handled *DurableBatch // not acknowledged yet
	defer func() {
		if handled != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), longestLastAcknowledging)
			defer cancel()
			// Whether that fails too is no matter: it is handled again then.
			_, _ = stream.acknowledge(last, *handled, s.attempts(last))
		}
	}()
	acknowledgedAt := time.Now()
	for batch, err := range batches {
		if err != nil {
			return err
		}
		if err := handler(ctx, batch); err != nil {
			return err
		}
		handled = &batch
		if time.Since(acknowledgedAt) < longestUnacknowledged && stream.has(func() bool { return len(stream.pending) > 0 }) {
			continue
		}
		if _, err := stream.Acknowledge(ctx, batch); err != nil {
			return err
		}
		handled, acknowledgedAt = nil, time.Now()
	}
	return nil
}
