"""The models of this suite by profile: all in Qwen3's shape, their weights random.

Tied embeddings would make a random model repeat one token, so that they are untied even where the real one's are tied.
"""

from __future__ import annotations

from collections.abc import Mapping

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.errors import ConfigurationError

PROFILES: Mapping[str, ModelConfig] = {
    config.name: config
    for config in (
        ModelConfig("tiny", 64, 2, 4, 2, 16, 160, 512, 256, norm_eps=1e-6, rope_theta=1e6),
        # Some milliseconds a step on one core, so that microseconds of framework show.
        ModelConfig("small", 512, 4, 8, 4, 64, 1024, 1024, 512, norm_eps=1e-6, rope_theta=1e6),
        # config.json as published with Qwen3-0.6B, but for its tied embeddings.
        ModelConfig("0.6b", 1024, 28, 16, 8, 128, 3072, 151936, 40960, norm_eps=1e-6, rope_theta=1e6),
    )
}


def config_of(profile: str) -> ModelConfig:
    """The model of that profile. Raises `ConfigurationError`."""
    found = PROFILES.get(profile)
    if found is None:
        raise ConfigurationError(f"profile {profile!r:.60}", "is unknown", f"one of {', '.join(PROFILES)}")
    return found
