"""The scenarios by name, in the order in which they run."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from benchmarks.results import Result, Setting
from benchmarks.scenarios import (
    append,
    append_if,
    append_stream,
    context_query,
    delivery,
    filtered,
    postgresql,
    python_client,
    replay,
    scale,
    stuck,
)

SCENARIOS: Final[Mapping[str, Callable[[Setting], Awaitable[Result]]]] = {
    "append": append.run,
    "append_stream": append_stream.run,
    "append_if": append_if.run,
    "context_query": context_query.run,
    "scale": scale.run,
    "replay": replay.run,
    "delivery": delivery.run,
    "filtered": filtered.run,
    "stuck": stuck.run,
    "python_client": python_client.run,
    "postgresql": postgresql.run,
}
