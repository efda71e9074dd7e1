"""Some work on several threads at once, given up at once where one of them fails or the user gives up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TypeVar

Item = TypeVar("Item")


def work_in_threads(work: Callable[[Item], None], items: Sequence[Item], *, thread_count: int) -> None:
    """Do the work of every item.

    The first error is raised at once, and so is KeyboardInterrupt. Nobody waits for the other threads then: one that
    waits for a silent server may do so for a minute. They are daemons, and `work` has to fail for what is left.
    """
    todo: SimpleQueue[Item] = SimpleQueue()
    outcomes: SimpleQueue[BaseException | None] = SimpleQueue()
    for item in items:
        todo.put(item)

    def work_on() -> None:
        try:
            while True:
                work(todo.get_nowait())
                outcomes.put(None)
        except Empty:
            return
        except BaseException as error:  # noqa: BLE001 - raised again where the work was asked for.
            outcomes.put(error)

    for _ in range(min(thread_count, len(items))):
        Thread(target=work_on, daemon=True).start()
    for _ in items:
        if (error := outcomes.get()) is not None:
            raise error
