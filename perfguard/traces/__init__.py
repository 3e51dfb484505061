"""Other profilers' traces, read into one model and analysed: lanes, overlap, ranges, layers, kernels, idle gaps.

Readers: `kineto` (PyTorch profiler, Chrome trace), `nsys` (Nsight Systems SQLite), `nsys_csv` (`nsys stats`). They come
from anywhere, so sizes and every value that is used are checked. Nothing here imports torch or a profiler.
"""

from __future__ import annotations

# What finds a layer's number in a range's name.
DEFAULT_LAYER = r"(?i)(?:layer|block)s?[\s_.\-:#/\[]*(\d+)"
