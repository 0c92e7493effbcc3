// This file owns the tests of the servers that tests start.

package factstrtest_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/factstr/factstr-grpc/clients/go/factstr"
	"github.com/factstr/factstr-grpc/clients/go/factstr/factstrtest"
)

// holder makes this program start a server, say where it is, and wait.
const holder = "TEST_HOLDS_A_SERVER"

func TestMain(m *testing.M) {
	if os.Getenv(holder) == "" {
		os.Exit(m.Run())
	}
	target, stop, err := factstrtest.Run()
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(target + "\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
	stop()
}

func TestAServerIsEmptyAndStopsWithItsTest(t *testing.T) {
	var target string
	t.Run("test", func(t *testing.T) {
		t.Setenv("FACTSTR_LISTEN", "nowhere")
		server := factstrtest.Start(t)
		target = server.Target()
		read, err := server.Connect().ReadContext(t.Context(), factstr.Everything())
		if err != nil || read.Version != 0 {
			t.Fatalf("read %+v, %v", read, err)
		}
	})
	if conn, err := net.Dial("tcp", target); err == nil {
		conn.Close()
		t.Fatal("it still listens")
	}
}

func TestAServerEndsWhenTheProcessOfItsTestIsKilled(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	process := exec.CommandContext(ctx, os.Args[0])
	process.Env = append(os.Environ(), holder+"=1")
	stdin, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	stdout, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	target, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimSpace(target))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = process.Wait()
	// The server closes this connection when it ends.
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, conn); os.IsTimeout(err) {
		t.Fatal("it goes on without its test")
	}
}

func TestAServerThatDoesNotStartSaysWhy(t *testing.T) {
	t.Setenv("FACTSTR_SERVER", "go version")
	if _, _, err := factstrtest.Run(); err == nil || !strings.Contains(err.Error(), "the server did not start") {
		t.Fatalf("it is %v", err)
	}
}

func TestACommandThatIsNotThereIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for command, missing := range map[string]string{
		"":                   "factstr-server",
		"no-such-program -v": "no-such-program",
		"/nowhere/server":    "/nowhere/server",
	} {
		t.Setenv("FACTSTR_SERVER", command)
		_, _, err := factstrtest.Run()
		if err == nil || !strings.Contains(err.Error(), "there is no "+missing+": install factstr-server, or name its command in") {
			t.Errorf("%q: %v", command, err)
		}
	}
}
