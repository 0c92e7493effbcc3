"""The FACTSTR server: an event store behind gRPC.

The folders are its layers, and imports point down this list only: `cli`, `settings`, `server`, `rpc` (the gRPC edge),
`log` (committer and streams), `stores` (memory, SQLite), `contract` (what an event store promises, as pure
functions).
"""

__version__ = "0.1.0"
