"""`perfguard dashboard ...`: the live view of a run; entry points of the group `perfguard.dashboard`."""

from __future__ import annotations

from perfguard.errors import OptionError

HELP = "watch a run live in the terminal, attach to one under way, or replay a recording"
GROUP = "perfguard.dashboard"
EXTRA = "tui"


def run(arguments: list[str]) -> int:
    """Hand the arguments to the dashboard. Where several are installed, the first argument names one."""
    from perfguard.commands import plugged

    available = plugged.providers(GROUP)
    if not available:
        raise OptionError("perfguard dashboard", "no dashboard is installed", f"pip install 'perfguard[{EXTRA}]'")
    if arguments and arguments[0] in available:
        return plugged.call(available[arguments[0]], arguments[1:], EXTRA)
    if len(available) > 1:
        raise OptionError("perfguard dashboard", f"there are {len(available)}", f"name one: {', '.join(available)}")
    (provider,) = available.values()
    return plugged.call(provider, arguments, EXTRA)
