"""One file per verb of the command line.

A verb has `add_parser(verbs)`, which declares its options and sets `run`, and imports what it works with only
when it runs. `diagnose` and `dashboard` are different: their arguments belong to an entry point.
"""
