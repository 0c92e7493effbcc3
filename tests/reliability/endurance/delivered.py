"""What streams have delivered, remembered in few bytes, and held to the log when that is known."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from zlib import crc32

from tests.conformance.streams import Batch, CaughtUp, Checkpoint, Item
from tests.sharing.accounts import Selection


class Delivery(NamedTuple):
    """What one stream has delivered: the batches of a selection after a position, up to another one."""

    what: str
    selection: Selection
    after: int
    up_to: int
    batches: int = 0
    checksum: int = 0


class Delivering:
    """A delivery under way."""

    def __init__(self, what: str, selection: Selection, after: int) -> None:
        self.so_far = Delivery(what, selection, after, after)

    def take(self, item: Item) -> None:
        what, _, _, position, batches, checksum = self.so_far
        match item:
            case Batch():
                assert item.last > position, f"{what}: {item} after {position}"
                self.so_far = self.so_far._replace(
                    up_to=item.last, batches=batches + 1, checksum=_checksum(item, checksum)
                )
            case CaughtUp(reached) | Checkpoint(reached):
                assert reached >= position, f"{what}: {item} after {position}"
                self.so_far = self.so_far._replace(up_to=reached)
            case _:
                raise AssertionError(f"{what}: {item}")


def check_delivered(deliveries: Iterable[Delivery], log: Sequence[Batch]) -> None:
    """Nothing missing, nothing twice, nothing else."""
    parts: dict[str, list[Batch]] = {}
    lasts: dict[str, list[int]] = {}
    for delivery in deliveries:
        selection = delivery.selection
        if selection.name not in parts:
            parts[selection.name] = selection.of(log, 0)
            lasts[selection.name] = [batch.last for batch in parts[selection.name]]
        begin, end = (bisect_right(lasts[selection.name], at) for at in (delivery.after, delivery.up_to))
        due = parts[selection.name][begin:end]
        # A position inside a batch leaves out its facts up to there.
        due[:1] = selection.of(due[:1], delivery.after)
        checksum = 0
        for batch in due:
            checksum = _checksum(batch, checksum)
        assert (delivery.batches, delivery.checksum) == (len(due), checksum), (
            f"{delivery}: the log has {len(due)} batches there, {[batch.shape for batch in due[:9]]}"
        )


def _checksum(batch: Batch, so_far: int) -> int:
    return crc32(repr((batch.first, batch.last, batch.facts)).encode(), so_far)
