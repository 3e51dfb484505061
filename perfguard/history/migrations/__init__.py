"""Alembic's migrations of the history's schema; `perfguard.history.database` runs them when it opens a database."""
