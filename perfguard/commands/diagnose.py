"""`perfguard diagnose NAME ...`: what a system under test can say about itself; entry points `perfguard.diagnose`."""

from __future__ import annotations

HELP = "ask a system under test what it really does, where its time goes, and what would help"
GROUP = "perfguard.diagnose"
EXTRA = "suites"


def run(arguments: list[str]) -> int:
    """Hand `arguments[1:]` to the diagnosis named first; without a name, list those there are."""
    from perfguard.commands import plugged

    available = plugged.providers(GROUP)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(f"usage: perfguard diagnose NAME [options]\n\n{HELP}\n\ndiagnoses:")
        for name in available:
            print(f"  {name:<20} perfguard diagnose {name} --help")
        return 0
    provider = plugged.choose(available, arguments[0], GROUP, "perfguard diagnose")
    return plugged.call(provider, arguments[1:], EXTRA)
