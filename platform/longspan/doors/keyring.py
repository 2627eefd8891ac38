"""The keys that a running service accepts, as fresh as a few seconds."""

from __future__ import annotations

import hmac
import logging
import threading

from longspan.doors.keys import FOLDER, Key, NotAKey, hashed, load
from longspan.storage import ObjectInfo, Store

log = logging.getLogger(__name__)


class KeyRing:
    """Finds keys in memory, while a thread follows the store.

    Args:
        store: where the keys are.
        every_seconds: how long after one look at the store the next one is taken. A look is one
            listing; only objects that changed are read.

    An object that is no key is passed over, and the log says so once.

    Raises:
        UserError: the store cannot be read. Later, the keys of the last good look stay, and the log
            says so once.
    """

    def __init__(self, store: Store, *, every_seconds: float = 2.0) -> None:
        self._store = store
        self._every_seconds = every_seconds
        self._keys: dict[ObjectInfo, Key] = {}
        self._damaged: set[ObjectInfo] = set()
        self._keys = self._look()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="keyring", daemon=True)
        self._thread.start()

    def find(self, token: bytes) -> Key | None:
        """The key that a client sent, or None; takes the same time whichever key it is."""
        digest = hashed(token)
        found = [key for key in self._keys.values() if hmac.compare_digest(key.sha256, digest)]
        return found[0] if found else None

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _look(self) -> dict[ObjectInfo, Key]:
        """The keys of the store by object, with its version."""
        found = {}
        for item in self._store.list(f"{FOLDER}/*.json"):
            if item in self._damaged:
                continue
            try:
                found[item] = self._keys.get(item) or load(self._store, item.path)
            except FileNotFoundError:
                pass  # Revoked since it was listed.
            except NotAKey as error:
                self._damaged.add(item)
                log.warning("%s", error)
        return found

    def _follow(self) -> None:
        failing = False
        while not self._closed.wait(self._every_seconds):
            try:
                self._keys = self._look()
            except (
                Exception
            ) as error:  # Whatever it is: without this thread no key is ever revoked.
                if not failing:
                    log.warning("API keys stay as they were, the store cannot be read: %s", error)
                failing = True
            else:
                if failing:
                    log.warning("API keys are read from the store again")
                failing = False
