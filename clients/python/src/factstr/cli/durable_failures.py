"""Owns saying what is wrong with a durable stream in terms of the command's flags, not of the wire."""

from collections.abc import Iterator
from contextlib import contextmanager

from factstr.cli.failure import CommandFailed
from factstr.errors import DurableStreamActive, DurableStreamNotFound, QueryMismatch


@contextmanager
def in_flags(name: str, while_active: str) -> Iterator[None]:
    """Put a refusal into words; `while_active` is what helps when another consumer has the lease."""
    try:
        yield
    except DurableStreamActive as error:
        raise CommandFailed(
            f"{name} is being consumed by {error.holder or 'somebody else'}; {while_active}"
        ) from error
    except DurableStreamNotFound as error:
        raise CommandFailed(
            f"there is no durable stream {name!r}; `factstr durable list` shows all, and `factstr consume` makes one"
        ) from error
    except QueryMismatch as error:
        raise CommandFailed(
            f"{name} is bound to another query (`factstr durable show` says which): use that one, another name, "
            "or delete the durable stream first"
        ) from error
