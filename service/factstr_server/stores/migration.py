"""What bringing a store to this version's format did."""

from typing import NamedTuple


class Migration(NamedTuple):
    """The format before and after; there was no store where there was none before."""

    before: int | None
    after: int
