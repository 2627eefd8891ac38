"""The bare tokenizers: processes that hold batches of texts and encode them when told to."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from benchmarks.common import timed

Kind = Literal["fastokens", "transformers"]
Batches = Sequence[list[str]]


class Encoders:
    """Processes with the text in memory; each takes the next batch that is left.

    Make them before Ray starts: they are forked, so that the text is never copied.
    """

    def __init__(
        self, kind: Kind, definition: Path, batches: Batches, processes: int, threads: int
    ) -> None:
        """`threads` are those that the tokenizer itself starts in each process."""
        context = multiprocessing.get_context("fork")
        self._next: Any = context.Value("q", 0)
        self._pipes = []
        self._processes = []
        for _ in range(processes):
            ours, theirs = context.Pipe()
            arguments = (theirs, self._next, batches, kind, definition, threads)
            process = context.Process(target=_serve, args=arguments, daemon=True)
            process.start()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def run(self) -> tuple[int, float]:
        """Encode all batches once: tokens, and the seconds that it took."""
        self._next.value = 0
        return timed(self._encode)

    def close(self) -> None:
        """End the processes."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(False)
            process.join()

    def _encode(self) -> int:
        for pipe in self._pipes:
            pipe.send(True)
        return sum(pipe.recv() for pipe in self._pipes)


def _serve(
    pipe: Any, next_batch: Any, batches: Batches, kind: Kind, definition: Path, threads: int
) -> None:
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "true" if threads > 1 else "false"
    count = _counter(kind, definition)
    count(batches[0])
    pipe.send("ready")
    while pipe.recv():
        tokens = 0
        while (number := _take(next_batch)) < len(batches):
            tokens += count(batches[number])
        pipe.send(tokens)


def _take(next_batch: Any) -> int:
    with next_batch.get_lock():
        number = next_batch.value
        next_batch.value += 1
    return number


def _counter(kind: Kind, definition: Path) -> Callable[[list[str]], int]:
    """Encodes a batch the fastest way that the library has for it, and counts the tokens."""
    if kind == "fastokens":
        import fastokens

        fast = fastokens.Tokenizer.from_json_str(definition.read_text())
        return lambda batch: len(fast.encode_batch_flat(batch, split_special_tokens=True)[0]) // 4

    from tokenizers import Tokenizer

    slow = Tokenizer.from_str(definition.read_text())
    slow.encode_special_tokens = True
    return lambda batch: sum(len(item) for item in slow.encode_batch(batch))
