from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from workers.training.frame_threads import map_frames


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_whatever_takes_longest() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.05 if number == 0 else 0)
        return number * 10

    assert list(map_frames(slow_first, range(9))) == [number * 10 for number in range(9)]


def test_few_frames_are_in_memory_at_a_time() -> None:
    read = 0

    def frames() -> Iterator[int]:
        nonlocal read
        for number in range(50):
            read += 1
            yield number

    results = map_frames(lambda number: number, frames())
    assert next(results) == 0
    assert read <= 5
    assert len(list(results)) == 49


def test_each_thread_computes_alone_and_torchs_threads_come_back() -> None:
    def threads_here(_: int) -> tuple[str, int]:
        return threading.current_thread().name, torch.get_num_threads()

    seen = list(map_frames(threads_here, range(8)))
    assert {threads for _, threads in seen} == {1}
    assert threading.current_thread().name not in {name for name, _ in seen}
    assert torch.get_num_threads() == 2


def test_an_error_ends_the_work() -> None:
    done = []

    def fail_at_three(number: int) -> int:
        if number == 3:
            raise ValueError("frame 3")
        done.append(number)
        return number

    with pytest.raises(ValueError, match="frame 3"):
        list(map_frames(fail_at_three, range(1000)))
    assert len(done) < 10
