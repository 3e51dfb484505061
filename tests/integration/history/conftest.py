"""Both databases, for the tests of this room."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import postgres_server
import pytest
import sqlalchemy as sa

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real server's database, of this test process alone."""
    with postgres_server.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A new, empty history: a path, or the URL of a database."""
    if request.param == "sqlite":
        return str(tmp_path / "history.db")
    return new_database(request.getfixturevalue("postgres"))


def new_database(url: str) -> str:
    """The URL of a new database on the same server."""
    name = f"perf{next(_numbers)}"
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    return sa.make_url(url).set(database=name).render_as_string(hide_password=False)
