"""Write what the documentation takes from the code: docs/reference.md, tables of other pages, a picture.

    python tools/reference.py            # write them
    python tools/reference.py --check    # exit status 1 if they are not what the code says

Options come from their table, verbs from their parsers, the fixture from its signatures and docstrings. What only a
person can say stands in `reference_frame.md`; an environment variable that it does not tell of fails a test.
"""

from __future__ import annotations

import argparse
import inspect
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quality.picture import picture

from perfguard.benchmark.options import CHOOSING, MEASURING, OTHER
from perfguard.cli import PLUGGED, build_parser
from perfguard.events.schema import KINDS
from perfguard.fixtures import Perfguard
from perfguard.options import OPTIONS, Option
from perfguard.plugin import MARKER

ROOT = Path(__file__).parents[1]
# The order in which a reader meets them; what is not named here follows as it is defined.
FIRST = ("__call__", "phase", "compare", "record", "count", "bytes", "record_ratio")


def main() -> int:
    """Write the files, or with `--check` say which are stale."""
    stale = []
    for path, text in generated().items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.relative_to(ROOT))
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
    for path in stale:
        print(f"{path}: {'stale: run make reference' if '--check' in sys.argv else 'written'}")
    return int(bool(stale) and "--check" in sys.argv)


def generated() -> dict[Path, str]:
    """What the generated files should hold."""
    parts = {"statistics": ("quality", quality_table()), "formats": ("events", events_table())}
    pages = {ROOT / f"docs/{page}.md": part for page, part in parts.items()}
    filled = {page: between(*part, page.read_text(encoding="utf-8")) for page, part in pages.items()}
    drawn = {ROOT / "docs/pictures/quality.svg": picture(measured_quality(), METHODS)}
    return {ROOT / "docs/reference.md": reference(), **filled, **drawn}


def reference() -> str:
    """The whole page: the frame with its gaps filled."""
    gaps = {
        "options": _options(),
        "benchmark options": _benchmark_options(),
        "fixture": "\n\n".join(_fixture()),
        "marker": f"@pytest.mark.{MARKER.split(':')[0]}",
        "verbs": "\n\n".join(_verbs()),
    }
    frame = (ROOT / "tools/reference_frame.md").read_text(encoding="utf-8")
    return re.sub(r"<<(.*?)>>", lambda gap: gaps[gap[1]], frame)


def _options() -> str:
    rows = [(f"`{option.flag}{_value(option)}`", f"`{option.ini}`", _sentence(option.help)) for option in OPTIONS]
    return _table(("option", "ini key", "means"), rows)


def _value(option: Option) -> str:
    if option.kind == "flag":
        return ""
    return f"[={option.metavar}]" if option.kind == "optional" else f" {option.metavar}"


def _benchmark_options() -> str:
    rows = [
        ("as in that plugin", _names(CHOOSING)),
        ("as there, under `--perfguard`", _names(MEASURING)),
        ("accepted, and named in a warning", _names(OTHER)),
    ]
    return _table(("taken", "options"), rows)


def _names(options: object) -> str:
    return ", ".join(f"`--benchmark-{name}`" for name in sorted(options))  # type: ignore[call-overload]


def _fixture() -> Iterator[str]:
    yield _doc(Perfguard)
    public = [name for name in vars(Perfguard) if not name.startswith("_") and name not in FIRST]
    for name in (*FIRST, *public):
        member = inspect.getattr_static(Perfguard, name)
        if isinstance(member, property):
            yield f"### `perfguard.{name}`\n\n{_doc(member.fget)}"
            continue
        function = member.__func__ if isinstance(member, staticmethod) else member
        shown = "perfguard" if name == "__call__" else f"perfguard.{name}"
        head = f"{shown}{_signature(function, bound=member is function)}"
        yield f"### `{shown}`\n\n```text\n{head}\n```\n\n{_doc(function)}"


def _signature(function: object, *, bound: bool) -> str:
    signature = inspect.signature(function)  # type: ignore[arg-type]
    parameters = list(signature.parameters.values())[int(bound) :]
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in parameters]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def _verbs() -> Iterator[str]:
    parser = build_parser()
    for name, verb in sorted(_subparsers(parser).items()):
        if name in PLUGGED:
            continue
        yield from _verb(f"perfguard {name}", verb)
    from perfguard_suites.transport import diagnose
    from perfguard_tui import __main__ as dashboard

    yield from _verb("perfguard dashboard", dashboard.build_parser(), " [-- COMMAND ...]")
    yield from _verb("perfguard diagnose transport", diagnose.build_parser())


