"""Owns how a run ends: 0, 1 for an error, 2 for wrong usage, 3 for a conflict of `append-if`, and quietly when the
reader of a pipe has gone or the user stops it.
"""

import os
import sys
from collections.abc import Sequence

from factstr.cli.arguments import parse
from factstr.cli.failure import CommandFailed, in_words
from factstr.cli.output import STANDARD_OUTPUT
from factstr.cli.stopping import Stopped
from factstr.errors import ConditionalAppendConflict, FactstrError

CONFLICT = 3
BROKEN_PIPE = 141
INTERRUPTED = 130


def run(arguments: Sequence[str] | None) -> int:
    """Run the command and return its exit code. Raises SystemExit(2) for wrong usage."""
    options = parse(arguments)
    try:
        code: int = options.run(options)
    except BrokenPipeError:
        _discard_output()
        return BROKEN_PIPE
    except Stopped as stopped:
        return stopped.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED
    except ConditionalAppendConflict as error:
        return _fail(in_words(error), CONFLICT)
    except FactstrError as error:
        # Without a reason it does not come from the server: then it matters where it was looked for.
        return _fail(in_words(error) if error.reason else f"{options.target}: {in_words(error)}")
    except CommandFailed as error:
        return _fail(str(error))
    except OSError as error:
        if error.filename == STANDARD_OUTPUT:
            _discard_output()
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return code


def _fail(message: str, code: int = 1) -> int:
    print(f"factstr: {message}", file=sys.stderr)
    return code


def _discard_output() -> None:
    """Take care that what is still buffered does not fail again when the interpreter closes the stream."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
