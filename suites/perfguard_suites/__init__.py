"""The real systems under test, one room each. Each uses only perfguard's public API, as any outsider would."""
