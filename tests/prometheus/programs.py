"""The real Prometheus, as a process of its own that scrapes one server, and its promtool."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.postgres.guard import watch_process
from tests.postgres.processes import process
from tests.programs import PROGRAMS
from tests.waiting import wait_until


def program(name: str) -> str:
    promtool = PROGRAMS["prometheus"].found()
    assert promtool, "its tests are left out without it"
    return str(Path(promtool).with_name(name))


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """`text` is what it reads from its input."""
    return subprocess.run(
        [program("promtool"), *arguments],
        input=text,
        stdin=subprocess.DEVNULL if text is None else None,
        capture_output=True,
        text=True,
        check=False,
    )


class Sample(NamedTuple):
    """One value that a query gave."""

    labels: dict[str, str]
    value: float


class Prometheus:
    """Asked through its HTTP API."""

    def __init__(self, address: str) -> None:
        self._address = address

    def query(self, expression: str) -> list[Sample]:
        """Of this moment. Raises HTTPError for an expression that is wrong."""
        with urlopen(f"http://{self._address}/api/v1/query?{urlencode({'query': expression})}") as response:
            answer = json.load(response)
        found = answer["data"]["result"]
        return [Sample(each["metric"], float(each["value"][1])) for each in found]

    def value(self, expression: str) -> float | None:
        """Of an expression that gives one sample or none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0].value if found else None

    def wait_until(self, expression: str, value: float) -> None:
        wait_until(lambda: self.value(expression) == value, f"Prometheus has seen {expression} at {value}")


CONFIGURATION = """\
global:
  scrape_interval: 1s
  evaluation_interval: 1s
scrape_configs:
  - job_name: factstr
    static_configs:
      - targets: ["{target}"]
"""


@contextmanager
def prometheus(target: str, folder: Path) -> Iterator[Prometheus]:
    """Scrapes the metrics at an address every second."""
    configuration, log = folder / "prometheus.yaml", folder / "prometheus.log"
    configuration.write_text(CONFIGURATION.format(target=target))
    with log.open("wb") as output:
        started = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        known = process(started.pid)
        assert known is not None
        watch_process(known)

        def ready() -> bool:
            assert started.poll() is None, log.read_text()
            return "Server is ready to receive web requests" in log.read_text()

        wait_until(ready, "Prometheus is ready")
        [address] = re.findall(r"msg=\"Listening on\" address=(\S+)\n", log.read_text())
        yield Prometheus(address)
    finally:
        started.kill()
        started.wait()
