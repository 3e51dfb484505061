"""The untrusted process: holds the weights and answers one client on each of its channels.

It prints one JSON line with its endpoints, dies with its parent, and leaves when every client has gone or one says
stop.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from perfguard.errors import PerfguardError
from perfguard_suites.split_rpc.config import CONFIGS, ModelConfig, config_of, from_checkpoint
from perfguard_suites.split_rpc.errors import ConfigurationError
from perfguard_suites.split_rpc.gpu_host import pinned
from perfguard_suites.split_rpc.operations import ServerModel
from perfguard_suites.split_rpc.replies import torch_dtype
from perfguard_suites.split_rpc.session import Session
from perfguard_suites.split_rpc.weights import Weights, load_checkpoint, random_weights
from perfguard_suites.transport.connect import DEFAULT_CAPACITY_BYTES, KINDS, Listener, full_endpoint, serve
from perfguard_suites.transport.errors import ChannelUnavailable
from perfguard_suites.transport.server import die_with_parent
from perfguard_suites.transport.shm_doorbell import DEFAULT_SPIN_US

DEFAULT_SEED = 20
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from: a named configuration with seeded random weights, or a checkpoint folder."""

    model: str = "tiny"
    checkpoint: str = ""
    seed: int = DEFAULT_SEED
    dtype: str = "float32"

    def config(self) -> ModelConfig:
        """The configuration. Raises `ConfigurationError`."""
        return from_checkpoint(Path(self.checkpoint)) if self.checkpoint else config_of(self.model)

    def weights(self, names: Sequence[str] | None = None, dtype: str = "") -> Weights:
        """All weights or those named, in `dtype` or the model's own. Raises `CheckpointError`."""
        wanted = torch_dtype(dtype or self.dtype)
        config = self.config()
        if self.checkpoint:
            return load_checkpoint(Path(self.checkpoint), config, dtype=wanted, names=names)
        return random_weights(config, self.seed, dtype=wanted, names=names)

    def arguments(self) -> list[str]:
        """As options of the command line."""
        source = ["--checkpoint", self.checkpoint] if self.checkpoint else ["--model", self.model]
        return [*source, "--seed", str(self.seed), "--dtype", self.dtype]


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options that `source_of` reads."""
    parser.add_argument("--model", default="tiny", help=f"one of {', '.join(CONFIGS)}, with seeded random weights")
    parser.add_argument("--checkpoint", default="", help="a Hugging Face checkpoint folder instead")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="of the random weights")
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="in which the server computes")


def source_of(options: argparse.Namespace) -> ModelSource:
    """The model that the options name."""
    return ModelSource(options.model, options.checkpoint, options.seed, options.dtype)


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """The options of a server process."""
    add_model_options(parser)
    parser.add_argument("--kind", action="append", choices=KINDS, help="a channel to listen on; repeatable")
    parser.add_argument("--capacity-bytes", type=int, default=DEFAULT_CAPACITY_BYTES)
    parser.add_argument("--spin-us", type=float, default=DEFAULT_SPIN_US)
    parser.add_argument("--device", default="auto", help="auto (CUDA if there is one), cpu or cuda")
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: torch's own choice")
    parser.add_argument("--parent", type=int, default=0, help="exit when this process is not the parent any more")
    parser.add_argument("--accept-timeout-s", type=float, default=60.0)
    parser.add_argument("--allow-faults", action="store_true", help="misbehave when a client asks for it: for tests")


def run_server(options: argparse.Namespace) -> int:
    """Serve as the options say. Raises the errors of configuration, weights and channels."""
    die_with_parent(options.parent)
    if options.threads:
        torch.set_num_threads(options.threads)
    source = source_of(options)
    config = source.config()
    model = ServerModel(config, source.weights(), _device(options.device))
    kinds = options.kind or ["shm"]
    with contextlib.ExitStack() as stack:
        listeners = {}
        for kind in dict.fromkeys(kinds):
            listener = serve(kind, capacity_bytes=options.capacity_bytes, spin_us=options.spin_us)
            stack.callback(listener.close)
            listeners[kind] = listener
        endpoints = {kind: full_endpoint(kind, listener) for kind, listener in listeners.items()}
        print(json.dumps({"endpoints": endpoints, "pid": os.getpid(), "digest": config.digest}), flush=True)
        return _serve_all(listeners, model, options)


def _serve_all(listeners: dict[str, Listener], model: ServerModel, options: argparse.Namespace) -> int:
    stopped = threading.Event()
    failures: list[BaseException] = []

    def run(listener: Listener) -> None:
        try:
            channel = listener.accept(options.accept_timeout_s)
            try:
                with pinned(channel, model.device) as regions:
                    session = Session(channel, model, options.allow_faults, pinned_bytes=regions.pinned_bytes)
                    try:
                        if session.serve():
                            stopped.set()
                    finally:
                        session.close()
            finally:
                channel.close()
        except ChannelUnavailable:
            pass  # nobody wanted this one
        except BaseException as error:  # noqa: BLE001 - a thread's error is raised by the main thread
            failures.append(error)
            stopped.set()

    threads = [threading.Thread(target=run, args=(listener,), daemon=True) for listener in listeners.values()]
    for thread in threads:
        thread.start()
    while not stopped.wait(0.05) and any(thread.is_alive() for thread in threads):
        pass
    if failures:
        raise failures[0]
    return 0


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigurationError("--device", f"{wanted} is not here", "use auto or cpu")
    if wanted != "cpu" and not wanted.startswith("cuda"):
        raise ConfigurationError("--device", f"{wanted!r:.40} is neither auto, cpu nor cuda")
    return wanted


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve; a problem is one line on stderr and its exit status."""
    parser = argparse.ArgumentParser(prog="python -m perfguard_suites.split_rpc serve", description=__doc__)
    add_server_options(parser)
    try:
        return run_server(parser.parse_args(arguments))
    except PerfguardError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
