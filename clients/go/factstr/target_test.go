// This file owns the tests of what Connect takes and refuses.

package factstr

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for _, target := range []struct {
		text, address string
		local         bool
	}{
		{"localhost:50051", "passthrough:///localhost:50051", true},
		{"127.0.0.2:1", "passthrough:///127.0.0.2:1", true},
		{"[::1]:65535", "passthrough:///[::1]:65535", true},
		{"10.0.0.1:50051", "passthrough:///10.0.0.1:50051", false},
		{"[2001:db8::1]:50051", "passthrough:///[2001:db8::1]:50051", false},
		{"facts.example:50051", "passthrough:///facts.example:50051", false},
		{"unix:/run/factstr.sock", "unix:///run/factstr.sock", true},
		{"unix:/run/fact store?.sock", "unix:///run/fact%20store%3F.sock", true},
	} {
		address, local, err := resolved(target.text)
		if address != target.address || local != target.local || err != nil {
			t.Errorf("%s is %s, local %v, %v", target.text, address, local, err)
		}
	}
}

func TestWhatIsNoTargetIsWrongUsage(t *testing.T) {
	for _, target := range []string{
		"", "localhost", "localhost:", ":50051", "localhost:0", "localhost:65536", "localhost:http", "localhost:+1", "::1",
		"::1:50051", "[localhost]:50051", "[::1]", "[10.0.0.1]:1", "http://localhost:50051", "dns:localhost:50051", "a b:1",
		"dns:///localhost:50051", "unix:", "unix:relative.sock", "a:1,b:2",
	} {
		if _, err := Connect(target); !errors.Is(err, ErrUsage) {
			t.Errorf("%q: %v", target, err)
		}
	}
}

func TestWhatCannotBeMeantIsWrongUsage(t *testing.T) {
	for name, options := range map[string][]Option{
		"a token in plaintext":          {WithToken("secret")},
		"a token with a line end":       {WithToken("secret\n"), WithTLS(TLS{})},
		"a token with a blank":          {WithToken("a secret"), WithTLS(TLS{})},
		"a token beyond ASCII":          {WithToken("tökén"), WithTLS(TLS{})},
		"an empty token":                {WithToken(""), WithTLS(TLS{})},
		"a certificate without its key": {WithTLS(TLS{Cert: "cert.pem"})},
		"a negative timeout":            {WithTimeout(-1)},
		"no timeout":                    {WithTimeout(0)},
		"negative retries":              {WithRetries(Retries{Limit: -1})},
		"a negative first delay":        {WithRetries(Retries{FirstDelay: -1})},
		"a negative longest delay":      {WithRetries(Retries{LongestDelay: -1})},
	} {
		if _, err := Connect("facts.example:50051", options...); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFileThatCannotBeMeantIsNamed(t *testing.T) {
	blank := filepath.Join(t.TempDir(), "blank.pem")
	if err := os.WriteFile(blank, []byte("no certificate\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(t.TempDir(), "missing.pem")
	for name, files := range map[string]TLS{
		"no authority":        {CA: blank},
		"missing authorities": {CA: missing},
		"no certificate":      {Cert: blank, Key: blank},
		"a missing key":       {Cert: blank, Key: missing},
	} {
		_, err := Connect("facts.example:50051", WithTLS(files))
		if !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), files.CA+files.Key) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATokenIsTakenWhereItIsSafe(t *testing.T) {
	for target, options := range map[string][]Option{
		"localhost:1":           {WithToken("secret")},
		"unix:/factstr.sock":    {WithToken("secret")},
		"facts.example:1":       {WithToken("secret"), WithTLS(TLS{})},
		"other.facts.example:1": {WithToken("secret"), AllowPlaintextToken()},
	} {
		store, err := Connect(target, options...)
		if err != nil {
			t.Errorf("%s: %v", target, err)
			continue
		}
		_ = store.Close()
	}
}
