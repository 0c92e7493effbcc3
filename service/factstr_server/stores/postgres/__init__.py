"""The PostgreSQL store: shared by any number of servers, which write one log between them.

A head row that every commit locks gives one gapless order; records, terms (a GIN index), cursors and leases stand in
one schema of their own.

    store        the whole, as a `Store`
    watching     the link to the primary: kept, lost, made anew; what happens through other servers
    continuity   whether the log is still the one that this server knows
    writing, conditions      a group's transaction
    resolving    what became of one whose answer was lost
    reading, lookup, replica queries, batches, and where they may be read
    streams      durable streams and their leases
    migrating, copying, copy_rows   what is done to it while no server runs
    migrations, schema/, location, statements, binary, translation   what the others stand on
"""
