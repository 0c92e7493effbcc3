"""SQL text for one schema."""

from typing import LiteralString

from psycopg import sql


class Statements:
    """Puts the schema's name into statements, and remembers them: drivers prepare what they meet again."""

    def __init__(self, schema: str) -> None:
        self._schema = sql.Identifier(schema)
        self._made: dict[str, sql.Composed] = {}

    def __call__(self, text: LiteralString) -> sql.Composed:
        if text not in self._made:
            self._made[text] = sql.SQL(text).format(schema=self._schema)
        return self._made[text]
