"""Opening a database: its address checked, its schema brought up to date under a lock, its transactions bounded.

Every wait ends: for a connection after `CONNECT_TIMEOUT_S`, for another writer after `LOCK_TIMEOUT_S`.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.engine import URL, Connection, Engine, make_url

from perfguard.errors import HistoryError
from perfguard.history.ignored import ignore
from perfguard.history.schema import VERSION_TABLE, metadata

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_S = 60.0
SQLITE, POSTGRES = "sqlite", "postgresql"
# The newest revision under migrations/versions. Opening a database that has it imports no Alembic.
HEAD = "0001"
_VERSION = sa.table(VERSION_TABLE, sa.column("version_num"))
_MIGRATIONS = Path(__file__).parent / "migrations"
# Names our advisory lock in a database that others use too: "perfguar" as a number.
_LOCK = 0x7065726667756172
_WRITES = "perfguard_writes"
_RETRY_S = 0.02
# A server that vanishes in the middle of a statement is noticed, too.
_POSTGRES = {
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "application_name": "perfguard",
}


def url_of(target: str | Path) -> URL:
    """The SQLAlchemy URL of a path or URL. Raises `HistoryError` for one that this cannot use."""
    text = str(target)
    if isinstance(target, Path) or "://" not in text:
        return URL.create(SQLITE, database=str(Path(text).absolute()))
    try:
        url = make_url(text)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise HistoryError("the history's URL", "cannot be read", "postgresql+psycopg://user@host/name") from error
    backend = url.get_backend_name()
    if backend == "postgres" or url.drivername == POSTGRES:
        url = url.set(drivername=f"{POSTGRES}+psycopg")
    if url.drivername == SQLITE and url.database and url.database != ":memory:":
        return url.set(database=str(Path(url.database).absolute()))
    if url.drivername != f"{POSTGRES}+psycopg":
        shown = shown_url(url)
        raise HistoryError(shown, f"{url.drivername} cannot be used", "a path (SQLite) or postgresql+psycopg://...")
    return url


def shown_url(url: URL) -> str:
    """How messages name a database: a path, or the URL without its password."""
    return str(url.database) if url.drivername == SQLITE else url.render_as_string(hide_password=True)


class Database:
    """An open database whose schema is the newest. Connections are made when they are needed, and closed after use.

    Raises `HistoryError` if it cannot be opened, is no history, or was written by a newer perfguard.
    """

    def __init__(self, target: str | Path, *, create: bool = True) -> None:
        self.url = url_of(target)
        self.name = shown_url(self.url)
        self.is_sqlite = self.url.get_backend_name() == SQLITE
        if self.is_sqlite:
            _make_home(Path(str(self.url.database)), self.name, create)
        self.engine = _engine(self.url)
        try:
            with self.errors():
                _prepare(self)
        except BaseException:
            self.engine.dispose()
            raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database. Raises `HistoryError`."""
        reader = self.engine if self.is_sqlite else self.engine.execution_options(isolation_level="REPEATABLE READ")
        with self.errors(), reader.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """The one transaction that may write now: all of it is stored at its end, or nothing. Raises `HistoryError`.

        Writers take turns: in SQLite by its own lock, in PostgreSQL by an advisory one, so that two runs which name
        the same new cases cannot deadlock.
        """
        with (
            self.errors(),
            self.engine.connect().execution_options(**{_WRITES: True}) as connection,
            connection.begin(),
        ):
            if not self.is_sqlite:
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_S:.0f}s'")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield connection

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Database errors as `HistoryError` that names this database."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise HistoryError(self.name, _told(error.orig or error), _advice(error, self.is_sqlite)) from error
        except (sa.exc.SQLAlchemyError, sqlite3.Error) as error:
            raise HistoryError(self.name, _told(error)) from error

    def shrink(self) -> None:
        """Give what was removed back to the disk, in SQLite; PostgreSQL does that by itself. Best effort."""
        if not self.is_sqlite:
            return
        raw = self.engine.raw_connection()
        with (
            contextlib.closing(raw),
            contextlib.suppress(sqlite3.Error),
        ):  # needs as much room again, and nobody reading
            raw.cursor().execute("VACUUM")
            raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close what is open."""
        self.engine.dispose()


def _make_home(path: Path, name: str, create: bool) -> None:
    if path.is_dir():
        raise HistoryError(name, "is a folder", "name a file, such as .perfguard/history.db")
    if not create and not path.exists():
        raise HistoryError(
            name,
            "there is no history here",
            "a run with --perfguard makes it",
        )
    try:
        if path.parent.name == ".perfguard":
            ignore(path.parent)
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise HistoryError(name, f"its folder cannot be made: {error.strerror or error}") from error


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == SQLITE:
        # NullPool: a connection closed at once leaves no -wal file behind when the process ends without a word.
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args={"timeout": LOCK_TIMEOUT_S})
        event.listen(engine, "connect", _sqlite_connected)
        event.listen(engine, "begin", _sqlite_begins)
        return engine
    try:
        return sa.create_engine(url, pool_size=1, connect_args=_POSTGRES)
    except ImportError as error:
        raise HistoryError(shown_url(url), "psycopg is missing", "pip install 'perfguard[postgres]'") from error


def _sqlite_connected(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions are ours: the module's own begin too late to be writers
    connection.execute("PRAGMA synchronous = NORMAL")  # with WAL: a power cut may lose the last run, never the file
    connection.execute("PRAGMA cache_size = -65536")


def _sqlite_begins(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _prepare(database: Database) -> None:
    """Bring the schema to HEAD. Of several that open a new database at once, one does it and the others wait."""
    if database.is_sqlite:
        _write_ahead(database)
    with database.reading() as connection:
        found = _version(connection)
    if found is None or found != HEAD:
        _migrate(database)


def _write_ahead(database: Database) -> None:
    """WAL, so that readers and the writer do not wait for each other. The change itself may meet another opener."""
    deadline_s = time.monotonic() + LOCK_TIMEOUT_S
    raw = database.engine.raw_connection()
    try:
        while True:
            try:
                raw.cursor().execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:  # this pragma does not wait for a lock by itself
                if "locked" not in str(error) or time.monotonic() > deadline_s:
                    raise
                time.sleep(_RETRY_S)
            else:
                return
    finally:
        raw.close()


def _version(connection: Connection) -> str | None:
    """The schema's revision, None in an empty database. Raises `HistoryError` if it is newer or something else."""
    name = shown_url(connection.engine.url)
    tables = set(sa.inspect(connection).get_table_names())
    if _VERSION.name not in tables:
        if tables & set(metadata.tables) or (tables and connection.dialect.name == SQLITE):
            raise HistoryError(name, "is a database of something else", "name another one")
        return None
    found = connection.execute(sa.select(_VERSION.c.version_num)).scalars().all()
    known = {path.stem.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py")}
    if not found:
        return None
    if len(found) != 1 or found[0] not in known:
        raise HistoryError(
            name,
            f"its schema is {', '.join(map(str, found))}, this perfguard knows up to {max(known)}",
            "it was written by a newer perfguard: update this one",
        )
    return str(found[0])


def _migrate(database: Database) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with database.writing() as connection:
        if _version(connection) == HEAD:
            return  # another opener was faster
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _told(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "; ".join(lines[:3]) or type(error).__name__


def _advice(error: sa.exc.DBAPIError, is_sqlite: bool) -> str:
    text = str(error.orig).lower()
    if "full" in text or "no space" in text:
        return "make room, or `perfguard history prune`"
    if "malformed" in text or "not a database" in text:
        return "restore the file, or move it away: a new one is made"
    if "locked" in text or "lock timeout" in text:
        return f"another process has been writing for {LOCK_TIMEOUT_S:.0f} s"
    return "" if is_sqlite else "is the server up, and does this user own the database?"
