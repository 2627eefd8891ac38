"""The keys that a running service accepts, as fresh as a few seconds."""

from __future__ import annotations

import hmac
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from longspan.serve.gateway.errors import Refusal
from longspan.serve.gateway.keys import FOLDER, Key, NotAKey, hashed, load
from longspan.storage import ObjectInfo, Store

log = logging.getLogger(__name__)

UNREADABLE_GRACE_SECONDS = 300.0
"""For which the key of an object that has changed, and cannot be read since, stays as it was."""


@dataclass
class _Known:
    """A key, and the object that it was read from.

    Attributes:
        item: the object, with its version.
        key: what it held.
        stale_since: when a newer version could not be read first; None where there is none.
    """

    item: ObjectInfo
    key: Key
    stale_since: float | None = None


class KeyRing:
    """Keys in memory, which a thread keeps like those of the store.

    - An object that is no key is skipped, and the log says so once.
    - So is one that cannot be read, but it is tried again at every look. Where an earlier version of
      it was read, that key stays for `UNREADABLE_GRACE_SECONDS`: a blip closes nobody out, and a
      key that was replaced does not stay open.
    - While the store cannot be listed, all keys stay as they were, for `max_age_s`.

    Args:
        store: where the keys are.
        every_seconds: how long after one look at the store the next one is taken. A look is one
            listing; only objects that changed are read.
        max_age_s: seconds without a listing after which no key is accepted; None for no limit.
        on_look: is given, after every look, the seconds since the last one at which the store was listed.
        clock: seconds, never going back.

    Raises:
        UserError: the store cannot be listed at the start.
    """

    def __init__(
        self,
        store: Store,
        *,
        every_seconds: float = 2.0,
        max_age_s: float | None = None,
        on_look: Callable[[float], None] = lambda age_s: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._every_seconds, self._max_age_s = every_seconds, max_age_s
        self._on_look, self._clock = on_look, clock
        self._known: dict[str, _Known] = {}
        self._damaged: set[ObjectInfo] = set()
        self._unreadable: set[ObjectInfo] = set()
        self._known = self._look()
        self._listed_at = clock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="keyring", daemon=True)
        self._thread.start()

    def find(self, token: bytes) -> Key | None:
        """The key that a client sent, or None; takes the same time whichever key it is.

        Raises:
            Refusal: 503 where any key may have been revoked long ago.
        """
        if self._max_age_s is not None and self.age_s() > self._max_age_s:
            message = (
                "The service cannot check API keys now: their store cannot be read. Try again."
            )
            headers = {"retry-after": "30"}
            raise Refusal(503, message, code="keys_unavailable", headers=headers)
        digest = hashed(token)
        known = self._known.values()
        found = [each.key for each in known if hmac.compare_digest(each.key.sha256, digest)]
        return found[0] if found else None

    def age_s(self) -> float:
        """Seconds since the store was listed."""
        return self._clock() - self._listed_at

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _look(self) -> dict[str, _Known]:
        """The keys of the store, by path."""
        found = {}
        for item in self._store.list(f"{FOLDER}/*.json"):
            known = self._known.get(item.path)
            if known is None or known.item != item:
                known = self._read(item, known)
            if known is not None:
                found[item.path] = known
        return found

    def _read(self, item: ObjectInfo, before: _Known | None) -> _Known | None:
        """The key in one object; the one before where it cannot be read, for a while."""
        if item in self._damaged:
            return None
        try:
            key = load(self._store, item.path)
        except FileNotFoundError:
            return None  # Revoked since it was listed.
        except NotAKey as error:
            self._damaged.add(item)
            log.warning("%s", error)
            return None
        except Exception as error:  # Whatever it is, it must not hide the other keys.
            if item not in self._unreadable:
                log.warning("keys: %s cannot be read; it is tried again: %s", item.path, error)
            self._unreadable.add(item)
            return self._stale(before)
        self._unreadable.discard(item)
        return _Known(item, key)

    def _stale(self, before: _Known | None) -> _Known | None:
        """The last known key of an object that cannot be read now; None after `UNREADABLE_GRACE_SECONDS`."""
        if before is None:
            return None
        now = self._clock()
        since = now if before.stale_since is None else before.stale_since
        if now - since > UNREADABLE_GRACE_SECONDS:
            return None
        return _Known(before.item, before.key, since)

    def _follow(self) -> None:
        failing = False
        while not self._closed.wait(self._every_seconds):
            try:
                self._known = self._look()
                self._listed_at = self._clock()
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
            self._on_look(self.age_s())
