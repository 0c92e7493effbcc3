"""The kept stores: which there are, whose server wrote them, and how one is put where a server can open it.

They were made by

    python -m tests.reliability.upgrade.making [NAME ...]

which runs the server of the commit that is named here, unchanged, on the Python and the libraries of that day.
`NAME.db.gz` is a SQLite file, `NAME.sql.gz` a dump of a PostgreSQL schema (by PostgreSQL 15), `NAME.json.gz` what the
store holds. They are not made anew because the service has changed: that they were written before is what they are
for. Whoever adds a format has its predecessor here already (`sqlite-2`, `postgresql-2`), and adds the new one.

Nothing was released before 0.1.0. Until then files of the schema were changed in place, and what is supported is each
format in its last shape:

- SQLite, format 1 (be07266 to 3222408): its file never changed.
- SQLite, format 2 (from a0d0820 on). What 6aa8763 to a0d0820 wrote as formats 2 and 3 has other columns.
- PostgreSQL, format 2 (from 7e7765b on). What c3f2320 to 7e7765b wrote has other functions. Format 1 are its tables
  alone: both files came with the first commit, so that no server ever wrote it. It is made of format 2 here.
"""

import gzip
from pathlib import Path
from typing import Final, NamedTuple

import psycopg

from tests.postgres.fresh import fresh_url, without_schema
from tests.stores.test_migrations import make_first_format

SCHEMA: Final = "a_kept_store"
"""In dumps, where a schema's own name belongs. Nothing else there is called so."""

_FOLDER: Final = Path(__file__).parent / "stores"


class Fixture(NamedTuple):
    """A kept store."""

    name: str
    commit: str
    """Whose server wrote it."""
    format: int
    made_of: str = ""
    """The store that it is made of when it is opened, where no server wrote it."""

    @property
    def kind(self) -> str:
        return self.name.partition("-")[0]

    @property
    def has_streams(self) -> bool:
        return self.kind == "postgresql" or self.format > 1

    @property
    def store_file(self) -> Path:
        return _FOLDER / f"{self.made_of or self.name}.{'db' if self.kind == 'sqlite' else 'sql'}.gz"

    @property
    def kept_file(self) -> Path:
        return _FOLDER / f"{self.made_of or self.name}.json.gz"

    def placed(self, folder: Path) -> str:
        """The URL of a copy of the store, for that folder."""
        content = gzip.decompress(self.store_file.read_bytes())
        if self.kind == "sqlite":
            (folder / "facts.db").write_bytes(content)
            return f"sqlite:///{folder / 'facts.db'}"
        url = fresh_url(folder)
        with psycopg.connect(without_schema(url), autocommit=True) as connection:
            connection.execute(content.replace(SCHEMA.encode(), url.partition("schema=")[2].encode()))
        if self.format == 1:
            make_first_format(url)
        return url


_TODAY: Final = "4717342b94d2e2b17f78b1f1e347f3eb04ebbef3"

FIXTURES: Final = {
    fixture.name: fixture
    for fixture in (
        Fixture("sqlite-1", "322240835423665df71de408ec6413b758b70ab6", 1),
        Fixture("sqlite-2-first", "a0d082094d3266ec8ca17f0d3983e3caa418f9c5", 2),
        Fixture("sqlite-2", _TODAY, 2),
        Fixture("postgresql-1", "7e7765b115e40ed8e1fd24e35654923c28285e7f", 1, "postgresql-2-first"),
        Fixture("postgresql-2-first", "7e7765b115e40ed8e1fd24e35654923c28285e7f", 2),
        Fixture("postgresql-2", _TODAY, 2),
    )
}
