"""Streaming to a CUDA device beside what else there is: `python -m perfguard_suites.weight_streaming.gpu`.

For each layer size, home of the weights and ratio of copying to computing: one and two copy streams, the same in turn,
the seed's scheme, accelerate's CPU offload, and the model resident on the device, in random order within a round.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from perfguard_suites.split_rpc.config import ModelConfig
from perfguard_suites.split_rpc.model import ReferenceModel
from perfguard_suites.weight_streaming import accelerated
from perfguard_suites.weight_streaming.bench import RATIOS
from perfguard_suites.weight_streaming.config import StreamingConfig, model_of
from perfguard_suites.weight_streaming.cuda import CudaStreamer, Home, needs_cuda
from perfguard_suites.weight_streaming.making import make_folder, resident_weights
from perfguard_suites.weight_streaming.model import StreamedModel, staying_weights
from perfguard_suites.weight_streaming.store import opened
from perfguard_suites.weight_streaming.trace import Trace, total_s

_CUDA: Any = torch.cuda  # torch's annotations stop here
DEVICE = "cuda"
ROWS = (1, 8, 16, 32, 64, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
Passes = Callable[[int], tuple[Tensor, Trace | None]]


class SerialCudaStreamer(CudaStreamer):
    """One layer at a time: copied when it is asked for, and the device waited for, before and after."""

    def acquire(self) -> Any:
        """The next layer, wholly there."""
        held = super().acquire()
        _CUDA.synchronize()
        return held

    def release(self) -> None:
        """The device is done with it."""
        _CUDA.synchronize()
        super().release()


def serial_config(ahead: int = 0) -> StreamingConfig:
    """In turn (0 ahead), or the seed's scheme: four cached, two ahead, least recently used."""
    return StreamingConfig(policy="lru" if ahead else "lookahead", prefetch_distance=ahead)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 1 without a device."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--layers", nargs="*", default=["32MiB"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=150.0, help="begin nothing after so many")
    options = parser.parse_args(arguments)
    if needs_cuda():
        print(f"weight_streaming: {needs_cuda()}", file=sys.stderr)
        return 1
    torch.set_float32_matmul_precision("highest")
    until, found = perf_counter() + options.seconds, []
    for name in options.layers:
        with tempfile.TemporaryDirectory(prefix="perfguard-weights-") as place:
            model = model_of(name)
            folder = make_folder(Path(place), model)
            for home in ("host", "file"):
                for ratio in RATIOS:
                    if perf_counter() < until:
                        found.append(_case(folder, model, home, ratio, options.rounds))
                        print(json.dumps(found[-1]), flush=True)
    whole = {"device": _CUDA.get_device_name(), "torch": torch.__version__, "cases": found}
    if options.json:
        options.json.write_text(json.dumps(whole, indent=1), encoding="utf-8")
    return 0


def _case(folder: Path, model: ModelConfig, home: Any, ratio: str, rounds: int) -> dict[str, Any]:
    """One size, home and ratio: medians over rounds."""
    with contextlib.ExitStack() as stack:
        rows = _rows_for(folder, model, home, RATIOS[ratio])
        ids = torch.arange(rows) % model.vocabulary
        passes = stack.enter_context(_alternatives(folder, model, home, ids))
        expected = passes["resident"](1)[0]
        equal = {name: bool(torch.equal(each(1)[0], expected)) for name, each in passes.items()}
        walls: dict[str, list[float]] = {name: [] for name in passes}
        traces: dict[str, list[Trace]] = {name: [] for name in passes}
        for _ in range(rounds):
            for name in random.sample(list(passes), len(passes)):
                _CUDA.synchronize()
                begin = perf_counter()
                _, trace = passes[name](2)
                _CUDA.synchronize()
                walls[name].append((perf_counter() - begin) / 2 if trace is None else trace.wall_s / 2)
                traces[name] += [] if trace is None else [trace]
    return {
        "layers": model.name,
        "home": home,
        "load_to_compute": ratio,
        "rows": rows,
        "equal": equal,
        "wall_s": {name: median(each) for name, each in walls.items()},
        "streams": {name: _figures(traces[name], traces["serial"]) for name in ("one-stream", "two-streams")},
    }


