"""`factstr-server`: a process that serves a store, and the commands around stores.

    flags       a command's flags, each of which is a FACTSTR_* variable too
    serving     `serve`, which is meant where no command is named
    migrating   `migrate`
    copying     `copy`
    backups     `backup`, `verify`, `restore`
    progress    how far a long command is

A command is a function of its arguments and the environment. The exit code is 0 when it did what it was asked to, 1
after a failure, which is told in one line, and 2 for wrong usage.
"""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

from factstr_server.cli.backups import backup, restore, verify
from factstr_server.cli.copying import copy
from factstr_server.cli.flags import Failure
from factstr_server.cli.migrating import migrate
from factstr_server.cli.serving import serve, settings_from

__all__ = ("main", "settings_from")

Command: TypeAlias = Callable[[Sequence[str], Mapping[str, str]], None]

_COMMANDS: Final[dict[str, Command]] = {
    "serve": serve,
    "migrate": migrate,
    "copy": copy,
    "backup": backup,
    "verify": verify,
    "restore": restore,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Ends the process where there is nothing to run: with 0 after help, 2 for wrong usage."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    command = _COMMANDS.get(words[0]) if words else None
    if command:
        del words[0]
    try:
        (command or serve)(words, os.environ)
    except Failure as failure:
        print(f"factstr-server: {failure}", file=sys.stderr)
        return 1
    return 0
