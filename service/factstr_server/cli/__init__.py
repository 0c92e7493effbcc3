"""`factstr-server`: a process that serves a store, and the commands around stores.

    flags       a command's flags, each of which is a FACTSTR_* variable too
    serving     `serve`, which is meant where no command is named
    migrating   `migrate`
    copying     `copy`
    backups     `backup`, `verify`, `restore`
    tokens      `token`
    health      `health`
    addresses   addresses as they are written in flags
    progress    how far a long command is

A command is a function of its arguments and the environment. The exit code is 0 when it did what it was asked to, 1
after a failure, which is told in one line, and 2 for wrong usage.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Final, TypeAlias

from factstr_server.cli.flags import Failure

Command: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], None]

COMMANDS: Final = {
    "serve": "serving",
    "migrate": "migrating",
    "copy": "copying",
    "backup": "backups",
    "verify": "backups",
    "restore": "backups",
    "token": "tokens",
    "health": "health",
}
"""The module of each command, which has a function of the command's name. It is imported when it is needed: a health
probe must not wait for the stores."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Ends the process where there is nothing to run: with 0 after help, 2 for wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and words[0] in COMMANDS else "serve"
    command: Command = getattr(import_module(f"{__name__}.{COMMANDS[name]}"), name)
    try:
        command(words, os.environ)
    except Failure as failure:
        print(f"factstr-server: {failure}", file=sys.stderr)
        return 1
    return 0
