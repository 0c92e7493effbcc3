"""An adapter as a process: requests go in as lines of JSON, answers come out in any order."""

import json
import subprocess
import threading
from concurrent.futures import Future
from decimal import Decimal
from itertools import count
from typing import Any, Self

from tests.clients.languages import Language


class Adapter:
    """Takes requests from any thread; a thread of its own reads the answers."""

    def __init__(self, language: Language) -> None:
        language.built()
        self._process = subprocess.Popen(
            language.words(language.adapter),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._ids = count(1)
        self._waiting: dict[int, Future[Any]] = {}
        self._said = b""
        self._lock = threading.Lock()
        self._readers = [threading.Thread(target=read, daemon=True) for read in (self._answers, self._errors)]
        for reader in self._readers:
            reader.start()

    def begin(self, do: str, arguments: dict[str, Any]) -> "tuple[int, Future[Any]]":
        """Sends a request; its future is the whole answer."""
        number, future = next(self._ids), Future[Any]()
        line = json.dumps({"id": number, "do": do, **arguments}, ensure_ascii=False).encode()
        with self._lock:
            self._waiting[number] = future
            assert self._process.stdin
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        return number, future

    def _answers(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            answer = json.loads(line, parse_float=Decimal)
            with self._lock:
                future = self._waiting.pop(answer["id"])
            future.set_result(answer)
        with self._lock:
            for future in self._waiting.values():
                future.set_exception(RuntimeError(f"the adapter has ended: {self._said.decode()[-4000:]}"))

    def _errors(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._said += line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """It ends by itself when its input does."""
        with self._process:
            assert self._process.stdin
            self._process.stdin.close()
            try:
                assert self._process.wait(30) == 0, self._said.decode()
            finally:
                self._process.kill()
                for reader in self._readers:
                    reader.join()
