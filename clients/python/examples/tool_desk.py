"""A desk that rents out tools, and its inventory. `tool_desk.py TARGET NAME` takes commands from its input, one a line.

Any number of desks, in any languages, share one store: what each decides rests on all that is known of the tool at
that moment, so no tool is checked out twice.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import factstr

COMMANDS = "commands: register ID KIND, check-out ID CUSTOMER, return ID, inventory"
TYPES = ("tool-registered", "tool-checked-out", "tool-returned")


class Desk:
    def __init__(self, store: factstr.EventStore, name: str) -> None:
        self.store = store
        self.name = name
        self.table = Path(f"inventory-{name}.json")

    def register(self, tool: str, kind: str) -> str:
        def decide(context: factstr.Context) -> factstr.Event | None:
            return None if context.records else self.fact("tool-registered", tool, {"kind": kind})

        return f"{tool} is registered" if self.decide(tool, decide) else f"{tool} is registered already"

    def check_out(self, tool: str, customer: str) -> str:
        refusal = ""

        def decide(context: factstr.Context) -> factstr.Event | None:
            nonlocal refusal
            if not context.records:
                refusal = f"there is no {tool}"
            elif context.records[-1].event_type == "tool-checked-out":
                refusal = f"{tool} is out: {context.records[-1].payload['customer']['name']} has it"
            else:
                return self.fact("tool-checked-out", tool, customer={"name": customer})
            return None

        return f"{tool} is checked out to {customer}" if self.decide(tool, decide) else refusal

    def take_back(self, tool: str) -> str:
        refusal = ""

        def decide(context: factstr.Context) -> factstr.Event | None:
            nonlocal refusal
            if context.records and context.records[-1].event_type == "tool-checked-out":
                return self.fact("tool-returned", tool)
            refusal = f"{tool} is not out" if context.records else f"there is no {tool}"
            return None

        return f"{tool} is back" if self.decide(tool, decide) else refusal

    def decide(self, tool: str, decision: Callable[[factstr.Context], factstr.Event | None]) -> bool:
        """Decide on all that is known of one tool; again, when somebody else was faster."""
        known = factstr.where(*TYPES, payload={"tool": {"id": tool}})
        return self.store.decide(known, decision) is not None

    def fact(self, event_type: str, tool: str, about: Any = None, **more: Any) -> factstr.Event:
        return factstr.Event(event_type, {"tool": {"id": tool, **(about or {})}, **more}, {"desk": self.name})

    def inventory(self) -> str:
        """Bring the table up to the head of the log, and show it."""
        name = f"inventory-{self.name}"
        self.store.project(name, factstr.where(*TYPES), self.take_in, stop_when_caught_up=True)
        tools = self.known()["tools"]
        lines = [
            f"{tool} {tools[tool]['kind']} "
            + (f"out {customer}" if (customer := tools[tool]["customer"]) else "in")
            for tool in sorted(tools)
        ]
        return "\n".join([*lines, "1 tool" if len(tools) == 1 else f"{len(tools)} tools"])

    def take_in(self, batch: factstr.DurableBatch) -> None:
        """Take a batch into the table; one that it holds already is left out: delivery is at least once."""
        table = self.known()
        if batch.last_sequence_number <= table["last_sequence_number"]:
            return
        for record in batch.event_records:
            tool = record.payload["tool"]
            if record.event_type == "tool-registered":
                table["tools"][tool["id"]] = {"kind": tool["kind"], "customer": None}
            elif record.event_type == "tool-checked-out":
                table["tools"][tool["id"]]["customer"] = record.payload["customer"]["name"]
            else:
                table["tools"][tool["id"]]["customer"] = None
        table["last_sequence_number"] = batch.last_sequence_number
        # The facts and the number up to which they are known change together, or not at all.
        fresh = self.table.with_suffix(".new")
        fresh.write_text(json.dumps(table), encoding="utf-8")
        fresh.replace(self.table)

    def known(self) -> Any:
        if not self.table.exists():
            return {"last_sequence_number": 0, "tools": {}}
        return json.loads(self.table.read_text(encoding="utf-8"))

    def answer(self, line: str) -> str:
        match line.split():
            case ["register", tool, kind]:
                return self.register(tool, kind)
            case ["check-out", tool, customer]:
                return self.check_out(tool, customer)
            case ["return", tool]:
                return self.take_back(tool)
            case ["inventory"]:
                return self.inventory()
        return COMMANDS


def main() -> None:
    target, name = sys.argv[1:]
    with factstr.connect(target) as store:
        desk = Desk(store, name)
        store.query(limit=0).close()
        print(f"{name} is open", flush=True)
        for line in sys.stdin:
            print(desk.answer(line), flush=True)


try:
    main()
except factstr.FactstrError as error:
    sys.exit(f"tool-desk: {error}")
