"""Which number format training runs in: bfloat16 autocast where it is faster, else float32."""

import statistics
import time
from collections.abc import Callable
from typing import Literal

import torch

Precision = Literal["fp32", "bf16"]
PrecisionWish = Literal["auto", "fp32", "bf16"]

WORTHWHILE = 1.1
"""bfloat16 must be this many times faster to be chosen."""


def format_named(name: str) -> Precision:
    """The number format of that name. Raises ValueError for any other."""
    if name not in ("fp32", "bf16"):
        raise ValueError(f"precision is {name!r}: expected 'fp32' or 'bf16'")
    return name


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device computes in bfloat16 rather than emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def choose_precision(play: Callable[[Precision], object], *, repeats: int = 3) -> Precision:
    """Time `play` in both formats, interleaved, after one warm-up of each; the faster wins, float32 on a near tie."""
    times: dict[Precision, list[float]] = {"fp32": [], "bf16": []}
    for turn in range(repeats + 1):
        for precision, taken in times.items():
            start = time.perf_counter()
            play(precision)
            if turn > 0:
                taken.append(time.perf_counter() - start)
    return "bf16" if statistics.median(times["fp32"]) > WORTHWHILE * statistics.median(times["bf16"]) else "fp32"
