"""The contract as pure functions and frozen dataclasses: events, queries, matching, terms, validation, errors.

No I/O, no gRPC, no SQL. What a fact or a query *means* is decided here and nowhere else; stores only keep what this
package has validated and encoded, and propose candidates that this package accepts or rejects.
"""
