"""The dashboard measured: real processes in a real pseudo-terminal; `python -m perfguard_tui.bench`."""
