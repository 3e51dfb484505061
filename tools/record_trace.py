"""Record a trace of copies that overlap kernels with the torch profiler: a real file to read, gate and compare.

    python tools/record_trace.py trace.json.gz [--layers 8] [--steps 4] [--mib 32]

Layer weights are copied to the device on a stream of their own while the layer before computes, as a weight-streaming
engine does; the ranges are `ProfilerStep#N`, `layer_N`, and on the host `weight_load`. Without CUDA a thread copies and
the main thread computes; perfguard overlap then needs lanes: --lane copy=weight_load --lane compute=layer_*.
Needs torch 2.4 or later.
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule


def on_device(layers: int, steps: int, width: int, path: Path) -> None:
    """Two device buffers, a copy stream and a compute stream, joined by events."""
    copying, computing = torch.cuda.Stream(), torch.cuda.Stream()
    weights = [torch.randn(width, width, dtype=torch.float32).pin_memory() for _ in range(layers)]
    buffers = [torch.empty(width, width, device="cuda") for _ in range(2)]
    loaded, used = ([torch.cuda.Event() for _ in range(2)] for _ in range(2))
    x = torch.randn(512, width, device="cuda")
    back = torch.empty(512, width, pin_memory=True)

    def step() -> None:
        nonlocal x
        for number in range(layers):
            slot = number % 2
            with torch.cuda.stream(copying), record_function("weight_load"):
                copying.wait_event(used[slot])
                buffers[slot].copy_(weights[number], non_blocking=True)
                loaded[slot].record(copying)
            with torch.cuda.stream(computing), record_function(f"layer_{number}"):
                computing.wait_event(loaded[slot])
                x = torch.nn.functional.layer_norm(x @ buffers[slot], (width,))
                used[slot].record(computing)
        with torch.cuda.stream(computing):
            back.copy_(x, non_blocking=True)
        torch.cuda.synchronize()

    record(step, steps, path, [ProfilerActivity.CPU, ProfilerActivity.CUDA])


def on_host(layers: int, steps: int, width: int, path: Path) -> None:
    """A thread copies the next layer's weights into one of two buffers while this one computes."""
    weights = [torch.randn(width, width) for _ in range(layers)]
    buffers = [torch.empty(width, width) for _ in range(2)]
    x = torch.randn(64, width)

    def load(number: int) -> None:
        with record_function("weight_load"):
            buffers[number % 2].copy_(weights[number])

    def step() -> None:
        nonlocal x
        load(0)
        for number in range(layers):
            ahead = threading.Thread(target=load, args=(number + 1,)) if number + 1 < layers else None
            if ahead is not None:
                ahead.start()
            with record_function(f"layer_{number}"):
                x = torch.nn.functional.layer_norm(x @ buffers[number % 2], (width,))
            if ahead is not None:
                ahead.join(timeout=60)

    record(step, steps, path, [ProfilerActivity.CPU])


def record(step: object, steps: int, path: Path, activities: list[ProfilerActivity]) -> None:
    """Warm up for two steps, then record; every thread, since loaders have their own."""
    from torch._C._profiler import _ExperimentalConfig

    with profile(
        activities=activities,
        schedule=schedule(wait=1, warmup=1, active=steps),
        experimental_config=None if torch.cuda.is_available() else _ExperimentalConfig(profile_all_threads=True),
    ) as profiler:
        for _ in range(steps + 2):
            step()  # type: ignore[operator]
            profiler.step()
    profiler.export_chrome_trace(str(path))


def main() -> None:
    """Record one trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path, metavar="TRACE.json.gz")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--mib", type=int, default=32, help="size of one layer's weights")
    options = parser.parse_args()
    width = int((options.mib * 1024 * 1024 / 4) ** 0.5)
    torch.manual_seed(0)
    run = on_device if torch.cuda.is_available() else on_host
    run(options.layers, options.steps, width, options.path)
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "the host"
    print(f"{options.path}: {options.steps} steps of {options.layers} layers of {options.mib} MiB on {where}")


if __name__ == "__main__":
    main()
