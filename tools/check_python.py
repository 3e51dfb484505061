"""Stop early, and say why, where the Python that `make` found is too old for perfguard."""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - this file is for the Pythons that are too old
    version = sys.version.split()[0]
    sys.exit(f"perfguard needs Python 3.10 or newer; {sys.executable} is {version}: make PYTHON=python3.12 ...")
