"""A target under libFuzzer: `python -m tests.reliability.fuzzing.fuzz TARGET [libFuzzer's arguments]`.

The service is imported with Atheris's counters in it, so that inputs which reach new branches are found and kept. A
target may say how its inputs are changed (`changed`); otherwise, and half of the time, libFuzzer changes bytes.
"""

import importlib
import sys
from random import Random

import atheris


def main() -> None:
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["factstr_server"]):
        target = importlib.import_module(f"tests.reliability.fuzzing.{name}")

    def mutated(data: bytes, max_size: int, seed: int) -> bytes:
        chance = Random(seed)
        changed: bytes = target.changed(data, chance) if chance.random() < 0.5 else b""
        return changed if 0 < len(changed) <= max_size else atheris.Mutate(data, max_size)

    more = {"custom_mutator": mutated} if hasattr(target, "changed") else {}
    atheris.Setup([*sys.argv, f"-max_len={target.MAX_BYTES}"], target.check, **more)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
