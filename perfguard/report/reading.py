"""A run that is over, read back: from its run document or from its recording."""

from __future__ import annotations

from pathlib import Path

from perfguard import document
from perfguard.errors import DocumentError
from perfguard.events.framing import MAGIC
from perfguard.report.source import Source

_START = MAGIC[:-1]


def read(path: Path) -> Source:
    """What is known of the run in `path`, a run document (JSON) or a recording (`.pgrun`), told by its first bytes.

    Raises `DocumentError` or `EventError` naming the file. A recording that was cut off is read as far as it is whole.
    """
    try:
        with path.open("rb") as file:
            recorded = file.read(len(_START)) == _START
    except OSError as error:
        raise DocumentError(str(path), f"cannot be read: {error.strerror}") from error
    return _replayed(path) if recorded else Source(document.load(path))


def _replayed(path: Path) -> Source:
    from perfguard.events.fold import RunBuilder
    from perfguard.events.replay import Replay
    from perfguard.report.timeline import Timeline

    builder, timeline = RunBuilder(), Timeline()
    for event in Replay(path):
        if builder.started and event["run"] != builder.run_id:
            continue  # another run's: a recording holds one
        try:
            builder.apply(event)
            timeline.apply(event)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DocumentError(str(path), f"a {event['kind']} event makes no sense: {error!r}") from error
    if not builder.started:
        raise DocumentError(str(path), "holds no run: it was cut off before its first event")
    return Source(builder.run(), timeline)
