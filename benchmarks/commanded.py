"""A client process's side of `benchmarks.workers`: it does one thing after the other, as it is told.

Commands come as lines of JSON, each is answered by a line; the process ends with its input. Garbage is collected
between the commands, not in them.
"""

import gc
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.ledger import CheckFailed

Answer = Mapping[str, Any]


def obey(commands: Mapping[str, Callable[..., Answer]]) -> None:
    gc.collect()
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = commands[command.pop("do")](**command)
        except CheckFailed as failed:
            answer = {"check_failed": str(failed)}
        print(json.dumps(answer), flush=True)
        gc.collect()
