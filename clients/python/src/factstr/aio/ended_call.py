"""Owns the status with which a call that is still being written to has really ended.

grpc.aio takes a write that fails, because the server has ended the call, for a failure of the call, and puts INTERNAL
over the status that the server sent, before or after that one arrives (grpc/grpc#36066). The status decides whether an
append may have been committed, so it is noted when it arrives, and waited for when the write came first.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

import grpc

_OVERWRITTEN: Final = "Internal error from Core"
_LOOKS: Final = 20
_LOOK_EVERY: Final = 0.01
"""Seconds. The status comes right after the write's failure; without a connection it may never come."""

_T = TypeVar("_T")


class AioCall(Protocol):
    def add_done_callback(self, callback: Any, /) -> None: ...
    def code(self) -> Coroutine[Any, Any, grpc.StatusCode]: ...
    def details(self) -> Coroutine[Any, Any, str | None]: ...
    def trailing_metadata(self) -> Coroutine[Any, Any, Any]: ...


class EndedCall:
    """The end of one call; to be made before anything is written."""

    def __init__(self, call: AioCall) -> None:
        self._call = call
        self._noted: grpc.aio.AioRpcError | None = None
        call.add_done_callback(lambda _: self._note())

    async def failure(self, raised: grpc.RpcError) -> grpc.RpcError:
        """Return what the server said, for what reading raised."""
        if not _is_overwritten(raised):
            return raised
        for _ in range(_LOOKS):
            if self._noted is not None and not _is_overwritten(self._noted):
                return self._noted
            await asyncio.sleep(_LOOK_EVERY)
            self._note()
        return raised

    def _note(self) -> None:
        """Note the status of a call that has one; then none of these awaits anything. The first real one counts."""
        if self._noted is not None and not _is_overwritten(self._noted):
            return
        self._noted = grpc.aio.AioRpcError(
            _at_once(self._call.code()),
            grpc.aio.Metadata(),
            _at_once(self._call.trailing_metadata()),
            _at_once(self._call.details()),
        )


def _is_overwritten(error: grpc.RpcError) -> bool:
    return error.code() is grpc.StatusCode.INTERNAL and error.details() == _OVERWRITTEN


def _at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    try:
        coroutine.send(None)
    except StopIteration as returned:
        value: _T = returned.value
        return value
    finally:
        coroutine.close()
    raise RuntimeError("a call that is done has its status")
