"""The limits of valid input, the same on every store and every server; and what a server does unless it is told
otherwise.
"""

from datetime import timedelta
from typing import Final

MAX_EVENTS_PER_APPEND: Final = 10_000
MAX_APPEND_BYTES: Final = 3 * 1024 * 1024
MAX_QUERY_BYTES: Final = 256 * 1024
MAX_QUERY_ALTERNATIVES: Final = 1_000
MAX_PREDICATE_NODES: Final = 1_000
MAX_EVENT_TYPE_CHARACTERS: Final = 256
MAX_IDEMPOTENCY_KEY_CHARACTERS: Final = 200
MAX_DURABLE_STREAM_CHARACTERS: Final = 200
MAX_JSON_NESTING: Final = 64
MAX_NUMBER_DIGITS: Final = 100
MAX_NUMBER_EXPONENT: Final = 300
MAX_METADATA_ENTRIES: Final = 64
MAX_METADATA_KEY_CHARACTERS: Final = 128
MAX_METADATA_VALUE_BYTES: Final = 16 * 1024

MAX_SEQUENCE_NUMBER: Final = 2**63 - 1
"""Sequence numbers above it in requests mean "above every fact" and never reach a store."""

MAX_REQUEST_BYTES: Final = 16 * 1024 * 1024
"""What is too large within it gets our error; beyond it gRPC's own."""

MAX_HEADER_BYTES: Final = 16 * 1024
"""Of a call's metadata, each key and value with 32 bytes more, as HTTP/2 counts them."""

MAX_CONNECTIONS: Final = 16_384
"""To one address of a server."""

MAX_CALLS_PER_CONNECTION: Final = 8_192
"""A client makes further calls wait, silently: so the limits of calls come long before."""

MIN_PING_INTERVAL: Final = timedelta(seconds=5)
"""A client that pings more often is told to go away."""

MAX_RESPONSE_BYTES: Final = 256 * 1024
"""Response messages gather up to this; a single larger record or batch goes alone."""

DEFAULT_UNACKNOWLEDGED_BATCHES: Final = 1_024
MAX_UNACKNOWLEDGED_BYTES: Final = 8 * 1024 * 1024
"""Of batches delivered beyond the first unacknowledged one of a durable stream."""

DEFAULT_DURABLE_STREAM_PAGE_SIZE: Final = 100
MAX_DURABLE_STREAM_PAGE_SIZE: Final = 1_000

MAX_TERMS_PER_FACT: Final = 2_000
"""A fact with more index terms is indexed by its type and the term `overflow`."""

DEFAULT_HEARTBEAT_INTERVAL: Final = timedelta(seconds=10)
"""A stream sends a message at least this often."""

DEFAULT_UNAVAILABLE_WAIT: Final = timedelta(seconds=5)
"""How long calls wait for a store that is being connected to anew."""
