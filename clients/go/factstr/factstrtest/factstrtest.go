// Package factstrtest starts memory servers for tests.
//
//	func TestInventory(t *testing.T) {
//		store := factstrtest.Start(t).Connect()
//		…
//	}
//
// It needs factstr-server on the path, or its command line, split at spaces, in FACTSTR_SERVER.
package factstrtest

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
)

const (
	startTime = 60 * time.Second
	stopTime  = 30 * time.Second
)

var ready = regexp.MustCompile(` serves .* on (\S+)$`)

// Server is a memory server of one test.
type Server struct {
	t      testing.TB
	target string
}

// Start starts a server that stops when the test has ended. One that does not start fails the test, with what it said.
func Start(t testing.TB) *Server {
	t.Helper()
	target, stop, err := Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return &Server{t, target}
}

// Target returns what factstr.Connect takes.
func (s *Server) Target() string { return s.target }

// Connect returns a store at the server, which is closed when the test has ended.
func (s *Server) Connect(options ...factstr.Option) *factstr.Store {
	s.t.Helper()
	store, err := factstr.Connect(s.target, options...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = store.Close() })
	return store
}

// Run starts a server for more than one test, as in a TestMain, and returns what factstr.Connect takes. The server ends
// when its standard input does, so when it is stopped, and also when this process is killed.
func Run() (target string, stop func(), err error) {
	process := command()
	stdin, err := process.StdinPipe()
	if err != nil {
		return "", nil, fmt.Errorf("factstrtest: %w", err)
	}
	stderr, err := process.StderrPipe()
	if err != nil {
		return "", nil, fmt.Errorf("factstrtest: %w", err)
	}
	if err := process.Start(); errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return "", nil, fmt.Errorf("factstrtest: there is no %s: install factstr-server, or name its command in FACTSTR_SERVER",
			process.Args[0])
	} else if err != nil {
		return "", nil, fmt.Errorf("factstrtest: %w", err)
	}
	exited := make(chan struct{})
	end := func(patience time.Duration) {
		_ = stdin.Close()
		select {
		case <-exited:
		case <-time.After(patience):
			_ = process.Process.Kill()
			<-exited
		}
	}
	started := make(chan error, 1)
	go func() {
		defer close(exited)
		said, failure := readTarget(stderr)
		target = said
		started <- failure
		// What it says later must not fill the pipe, or it would wait.
		_, _ = io.Copy(io.Discard, stderr)
		_ = process.Wait() // How it ends is no matter to a test.
	}()
	select {
	case err = <-started:
	case <-time.After(startTime):
		err = fmt.Errorf("factstrtest: the server was not ready within %v", startTime)
	}
	if err != nil {
		end(0)
		return "", nil, err
	}
	return target, func() { end(stopTime) }, nil
}

func command() *exec.Cmd {
	words := strings.Fields(os.Getenv("FACTSTR_SERVER"))
	if len(words) == 0 {
		words = []string{"factstr-server"}
	}
	words = append(words, "--store", "memory:", "--listen", "127.0.0.1:0", "--log-format", "text", "--stop-at-eof")
	process := exec.Command(words[0], words[1:]...)
	// Only these flags say how it runs.
	process.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "FACTSTR_") })
	return process
}

// readTarget reads the log until the server says where it listens.
func readTarget(log io.Reader) (string, error) {
	var said strings.Builder
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		if found := ready.FindStringSubmatch(strings.TrimRight(line, "\r\n")); found != nil {
			return found[1], nil
		}
		said.WriteString(line)
		if err != nil {
			return "", fmt.Errorf("factstrtest: the server did not start: %s", cmp.Or(strings.TrimSpace(said.String()), "it said nothing"))
		}
	}
}
