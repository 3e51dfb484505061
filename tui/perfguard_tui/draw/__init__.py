"""Drawings: pure functions from views to lines. They know widths and words, and nothing of any toolkit."""
