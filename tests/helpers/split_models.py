"""The model that tests of the split system run."""

from __future__ import annotations

from perfguard_suites.split_rpc.server import ModelSource

SOURCE = ModelSource("tiny")
