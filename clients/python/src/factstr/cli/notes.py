"""Owns what a command says beside its output, on stderr, about what is going on."""

import sys
from argparse import Namespace

from factstr.cli.terminal import dim, visible


class Notes:
    """Says what happens: `progress` only where somebody looks, `event` always, because it explains a silence."""

    def __init__(self, options: Namespace) -> None:
        self.for_people = options.format == "table" or (options.format == "auto" and sys.stderr.isatty())

    def progress(self, text: str) -> None:
        if self.for_people:
            self.event(text)

    def event(self, text: str) -> None:
        line = f"-- {visible(text)} --" if self.for_people else f"factstr: {text}"
        print(dim(line, sys.stderr), file=sys.stderr, flush=True)
