// This file owns that the README shows only what is compiled and run.

package factstr_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
	"github.com/factstr/factstr-grpc/clients/go/factstr/factstrtest"
)

func TestInventory(t *testing.T) {
	store := factstrtest.Start(t).Connect()
	if read, err := store.ReadContext(t.Context(), factstr.Everything()); err != nil || len(read.EventRecords) != 0 {
		t.Fatalf("read %+v, %v", read, err)
	}
}

func TestTheReadmeShowsOnlyWhatTheExamplesRun(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var sources string
	for _, name := range []string{"example_test.go", "readme_test.go"} {
		source, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		sources += flush(string(source))
	}
	snippets := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(snippets) < 10 {
		t.Fatalf("the README shows %d snippets", len(snippets))
	}
	for _, snippet := range snippets {
		if !strings.Contains(sources, flush(snippet[1])) {
			t.Errorf("no example has this:\n%s", snippet[1])
		}
	}
}

// flush leaves out the indentation, which gofmt sets in the examples.
func flush(source string) string {
	lines := strings.Split(source, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimLeft(line, "\t")
	}
	return strings.Join(lines, "\n")
}
