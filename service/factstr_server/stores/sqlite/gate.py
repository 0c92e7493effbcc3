"""A gate for threads: readers pass it, any number at once; who shuts it is alone behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Open, until somebody shuts it, for the length of a block."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._open = True
        self._inside = 0

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Waits while it is shut."""
        with self._changed:
            self._changed.wait_for(lambda: self._open)
            self._inside += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def passed_at_once(self) -> Iterator[bool]:
        """False where it is shut."""
        with self._changed:
            inside = self._open
            self._inside += inside
        try:
            yield inside
        finally:
            if inside:
                self._leave()

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Waits for those who are inside."""
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: not self._inside)
        try:
            yield
        finally:
            with self._changed:
                self._open = True
                self._changed.notify_all()

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            if not self._open:
                self._changed.notify_all()
