"""The log: one committer that writes for everybody, and everything that reads on from there.

Knows stores only by their protocol. No gRPC, no SQL.
"""
