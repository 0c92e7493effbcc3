"""Owns noticing that nobody reads stdout any more, while there is nothing to write that would show it."""

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

_NOTHING = 0
"""Errors and hang-ups are reported without being asked for."""


class ReaderGone:
    """Whether the other end of stdout's pipe has been closed."""

    def __init__(self) -> None:
        self.is_gone = False


@contextmanager
def watched_output(on_gone: Callable[[], object]) -> Iterator[ReaderGone]:
    """Call `on_gone`, in another thread, as soon as nobody reads stdout any more."""
    state = ReaderGone()
    try:
        stdout = sys.stdout.fileno()
    except OSError:
        stdout = None
    if stdout is None or not hasattr(select, "poll"):
        yield state
        return
    wake, end = os.pipe()
    thread = Thread(target=_watch, args=(stdout, wake, state, on_gone), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        os.close(end)
        thread.join()
        os.close(wake)


def _watch(stdout: int, wake: int, state: ReaderGone, on_gone: Callable[[], object]) -> None:
    poll = select.poll()
    poll.register(stdout, _NOTHING)
    poll.register(wake, _NOTHING)
    happened = dict(poll.poll())
    # What cannot be polled says POLLNVAL; then the next write has to show it.
    if wake not in happened and happened.get(stdout, 0) & (select.POLLERR | select.POLLHUP):
        state.is_gone = True
        on_gone()
