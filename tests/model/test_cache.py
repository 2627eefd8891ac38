"""The cache of models: what stays, what goes, and what many processes do at a time."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longspan.errors import UserError
from longspan.model.cache import ModelCache, require_free
from tests.model.processes import python_path

DAY = 24 * 3600


def fill(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"x" * 1000)


def get(cache: ModelCache, key: str, num_bytes: int = 1000) -> Path:
    return cache.get(key, num_bytes, f"s3://bucket/{key}", fill)


def copies(cache: ModelCache) -> set[str]:
    return {path.name for path in cache.folder.iterdir() if path.name != ".locks"}


def last_used(cache: ModelCache, key: str, seconds_ago: float) -> None:
    then = time.time() - seconds_ago
    os.utime(cache.folder / key, (then, then))


def test_the_least_recently_used_copies_go_but_none_that_somebody_may_be_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LONGSPAN_MODEL_CACHE_KEEP", "3")
    cache = ModelCache(tmp_path / "models")
    for number, days in enumerate((5, 4, 3, 2)):
        get(cache, f"old{number}")
        last_used(cache, f"old{number}", days * DAY)
    get(cache, "new")
    assert copies(cache) == {"old2", "old3", "new"}
    # Asked for again it counts as used.
    get(cache, "old2")
    get(cache, "newer")
    assert copies(cache) == {"old2", "new", "newer"}
    get(cache, "newest")
    assert copies(cache) == {"old2", "new", "newer", "newest"}


def test_room_is_made_of_copies_that_nobody_loads(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "models")
    for key, seconds in (("in-use", 60), ("idle", DAY / 2)):
        get(cache, key)
        last_used(cache, key, seconds)
    said = r"s3://bucket/huge takes 1,152,\S+ bytes, and the disk of \S+ has [\d,]+ free; delete .*XDG_CACHE_HOME"
    with pytest.raises(UserError, match=said):
        get(cache, "huge", 2**60)
    assert copies(cache) == {"in-use"}


def test_room_is_looked_for_on_the_disk_that_will_hold_the_folder(small_disk: Path) -> None:
    folder = small_disk / "not" / "made" / "yet"
    require_free(2**20, folder, "x", "HF_HOME")
    with pytest.raises(UserError, match=r"takes 134,217,728 bytes, .* has \d\d,\d+,\d+ free"):
        require_free(2**27, folder, "x", "HF_HOME")
    cache = ModelCache(small_disk / "models")
    with pytest.raises(UserError, match=r"larger disk"):
        get(cache, "a", 2**27)
    assert copies(cache) == set()


def test_a_download_that_fails_leaves_nothing(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "models")

    def fail(folder: Path) -> None:
        fill(folder)
        raise OSError("the network is gone")

    with pytest.raises(OSError, match="network"):
        cache.get("a", 10, "s3://bucket/a", fail)
    assert copies(cache) == set()


def test_what_a_killed_process_left_is_deleted_and_what_another_one_fetches_is_not(
    tmp_path: Path,
) -> None:
    cache = ModelCache(tmp_path / "models")
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from longspan.model.cache import ModelCache\n"
        "def wait(folder):\n"
        "    (folder / 'part').write_bytes(b'x')\n"
        "    print('fetching', flush=True)\n"
        "    signal.pause()\n"
        "ModelCache(Path(sys.argv[1])).get(sys.argv[2], 10, 's3://bucket/x', wait)\n"
    )

    def fetching(key: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(cache.folder), key],
            env=os.environ | python_path(),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout and process.stdout.readline() == "fetching\n"
        return process

    killed, alive = [fetching(key) for key in ("same", "other")], fetching("alive")
    for process in killed:
        process.kill()
        process.wait()
    try:
        get(cache, "same")
        left = copies(cache) - {"same"}
        assert [name.rpartition("-")[0] for name in left] == [".partial-alive"]
    finally:
        alive.kill()
        alive.wait()
    get(cache, "alive")
    assert copies(cache) == {"same", "alive"}


def test_processes_that_ask_at_a_time_share_one_download(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from longspan.model.cache import ModelCache\n"
        "folder = Path(sys.argv[1])\n"
        "def download(copy):\n"
        "    (copy / 'file').write_bytes(b'x')\n"
        "    (folder.parent / f'fetched-{os.getpid()}').touch()\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(ModelCache(folder).get('key', 1, 's3://bucket/x', download))\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path / "models")],
            env=os.environ | python_path(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    found = {process.communicate()[0].strip() for process in processes}
    assert found == {str(tmp_path / "models" / "key")}
    assert len(list(tmp_path.glob("fetched-*"))) == 1
    assert copies(ModelCache(tmp_path / "models")) == {"key"}


def test_a_number_that_is_none_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONGSPAN_MODEL_CACHE_KEEP", "0")
    with pytest.raises(UserError, match=r"LONGSPAN_MODEL_CACHE_KEEP: must be .* but is '0'"):
        get(ModelCache(tmp_path / "models"), "a")
