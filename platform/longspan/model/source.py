"""From what a recipe calls ``base_model`` to a local folder that holds it.

Only safetensors are taken: a pickle can run code when it is read. Code in a model's folder is
never run either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from longspan.errors import UserError
from longspan.model.cache import ModelCache
from longspan.model.hub import HubModel, fetch_snapshot

if TYPE_CHECKING:
    from longspan.storage.objects import ObjectInfo
    from longspan.storage.store import Store

SMALL = ("*.json", "*.jinja", "*.model", "*.txt")
WANTED = (*SMALL, "*.safetensors")
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX = "model.safetensors.index.json"


@contextmanager
def named(key: str) -> Iterator[None]:
    """Name another key than `base_model` in the messages of this module."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("base_model", key)) from None


def local_model_dir(base_model: str, store: Store | None, cache_dir: str | Path) -> Path:
    """A local folder with the model's config, tokenizer and whole safetensors.

    Args:
        base_model: a local folder, an s3:// address, a folder of the store, or a hub name
            (owner/name, owner/name@revision); tried in this order.
        store: where relative names are looked up, and whose credentials an s3:// address uses.
        cache_dir: local folder that keeps what was downloaded from a store (one download for each
            content); hub models are kept in the hub's own cache.

    Raises:
        UserError: no such model, or not one of whole safetensors.
    """
    folder = _find(base_model, store, Path(cache_dir))
    require_whole(folder, base_model)
    return folder


def local_tokenizer_dir(name: str, store: Store | None, cache_dir: str | Path) -> Path:
    """A local folder with a model's small files, its tokenizer among them; weights are not fetched.

    Arguments as for :func:`local_model_dir`.

    Raises:
        UserError: no such folder or hub model.
    """
    local = Path(name).expanduser()
    if not name.startswith("s3://") and local.is_dir():
        return local.resolve()
    if store is not None and (name.startswith("s3://") or store.list(f"{name}/*.json", limit=1)):
        if not store.uri(name).startswith("s3://"):
            return Path(store.uri(name))
        return _fetch(name, store, Path(cache_dir), SMALL)
    return _from_hub(name, SMALL, f"{str(local.absolute())!r} is no folder")


def _find(base_model: str, store: Store | None, cache_dir: Path) -> Path:
    local = Path(base_model).expanduser()
    if not base_model.startswith("s3://") and local.is_dir():
        return local.resolve()
    if base_model.startswith("s3://"):
        return _from_store(base_model, store or _store_at(base_model), cache_dir)
    if store is not None and store.exists(f"{base_model}/config.json"):
        return _from_store(base_model, store, cache_dir)
    places = f"{str(local.absolute())!r} is no folder"
    if store is not None:
        places += f", and {store.uri(base_model)} holds no config.json"
    return _from_hub(base_model, WANTED, places)


def _from_hub(address: str, wanted: Sequence[str], places: str) -> Path:
    model = HubModel.parse(address)
    if model is None:
        raise UserError(f"base_model: there is no model at {address!r}: {places}")
    return fetch_snapshot(model, wanted, places)


def _store_at(address: str) -> Store:
    from longspan.storage.store import Store

    return Store(address)


def _from_store(base_model: str, store: Store, cache_dir: Path) -> Path:
    address = store.uri(base_model)
    return fetch(base_model, store, cache_dir) if address.startswith("s3://") else Path(address)


def fetch(path: str, store: Store, cache_dir: Path) -> Path:
    """Copy a model folder from a store into the cache, unless what it holds is there already.

    Raises:
        UserError: nothing is there, or no safetensors.
    """
    objects = store.list(path.rstrip("/") + "/")
    if not objects:
        raise UserError(f"base_model: there is no model at {store.uri(path)}: nothing is below it")
    _require_safetensors([item.path for item in objects], path)
    return _fetch(path, store, cache_dir, WANTED)


def _fetch(path: str, store: Store, cache_dir: Path, wanted: Sequence[str]) -> Path:
    """The objects below a path whose names match, in a folder of the cache."""
    objects = [
        item
        for item in store.list(path.rstrip("/") + "/")
        if any(fnmatch(item.path, pattern) for pattern in wanted)
    ]
    address = store.uri(path)
    return ModelCache(cache_dir).get(
        _fingerprint(address, objects),
        sum(item.size for item in objects),
        address,
        lambda folder: store.download(path, folder, wanted),
    )


def _fingerprint(address: str, objects: Sequence[ObjectInfo]) -> str:
    facts = [address, *((Path(item.path).name, item.size, item.version) for item in objects)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:20]


def revision(model: str, store: Store) -> str:
    """Return what changes when a model does: a hash of its files by name, size and version, or a hub's commit.

    Args:
        model: an absolute folder, an s3:// address, or a hub name (see `pin`), "" where that has no revision.
        store: what reads it.
    """
    if not model.startswith(("s3://", "/")):
        hub = HubModel.parse(model)
        return hub.revision or "" if hub else ""
    return _fingerprint(model, store.list(model.rstrip("/") + "/"))


def require_weights(base_model: str, store: Store) -> None:
    """Refuse a model of a local folder or the store that has no safetensors; nothing is read of them.

    Raises:
        UserError: it has none.
    """
    local = Path(base_model).expanduser()
    if not base_model.startswith("s3://") and local.is_dir():
        _require_safetensors([path.name for path in local.iterdir()], base_model)
    elif found := store.list(base_model.rstrip("/") + "/"):
        _require_safetensors([item.path for item in found], base_model)


def require_whole(folder: Path, base_model: str) -> None:
    """Refuse a folder without config.json, without safetensors, or with missing or truncated ones.

    Raises:
        UserError: with what is wrong, under the name ``base_model``.
    """
    if not (folder / "config.json").is_file():
        raise UserError(
            f"base_model: {base_model!r} ({folder}) holds no config.json; it is no model folder"
        )
    names = [path.name for path in folder.iterdir()]
    _require_safetensors(names, base_model)
    weights = {name for name in names if name.endswith(".safetensors")}
    if INDEX in names:
        weights = _indexed(folder / INDEX, base_model)
        missing = sorted(weights - set(names))
        if missing:
            raise UserError(
                f"base_model: {base_model!r} lacks {', '.join(missing)}, which {INDEX} names"
            )
    for name in sorted(weights):
        _require_readable(folder / name, base_model)


def _indexed(path: Path, base_model: str) -> set[str]:
    try:
        return set(json.loads(path.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError) as error:
        raise UserError(f"base_model: {base_model!r}: {INDEX} is damaged: {error}") from None


def _require_safetensors(names: Sequence[str], base_model: str) -> None:
    if any(name.endswith(".safetensors") for name in names):
        return
    pickles = sorted(Path(name).name for name in names if name.endswith(PICKLES))
    if pickles:
        raise UserError(
            f"base_model: {base_model!r} has its weights in {pickles[0]} only, a pickle, which can "
            "run code when it is read; convert it to safetensors (save_pretrained writes them)"
        )
    raise UserError(f"base_model: {base_model!r} holds no .safetensors file")


def _require_readable(path: Path, base_model: str) -> None:
    """Read the header, which names every tensor's place: a truncated file lacks some."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):
            pass
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"base_model: {base_model!r}: {path.name} is truncated or damaged: {error}"
        ) from None
