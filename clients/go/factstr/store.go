// This file owns how a server is reached: target, TLS, token, the options of the channel, and the store made of them.

package factstr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	factstrv1 "github.com/factstr/factstr-grpc/clients/go/factstr/v1"
)

const (
	defaultTimeout = 30 * time.Second
	userAgent      = "factstr-go/0.1.0"
)

// Store is a FACTSTR event store. Its methods are safe for concurrent use.
type Store struct {
	conn    *grpc.ClientConn
	events  factstrv1.EventStoreServiceClient
	timeout time.Duration
	retries Retries

	// Done once the store is closed.
	open  context.Context
	close context.CancelFunc

	// The leases of streams that this store has closed: a server that still names one as active has only not noticed
	// yet.
	endedLeases sync.Map
}

// Option is how Connect reaches a server.
type Option func(*settings)

type settings struct {
	tls                 *TLS
	token               *string
	allowPlaintextToken bool
	timeout             time.Duration
	retries             Retries
}

// TLS names the files, each PEM, that verify the server and show who is calling. The zero value trusts the authorities
// of the system.
type TLS struct {
	// CA has the authorities to trust instead of those of the system.
	CA string
	// Cert and Key are the caller's own certificate: both or none.
	Cert, Key string
	// ServerName is the name that the server's certificate must bear when it is not the target's.
	ServerName string
}

// WithTLS encrypts the connection; without it, it is plaintext.
func WithTLS(tls TLS) Option { return func(s *settings) { s.tls = &tls } }

// WithToken sends a bearer token with every call: visible ASCII, and not empty. In plaintext to anywhere but loopback or a
// Unix socket it is refused, unless AllowPlaintextToken is given.
func WithToken(token string) Option { return func(s *settings) { s.token = &token } }

// AllowPlaintextToken lets a token cross a network where everyone on the way can read it.
func AllowPlaintextToken() Option { return func(s *settings) { s.allowPlaintextToken = true } }

// WithTimeout bounds each call whose context has no deadline, its repetitions included; of a query, each wait for the
// server. It must be positive; the default is 30 s.
func WithTimeout(timeout time.Duration) Option { return func(s *settings) { s.timeout = timeout } }

// WithRetries says how failed calls are repeated; the default is DefaultRetries.
func WithRetries(retries Retries) Option { return func(s *settings) { s.retries = retries } }

// Connect returns the store at a target: host:port, [v6 address]:port or unix:/path. It opens nothing yet: a server that
// cannot be reached shows at the first call. What cannot be meant is an ErrUsage.
func Connect(target string, options ...Option) (*Store, error) {
	s := settings{timeout: defaultTimeout, retries: DefaultRetries()}
	for _, option := range options {
		option(&s)
	}
	address, local, err := resolved(target)
	if err != nil {
		return nil, err
	}
	if s.timeout <= 0 {
		return nil, usage("the timeout is %v; it must be positive", s.timeout)
	}
	if err := s.retries.check(); err != nil {
		return nil, err
	}
	dialing, err := s.dialing(target, local)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(address, dialing...)
	if err != nil {
		return nil, usage("the target %q: %v", target, err)
	}
	store := &Store{
		conn: conn, events: factstrv1.NewEventStoreServiceClient(conn), timeout: s.timeout, retries: s.retries,
	}
	store.open, store.close = context.WithCancel(context.Background())
	return store, nil
}

// Close closes the connection, and ends what is still running on it. Harmless again; the error is always nil.
func (s *Store) Close() error {
	s.close()
	_ = s.conn.Close() // It fails only when it is closed already.
	return nil
}

// Conn returns the channel, whose calls carry the store's token, for the generated stubs of package factstrv1: they have
// what this package does not wrap. Nothing that is called on them is repeated.
func (s *Store) Conn() grpc.ClientConnInterface { return s.conn }

func (s *settings) dialing(target string, local bool) ([]grpc.DialOption, error) {
	secure := insecure.NewCredentials()
	if s.tls != nil {
		var err error
		if secure, err = s.tls.credentials(); err != nil {
			return nil, err
		}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(secure),
		grpc.WithUserAgent(userAgent),
		// A retry policy of somebody else's would repeat appends blindly. gRPC's transparent retries stay on: they repeat
		// only what no server has seen.
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		// A dead connection is noticed within 40 s while a call is under way; nothing is sent while there is none.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// gRPC's own limit is two minutes: too long to stay away from a server that has come back.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 20 * time.Second,
		}),
	}
	if local {
		// A proxy from the environment is for others' servers, never for this machine's own.
		options = append(options, grpc.WithNoProxy())
	}
	if s.token != nil {
		if *s.token == "" || strings.ContainsFunc(*s.token, func(r rune) bool { return r <= ' ' || r > '~' }) {
			return nil, usage("the token is empty, or holds a character that no header can carry, such as a line end")
		}
		if s.tls == nil && !local && !s.allowPlaintextToken {
			return nil, usage("the token would go to %s in plaintext; use TLS, or allow it with AllowPlaintextToken", target)
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer(*s.token)))
	}
	return options, nil
}

func (t *TLS) credentials() (credentials.TransportCredentials, error) {
	config := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, usage("tls: %v", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, usage("tls: %s holds no certificate", t.CA)
		}
	}
	if (t.Cert == "") != (t.Key == "") {
		return nil, usage("tls: a client certificate takes both Cert and Key")
	}
	if t.Cert != "" {
		own, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, usage("tls: the certificate %s with the key %s: %v", t.Cert, t.Key, err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return credentials.NewTLS(config), nil
}

// bearer is a token. Whether it may go in plaintext was decided before.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return false }
