"""The plugin's options as data: one table gives the command line, the ini keys and the settings.

Standard library only: this is read by every pytest start, with or without `--perfguard`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from perfguard.errors import OptionError

DEFAULT_LIVE = "auto"


@dataclass(frozen=True)
class Option:
    """One option: `--perfguard-<name>` on the command line and `perfguard_<name>` in an ini file."""

    name: str
    help: str
    kind: str = "text"  # "text" | "flag" | "optional" (text that may be left out: DEFAULT_LIVE)
    metavar: str | None = None
    default: str = ""

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
        group.addoption(self.flag, dest=self.ini, default=None, help=self.help, **extra)
        parser.addini(
            self.ini,
            self.help,
            type="bool" if self.kind == "flag" else "string",
            default=False if self.kind == "flag" else self.default,
        )


OPTIONS = (
    Option("", "measure: run the performance cases only, compare with baselines, gate", "flag"),
    Option("profile", "how long to measure: quick, standard or full", metavar="PROFILE", default="quick"),
    Option(
        "baselines", "folder of the baselines (default: baselines, below rootdir)", metavar="DIR", default="baselines"
    ),
    Option("update", "write baselines from this run: one more process run per metric", "flag"),
    Option("json", "write the run document (perfguard.run/1) to PATH", metavar="PATH"),
    Option(
        "live", "publish events live; default endpoint: a socket in a private runtime directory", "optional", "ENDPOINT"
    ),
    Option("record", "record all events to PATH (.pgrun)", metavar="PATH"),
    Option("strict", "a metric without baseline fails the gate", "flag"),
    Option("fail_on", "verdicts that fail the gate: slower,noisy,missing", metavar="VERDICTS", default="slower"),
    Option("case_seconds", "time budget per case, in seconds (default: the profile's)", metavar="S"),
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
    return Settings(
        profile=profile,
        baselines=root / (values["perfguard_baselines"] or "baselines"),
        update=bool(values["perfguard_update"]),
        json=_path(values["perfguard_json"], cwd, "--perfguard-json"),
        live=live,
        record=_path(values["perfguard_record"], cwd, "--perfguard-record"),
        strict=bool(values["perfguard_strict"]),
        fail_on=values["perfguard_fail_on"] or "slower",
        case_seconds=_seconds(values["perfguard_case_seconds"]),
    )


def _path(text: str | None, cwd: Path, option: str) -> Path | None:
    if not text:
        return None
    path = cwd / text
    if path.is_dir():
        raise OptionError(option, f"{text} is a folder", "name a file")
    if not path.parent.is_dir():
        raise OptionError(option, f"the folder {path.parent} does not exist", "create it first")
    return path


def _seconds(text: Any) -> float | None:
    if text in (None, ""):
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 86_400:
        raise OptionError("--perfguard-case-seconds", f"{text!r} is no time budget", "give seconds, e.g. 2.5")
    return seconds
