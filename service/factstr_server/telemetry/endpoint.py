"""Where Prometheus fetches metrics: a small HTTP server in threads of its own. However badly it is asked, it takes a
bounded number of threads, and its log stays quiet.
"""

import logging
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

_CLIENT_SECONDS: Final = 10
"""How long a client may take to send, or to take what it is sent."""

_MAX_CLIENTS: Final = 100
"""At once. Further ones are hung up on, so that they cannot take what the server's own callers need."""

_log = logging.getLogger(__name__)


class MetricsEndpoint:
    """Listens from its making until it is closed. Raises OSError where it cannot."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        # Classes of its own: a handler finds what it serves in its class, and a server its kind of address.
        handler = type("_Handler", (_Handler,), {"registry": registry})
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._server = type("_Server", (_Server,), {"address_family": family})((host, int(port)), handler)
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


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Whoever has the port keeps it.
    allow_reuse_port = False
    # Of those that come at once, more than it takes, so that each hears at once.
    request_queue_size = 2 * _MAX_CLIENTS

    def __init__(self, *arguments: Any) -> None:
        self._room = threading.BoundedSemaphore(_MAX_CLIENTS)
        super().__init__(*arguments)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self._room.acquire(blocking=False)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """That a client has gone, or was too slow, is nobody's concern."""
        if not isinstance(error := sys.exception(), OSError):
            _log.error("metrics: a request failed: %r", error)


class _Handler(BaseHTTPRequestHandler):
    registry: CollectorRegistry
    timeout = _CLIENT_SECONDS

    def version_string(self) -> str:
        return "factstr-server"

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "metrics are at /metrics")
            return
        encode, content_type = choose_encoder(self.headers.get("Accept") or "")
        try:
            text = encode(self.registry)
        except Exception as error:  # noqa: BLE001  (a server that cannot tell of itself goes on serving)
            _log.error("metrics could not be told: %r", error)
            self.send_error(503, "metrics cannot be told now")
            return
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Scrapes leave no lines."""
