"""The sample model and the sample corpora, made where they are missing."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from longspan.errors import UserError
from longspan.samples import corpora, model
from longspan.samples.record import Record


def make_samples(directory: Path) -> None:
    """Fetch and build the sample model and corpora that are missing, and print a table of the corpora.

    Args:
        directory: where they go, as `models/...` and `store/corpora/...`.

    Raises:
        UserError: something cannot be fetched or written.
    """
    # Nothing here comes from a model hub, and the libraries must not ask it.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["TQDM_DISABLE"] = "1"
    # DeepSpeed, which transformers imports where it is installed, would warn of having chosen it.
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        with _alone(directory / "samples"):
            _make(directory)
    except OSError as error:
        raise UserError(f"samples: {error}") from error


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits while another process is at work on the same samples."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(directory: Path) -> None:
    cache = Path(os.environ.get("LONGSPAN_CACHE") or directory / "cache") / "downloads"
    started = time.monotonic()
    rows, news = [], False
    for corpus in corpora.corpora():
        record, built = corpora.make(corpus, directory, cache)
        news |= built
        rows.append((f"{corpus.name} ({corpus.source})", record))
    folder, built = model.make(directory, cache)
    if news or built:
        print(table(rows))
    seconds = time.monotonic() - started
    print(f"sample: corpora in {directory}/store/corpora, model in {folder} ({seconds:.1f} s)")


def table(rows: list[tuple[str, Record]]) -> str:
    """The corpora as aligned text, a line each under a heading."""
    heading = ("source", "files", "documents", "characters", "median", "longest")
    lines = [heading] + [
        (
            name,
            f"{len(record.files):,}",
            f"{record.contents.documents:,}",
            f"{record.contents.characters:,}",
            f"{record.contents.median:,}",
            f"{record.contents.longest:,}",
        )
        for name, record in rows
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
