"""The whole: builds the log and its edge, starts them, and drains them.

    serving       the server, from its start to the end of its drain
    listening     addresses and ports
    certificates  TLS, from files that may change
    reloading     looks whether files have changed
    health        what health checks are told

Whoever starts a server takes `Server`, or `running` for the length of a block.
"""

from factstr_server.server.health import SERVICES
from factstr_server.server.listening import GRPC_OPTIONS, StartupError
from factstr_server.server.serving import Server, running

__all__ = ("GRPC_OPTIONS", "SERVICES", "Server", "StartupError", "running")
