"""`python -m perfguard_suites.weight_streaming make|run`: a folder of weights, and what streaming it is like."""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import torch

from perfguard.errors import PerfguardError
from perfguard_suites.split_rpc.config import ModelConfig, from_checkpoint
from perfguard_suites.weight_streaming import baselines
from perfguard_suites.weight_streaming.bench import one_thread
from perfguard_suites.weight_streaming.config import DTYPES, POLICIES, StreamingConfig, model_of
from perfguard_suites.weight_streaming.making import make_folder
from perfguard_suites.weight_streaming.model import StreamedModel, staying_weights
from perfguard_suites.weight_streaming.store import LayerStore, opened
from perfguard_suites.weight_streaming.streamer import Streamer, streaming
from perfguard_suites.weight_streaming.timeline import Panel, timeline_svg
from perfguard_suites.weight_streaming.trace import Trace, total_s

SCHEMES: Mapping[str, Callable[[LayerStore, StreamingConfig], Streamer]] = {
    "engine": Streamer,
    "serial": baselines.SerialStreamer,
    "seed": baselines.seed_scheme,
}
FIGURES = (
    ("T over ideal", "overlapped_over_ideal"),
    ("interval overlap", "overlap_efficiency"),
    ("copies hidden", "copy_hidden"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or that of the error, told in one line."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except PerfguardError as error:
        print(f"weight_streaming: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("weight_streaming: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weight_streaming", description=__doc__)
    commands = parser.add_subparsers(required=True)
    make = commands.add_parser("make", help="write seeded weights")
    make.add_argument("folder", type=Path)
    make.add_argument("--model", default="32MiB")
    make.add_argument("--dtype", default="float32", choices=tuple(DTYPES))
    make.add_argument("--quantise", action="store_true")
    make.set_defaults(command=_make)
    run = commands.add_parser("run", help="stream a folder, or seeded weights, and say what happened")
    run.add_argument(
        "folder", type=Path, nargs="?", help="a checkpoint folder; default: seeded weights, made and removed"
    )
    run.add_argument("--model", default="32MiB", help="of the seeded weights")
    run.add_argument("--rows", type=int, default=4, help="token rows a pass")
    run.add_argument("--passes", type=int, default=3)
    run.add_argument("--scheme", default="engine", choices=tuple(SCHEMES))
    run.add_argument("--policy", default="lookahead", choices=POLICIES)
    run.add_argument("--max-cached-layers", type=int, default=4)
    run.add_argument("--prefetch-distance", type=int, default=2)
    run.add_argument("--buffers", type=int, default=2)
    run.add_argument("--reader-threads", type=int, default=1)
    run.add_argument("--dtype", default="float32", choices=tuple(DTYPES))
    run.add_argument("--quantise", action="store_true")
    run.add_argument("--direct-io", action="store_true")
    run.add_argument("--drop-cache", action="store_true")
    run.add_argument("--reading", default="read", choices=("read", "map"))
    run.add_argument("--json", action="store_true", help="print everything as JSON")
    run.add_argument("--svg", type=Path, help="draw the timeline")
    run.set_defaults(command=_run)
    return parser


def _make(options: argparse.Namespace) -> int:
    make_folder(options.folder, model_of(options.model), dtype=options.dtype, quantised=options.quantise)
    print(options.folder)
    return 0


def _run(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory(prefix="perfguard-weights-") as place, one_thread():
        folder = options.folder
        if folder is None:
            model = model_of(options.model)
            folder = make_folder(Path(place), model, dtype=options.dtype, quantised=options.quantise)
        else:
            model = from_checkpoint(folder)
        config = StreamingConfig(
            max_cached_layers=options.max_cached_layers,
            prefetch_distance=options.prefetch_distance,
            buffers=options.buffers,
            reader_threads=options.reader_threads,
            dtype=options.dtype,
            quantise=options.quantise,
            direct_io=options.direct_io,
            policy=options.policy,
            reading=options.reading,
            drop_cache=options.drop_cache,
        )
        found, trace = measured(folder, model, config, options.rows, options.passes, options.scheme)
    if options.svg:
        caption = f"{options.scheme}, {options.policy}: {found['ms_a_pass']:.1f} ms a pass"
        options.svg.write_text(timeline_svg([Panel(caption, trace)]), encoding="utf-8")
    print(json.dumps(found) if options.json else _text(found))
    return 0


def measured(
    folder: Path, model: ModelConfig, config: StreamingConfig, rows: int, passes: int, scheme: str
) -> tuple[dict[str, Any], Trace]:
    """Passes of a streamed model, after one to warm up: what they came to, and their trace."""
    stays = staying_weights(folder, model, config.dtype)
    ids = torch.arange(rows) % model.vocabulary
    before = peak_rss_bytes()
    begin_ns = perf_counter_ns()
    with opened(folder, model, config) as store, streaming(store, config, SCHEMES[scheme]) as streamer:
        opening_s = (perf_counter_ns() - begin_ns) / 1e9
        runner = StreamedModel(model, stays, streamer, rows)
        print(f"weight_streaming: {model.name} opened, {passes + 1} passes follow", file=sys.stderr, flush=True)
        runner.passes(ids, 1)
        logits, trace = runner.passes(ids, passes)
        overlap = trace.overlap()
        return {
            "streaming": config.described(),
            "model": model.name,
            "layers": model.layers,
            "layer_bytes": store.layer_bytes,
            "opening_s": opening_s,
            "ms_a_pass": 1e3 * trace.wall_s / passes,
            "loads_a_pass": len(trace.loads) / passes,
            "load_s": total_s(trace.loads) / passes,
            "compute_s": total_s(trace.computes) / passes,
            "overlapped_over_ideal": overlap.overlapped_over_ideal,
            "overlap_efficiency": overlap.overlap_efficiency,
            "copy_hidden": overlap.copy_hidden,
            "weight_wait_per_layer_s": trace.wait_per_layer_s(),
            "resident_layers_max": trace.most_present,
            "slots": config.slots,
            "rss_growth_bytes": peak_rss_bytes() - before,
            "logits_sum": float(logits.double().sum()),
            "by_layer": by_layer(trace, model.layers),
        }, trace


def by_layer(trace: Trace, layers: int) -> list[dict[str, float]]:
    """Milliseconds of each layer, over all passes: waited, loaded, computed."""
    return [
        {
            name: 1e3 * total_s([each for each in stretches if each.layer == layer])
            for name, stretches in (("wait", trace.waits), ("load", trace.loads), ("compute", trace.computes))
        }
        for layer in range(layers)
    ]


def peak_rss_bytes() -> int:
    """The most memory that this process ever had resident."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _text(found: dict[str, Any]) -> str:
    waited_us, opening_ms = 1e6 * found["weight_wait_per_layer_s"], 1e3 * found["opening_s"]
    load_ms, compute_ms = 1e3 * found["load_s"], 1e3 * found["compute_s"]
    size = f"{found['layers']} layers of {found['layer_bytes'] / 2**20:.1f} MiB"
    lines = [
        f"{found['model']}: {size}, {found['ms_a_pass']:.1f} ms a pass, {found['loads_a_pass']:.0f} loads",
        f"loads {load_ms:.1f} ms, compute {compute_ms:.1f} ms, waited {waited_us:.0f} us a layer",
        ", ".join(f"{words} {_figure(found[name])}" for words, name in FIGURES),
        f"{found['resident_layers_max']} of {found['slots']} places were used; opening took {opening_ms:.0f} ms",
        "layer  wait, ms  load, ms  compute, ms",
    ]
    lines += [
        f"{number:5d}  {row['wait']:8.2f}  {row['load']:8.2f}  {row['compute']:11.2f}"
        for number, row in enumerate(found["by_layer"])
    ]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    sys.exit(main())
