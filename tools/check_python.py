"""Stop early, and say why, where the Python that `make` found is too old for perfguard."""

import sys

if sys.version_info < (3, 10):
    sys.exit(f"perfguard needs Python 3.10 or newer; {sys.executable} is {sys.version.split()[0]}: make PYTHON=python3.12 ...")
