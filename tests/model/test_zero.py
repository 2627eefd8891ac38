"""The chunked loss under DeepSpeed: every ZeRO stage takes the step that plain autograd takes."""

from pathlib import Path

import pytest

from tests.model import zero_worker
from tests.ranks import RankServer


@pytest.mark.deep
@pytest.mark.real
@pytest.mark.parametrize("embeddings", ["tied", "untied"])
def test_two_ranks_step_as_one_process_does(
    embeddings: str, ranks: RankServer, tiny: Path, tiny_untied: Path
) -> None:
    path = tiny if embeddings == "tied" else tiny_untied
    done = ranks.run(2, zero_worker.main, str(path))
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.count("agrees") == 6
