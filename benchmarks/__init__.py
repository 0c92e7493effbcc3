"""What FACTSTR costs, measured as its clients see it, beside the least that gRPC allows and beside another event store.

`python -m benchmarks` runs scenarios against real servers, checks that each log holds exactly what was acknowledged,
prints tables and writes JSON, from which the plots and `docs/performance.md` are made. Nothing here is imported by the
service; only the empty server, what fills a log, and what asks a store without a server import from it. `postgres`
borrows from the tests how a PostgreSQL is brought along.
"""

import os

# Servers are started while calls are under way; gRPC would say at each that it leaves the fork alone.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
