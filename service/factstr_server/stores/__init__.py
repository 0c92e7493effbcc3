"""Where facts are kept: memory (the reference), SQLite (embedded), and the protocol that every store fulfils.

A store commits groups of prepared appends and reads records back. It parses no payload to commit, knows nothing of
gRPC, and starts no tasks beyond its connections.
"""
