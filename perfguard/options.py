"""The plugin's options as data: one table gives the command line, the ini keys and the settings.

Standard library only: this is read by every pytest start, with or without `--perfguard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perfguard.errors import OptionError

if TYPE_CHECKING:
    from perfguard.history.ranges import HistoryRange
    from perfguard.report.exports import Output

DEFAULT_LIVE = "auto"
SWITCH = ("on", "off")


@dataclass(frozen=True)
class Option:
    """One option: `--perfguard-<name>` on the command line and `perfguard_<name>` in an ini file."""

    name: str
    help: str
    kind: str = "text"  # "text" | "flag" | "optional" (text that may be left out: DEFAULT_LIVE) | "many" (repeatable)
    metavar: str | None = None
    default: str = ""
    env: str = ""  # the environment variable that comes before the ini file: for what no file should hold

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--perfguard" + (f"-{self.name.replace('_', '-')}" if self.name else "")

    @property
    def ini(self) -> str:
        """The name in `[tool.pytest.ini_options]`; also where argparse puts the value."""
        return "perfguard" + (f"_{self.name}" if self.name else "")

    def add_to(self, group: Any, parser: Any) -> None:
        """Declare it to pytest."""
        extra: dict[str, Any] = {"action": "store_true"} if self.kind == "flag" else {"metavar": self.metavar}
        if self.kind == "optional":
            extra |= {"nargs": "?", "const": DEFAULT_LIVE}
        if self.kind == "many":
            extra |= {"action": "append"}
        group.addoption(self.flag, dest=self.ini, default=None, help=self.help, **extra)
        parser.addini(
            self.ini,
            self.help,
            type={"flag": "bool", "many": "linelist"}.get(self.kind, "string"),
            default={"flag": False, "many": []}.get(self.kind, self.default),
        )


OPTIONS = (
    Option("", "measure: run the performance cases only, compare with baselines, gate", "flag"),
    Option("profile", "how long to measure: quick, standard or full", metavar="PROFILE", default="quick"),
    Option(
        "baselines",
        "folder of the baselines (default: baselines, below rootdir); or the last runs of a branch in the history, "
        "history:main@last-20",
        metavar="DIR",
        default="baselines",
    ),
    Option("update", "write baselines from this run: one more process run per metric", "flag"),
    Option("json", "write the run document (perfguard.run/1) to PATH", metavar="PATH"),
    Option(
        "live", "publish events live; default endpoint: a socket in a private runtime directory", "optional", "ENDPOINT"
    ),
    Option("record", "record all events to PATH (.pgrun)", metavar="PATH"),
    Option("strict", "a metric without baseline fails the gate", "flag"),
    Option(
        "fail_on", "verdicts that fail the gate: slower,noisy,missing, or none", metavar="VERDICTS", default="slower"
    ),
    Option("case_seconds", "time budget per case, in seconds (default: the profile's)", metavar="S"),
    Option("against", "compare with git revision REV: both measured in turn (duet)", metavar="REV"),
    Option("against_path", "compare with the checkout in DIR", metavar="DIR"),
    Option("against_python", "the other revision's interpreter (default: this one)", metavar="PYTHON"),
    Option(
        "duet",
        "lockstep: one side rests while the other is timed; parallel: both at once",
        metavar="HOW",
        default="lockstep",
    ),
    Option("seconds", "time budget of a duet, for all its cases together", metavar="S"),
    Option("alpha", "chance that a run without any change alarms (default 1%%)", metavar="SHARE"),
    Option("limit", "change that matters, for every case whatever its marker says (e.g. 5%%)", metavar="SHARE"),
    Option(
        "history",
        "where runs are stored: a SQLite file, a PostgreSQL URL, or off (default: .perfguard/history.db below rootdir, "
        "if the extra `history` is installed; also in the environment: PERFGUARD_HISTORY)",
        metavar="PATH|URL|off",
        env="PERFGUARD_HISTORY",
    ),
    Option("history_samples", "whether the history stores raw samples, compressed: on or off", "text", "on|off", "on"),
    Option("report", "write a report: markdown=PATH, html=PATH, ... (repeatable)", "many", "KIND=PATH"),
    Option("export", "write the run in another tool's format: csv=PATH, ... (repeatable)", "many", "KIND=PATH"),
)


@dataclass(frozen=True)
class Settings:
    """The options of one run, checked. Paths are absolute."""

    profile: str
    baselines: Path
    update: bool
    json: Path | None
    live: str | None
    record: Path | None
    strict: bool
    fail_on: str
    case_seconds: float | None
    outputs: tuple[Output, ...] = ()
    against: str | None = None
    against_path: Path | None = None
    against_python: str | None = None
    duet: str = "lockstep"
    seconds: float | None = None
    alpha: float = 0.01
    limit: float | None = None
    history: str | None = None
    history_samples: bool = True
    history_baselines: HistoryRange | None = None


def settings(values: Mapping[str, Any], root: Path, cwd: Path) -> Settings:
    """The settings in raw `values` by ini name. Raises `OptionError` naming the option.

    The baselines folder is looked for below `root` (it is part of the project); output paths below `cwd`.
    """
    profile = values["perfguard_profile"] or "quick"
    if profile not in ("quick", "standard", "full"):
        raise OptionError("--perfguard-profile", f"{profile!r} is no profile", "choose quick, standard or full")
    live = values["perfguard_live"] or None
    if live is not None and live != DEFAULT_LIVE and "://" not in live:
        raise OptionError(
            "--perfguard-live",
            f"{live!r} is no endpoint",
            "to use the default endpoint before a path, write --perfguard-live=auto",
        )
    from_history = history_range(values)
    return Settings(
        profile=profile,
        baselines=root / ("baselines" if from_history else values["perfguard_baselines"] or "baselines"),
        update=bool(values["perfguard_update"]),
        json=output_path(values["perfguard_json"], cwd, "--perfguard-json"),
        live=live,
        record=output_path(values["perfguard_record"], cwd, "--perfguard-record"),
        strict=bool(values["perfguard_strict"]),
        fail_on=values["perfguard_fail_on"] or "slower",
        case_seconds=time_budget("--perfguard-case-seconds", values["perfguard_case_seconds"]),
        outputs=_outputs(values, cwd),
        against=values["perfguard_against"] or None,
        against_path=cwd / values["perfguard_against_path"] if values["perfguard_against_path"] else None,
        against_python=values["perfguard_against_python"] or None,
        duet=_choice("--perfguard-duet", values["perfguard_duet"] or "lockstep", ("lockstep", "parallel")),
        seconds=time_budget("--perfguard-seconds", values["perfguard_seconds"]),
        alpha=error_rate("--perfguard-alpha", values["perfguard_alpha"]),
        limit=change_limit("--perfguard-limit", values["perfguard_limit"]),
        history=history_target(values["perfguard_history"], root),
        history_samples=_choice("--perfguard-history-samples", values["perfguard_history_samples"], SWITCH) == "on",
        history_baselines=from_history,
    )


def history_target(text: str | None, root: Path) -> str | None:
    """Where runs are stored: a path below `root`, a URL, None for nowhere. Raises `OptionError` if it cannot be."""
    from perfguard.history.keeping import DEFAULT, OFF, installed

    if text == OFF:
        return None
    if not installed():
        if text:
            advice = "pip install 'perfguard[history]' (SQLite) or 'perfguard[postgres]'"
            raise OptionError("--perfguard-history", "SQLAlchemy or Alembic is missing", advice)
        return None
    return text if text and "://" in text else str(root / (text or DEFAULT))


def history_range(values: Mapping[str, Any]) -> HistoryRange | None:
    """The range of a history that `--perfguard-baselines` names, None if it names a folder."""
    text = values["perfguard_baselines"] or ""
    if not text.startswith("history:"):
        return None
    from perfguard.history.ranges import parse_range

    if values["perfguard_update"]:
        problem = f"cannot be updated: {text} is what runs were stored"
        raise OptionError("--perfguard-update", problem, "name a folder with --perfguard-baselines")
    return parse_range(text)


def output_path(text: str | None, cwd: Path, option: str) -> Path | None:
    """A file that can be written later, None if `text` names none. Raises `OptionError` naming the option."""
    if not text:
        return None
    path = cwd / text
    if path.is_dir():
        raise OptionError(option, f"{text} is a folder", "name a file")
    if not path.parent.is_dir():
        raise OptionError(option, f"the folder {path.parent} does not exist", "create it first")
    return path


def _outputs(values: Mapping[str, Any], cwd: Path) -> tuple[Output, ...]:
    options = {"--perfguard-report": values["perfguard_report"], "--perfguard-export": values["perfguard_export"]}
    if not any(options.values()):
        return ()
    from perfguard.report.exports import check_apart, parse_outputs

    found = tuple(output for option, texts in options.items() for output in parse_outputs(texts, cwd, option))
    written = [output_path(values[f"perfguard_{name}"], cwd, f"--perfguard-{name}") for name in ("json", "record")]
    check_apart(found, "--perfguard-report", *written)
    return found


def _choice(option: str, text: str, choices: tuple[str, ...]) -> str:
    if text not in choices:
        raise OptionError(option, f"{text!r} is none", f"choose {' or '.join(choices)}")
    return text


def error_rate(option: str, text: Any) -> float:
    """A chance of error, 1 % unless `text` says otherwise. Raises `OptionError` naming the option."""
    alpha = change_limit(option, text) if text else 0.01
    if alpha is None or not 0 < alpha < 0.5:
        raise OptionError(option, f"{text!r} is no error rate", "write 1% or 0.01")
    return alpha


def change_limit(option: str, text: Any) -> float | None:
    """A practical limit as a fraction, None if `text` says none. Raises `OptionError` naming the option."""
    from perfguard.units import parse_limit

    return parse_limit(_number(text), option) if text else None


def _number(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text


def time_budget(option: str, text: Any) -> float | None:
    """Seconds, None if `text` says none. Raises `OptionError` naming the option."""
    if text in (None, ""):
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise OptionError(option, f"{text!r} is no time budget", "give seconds, e.g. 2.5")
    return seconds
