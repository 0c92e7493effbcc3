"""What a page shows of a terminal: commands, and what stands under each."""

import re
from typing import NamedTuple


class Step(NamedTuple):
    """A command, and the output shown under it."""

    command: str
    output: str


def steps(page: str) -> list[Step]:
    """The commands of a page's console blocks, in order."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL):
        for command in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            first, _, output = command.partition("\n")
            found.append(Step(first, output))
    return found
