"""SQL text for one schema."""

from typing import Final, LiteralString

from psycopg import sql

SILENCE: Final[LiteralString] = "15 seconds"
"""After which a server that is not heard of counts as gone, and its leases as over."""

_ALIVE: Final = sql.SQL(
    f"heartbeat_at BETWEEN clock_timestamp() - interval '{SILENCE}' AND clock_timestamp() + interval '{SILENCE}'"
)
"""One in the future is from before the database's clock was set back: a server that lives has a newer one soon."""


class Statements:
    """Puts the schema's name into statements, and `{alive}`: the condition that a row of `servers` is of a server that
    counts. Remembers them: drivers prepare what they meet again.
    """

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._made: dict[str, sql.Composed] = {}

    def __call__(self, text: LiteralString) -> sql.Composed:
        if text not in self._made:
            self._made[text] = sql.SQL(text).format(schema=self._schema, alive=_ALIVE)
        return self._made[text]
