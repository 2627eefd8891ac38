"""Walks in a directed graph whose edges fill the prompt: the parents of a node, or the nodes some edges away.

The tasks and their scoring are those of Graphwalks (openai/graphwalks: F1 of the set of nodes in the last line,
"Final Answer: [...]"). The part of the graph that decides the answer is made first, and no other edge changes the
answer: a sample has the same one at all lengths.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Literal

from longspan.evaluate.haystack import Frame, fill
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.samples import ProbeSource, Sample

MAX_ANSWER = 8
"""Nodes of an answer, at most."""
DEPTHS = (1, 2, 3)
"""Edges that a node is away from the start, in turn."""
NAME_DIGITS = 6
EDGES_PER_NODE = 2
MIN_NODES = 16
SAMPLED_LINES = 32

_BEFORE = "A directed graph is given by its edges, one a line, in any order: the edge x -> y leads from x to y.\n\n"
_AFTER = (
    "\n\n{operation} End with a line that has nothing but the nodes' names, in any order, in this form:\n"
    "Final Answer: [name, name, ...]"
)
_WALK = "Start at node {start}. List every node whose shortest path from there has exactly {depth} edge{s}."
_PARENTS = "List every node that has an edge to node {start}."
ANSWER_PREFIX = "\nFinal Answer: ["

Edge = tuple[str, str]


@dataclass(frozen=True)
class Core:
    """The part of a graph that decides an answer.

    Attributes:
        start: node that the question names.
        edges: all edges that matter.
        steps: numbers of those edges that lead to the answer.
        answer: names of the nodes that are right.
        sources: its nodes at which other edges may begin.
        targets: its nodes to which other edges may lead.
    """

    start: str
    edges: tuple[Edge, ...]
    steps: tuple[int, ...]
    answer: tuple[str, ...]
    sources: tuple[str, ...]
    targets: tuple[str, ...]


def node_names(rng: Random) -> Iterator[str]:
    """Yield names of nodes without end: hexadecimal digits at random, none twice."""
    taken: set[str] = set()
    while True:
        name = f"{rng.getrandbits(4 * NAME_DIGITS):0{NAME_DIGITS}x}"
        if name not in taken:
            taken.add(name)
            yield name


def walk_core(rng: Random, names: Iterator[str], depth: int) -> Core:
    """Return a graph with 1 to `MAX_ANSWER` nodes at a distance of `depth` edges from its start."""
    levels = [[next(names)]]
    edges: dict[Edge, bool] = {}  # Whether an edge is a step to the answer.
    for _ in range(depth):
        level: list[str] = []
        for node in levels[-1]:
            for _ in range(rng.randint(1, 2)):
                # Some nodes are reached in two ways.
                if not level or (len(level) < MAX_ANSWER and rng.random() < 0.8):
                    level.append(next(names))
                    edges[node, level[-1]] = True
                else:
                    edges[node, rng.choice(level)] = True
        levels.append(level)
    inner = [node for level in levels[:-1] for node in level]
    distance = {node: number for number, level in enumerate(levels) for node in level}
    for node in inner:
        # An edge to a node that is as near to the start, or nearer, is no shorter way to any.
        other = rng.choice(inner)
        if other != node and distance[other] <= distance[node] and rng.random() < 0.5:
            edges.setdefault((node, other), False)
    steps = tuple(number for number, is_step in enumerate(edges.values()) if is_step)
    answer = tuple(levels[-1])
    return Core(levels[0][0], tuple(edges), steps, answer, answer, (*inner, *answer))


def parents_core(rng: Random, names: Iterator[str]) -> Core:
    """Return a graph with 1 to `MAX_ANSWER` nodes that have an edge to its start."""
    start = next(names)
    parents = tuple(islice(names, rng.randint(1, MAX_ANSWER)))
    edges = tuple((parent, start) for parent in parents)
    return Core(start, edges, tuple(range(len(edges))), parents, (start, *parents), parents)


def other_edges(rng: Random, names: Iterator[str], core: Core, count: int) -> list[Edge]:
    """Return so many different edges that do not change the answer of a graph.

    They are drawn evenly between the nodes that may have them and new ones, so many that nodes have
    `EDGES_PER_NODE` on average.
    """
    nodes = list(islice(names, max(MIN_NODES, count // EDGES_PER_NODE)))
    sources, targets = [*nodes, *core.sources], [*nodes, *core.targets]
    found: dict[Edge, None] = {}
    known = {*core.edges}
    while len(found) < count:
        edge = rng.choice(sources), rng.choice(targets)
        if edge[0] != edge[1] and edge not in known:
            found[edge] = None
    return list(found)


@dataclass(frozen=True)
class GraphProbe(Probe):
    """One kind of question about a graph."""

    walk: Literal["bfs", "parents"]

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = source.rng(self.name, self.version, index)
        names = node_names(rng)
        core, operation = self._question(rng, names, index)
        inserts = [(rng.random(), _line(edge)) for edge in core.edges]
        lines = [_line(edge) for edge in core.edges[:SAMPLED_LINES]]
        per_line = source.format.count("\n".join(lines)) / len(lines)
        # Some more than fit, as lines differ in tokens.
        count = max(MIN_NODES, int(1.25 * max(0, budget) / per_line))
        others = [_line(edge) for edge in other_edges(rng, names, core, count)]
        frame = Frame(_BEFORE, _AFTER.format(operation=operation), ANSWER_PREFIX)
        placed = fill(source.format, frame, others, inserts, budget, "\n")
        return self.finished(
            source, (length, index), (placed, frame), sorted(core.answer), evidence=core.steps
        )

    def _question(self, rng: Random, names: Iterator[str], index: int) -> tuple[Core, str]:
        if self.walk == "parents":
            core = parents_core(rng, names)
            return core, _PARENTS.format(start=core.start)
        depth = DEPTHS[index % len(DEPTHS)]
        core = walk_core(rng, names, depth)
        return core, _WALK.format(start=core.start, depth=depth, s="" if depth == 1 else "s")


def _line(edge: Edge) -> str:
    return f"{edge[0]} -> {edge[1]}"


TASKS: tuple[GraphProbe, ...] = (
    GraphProbe("graph_bfs", 1, "tracing", "set_f1", 128, "bfs"),
    GraphProbe("graph_parents", 1, "tracing", "set_f1", 128, "parents"),
)
