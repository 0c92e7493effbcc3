// This file owns what is done with streams of both kinds.

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
)

// durableStream is what `durable` has opened, with its batches by their numbers, as they were delivered last.
type durableStream struct {
	*factstr.DurableStream
	lock      sync.Mutex
	delivered map[uint64]factstr.DurableBatch
}

func (a *adapter) stream(ctx context.Context, r *request) (any, error) {
	to, err := get(a, a.stores, r.Store)
	if err != nil {
		return nil, err
	}
	var options []factstr.StreamOption
	if r.After != nil {
		options = append(options, factstr.After(*r.After))
	}
	if r.GiveUpAfterMS != nil {
		options = append(options, factstr.GiveUpAfter(milliseconds(*r.GiveUpAfterMS)))
	}
	opened, err := opening(ctx, func(life context.Context) (*factstr.Stream, error) {
		if r.Query == nil {
			return to.store.StreamAll(life, options...)
		}
		return to.store.StreamTo(life, queryOf(r.Query), options...)
	})
	if err != nil {
		return nil, err
	}
	put(a, a.streams, r.Stream, opened)
	return map[string]any{"position": opened.Position()}, nil
}

func (a *adapter) durable(ctx context.Context, r *request) (any, error) {
	to, err := get(a, a.stores, r.Store)
	if err != nil {
		return nil, err
	}
	var options []factstr.DurableOption
	switch start := r.Start.(type) {
	case string:
		options = append(options, factstr.StartAtHead())
	case json.Number:
		var after uint64
		if err := decode([]byte(start), &after); err != nil {
			return nil, err
		}
		options = append(options, factstr.StartAfter(after))
	}
	if r.MaxUnacknowledged != nil {
		options = append(options, factstr.MaxUnacknowledgedBatches(*r.MaxUnacknowledged))
	}
	if r.WaitForLease {
		options = append(options, factstr.WaitForLease())
	}
	if r.GiveUpAfterMS != nil {
		options = append(options, factstr.GiveUpAfter(milliseconds(*r.GiveUpAfterMS)))
	}
	opened, err := opening(ctx, func(life context.Context) (*factstr.DurableStream, error) {
		if r.Query == nil {
			return to.store.StreamAllDurable(life, r.Name, options...)
		}
		return to.store.StreamToDurable(life, r.Name, queryOf(r.Query), options...)
	})
	if err != nil {
		return nil, err
	}
	put(a, a.durables, r.Stream, &durableStream{DurableStream: opened, delivered: map[uint64]factstr.DurableBatch{}})
	return map[string]any{"cursor": opened.Cursor(), "lease_epoch": opened.LeaseEpoch()}, nil
}

// opening opens a stream that outlives the request that opens it.
func opening[S any](request context.Context, open func(life context.Context) (S, error)) (S, error) {
	life, end := context.WithCancel(context.WithoutCancel(request))
	stop := context.AfterFunc(request, end)
	defer stop()
	return open(life)
}

func (a *adapter) read(ctx context.Context, r *request) (any, error) {
	if live, err := get(a, a.streams, r.Stream); err == nil {
		return readLive(ctx, r, live)
	}
	durable, err := get(a, a.durables, r.Stream)
	if err != nil {
		return nil, err
	}
	return durable.read(ctx, r)
}

func readLive(ctx context.Context, r *request, live *factstr.Stream) (any, error) {
	switch r.Do {
	case "next":
		batch, err := live.Next(ctx)
		if err != nil {
			return nil, err
		}
		described, err := batchOf(batch)
		return map[string]any{"batch": described, "position": live.Position()}, err
	case "until_caught_up":
		batches := []any{}
		for batch, err := range live.UntilCaughtUp() {
			if err != nil {
				return nil, err
			}
			described, err := batchOf(batch)
			if err != nil {
				return nil, err
			}
			batches = append(batches, described)
		}
		return map[string]any{"batches": batches, "position": live.Position()}, nil
	case "close_stream":
		live.Close()
		return empty, nil
	default:
		return nil, errors.New("not of a live stream: " + r.Do)
	}
}

func (d *durableStream) read(ctx context.Context, r *request) (any, error) {
	switch r.Do {
	case "next":
		batch, err := d.Next(ctx)
		if err != nil {
			return nil, err
		}
		described, err := d.take(batch)
		return map[string]any{"batch": described, "position": d.Position()}, err
	case "until_caught_up":
		batches := []any{}
		for batch, err := range d.UntilCaughtUp() {
			if err != nil {
				return nil, err
			}
			described, err := d.take(batch)
			if err != nil {
				return nil, err
			}
			batches = append(batches, described)
		}
		return map[string]any{"batches": batches, "position": d.Position()}, nil
	case "acknowledge":
		d.lock.Lock()
		batch, ok := d.delivered[r.LastSequenceNumber]
		d.lock.Unlock()
		if !ok {
			return nil, fmt.Errorf("no batch ends at %d", r.LastSequenceNumber)
		}
		cursor, err := d.Acknowledge(ctx, batch)
		if err != nil {
			return nil, err
		}
		return map[string]any{"cursor": cursor}, nil
	default:
		d.Close()
		return empty, nil
	}
}

func (d *durableStream) take(batch factstr.DurableBatch) (map[string]any, error) {
	d.lock.Lock()
	d.delivered[batch.LastSequenceNumber] = batch
	d.lock.Unlock()
	described, err := batchOf(batch.CommittedBatch)
	if err != nil {
		return nil, err
	}
	described["lease_epoch"] = batch.LeaseEpoch
	return described, nil
}
