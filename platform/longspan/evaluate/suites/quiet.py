"""The harness' progress bars and remarks, kept out of a job's log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

HARNESS = ("lm_eval", "datasets")


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out the bars and all remarks below errors of lm-evaluation-harness and `datasets`.

    Its remarks are on settings that are checked before (`longspan.evaluate.suites.settings`).
    """
    import datasets
    import lm_eval.api.task as harness

    loggers = [logging.getLogger(name) for name in HARNESS]
    levels = [logger.level for logger in loggers]
    # It has no setting for this bar.
    bar = harness.tqdm
    setattr(harness, "tqdm", lambda rows, **options: rows)  # noqa: B010
    without_bars = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        setattr(harness, "tqdm", bar)  # noqa: B010
        if not without_bars:
            datasets.enable_progress_bars()
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
