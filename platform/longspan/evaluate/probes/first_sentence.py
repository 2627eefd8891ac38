"""First-sentence retrieval: the paper's probe of how far a model reads (section 4.1, figure 5b).

The model is asked for the first sentence of a passage, and scored by ROUGE-L. The paper publishes neither its
prompt nor its documents; these are ours.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from longspan.errors import UserError
from longspan.evaluate.haystack import Frame, Haystack, fill, haystack_of
from longspan.evaluate.probes.probe import Probe
from longspan.evaluate.samples import ProbeSource, Sample

MIN_WORDS, MAX_WORDS = 8, 30
ATTEMPTS = 1000
BREAK = "\n\n"
"""Between sentences, and so after a copy of one; a reply may begin with a single line break."""

FRAME = Frame(
    "Read this text, which has one sentence in each paragraph.\n\n",
    "\n\nRepeat the first sentence of the text above word for word, and write nothing else.",
    "\n\nThe first sentence of the text is:\n\n",
)


@dataclass(frozen=True)
class FirstSentence(Probe):
    """A request for the first sentence of a passage."""

    def build(self, source: ProbeSource, length: int, index: int, budget: int) -> Sample:
        """See `Probe.build`."""
        rng = self.rng(source, length, index)
        hay = haystack_of(source)
        first = self._start(source, hay, rng)
        sentence, *rest = hay.passage(first)
        placed = fill(source.format, FRAME, rest, [(0.0, sentence)], budget, BREAK)
        return self.finished(
            source,
            (length, index),
            (placed, FRAME),
            [sentence],
            depth=0.0,
            evidence=[0],
            cluster=hay.documents[hay.document_of(first)].id,
            stop=(BREAK,),
        )

    def _start(self, source: ProbeSource, hay: Haystack, rng: random.Random) -> int:
        """Number of a sentence to begin with: whole, of a usual length, and not repeated after it."""
        for _ in range(ATTEMPTS):
            start = rng.randrange(len(hay))
            sentence = hay.sentences[start]
            if (
                MIN_WORDS <= len(sentence.split()) <= MAX_WORDS
                and sentence[0].isalpha()
                and sentence[-1] in ".!?"
                and source.format.count(sentence) < self.max_tokens
                and hay.occurrences(sentence) == 1
            ):
                return start
        raise UserError(
            f"corpora: hardly any sentence of the held-out documents has {MIN_WORDS} to {MAX_WORDS} words, ends in . ! "
            "or ?, and is not repeated; leave first_sentence out, or give corpora of prose"
        )


TASKS: tuple[FirstSentence, ...] = (FirstSentence("first_sentence", 1, "retrieval", "rouge_l", 64),)
