"""The command `factstr`: append, query, follow, import and export facts from a shell.

Each command is a module; how a run ends is `running`'s, what goes out is `output`'s.
"""

import os
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. Raises SystemExit(2) for wrong usage."""
    # gRPC writes to stderr of its own accord; the command says what is wrong itself. It is read when gRPC is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from factstr.cli.running import run  # noqa: PLC0415

    return run(arguments)
