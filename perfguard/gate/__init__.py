"""The gate: from metrics and baselines to verdicts, and from verdicts to an exit status."""

from perfguard.gate.decide import decide as decide
from perfguard.gate.judge import Judge as Judge
from perfguard.gate.policy import Policy as Policy

__all__ = ["Judge", "Policy", "decide"]
