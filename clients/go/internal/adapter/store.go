// This file owns what is done with a connected store.

package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
)

// connection is what `connect` has opened.
type connection struct{ store *factstr.Store }

func (a *adapter) connect(r *request) (any, error) {
	var options []factstr.Option
	if len(r.TLS) > 0 && string(r.TLS) != "null" && string(r.TLS) != "false" {
		var files struct {
			CA         string `json:"ca"`
			Cert       string `json:"cert"`
			Key        string `json:"key"`
			ServerName string `json:"server_name"`
		}
		if string(r.TLS) != "true" {
			if err := decode(r.TLS, &files); err != nil {
				return nil, err
			}
		}
		options = append(options, factstr.WithTLS(factstr.TLS(files)))
	}
	if r.Token != nil {
		options = append(options, factstr.WithToken(*r.Token))
	}
	if r.AllowPlaintextToken {
		options = append(options, factstr.AllowPlaintextToken())
	}
	if r.TimeoutMS != nil {
		options = append(options, factstr.WithTimeout(milliseconds(*r.TimeoutMS)))
	}
	if r.Retries != nil {
		made := factstr.DefaultRetries()
		if r.Retries.Limit != nil {
			made.Limit = *r.Retries.Limit
		}
		if r.Retries.FirstDelayMS != nil {
			made.FirstDelay = milliseconds(*r.Retries.FirstDelayMS)
		}
		if r.Retries.LongestDelayMS != nil {
			made.LongestDelay = milliseconds(*r.Retries.LongestDelayMS)
		}
		options = append(options, factstr.WithRetries(made))
	}
	store, err := factstr.Connect(r.Target, options...)
	if err != nil {
		return nil, err
	}
	put(a, a.stores, r.Store, &connection{store})
	return empty, nil
}

func (c *connection) do(ctx context.Context, r *request) (any, error) {
	if r.TimeoutMS != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, milliseconds(*r.TimeoutMS))
		defer cancel()
	}
	switch r.Do {
	case "close":
		return empty, c.store.Close()
	case "append", "append_if":
		return c.append(ctx, r)
	case "query":
		return c.query(ctx, r)
	case "decide":
		return c.decide(ctx, r)
	case "project":
		return c.project(ctx, r)
	default:
		return nil, fmt.Errorf("unknown: %s", r.Do)
	}
}

func (c *connection) append(ctx context.Context, r *request) (any, error) {
	var options []factstr.AppendOption
	if r.IdempotencyKey != nil {
		options = append(options, factstr.IdempotencyKey(*r.IdempotencyKey))
	}
	var result factstr.AppendResult
	var err error
	if r.Do == "append" {
		result, err = c.store.Append(ctx, eventsOf(r.Events), options...)
	} else {
		var expected uint64
		if r.ExpectedContextVersion != nil {
			expected = *r.ExpectedContextVersion
		}
		result, err = c.store.AppendIf(ctx, eventsOf(r.Events), queryOf(r.Query), expected, options...)
	}
	if err != nil {
		return nil, err
	}
	return appendedOf(result), nil
}

func (c *connection) query(ctx context.Context, r *request) (any, error) {
	var options []factstr.QueryOption
	if r.Limit != nil {
		options = append(options, factstr.Limit(*r.Limit))
	}
	if r.Order == "descending" {
		options = append(options, factstr.Descending())
	}
	if r.Before != nil {
		options = append(options, factstr.Before(*r.Before))
	}
	result, err := c.store.Query(ctx, queryOf(r.Query), options...)
	if err != nil {
		return nil, err
	}
	defer result.Close()
	records := []any{}
	for record, err := range result.Records() {
		if err != nil {
			return nil, err
		}
		described, err := recordOf(record)
		if err != nil {
			return nil, err
		}
		records = append(records, described)
	}
	return map[string]any{
		"event_records":                 records,
		"context_version":               orNull(result.ContextVersion()),
		"last_returned_sequence_number": orNull(result.LastReturnedSequenceNumber()),
	}, nil
}

func (c *connection) decide(ctx context.Context, r *request) (any, error) {
	var options []factstr.DecideOption
	if r.Attempts != nil {
		options = append(options, factstr.Attempts(*r.Attempts))
	}
	decisions := 0
	result, err := c.store.Decide(ctx, queryOf(r.Query), func(read factstr.Context) ([]factstr.Event, error) {
		decisions++
		if n := len(read.EventRecords); n > 0 && r.UnlessLast != nil && read.EventRecords[n-1].EventType == *r.UnlessLast {
			return nil, nil
		}
		if r.Interfere != nil && decisions <= r.Interfere.Times {
			if _, err := c.store.Append(ctx, eventsOf(r.Interfere.Events)); err != nil {
				return nil, err
			}
		}
		return eventsOf(r.Events), nil
	}, options...)
	if err != nil {
		return nil, err
	}
	answer := map[string]any{"decisions": decisions, "appended": nil}
	if result.CommittedCount > 0 {
		answer["appended"] = appendedOf(result)
	}
	return answer, nil
}

func (c *connection) project(ctx context.Context, r *request) (any, error) {
	handled := []uint64{}
	handler := func(_ context.Context, batch factstr.DurableBatch) error {
		if r.FailAt != nil && batch.LastSequenceNumber == *r.FailAt {
			return &handlerError{}
		}
		handled = append(handled, batch.LastSequenceNumber)
		return nil
	}
	err := c.store.Project(ctx, r.Name, queryOf(r.Query), handler, factstr.StopWhenCaughtUp())
	var failed *handlerError
	if errors.As(err, &failed) {
		failed.handled = handled
	}
	if err != nil {
		return nil, err
	}
	return map[string]any{"handled": handled}, nil
}
