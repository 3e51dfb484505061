"""What perfguard itself costs those who use it: a phase, an event, and a pytest start without `--perfguard`."""
