// Tool-desk is a desk that rents out tools: `tool-desk TARGET NAME` reads commands from standard input, one a line, and
// answers each on standard output. However many desks there are, they never rent out one tool twice.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
)

const (
	registered = "tool-registered"
	checkedOut = "tool-checked-out"
	returned   = "tool-returned"

	usage = "commands: register ID KIND, check-out ID CUSTOMER, return ID, inventory"
)

// payload is what all facts about tools have, each its part of it.
type payload struct {
	Tool     tool      `json:"tool"`
	Customer *customer `json:"customer,omitempty"`
}

type tool struct {
	ID   string `json:"id"`
	Kind string `json:"kind,omitempty"`
}

type customer struct {
	Name string `json:"name"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: tool-desk TARGET NAME")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintf(os.Stderr, "tool-desk: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
}

func run(ctx context.Context, target, name string) error {
	store, err := factstr.Connect(target)
	if err != nil {
		return err
	}
	defer store.Close()
	// Nothing is connected yet: the first call shows whether there is a server.
	result, err := store.Query(ctx, factstr.Everything(), factstr.Limit(0))
	if err != nil {
		return err
	}
	result.Close()
	fmt.Printf("%s is open\n", name)

	d := desk{store, name}
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		answer, err := d.do(ctx, strings.Fields(commands.Text()))
		if err != nil {
			return err
		}
		fmt.Println(answer)
	}
	return commands.Err()
}

type desk struct {
	store *factstr.Store
	name  string
}

func (d desk) do(ctx context.Context, command []string) (string, error) {
	switch {
	case len(command) == 3 && command[0] == "register":
		return d.register(ctx, tool{ID: command[1], Kind: command[2]})
	case len(command) == 3 && command[0] == "check-out":
		return d.checkOut(ctx, command[1], command[2])
	case len(command) == 2 && command[0] == "return":
		return d.takeBack(ctx, command[1])
	case len(command) == 1 && command[0] == "inventory":
		return d.inventory(ctx)
	default:
		return usage, nil
	}
}

func (d desk) register(ctx context.Context, t tool) (answer string, err error) {
	err = d.decide(ctx, t.ID, func(known bool, _ *customer) []factstr.Event {
		if known {
			answer = t.ID + " is registered already"
			return nil
		}
		answer = t.ID + " is registered"
		return d.event(registered, payload{Tool: t})
	})
	return answer, err
}

func (d desk) checkOut(ctx context.Context, id, name string) (answer string, err error) {
	err = d.decide(ctx, id, func(known bool, holder *customer) []factstr.Event {
		switch {
		case !known:
			answer = "there is no " + id
			return nil
		case holder != nil:
			answer = fmt.Sprintf("%s is out: %s has it", id, holder.Name)
			return nil
		}
		answer = fmt.Sprintf("%s is checked out to %s", id, name)
		return d.event(checkedOut, payload{Tool: tool{ID: id}, Customer: &customer{Name: name}})
	})
	return answer, err
}

func (d desk) takeBack(ctx context.Context, id string) (answer string, err error) {
	err = d.decide(ctx, id, func(known bool, holder *customer) []factstr.Event {
		switch {
		case !known:
			answer = "there is no " + id
			return nil
		case holder == nil:
			answer = id + " is not out"
			return nil
		}
		answer = id + " is back"
		return d.event(returned, payload{Tool: tool{ID: id}})
	})
	return answer, err
}

// decide reads what happened to a tool, and appends what the decision makes of that, if nothing has happened to it
// meanwhile; else it decides again, on what is new.
func (d desk) decide(ctx context.Context, id string, decision func(known bool, holder *customer) []factstr.Event) error {
	about := factstr.Where(factstr.Types(registered, checkedOut, returned).Payload(payload{Tool: tool{ID: id}}))
	_, err := d.store.Decide(ctx, about, func(read factstr.Context) ([]factstr.Event, error) {
		if len(read.EventRecords) == 0 {
			return decision(false, nil), nil
		}
		var last payload
		if err := read.EventRecords[len(read.EventRecords)-1].Decode(&last); err != nil {
			return nil, err
		}
		return decision(true, last.Customer), nil
	})
	return err
}

func (d desk) event(eventType string, p payload) []factstr.Event {
	return []factstr.Event{{EventType: eventType, Payload: p, Metadata: map[string]string{"desk": d.name}}}
}

// table is the inventory as a file. It says how far it has come, so that what is delivered again counts once.
type table struct {
	LastSequenceNumber uint64         `json:"last_sequence_number"`
	Tools              map[string]row `json:"tools"`
}

type row struct {
	Kind     string  `json:"kind"`
	Customer *string `json:"customer"`
}

func (d desk) inventory(ctx context.Context) (string, error) {
	path := fmt.Sprintf("inventory-%s.json", d.name)
	t, err := read(path)
	if err != nil {
		return "", err
	}
	project := func(_ context.Context, batch factstr.DurableBatch) error {
		if batch.LastSequenceNumber <= t.LastSequenceNumber {
			return nil
		}
		for _, record := range batch.EventRecords {
			if err := t.take(record); err != nil {
				return err
			}
		}
		t.LastSequenceNumber = batch.LastSequenceNumber
		return t.write(path)
	}
	tools := factstr.Where(factstr.Types(registered, checkedOut, returned))
	err = d.store.Project(ctx, "inventory-"+d.name, tools, project, factstr.StopWhenCaughtUp(), factstr.WaitForLease())
	if err != nil {
		return "", err
	}
	return t.String(), nil
}

func read(path string) (*table, error) {
	t := &table{Tools: map[string]row{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	return t, json.Unmarshal(text, t)
}

func (t *table) take(record factstr.EventRecord) error {
	var fact payload
	if err := record.Decode(&fact); err != nil {
		return err
	}
	row := t.Tools[fact.Tool.ID]
	switch record.EventType {
	case registered:
		row.Kind = fact.Tool.Kind
	case checkedOut:
		row.Customer = &fact.Customer.Name
	case returned:
		row.Customer = nil
	}
	t.Tools[fact.Tool.ID] = row
	return nil
}

// write replaces the file as a whole: whoever reads it sees the old table or the new.
func (t *table) write(path string) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (t *table) String() string {
	var lines []string
	for _, id := range slices.Sorted(maps.Keys(t.Tools)) {
		tool := t.Tools[id]
		where := "in"
		if tool.Customer != nil {
			where = "out " + *tool.Customer
		}
		lines = append(lines, fmt.Sprintf("%s %s %s", id, tool.Kind, where))
	}
	count := fmt.Sprintf("%d tools", len(lines))
	if len(lines) == 1 {
		count = "1 tool"
	}
	return strings.Join(append(lines, count), "\n")
}
