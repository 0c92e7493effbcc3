"""Where Prometheus fetches metrics: a small HTTP server in threads of its own."""

import socket
import threading
from http.server import ThreadingHTTPServer
from typing import Final

from prometheus_client import CollectorRegistry, MetricsHandler

_CLIENT_SECONDS: Final = 10
"""How long a client may take to ask."""


class MetricsEndpoint:
    """Listens from its making until it is closed. Raises OSError where it cannot."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        # A class of its own, because handlers find what they serve in their class.
        handler = type("_Handler", (_Handler,), {"registry": registry})

        class Endpoint(ThreadingHTTPServer):
            address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
            daemon_threads = True
            # Whoever has the port keeps it.
            allow_reuse_port = False

        self._server = Endpoint((host, int(port)), handler)
        shown = f"[{host}]" if ":" in host else host
        self.address = f"{shown}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(MetricsHandler):
    timeout = _CLIENT_SECONDS
    server_version = "factstr-server"
    sys_version = ""

    def do_GET(self) -> None:  # noqa: N802  (as http.server calls it)
        if self.path.partition("?")[0] == "/metrics":
            super().do_GET()
        else:
            self.send_error(404, "metrics are at /metrics")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes leave no lines."""
