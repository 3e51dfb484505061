"""`perfguard machine`: this machine's class and what it stands for."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HELP = "print this machine's class, and what must be equal for absolute times to compare"


def add_parser(verbs: Any) -> None:
    """Declare the verb."""
    parser = verbs.add_parser("machine", help=HELP, description=HELP)
    parser.add_argument("--dir", type=Path, metavar="DIR", help="also say how it differs from the classes in DIR")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print the class; 0."""
    from perfguard.baselines import reader
    from perfguard.baselines.machine import describe, identity, machine_class

    description = describe()
    of_class = machine_class(description)
    others = {} if options.dir is None else reader.class_differences(options.dir, description)
    if options.json:
        document = {"class": of_class, "machine": description, "identity": sorted(identity(description))}
        if options.dir is not None:
            document["differences"] = {name: list(words) for name, words in others.items()}
        print(json.dumps(document, indent=1))
        return 0
    print(of_class)
    for key, value in description.items():
        informative = "" if key in identity(description) else "   (not part of the class)"
        print(f"  {key:<14} {value}{informative}")
    for name, words in others.items():
        print(f"\n{name}: absolute times there do not compare with here")
        for difference in words or ("its files do not say what it stands for",):
            print(f"  {difference}")
    return 0
