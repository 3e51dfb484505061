"""The event schema: every step of a run as a small map, packed with msgpack, validated before anyone believes it.

The stream of events is the single truth of a run: the JSON document, the terminal report, a baseline
update, the dashboard and a replay are all folds over it. An event is

    {"v": 1, "run": str, "src": str, "seq": int, "t_ns": int, "kind": str, ...fields of the kind}

`seq` counts from 0 without gaps per producer `src`, so a reader knows what it lost. `t_ns` is the
producer's monotonic clock (`time.perf_counter_ns`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from operator import itemgetter
from typing import Any, TypeAlias

import msgpack

from perfguard.errors import EventError

VERSION = 1
# Of frames that hold many rounds as columns (`rounds.py`); a viewer says whether it reads them.
BATCH_VERSION = 2
ROUNDS = "rounds"
MAX_FRAME_BYTES = 4 * 1024 * 1024
MAX_STRING = 64 * 1024
MAX_ITEMS = 200_000

Event = dict[str, Any]
Unpack: TypeAlias = Callable[[bytes], Any]

_NUMBER = (int, float)
_TEXT = (str,)
_MAP = (dict,)
_LIST = (list,)
_NONE = type(None)

# kind -> field -> accepted types. Further fields are allowed: readers ignore what they do not know.
KINDS: Mapping[str, Mapping[str, tuple[type, ...]]] = {
    # started: ISO 8601 UTC; plan: [{"id", "key", "suite", "params"}], in the order of running
    "run_started": {"started": _TEXT, "profile": _TEXT, "machine": _MAP, "commit": _MAP, "plan": _LIST},
    "case_started": {"case": _TEXT},
    # stage: "setup" | "calibrate" | "warmup" | "measure" | "compare"; detail: free figures to show
    "stage": {"case": _TEXT, "stage": _TEXT, "detail": _MAP},
    # one timed round: value in the metric's unit, per call; phases: {path: self seconds per call}
    "round": {
        "case": _TEXT,
        "metric": _TEXT,
        "index": (int,),
        "iterations": (int,),
        "value": _NUMBER,
        "warmup": (bool,),
        "phases": (dict, _NONE),
    },
    # the intervals of one call, for waterfalls: [[path, lane, start_ns, end_ns], ...]
    "spans": {"case": _TEXT, "round": (int,), "spans": _LIST},
    # metric: a run document's metric map, before judgement
    "metric": {"case": _TEXT, "metric": _MAP},
    "account": {"case": _TEXT, "account": _MAP},
    "note": {"case": _TEXT, "text": _TEXT},
    # extra: facts about the case for exports, plain JSON values
    "extra": {"case": _TEXT, "extra": _MAP},
    # change, baseline: as in the run document
    "verdict": {
        "case": _TEXT,
        "metric": _TEXT,
        "verdict": _TEXT,
        "change": (dict, _NONE),
        "baseline": (dict, _NONE),
        "limit": _NUMBER,
    },
    # status: "passed" | "failed" | "error" | "skipped"; message: "" or why
    "case_finished": {"case": _TEXT, "status": _TEXT, "duration_s": _NUMBER, "message": _TEXT},
    # fractions of all CPUs since the last such event: others = CPU used by other processes
    "machine_noise": {"others": _NUMBER, "steal": _NUMBER},
    "gate": {"exit_status": (int,), "slower": _LIST, "noisy": _LIST, "missing": _LIST, "reason": _TEXT},
    "run_finished": {"finished": _TEXT, "exit_status": (int,)},
}

_ENVELOPE: Mapping[str, tuple[type, ...]] = {
    "v": (int,),
    "run": _TEXT,
    "src": _TEXT,
    "seq": (int,),
    "t_ns": (int,),
    "kind": _TEXT,
}


def _plain(fields: Mapping[str, tuple[type, ...]]) -> tuple[Callable[[Event], tuple[Any, ...]], frozenset[Any]]:
    whole = {**_ENVELOPE, **fields}
    return itemgetter(*whole), frozenset(product(*whole.values()))


# For each known kind what fetches all that is asked of it, and the types it may all have: a reader checks a hundred
# thousand events a second.
_PLAIN = {kind: _plain(fields) for kind, fields in KINDS.items()}


def pack(event: Event) -> bytes:
    """The frame of an event. Raises `EventError` if it is over `MAX_FRAME_BYTES` or holds foreign types."""
    try:
        frame: bytes = msgpack.packb(event, use_bin_type=True)
    except (TypeError, ValueError, OverflowError) as error:
        raise EventError(f"event {event.get('kind')!r}", f"cannot be packed: {error}") from error
    if len(frame) > MAX_FRAME_BYTES:
        raise EventError(f"event {event.get('kind')!r}", f"{len(frame)} bytes, the limit is {MAX_FRAME_BYTES}")
    return frame


def unpack(frame: bytes) -> Event:
    """The event in a frame, validated and bounded. Raises `EventError` saying what is wrong."""
    return validate(unpacked(frame, _unpack_event))


def unpacker(*, max_map_len: int, max_bin_len: int) -> Unpack:
    """What unpacks frames within these bounds; made once, since to hand them over takes as long as to unpack."""
    return partial(
        msgpack.unpackb,
        raw=False,
        strict_map_key=True,
        max_str_len=MAX_STRING,
        max_array_len=MAX_ITEMS,
        max_map_len=max_map_len,
        max_bin_len=max_bin_len,
        max_ext_len=0,
    )


_unpack_event = unpacker(max_map_len=MAX_ITEMS, max_bin_len=0)


def unpacked(frame: bytes, unpack_bounded: Unpack) -> Any:
    """What msgpack finds in a frame, bounded and not validated. Raises `EventError` if that is nothing."""
    if len(frame) > MAX_FRAME_BYTES:
        raise EventError("frame", f"{len(frame)} bytes, the limit is {MAX_FRAME_BYTES}")
    try:
        return unpack_bounded(frame)
    except Exception as error:  # msgpack raises many types on hostile input; all mean garbage
        raise EventError("frame", f"not msgpack: {error!r}") from error


def validate(event: Any) -> Event:
    """The event itself if it follows the schema; raises `EventError` naming the kind and the field."""
    if not isinstance(event, dict):
        raise EventError("frame", f"a {type(event).__name__}, not a map")
    if _is_plain(event):  # the fast way through for what is right
        return event
    _check("envelope", event, _ENVELOPE)
    if event["v"] != VERSION:
        raise EventError("frame", f"event version {event['v']}, this perfguard reads {VERSION}")
    if event["seq"] < 0:
        raise EventError("frame", f"negative seq {event['seq']}")
    fields = KINDS.get(event["kind"])
    if fields is not None:  # kinds of a newer minor version pass through unread
        _check(event["kind"], event, fields)
    return event


def _is_plain(event: Event) -> bool:
    """Whether it is an event of this version of a known kind with every field of the very type asked for."""
    try:
        fields_of, plain = _PLAIN[event["kind"]]
        right = tuple(map(type, fields_of(event))) in plain
    except (KeyError, TypeError):
        return False
    return right and event["v"] == VERSION and event["seq"] >= 0


def _check(kind: str, event: Event, fields: Mapping[str, tuple[type, ...]]) -> None:
    for name, types in fields.items():
        if name not in event:
            raise EventError(f"{kind} event", f"field {name!r} is missing")
        value = event[name]
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise EventError(f"{kind} event", f"field {name!r} is a {type(value).__name__}")
