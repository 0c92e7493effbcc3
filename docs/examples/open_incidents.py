"""Open incidents per product: a projection that may be stopped, killed and restarted at any moment.

    python open_incidents.py TABLE [--target localhost:50051] [--name open-incidents] [--until-caught-up]

An incident is open until its newest fact is Completed. The table lives in a SQLite file of its own, TABLE, together
with the number of the last fact that it reflects: both change in one transaction. The store delivers a batch again
when its acknowledgement was lost, and the number tells that it is known already: so every fact counts exactly once.
"""

import argparse
import signal
import sqlite3
import sys

import factstr

INCIDENTS = factstr.where("Accepted", "Queued", "Completed", "Unmatched")

SCHEMA = """
CREATE TABLE IF NOT EXISTS progress (last_sequence_number INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS incidents (id TEXT PRIMARY KEY, product TEXT NOT NULL, open INTEGER NOT NULL);
"""


class OpenIncidents:
    """The projection's table."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, isolation_level=None)
        self.database.executescript(SCHEMA)

    def apply(self, batch: factstr.CommittedBatch) -> None:
        """Takes in a batch, once, however often it is delivered, and whichever copy of this it is delivered to."""
        with self.database:
            self.database.execute("BEGIN IMMEDIATE")
            if batch.last_sequence_number <= self.last_sequence_number():
                return
            for record in batch.event_records:
                incident = record.payload
                self.database.execute(
                    "INSERT INTO incidents VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET product = ?2, open = ?3",
                    (incident["case"]["id"], incident["product"], record.event_type != "Completed"),
                )
            self.database.execute("DELETE FROM progress")
            self.database.execute("INSERT INTO progress VALUES (?)", (batch.last_sequence_number,))

    def last_sequence_number(self) -> int:
        """Of the last fact that the table reflects."""
        row = self.database.execute("SELECT last_sequence_number FROM progress").fetchone()
        return row[0] if row else 0

    def per_product(self) -> list[tuple[str, int]]:
        """Products with open incidents, the busiest first."""
        return self.database.execute(
            "SELECT product, count(*) FROM incidents WHERE open GROUP BY product ORDER BY count(*) DESC, product"
        ).fetchall()


def main() -> None:
    parser = argparse.ArgumentParser(description="Keep a table of open incidents per product.")
    parser.add_argument("table", help="a SQLite file of its own")
    parser.add_argument("--target", default="localhost:50051")
    parser.add_argument("--name", default="open-incidents", help="the durable stream")
    parser.add_argument("--until-caught-up", action="store_true", help="end when all there is was taken in")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    incidents = OpenIncidents(given.table)
    with factstr.connect(given.target) as store:
        store.project(
            given.name,
            INCIDENTS,
            incidents.apply,
            wait_for_lease=True,
            stop_when_caught_up=given.until_caught_up,
        )
    for product, count in incidents.per_product():
        print(f"{count:6}  {product}")


if __name__ == "__main__":
    main()
