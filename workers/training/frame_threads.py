"""Work on several frames at once, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_frames(function: Callable[[Item], Result], frames: Iterable[Item]) -> Iterator[Result]:
    """`function` of each frame, in order, on as many threads as torch has been given.

    numpy, torch and ONNX Runtime let go of Python's lock, and one thread a frame scales better than several threads on
    each: torch's own threads are taken down to one meanwhile. At most twice as many frames as threads are in memory.
    """
    threads = torch.get_num_threads()
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for frame in frames:
                pending.append(pool.submit(function, frame))
                if len(pending) == 2 * threads:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()
            torch.set_num_threads(threads)
