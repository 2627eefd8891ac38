"""One side of a comparison in a fresh process, on one core if asked, its memory watched."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

MB = 1e6


def run(function: Callable[..., Any], *arguments: Any, core: int | None = None) -> Any:
    """What a function returns in a process of its own.

    Whatever the process starts, Ray included, runs on the same core: affinity is inherited.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_child, args=(theirs, core, function, arguments))
    process.start()
    theirs.close()
    try:
        good, result = ours.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"{function.__name__} ended with status {process.exitcode}") from None
    process.join()
    if not good:
        raise SystemExit(f"{function.__name__}: {result}")
    return result


class Watch:
    """The memory of this process and of all that it started."""

    def __init__(self) -> None:
        self.peak = 0.0
        """MB, of which pages that processes share count once."""

    def sample(self) -> float:
        """Memory now, in MB."""
        total = 0.0
        process = psutil.Process()
        for item in (process, *process.children(recursive=True)):
            try:
                total += item.memory_full_info().pss / MB
            except psutil.Error:  # It has just ended.
                continue
        self.peak = max(self.peak, total)
        return total


@contextmanager
def watching(seconds: float = 0.1) -> Iterator[Watch]:
    """Sample the memory again and again."""
    watch, done = Watch(), threading.Event()

    def loop() -> None:
        while not done.wait(seconds):
            watch.sample()

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield watch
    finally:
        done.set()
        thread.join()


def _child(
    pipe: Any, core: int | None, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    if core is not None:
        os.sched_setaffinity(0, {core})
        # As many threads as cores; more would only take turns.
        os.environ.update(RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
        os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        pipe.send((True, function(*arguments)))
    except Exception as error:
        pipe.send((False, f"{type(error).__name__}: {error}"))
        raise
