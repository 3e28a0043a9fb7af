"""Where a value that is not finite comes from: the first layer behind which it appears."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn


@contextmanager
def watching(network: nn.Module) -> Iterator[list[str]]:
    """Inside, the list receives where values that are not finite appear, in words, the first place first."""
    found: list[str] = []

    def hook(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if not all_finite(inputs):
                found.append(f"what goes into {name}")
            elif not all_finite((output,)):
                found.append(f"what comes out of {name} ({type(module).__name__})")

        return look

    layers = [(name, module) for name, module in network.named_modules() if not list(module.children())]
    handles = [module.register_forward_hook(hook(name)) for name, module in layers]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def all_finite(values: Iterable[Any]) -> bool:
    """Whether all tensors of floating point among these are finite."""
    tensors = [value for value in values if torch.is_tensor(value) and value.is_floating_point()]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)
