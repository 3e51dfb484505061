"""Widgets: thin; each shows drawn lines and knows how to scroll, and nothing else."""
