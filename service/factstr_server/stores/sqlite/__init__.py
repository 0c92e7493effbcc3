"""The SQLite store: embedded and persistent, in one file that `sqlite3 -readonly` can read.

One writer thread commits groups, a few read-only connections answer queries, an FTS5 table indexes terms.
"""
