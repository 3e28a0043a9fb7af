"""Many small pieces of work side by side, such as decoding images; the results come in order."""

import functools
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

CHUNK, WAITING = 64, 32

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """The results, in the order of the items."""
    for chunk in in_chunks(function, items, length=max(1, min(CHUNK, len(items) // 16))):
        yield from chunk


def in_chunks(
    function: Callable[[Item], Result], items: Sequence[Item], *, length: int = CHUNK
) -> Iterator[list[Result]]:
    """The same in pieces: handing over small images one at a time costs as much as decoding them."""
    # Few pieces wait at a time: all that was handed over has to be done before an interrupted process can leave.
    waiting: deque[Future[list[Result]]] = deque()
    for begin in range(0, len(items), length):
        chunk = items[begin : begin + length]
        waiting.append(_pool().submit(lambda chunk: [function(item) for item in chunk], chunk))
        if len(waiting) > WAITING:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(os.cpu_count() or 1, 16), thread_name_prefix="decode")
