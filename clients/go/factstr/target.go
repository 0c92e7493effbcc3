// This file owns which targets are addresses, and which of them stay on this machine.

package factstr

import (
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// resolved returns a target as gRPC is to be given it, and whether it stays on this machine.
func resolved(target string) (address string, local bool, err error) {
	if path, ok := strings.CutPrefix(target, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", false, wrongTarget(target)
		}
		return (&url.URL{Scheme: "unix", Path: path}).String(), true, nil
	}
	host, port, err := net.SplitHostPort(target)
	if err != nil || host == "" || strings.ContainsAny(host, "/?#@%, \t\r\n") {
		return "", false, wrongTarget(target)
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return "", false, wrongTarget(target)
	}
	ip, err := netip.ParseAddr(host)
	if strings.HasPrefix(target, "[") && (err != nil || !ip.Is6()) {
		return "", false, wrongTarget(target)
	}
	// The dialer looks the name up at each attempt to connect, so that a server that has moved is found at once. gRPC's
	// own DNS resolver would look again after half a minute at the earliest.
	return "passthrough:///" + target, host == "localhost" || ip.IsLoopback(), nil
}

func wrongTarget(target string) error {
	return usage("the target is %q; it must be host:port, for example localhost:50051, [v6 address]:port or unix:/path", target)
}
