"""What a run ran on: versions, machine, threads, command; nothing secret."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from equipoise.version import __version__

PACKAGES = ("torch", "numpy", "pillow", "pydantic", "safetensors", "scikit-learn")


def environment(device: torch.device) -> dict[str, Any]:
    """The facts that a person needs to repeat a run."""
    return {
        "equipoise": __version__,
        "python": platform.python_version(),
        **{name: package_version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": processor_name(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def processor_name() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
