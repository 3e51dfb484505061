"""Draw docs/pictures/streaming.svg from real runs: the seed's scheme, and reading ahead, on the same weights.

    python tools/streaming_picture.py docs/pictures/streaming.svg [--model 32MiB] [--rows 96]

Both stream the same seeded file past the page cache (O_DIRECT), one pass after a pass to warm up, on one thread of
arithmetic and one reader.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from perfguard_suites.weight_streaming.bench import Bench, Timed, config_for, one_thread, pin_compute
from perfguard_suites.weight_streaming.config import model_of
from perfguard_suites.weight_streaming.making import make_folder
from perfguard_suites.weight_streaming.timeline import Panel, timeline_svg


def main(arguments: Sequence[str] | None = None) -> int:
    """0; errors come through."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("svg", type=Path)
    parser.add_argument("--model", default="32MiB")
    parser.add_argument("--rows", type=int, default=128)
    options = parser.parse_args(arguments)
    model = model_of(options.model)
    with tempfile.TemporaryDirectory(prefix="perfguard-weights-") as place, one_thread():
        folder = make_folder(Path(place), model)
        with Bench(folder, model, "direct", options.rows, 1) as bench:
            runs: dict[str, Timed] = {
                "The seed's scheme: cache 4, 2 ahead, least recently used, copied synchronously": bench.seed(),
                "Reading ahead: 2 layers ahead on a reader's thread": bench.streamed(
                    "good", config_for("direct", "lookahead")
                ),
                "The same with 4 layers kept resident": bench.streamed("kept", config_for("direct", "resident")),
            }
            pin_compute()
            panels = []
            for caption, timed in runs.items():
                timed()
                timed()
                trace = timed.traces[-1]
                found = trace.overlap()
                figures = f"{1e3 * trace.wall_s:.0f} ms, {found.overlap_efficiency or 0:.0%} overlap"
                panels.append(Panel(f"{caption}: {figures}", trace))
                print(panels[-1].caption)
    options.svg.write_text(timeline_svg(panels), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
