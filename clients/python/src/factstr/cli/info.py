"""Owns `factstr info`."""

from argparse import Namespace
from datetime import timedelta

from factstr.cli.ndjson import utc
from factstr.cli.output import for_people, write_fields, write_object
from factstr.cli.session import open_store
from factstr.server_info import ServerInfo


def run(options: Namespace) -> int:
    """Write what the server says of itself."""
    with open_store(options) as store:
        info = store.server_info()
    if for_people(options):
        write_fields(_fields(info))
    else:
        write_object(
            {
                "server_version": info.server_version,
                "store_kind": info.store_kind,
                "store_id": info.store_id,
                "history_id": info.history_id,
                "head_sequence_number": info.head_sequence_number,
                "started_at": utc(info.started_at),
                "capabilities": info.capabilities,
                "limits": info.limits,
                "idempotency_retention_seconds": _seconds(info.idempotency_retention),
                "heartbeat_interval_seconds": _seconds(info.heartbeat_interval),
            }
        )
    return 0


def _fields(info: ServerInfo) -> list[tuple[str, object]]:
    return [
        ("server", f"{info.server_version}, started {utc(info.started_at)}"),
        ("store", f"{info.store_kind} {info.store_id}"),
        ("history", info.history_id),
        ("head", f"{info.head_sequence_number:,}"),
        ("capabilities", ", ".join(info.capabilities) or "none beyond the basic calls"),
        ("idempotency keys kept", _in_words(info.idempotency_retention, "for ever")),
        ("heartbeat", _in_words(info.heartbeat_interval, "none")),
        *((name, f"{limit:,}") for name, limit in info.limits.items()),
    ]


def _seconds(duration: timedelta | None) -> float | None:
    return None if duration is None else duration.total_seconds()


def _in_words(duration: timedelta | None, absent: str) -> str:
    if not duration:
        return absent
    if not duration % timedelta(days=1):
        return f"{duration.days:,} d"
    return f"{duration.total_seconds():,.15g} s"
