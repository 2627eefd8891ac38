"""Answers of graph walks are those of SciPy's shortest paths over the printed edges."""

import re
from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path

from longspan.evaluate.probes.graph_walks import (
    MAX_ANSWER,
    TASKS,
    Edge,
    GraphProbe,
    node_names,
    other_edges,
    parents_core,
    walk_core,
)
from longspan.evaluate.samples import PromptFormat
from tests.evaluate.probe_checks import check_sample, evidence_of
from tests.evaluate.probe_fixtures import byte_format, chat_format, completion_format, probe_source

EDGE = re.compile(r"^([0-9a-f]{6}) -> ([0-9a-f]{6})$", re.MULTILINE)


def at_distance(edges: list[Edge], start: str, distance: int) -> set[str]:
    """Nodes so many edges from a start, by SciPy."""
    nodes = sorted({node for edge in edges for node in edge})
    number = {node: n for n, node in enumerate(nodes)}
    rows, columns = zip(*((number[a], number[b]) for a, b in edges), strict=True)
    matrix = csr_array((np.ones(len(edges)), (rows, columns)), shape=(len(nodes),) * 2)
    distances = shortest_path(matrix, unweighted=True, indices=number[start])
    return {node for node in nodes if distances[number[node]] == distance}


@given(st.integers(0, 2**32), st.integers(1, 3), st.integers(0, 120))
def test_other_edges_never_change_a_walks_answer(seed: int, depth: int, count: int) -> None:
    rng = Random(seed)
    names = node_names(rng)
    core = walk_core(rng, names, depth)
    edges = [*core.edges, *other_edges(rng, names, core, count)]
    assert len(set(edges)) == len(core.edges) + count and all(a != b for a, b in edges)
    assert at_distance(edges, core.start, depth) == set(core.answer)
    assert 1 <= len(core.answer) <= MAX_ANSWER
    # The steps alone lead there, and each is needed or another way.
    assert at_distance([core.edges[n] for n in core.steps], core.start, depth) == set(core.answer)


@given(st.integers(0, 2**32), st.integers(0, 120))
def test_other_edges_never_change_the_parents(seed: int, count: int) -> None:
    rng = Random(seed)
    names = node_names(rng)
    core = parents_core(rng, names)
    edges = [*core.edges, *other_edges(rng, names, core, count)]
    assert {a for a, b in edges if b == core.start} == set(core.answer)
    assert len(set(edges)) == len(core.edges) + count


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize(
    "format", [completion_format, chat_format, byte_format], ids=["none", "chat", "bytes"]
)
def test_edges_fill_the_length(task: GraphProbe, format: Callable[[], PromptFormat]) -> None:
    source = probe_source(format())
    for length in (1500, 6000):
        assert task.problem(source, length) is None
        for index in range(3):
            # A line has at most 18 bytes.
            sample = check_sample(task, source, length, index, slack=20)
            edges = EDGE.findall(sample.text)
            question = sample.text.rpartition("\n\n")[2]
            start = re.search(r"node ([0-9a-f]{6})", question)[1]  # pyrefly: ignore
            if task.walk == "parents":
                assert {a for a, b in edges if b == start} == set(sample.references)
            else:
                (distance,) = re.findall(r"exactly (\d) edge", question)
                assert int(distance) == 1 + index % 3
                assert at_distance(edges, start, int(distance)) == set(sample.references)
            lines = evidence_of(sample)
            assert all(EDGE.fullmatch(line) for line in lines)
            assert all(any(answer in line for line in lines) for answer in sample.references)
            # The answer can be written: it has room in any tokenizer.
            written = ", ".join(sample.references) + "]"
            assert len(byte_format().prompt_ids(written, "")) <= task.max_tokens
            # The same question at every length.
            assert question in task.sample(source, 1500, index).text
            # Its edges stand anywhere.
            assert len({start for start, _ in sample.evidence}) == len(lines)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_nodes_have_as_many_edges_as_those_that_matter(task: GraphProbe) -> None:
    sample = task.sample(probe_source(), 6000, 0)
    edges = EDGE.findall(sample.text)
    nodes = {node for edge in edges for node in edge}
    assert 1.5 < len(edges) / len(nodes) < 2.2
