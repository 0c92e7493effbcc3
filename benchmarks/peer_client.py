"""UmaDB's clients, in a process of their own: its threads must not share an interpreter with those who load FACTSTR.

Started by `benchmarks.peer`. One client that all threads share is the fastest that UmaDB has, and it releases the
interpreter while it waits.
"""

import gc
import sys
from collections.abc import Callable
from functools import cache
from itertools import count
from threading import Thread
from time import perf_counter, process_time
from typing import Final

import orjson
import umadb

from benchmarks.commanded import Answer, obey
from benchmarks.facts import Fact, fact_source, prepared_facts
from benchmarks.ledger import check
from benchmarks.stream_facts import stream_fact

_CONTEXT_MEMBERS: Final = ("case", "subject")
"""What a context is of, whichever facts they are."""
_FACTS_PER_FILLING: Final = 1_000


class Client:
    """What one process does to one server."""

    def __init__(self, address: str, *, every_member: bool) -> None:
        self._client = umadb.Client(f"http://{address}")
        self._every_member = every_member
        self._source = fact_source()
        self._requests = cache(self._prepared)
        self.commands: dict[str, Callable[..., Answer]] = {
            "prepare": self.prepare,
            "append": self.append,
            "check": self.check,
            "fill": self.fill,
            "read": self.read,
        }

    def prepare(self, *, events: int) -> Answer:
        """Has events ready before they are needed, as FACTSTR's requests are."""
        self._requests(events)
        gc.collect()
        gc.freeze()
        return {}

    def append(self, *, events: int, threads: int, seconds: float) -> Answer:
        """As many appends as the threads make in a time, each one after the answer to its last one."""
        latencies: list[list[float]] = [[] for _ in range(threads)]
        requests = self._requests(events)
        numbers = count()

        def caller(own: list[float]) -> None:
            now = perf_counter()
            while now < end:
                self._client.append(requests[next(numbers) % len(requests)])
                then = perf_counter()
                own.append(then - now)
                now = then

        cpu, begin = process_time(), perf_counter()
        end = begin + seconds
        started = [Thread(target=caller, args=(own,)) for own in latencies]
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()
        seconds, cpu = perf_counter() - begin, process_time() - cpu
        return {
            "latencies": [round(each, 6) for own in latencies for each in own],
            "seconds": seconds,
            "cpu_seconds": cpu,
        }

    def check(self, *, acknowledged: int) -> Answer:
        """The log holds as many events as were acknowledged, at 1 and on."""
        expected = 0
        for event in self._client.read():
            expected += 1
            check(event.position == expected, f"UmaDB has {event.position} where {expected} was next")
        check(expected == acknowledged, f"UmaDB holds {expected} events; {acknowledged} were acknowledged")
        return {}

    def fill(self, *, facts: int) -> Answer:
        """Appends the facts that FACTSTR replays, in order."""
        for first in range(0, facts, _FACTS_PER_FILLING):
            numbers = range(first, min(first + _FACTS_PER_FILLING, facts))
            self._client.append([self._event(stream_fact(number)) for number in numbers])
        for number, event in enumerate(self._client.read()):
            found = Fact(event.event.event_type, event.event.data.decode())
            check(found == stream_fact(number), f"UmaDB's event {number + 1} is not what was appended")
        return {}

    def read(self, *, facts: int) -> Answer:
        """From the beginning, looking at the number, the type, and the payload of each."""
        found = 0
        cpu, begin = process_time(), perf_counter()
        for sequenced in self._client.read():
            event = sequenced.event
            sequenced.position, event.event_type, event.data  # noqa: B018
            found += 1
        seconds, cpu = perf_counter() - begin, process_time() - cpu
        check(found == facts, f"a read brought {found} of {facts} events")
        return {"seconds": seconds, "cpu_seconds": cpu}

    def _prepared(self, events: int) -> list[list[umadb.Event]]:
        made = [self._event(self._source.fact(number)) for number in range(prepared_facts(events))]
        return [made[first : first + events] for first in range(0, len(made), events)]

    def _event(self, fact: Fact) -> umadb.Event:
        members: dict[str, object] = orjson.loads(fact.payload)
        tagged = members if self._every_member else [name for name in members if name in _CONTEXT_MEMBERS]
        tags = [f"{name}:{_text(members[name])}" for name in tagged]
        return umadb.Event(fact.event_type, fact.payload.encode(), tags=tags)


def _text(value: object) -> object:
    return value["id"] if isinstance(value, dict) and "id" in value else value


if __name__ == "__main__":
    listens, tagged = sys.argv[1:]
    obey(Client(listens, every_member=tagged == "every-member").commands)
