"""Owns the progress bar: one line on a terminal's stderr, redrawn in place, and nothing anywhere else."""

import sys
from time import monotonic
from types import TracebackType
from typing import Final, Self

_REDRAW_SECONDS: Final = 0.1
_WIDTH: Final = 24


class Progress:
    """Counts facts; draws their number and rate, and a bar where the share that is done is known."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._visible = sys.stderr.isatty()
        self._started = monotonic()
        self._drawn = self._started
        self.facts = 0

    @property
    def seconds(self) -> float:
        return monotonic() - self._started

    @property
    def rate(self) -> float:
        """Facts per second since the beginning."""
        return self.facts / max(self.seconds, 1e-6)

    def add(self, facts: int, done: float | None = None) -> None:
        """Count facts; `done` is the share from 0 to 1 that is done with them, where that is known."""
        self.facts += facts
        if self._visible and monotonic() - self._drawn >= _REDRAW_SECONDS:
            self._drawn = monotonic()
            sys.stderr.write(f"\r\x1b[K{self._text(done)}")
            sys.stderr.flush()

    def _text(self, done: float | None) -> str:
        count = f"{self.facts:,} facts  {self.rate:,.0f}/s"
        if done is None:
            return f"{self._label}  {count}"
        full = round(min(done, 1.0) * _WIDTH)
        return f"{self._label}  [{'█' * full}{'░' * (_WIDTH - full)}] {min(done, 1.0):4.0%}  {count}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