def _figures(traces: Sequence[Trace], serial: Sequence[Trace]) -> dict[str, float]:
    overlaps = [
        trace.overlap(
            serial_s=alone.wall_s, copy_alone_s=alone.overlap().copy_s, compute_alone_s=total_s(alone.computes)
        )
        for trace, alone in zip(traces, serial, strict=True)
    ]
    names = (
        "overlapped_over_ideal",
        "overlap_efficiency",
        "copy_hidden",
        "realised_saving",
        "compute_stretch",
        "copy_stretch",
        "utilisation",
    )
    found = {name: median(getattr(each, name) for each in overlaps) for name in names}
    return found | {
        "weight_wait_per_layer_s": median(trace.wait_per_layer_s() for trace in traces),
        "copy_s": median(each.copy_s for each in overlaps),
        "compute_s": median(each.compute_s for each in overlaps),
        "resident_layers_max": max(trace.most_present for trace in traces),
    }


@contextlib.contextmanager
def _alternatives(folder: Path, model: ModelConfig, home: Home, ids: Tensor) -> Iterator[dict[str, Passes]]:
    stays = staying_weights(folder, model, "float32")
    with contextlib.ExitStack() as stack:

        def streamed(
            config: StreamingConfig, streams: int, kind: type[CudaStreamer] = CudaStreamer
        ) -> Callable[[int], tuple[Tensor, Trace | None]]:
            store = stack.enter_context(opened(folder, model, config))
            streamer = stack.enter_context(kind(store, config, DEVICE, home, streams))
            runner = StreamedModel(model, stays, streamer, len(ids), DEVICE)
            return lambda count: runner.passes(ids, count)

        readers = StreamingConfig(reader_threads=1 if home == "host" else 2, prefetch_distance=3)
        reference = ReferenceModel(model, resident_weights(folder, model), len(ids), DEVICE)

        def resident(count: int) -> tuple[Tensor, None]:
            for _ in range(count):
                reference.reset()
                logits = reference.forward(ids)
            return logits, None

        found: dict[str, Passes] = {
            "one-stream": streamed(readers, 1),
            "two-streams": streamed(readers, 2),
            "serial": streamed(serial_config(), 1, SerialCudaStreamer),
            "seed": streamed(serial_config(2), 1, SerialCudaStreamer),
            "resident": resident,
        }
        if accelerated.available():
            offloaded = stack.enter_context(
                accelerated.in_host_memory(folder, model, stays, ids, "float32", DEVICE)
                if home == "host"
                else accelerated.on_disk(folder, model, stays, ids, "float32", DEVICE)
            )
            found["accelerate"] = lambda count: (offloaded(count), None)
        yield found


def _rows_for(folder: Path, model: ModelConfig, home: Home, ratio: float) -> int:
    """Token rows a pass at which copying takes about `ratio` times as long as computing."""
    config, best = serial_config(), (1, float("inf"))
    with opened(folder, model, config) as store, SerialCudaStreamer(store, config, DEVICE, home) as streamer:
        stays = staying_weights(folder, model, "float32")
        runner = StreamedModel(model, stays, streamer, max(ROWS), DEVICE)
        ids = torch.arange(max(ROWS)) % model.vocabulary
        for rows in ROWS:
            runner.passes(ids[:rows], 1)
            _, trace = runner.passes(ids[:rows], 1)
            reached = trace.overlap().copy_s / total_s(trace.computes) / ratio
            if abs(reached - 1) < abs(best[1] - 1):
                best = (rows, reached)
            if reached < 0.6:
                break
    return best[0]


if __name__ == "__main__":
    sys.exit(main())
