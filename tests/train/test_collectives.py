"""What ranks tell each other is JSON, and who listens meanwhile."""

import json
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from longspan.train.collectives import decode, encode
from longspan.train.elastic.rendezvous import LOOPBACK, free_port, group_address, interface_of
from tests.ports import free_ports

WORKER = Path(__file__).parent / "collectives_worker.py"
PACKAGE = Path(__file__).parents[2] / "platform" / "longspan"


@dataclass
class Thing:
    number: int = 1


@pytest.mark.parametrize(
    ("value", "named"),
    [(Thing(), "Thing"), ({"a": [{1}]}, "set"), ([np.int64(1)], "int64"), (b"x", "bytes")],
)
def test_what_json_cannot_hold_is_refused_by_its_type(value: Any, named: str) -> None:
    with pytest.raises(TypeError, match=rf"cannot hold a {named}"):
        encode(value)


def test_keys_that_json_would_change_are_refused() -> None:
    with pytest.raises(TypeError, match=r"keys are strings; this key is of type int"):
        encode({1: "a"})


def test_floats_arrive_bit_by_bit() -> None:
    value = [0.1, 1e-300, 2 / 3, -0.0]
    assert [number.hex() for number in decode(encode(value))] == [n.hex() for n in value]


def test_an_address_that_is_not_this_machines_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.77:0 .*--node-ip-address"):
        free_port("192.0.2.77")


def test_a_pickle_is_not_read() -> None:
    with pytest.raises(ValueError, match=r"bytes that are not JSON arrived from another rank"):
        decode(pickle.dumps(Thing()))


def test_no_part_of_the_package_sends_or_reads_pickles() -> None:
    """torch's object collectives, Ray Train's, and torch.load; Ray's own calls are in docs/cluster.md."""
    forbidden = re.compile(
        r"_object_list\(|all_gather_object\(|\bgather_object\(|broadcast_from_rank_zero|torch\.load\("
        r"|^\s*(import|from) (cloud)?pickle\b",
        re.MULTILINE,
    )
    found = {path for path in PACKAGE.rglob("*.py") if forbidden.search(path.read_text())}
    # Tokenizers are arguments of Ray's tasks, all of which Ray pickles.
    assert found == {PACKAGE / "chat" / "tokenizer.py", PACKAGE / "evaluate" / "prompt_format.py"}


def test_a_group_on_one_node_meets_on_loopback_and_one_on_several_where_its_first_rank_is() -> None:
    assert group_address(["10.0.0.5", "10.0.0.5"]) == LOOPBACK
    assert group_address(["10.0.0.5", "10.0.0.7"]) == "10.0.0.5"
    assert interface_of(LOOPBACK) == "lo"
    assert interface_of("203.0.113.77") is None


@pytest.mark.real
def test_ranks_tell_each_other_values_and_mistakes_on_loopback_and_read_no_pickle() -> None:
    (port,) = free_ports(1)
    ranks = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    outputs = [rank.communicate(timeout=200) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    first, second = (json.loads(output) for output, _ in outputs)
    for found in (first, second):
        assert found["broadcast"] == {
            "text": "é",
            "numbers": [1, 0.1, None, True],
            "losses": [2.5, 1e-17],
        }
        assert found["gathered"] == [{"rank": 0, "text": ""}, {"rank": 1, "text": "x" * 1000}]
        assert found["mistake"] == "UserError: name: taken"
        assert found["outage"] == "Unreachable: no answer"
        assert set(found["listening"]) == {LOOPBACK}
    assert second["pickle"].startswith("ValueError: ")
    assert "not JSON" in second["pickle"]
