"""Owns the warning of an appender that nobody has closed, when it or the interpreter ends."""

import warnings

from factstr.pending_append import PendingT, UnseenFailures
from factstr.pipelining import Pipelining


def warn_of_forgotten(pipelining: Pipelining[PendingT], unseen: UnseenFailures) -> None:
    """Say what is lost. No ResourceWarning: nobody would see it, and these are the caller's facts."""
    if pipelining.unanswered:
        words = f"{pipelining.unanswered:,} appends of an appender that was not closed are not answered"
    elif len(unseen):
        words = (
            f"{len(unseen):,} appends of an appender that was not closed have failed, and nobody has looked"
        )
    else:
        return
    warnings.warn(f"{words}; use it in a with block, or close() it", RuntimeWarning, stacklevel=1)