def _verb(name: str, parser: argparse.ArgumentParser, more: str = "", summary: str = "") -> Iterator[str]:
    below = _subparsers(parser)
    said = f"```text\n{textwrap.dedent(parser.epilog).strip()}\n```" if parser.epilog else ""
    if below and said:
        yield f"### `{name}`\n\n{_capital(parser.description or summary)}\n\n{said}"
    for verb, subparser in below.items():
        yield from _verb(f"{name} {verb}", subparser, summary=_summaries(parser)[verb])
    if below:
        return
    rows = [(_option_name(action), _sentence(_help(action, parser))) for action in _told(parser)]
    positionals = [_positional(action) for action in _told(parser) if not action.option_strings]
    usage = " ".join([name, "[options]", *positionals]) + more
    yield f"### `{name}`\n\n{_capital(parser.description or summary)}\n\n```text\n{usage}\n```"
    yield _table(("argument", "means"), rows)
    if said:
        yield said


def _told(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    hidden = (argparse._HelpAction, argparse._VersionAction, argparse._SubParsersAction)  # noqa: SLF001 - no other way
    return [action for action in parser._actions if not isinstance(action, hidden)]  # noqa: SLF001


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found: dict[str, argparse.ArgumentParser] = {}
    for action in parser._actions:  # noqa: SLF001 - argparse has no other way to ask
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            found |= action.choices
    return found


def _summaries(parser: argparse.ArgumentParser) -> dict[str, str]:
    """What the list of verbs says of each."""
    groups = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]  # noqa: SLF001
    return {choice.dest: choice.help or "" for group in groups for choice in group._choices_actions}  # noqa: SLF001


def _option_name(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{_positional(action)}`"
    value = "" if action.nargs == 0 else f" {action.metavar or _choices(action) or action.dest.upper()}"
    value = f"[{value.strip()}]" if action.nargs == "?" else value
    return f"`{', '.join(action.option_strings)}{value}`"


def _positional(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    return f"[{name}]" if action.nargs == "?" else f"{name} ..." if action.nargs in ("+", "*") else name


def _choices(action: argparse.Action) -> str:
    return f"{{{','.join(map(str, action.choices))}}}" if action.choices else ""


def _help(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    return (action.help or "") % {**vars(action), "prog": parser.prog} if action.help else ""


def _table(head: tuple[str, ...], rows: object) -> str:
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join("---" for _ in head) + " |"]
    lines += ["| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows]  # type: ignore[attr-defined]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    return " ".join(text.replace("%%", "%").split())


def _capital(text: str) -> str:
    text = " ".join(text.split())
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", ":", "?")) or not text else ".")


def _doc(function: object) -> str:
    return inspect.getdoc(function) or ""


def between(name: str, text: str, page: str) -> str:
    """The page with `text` between its markers of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, after = page.partition(begin)[0], page.partition(end)[2]
    return f"{before}{begin}\n{text}\n{end}{after}"


def events_table() -> str:
    """The kinds of events with their fields, from the schema."""
    kinds = {
        kind: ", ".join(f"`{field}` ({' or '.join(map(_type_name, types))})" for field, types in fields.items())
        for kind, fields in KINDS.items()
    }
    return _table(("kind", "fields"), [(f"`{kind}`", fields) for kind, fields in kinds.items()])


def _type_name(type_: type) -> str:
    return {"NoneType": "null", "str": "text", "dict": "map"}.get(type_.__name__, type_.__name__)


METHODS = {
    "duet": "perfguard, a duet",
    "stored": "perfguard, stored baselines",
    "pytest_benchmark_mean_5": "mean beyond 5 %",
    "pytest_benchmark_min_5": "minimum beyond 5 %",
    "mann_whitney_01": "Mann-Whitney, p &lt; .01",
    "asv": "asv's rule",
}


def measured_quality() -> dict[str, Any]:
    """docs/quality.json."""
    found: dict[str, Any] = json.loads((ROOT / "docs/quality.json").read_text(encoding="utf-8"))
    return found


def quality_table() -> str:
    """False alarms and what was found, by method."""
    found, columns = measured_quality(), ("false_alarm_case", "detect_5", "detect_10", "detect_20")
    rows = [(name, *(f"{100 * found[key][c]['rate']:.3g} %" for c in columns)) for key, name in METHODS.items()]
    return _table(("method", "false alarms, of unchanged cases", "+5 % found", "+10 % found", "+20 % found"), rows)


if __name__ == "__main__":
    sys.exit(main())
