"""What a kept store holds, as who wrote it knows: what was sent, and what was answered. JSON, in a file beside it."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.conformance.driver import Appended, Fact, Filter, NewFact, Query
from tests.conformance.streams import Batch
from tests.stores.list_log import Request


class KeptAppend(NamedTuple):
    """A request that was committed, and its answer."""

    request: Request
    answer: Appended

    @property
    def batch(self) -> Batch:
        """As a stream delivers it."""
        first, last, _, occurred_at, _ = self.answer
        numbered = enumerate(self.request.facts, first)
        return Batch(first, last, tuple(Fact(number, occurred_at, *fact) for number, fact in numbered))


class KeptStream(NamedTuple):
    """A durable stream as the server that wrote it told it last."""

    name: str
    query: Query
    cursor: int
    lease_epoch: int
    created_at: int
    acknowledged_at: int | None
    token: str
    """Of a batch that was delivered and not acknowledged; empty where there was none."""
    acknowledges: int
    """That batch's last fact."""


class Kept(NamedTuple):
    """A store of an earlier version."""

    commit: str
    """Whose server wrote it."""
    store_id: str
    history_id: str
    appends: list[KeptAppend]
    """In the order of the log."""
    streams: list[KeptStream]

    @property
    def batches(self) -> list[Batch]:
        return [append.batch for append in self.appends]

    @property
    def head(self) -> int:
        return self.appends[-1].answer.last


def save(kept: Kept, file: Path) -> None:
    file.write_bytes(gzip.compress(json.dumps(_plain(kept), ensure_ascii=False, indent=1).encode(), mtime=0))


def load(file: Path) -> Kept:
    found = json.loads(gzip.decompress(file.read_bytes()))
    return Kept(
        found["commit"],
        found["store_id"],
        found["history_id"],
        [
            KeptAppend(_request(append["request"]), Appended(**append["answer"]))
            for append in found["appends"]
        ],
        [KeptStream(**stream | {"query": _query(stream["query"])}) for stream in found["streams"]],
    )


def _plain(value: Any) -> Any:
    """With the names of fields, so that they can be put in another order."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return dict(value) if hasattr(value, "items") else value


def _request(found: dict[str, Any]) -> Request:
    context = found["context"]
    return Request(
        tuple(NewFact(**fact) for fact in found["facts"]),
        None if context is None else _query(context),
        found["expected"],
        found["key"],
    )


def _query(found: dict[str, Any]) -> Query:
    return Query(tuple(Filter(*_parts(each)) for each in found["filters"]), found["after"])


def _parts(found: dict[str, Any]) -> Iterator[tuple[str, ...] | None]:
    for name in Filter._fields:
        yield None if found[name] is None else tuple(found[name])
