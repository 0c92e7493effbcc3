"""What goes wrong with a disk: which system calls fail, with which error, how often, and which only take their time."""

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from errno import EIO, EMFILE, ENOMEM, ENOSPC
from random import Random
from typing import Final, NamedTuple

SHORT: Final = 0
"""Instead of an error: a part of what was asked for is done."""

SYNC: Final = "fsync"
WAL_SYNC: Final = "fsync of a WAL"

_SLOW_SECONDS: Final = 0.02
_LONGEST_STALL_SECONDS: Final = 30.0
"""Nobody forgets to let go of a call for so long."""


class Trouble(NamedTuple):
    """What may happen to calls while it lasts."""

    name: str
    one_in: int
    """1: to every call that it is about."""
    errors: Mapping[str, Sequence[int]]
    """By system call; none where it only takes its time."""


_FULL: Final = (ENOSPC, ENOSPC, SHORT)
_BROKEN: Final = (EIO, EIO, SHORT)
_KINDS: Final[Mapping[str, Mapping[str, Sequence[int]]]] = {
    "the disk is full": {"pwrite64": _FULL},
    "reads fail": {"pread64": _BROKEN},
    "writes fail": {"pwrite64": _BROKEN},
    "syncs fail": {SYNC: (EIO,), WAL_SYNC: (EIO,)},
    "checkpoints fail": {SYNC: (EIO,)},
    "files cannot be opened": {"open": (EMFILE, EIO), "mmap": (ENOMEM,)},
    "anything fails": {
        "open": (EIO, ENOSPC),
        "pread64": _BROKEN,
        "pwrite64": (*_BROKEN, *_FULL),
        "ftruncate": (EIO,),
        "fstat": (EIO,),
        "unlink": (EIO,),
        "mmap": (ENOMEM,),
        SYNC: (EIO,),
        WAL_SYNC: (EIO,),
    },
}
_NO_ERROR: Final[Mapping[str, Sequence[int]]] = {SYNC: (), WAL_SYNC: ()}

TROUBLES: Final = (
    *(Trouble(name, one_in, errors) for name, errors in _KINDS.items() for one_in in (20, 3, 1)),
    Trouble("syncs are slow", 3, _NO_ERROR),
)
STALLED: Final = Trouble("a sync stalls", 1, _NO_ERROR)


class DiskFaults:
    """Of one disk. Called by any thread."""

    def __init__(self, chance: Random) -> None:
        self.figures: Counter[str] = Counter()
        self._chance = chance
        self._trouble: Trouble | None = None
        self._going = threading.Event()
        self._going.set()

    @property
    def met(self) -> int:
        """Calls that met with trouble."""
        return self.figures.total()

    def begin(self, trouble: Trouble) -> None:
        if trouble is STALLED:
            self._going.clear()
        self._trouble = trouble

    def end(self) -> None:
        self._trouble = None
        self.let_go()

    def let_go(self) -> None:
        """Of calls that stall."""
        self._going.set()

    def meet(self, call: str) -> int | None:
        """What happens to a call: an error, SHORT, or nothing. It may have to wait first."""
        trouble = self._trouble
        if trouble is None or call not in trouble.errors or self._chance.randrange(trouble.one_in):
            return None
        if not trouble.errors[call]:
            self.figures["disk calls stalled"] += 1
            self._stall(trouble)
            return None
        error = self._chance.choice(trouble.errors[call])
        self.figures["disk calls cut short" if error == SHORT else "disk calls failed"] += 1
        return error

    def _stall(self, trouble: Trouble) -> None:
        if trouble is STALLED:
            assert self._going.wait(_LONGEST_STALL_SECONDS), "somebody ends it"
        else:
            threading.Event().wait(self._chance.random() * _SLOW_SECONDS)
