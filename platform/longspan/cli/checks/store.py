"""The store: access to it, and its clock against this machine's."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path

from longspan.cli.checks.finding import Finding
from longspan.config.locations import local_path
from longspan.storage import Store
from longspan.storage.preflight import require_access

MAX_SKEW_S = 60.0
"""S3 refuses requests from 15 minutes on; leases and timestamps are wrong long before."""
CLOCK_REMEDY = "synchronize the clock: timedatectl set-ntp true"


@dataclass(frozen=True)
class StoreAddress:
    """A store as it was named on the command line."""

    root: str
    endpoint: str | None = None


def check_store(address: StoreAddress) -> Iterator[Finding]:
    """Check that the store can be listed and written; nothing is left behind.

    Raises:
        UserError: it can't.
    """
    root = local_path(address.root)
    if "://" not in root and not Path(root).is_dir():
        yield _of_missing_folder(Path(root))
        return
    store = Store(root, endpoint=address.endpoint)
    require_access(store)
    yield Finding("ok", "store", f"{store.uri()} can be listed, read and written")
    skew_s = folder_skew(Path(root)) if "://" not in root else bucket_skew(store)
    yield clock_finding(skew_s)


def clock_finding(skew_s: float) -> Finding:
    """Return what a difference between the clocks means.

    Args:
        skew_s: seconds by which the store is ahead of this machine.
    """
    text = (
        f"the store is {abs(skew_s):.0f} s {'ahead of' if skew_s >= 0 else 'behind'} this machine"
    )
    if abs(skew_s) > MAX_SKEW_S:
        return Finding("error", "clock", text, CLOCK_REMEDY)
    return Finding("ok", "clock", text)


def folder_skew(folder: Path) -> float:
    """Return by how many seconds a file system's clock is ahead: a shared one has its server's."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".longspan-probe-") as file:
        file.write(b"0")
        file.flush()
        return os.stat(file.name).st_mtime - time.time()


def bucket_skew(store: Store) -> float:
    """Return by how many seconds an S3 server's clock is ahead, by the date of its answer."""
    from longspan.storage.s3 import Bucket

    name = store.root.removeprefix("s3://").partition("/")[0]
    answer = Bucket(name, store.endpoint, store.region).client.head_bucket(Bucket=name)
    sent = answer["ResponseMetadata"]["HTTPHeaders"]["date"]
    return parsedate_to_datetime(sent).timestamp() - time.time()


def _of_missing_folder(folder: Path) -> Finding:
    parent = next(each for each in folder.parents if each.is_dir())
    if not os.access(parent, os.W_OK):
        return Finding(
            "error",
            "store",
            f"{folder} does not exist, and {parent} can't be written",
            "name another --store",
        )
    return Finding("ok", "store", f"{folder} does not exist yet and can be made in {parent}")
