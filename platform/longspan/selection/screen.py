"""Ingested objects against evaluation sets: which of their documents contain which of them.

Every object has a result of its own (see `screened`). So a run that is killed resumes,
a second run reads no shards, and only new or changed objects are read when a corpus grows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from longspan.selection.overlap import OverlapIndex
from longspan.selection.ray_screen import ScreenJob, screen_here, screen_on_ray
from longspan.selection.screened import ScreenedObject, screened
from longspan.shards.manifest import ObjectManifest
from longspan.storage import Store

__all__ = ["ScreenedObject", "screen", "screened"]


def screen(
    store: Store,
    objects: Sequence[ObjectManifest],
    index: OverlapIndex,
    *,
    distributed: bool = True,
    progress: Callable[[str], None] = print,
) -> list[ScreenedObject]:
    """Screen the objects that are not yet; the others' results are read.

    Args:
        store: where the shards are and the results go.
        objects: of any number of sources.
        index: the evaluation sets and the rule.
        distributed: on all CPUs of the Ray cluster, which has to be initialised where there is
            anything to do; else in this process.
        progress: takes lines for a person to read.

    Returns:
        One per object, in their order.

    Raises:
        UserError: a shard is missing or corrupt, or the store fails.
    """
    found = screened(store, objects, index)
    pending = [number for number, result in enumerate(found) if result is None]
    progress(
        f"screen: {index.fingerprint}: {len(objects)} objects, "
        + (f"{len(pending)} to read" if pending else "all done")
    )
    if pending:
        tasks = [objects[number] for number in pending]
        job = ScreenJob(store, index)
        run = screen_on_ray if distributed else screen_here
        for number, result in run(job, tasks, progress):
            found[pending[number]] = result
    done = [result for result in found if result is not None]
    assert len(done) == len(objects), f"{len(done)} of {len(objects)} objects were screened"
    return done
