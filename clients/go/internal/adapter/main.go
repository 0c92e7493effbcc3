// The adapter does with this client's public API what the conformance cases of all clients tell it to: one request a
// line on standard input, one answer a line on standard output. See clients/conformance/README.md.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"sync"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
)

func main() {
	a := &adapter{
		out:      json.NewEncoder(os.Stdout),
		stores:   named[*connection]{},
		streams:  named[*factstr.Stream]{},
		durables: named[*durableStream]{},
		underWay: map[string]context.CancelFunc{},
	}
	a.out.SetEscapeHTML(false)
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			a.start(line)
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(err)
		}
	}
}

// adapter is what the requests have opened, and which of them are under way.
type adapter struct {
	lock     sync.Mutex
	out      *json.Encoder
	stores   named[*connection]
	streams  named[*factstr.Stream]
	durables named[*durableStream]
	underWay map[string]context.CancelFunc
}

type named[T any] map[string]T

// start begins what a line asks for. Names and cancellations take effect in the order of the lines.
func (a *adapter) start(line []byte) {
	var r request
	if err := decode(line, &r); err != nil {
		panic(err)
	}
	id := string(r.ID)
	ctx, cancel := context.WithCancel(context.Background())
	a.lock.Lock()
	a.underWay[id] = cancel
	a.lock.Unlock()
	go func() {
		result, err := a.do(ctx, &r)
		answer := map[string]any{"id": r.ID}
		if err != nil {
			failure := described(err)
			if expected, ok := failure["expected"]; ok && expected == nil && r.ExpectedContextVersion != nil {
				// This client says 0 for null.
				failure["expected"] = r.ExpectedContextVersion
			}
			var failed *handlerError
			if errors.As(err, &failed) {
				failure["handled"] = failed.handled
			}
			answer["error"] = failure
		} else {
			answer["result"] = result
		}
		a.lock.Lock()
		defer a.lock.Unlock()
		delete(a.underWay, id)
		cancel()
		if err := a.out.Encode(answer); err != nil {
			panic(err)
		}
	}()
}

func (a *adapter) do(ctx context.Context, r *request) (any, error) {
	switch r.Do {
	case "connect":
		return a.connect(r)
	case "stream":
		return a.stream(ctx, r)
	case "durable":
		return a.durable(ctx, r)
	case "next", "until_caught_up", "acknowledge", "close_stream":
		return a.read(ctx, r)
	case "cancel":
		a.lock.Lock()
		defer a.lock.Unlock()
		if cancel := a.underWay[string(r.Request)]; cancel != nil {
			cancel()
		}
		return empty, nil
	}
	to, err := get(a, a.stores, r.Store)
	if err != nil {
		return nil, err
	}
	return to.do(ctx, r)
}

func get[T any](a *adapter, from named[T], name string) (T, error) {
	a.lock.Lock()
	defer a.lock.Unlock()
	found, ok := from[name]
	if !ok {
		return found, errors.New("nothing has this name: " + name)
	}
	return found, nil
}

func put[T any](a *adapter, into named[T], name string, opened T) {
	a.lock.Lock()
	defer a.lock.Unlock()
	into[name] = opened
}
