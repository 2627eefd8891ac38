"""Raw corpora into token shards, each object once, on all the CPUs of the Ray cluster.

A raw object becomes its own shards and its own small manifest, written last, under a name that
contains a hash of the object's version and of all the settings that matter. So the result does not
depend on how the work was spread, a run that is killed resumes, a second run reads
nothing, and a changed object never overwrites shards that a running job may be reading.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer, tokenizer_hash
from longspan.errors import Unreachable, UserError
from longspan.ingest.conversations import ConversationTokenizer, template_hash
from longspan.ingest.objects import Settings
from longspan.ingest.ray_ingest import IngestJob, Task, ingest_objects
from longspan.ingest.state import SourceState
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store

Manifests = dict[str, SourceManifest]


@dataclass(frozen=True)
class Ingest:
    """The ingest of some sources.

    Attributes:
        store: where the raw objects are and the shards go.
        specs: the sources, each of its own name.
        tokenizer_dir: local folder with the tokenizer; only the caller's node needs it.
        separator: the token that ends every document; None is the tokenizer's eos_token.
        heldout_fraction: share of each source's documents that never enter training, in [0, 1),
            chosen by a hash of their text, where a source has no other; 0 holds none out.
        bad_input: "stop" at the first object or row that cannot be read, or "skip" and count them.
        block_tokens: tokens per block, the unit in which data is shuffled and fetched.
        end_of_turn: the text that ends an answer of a conversation; the control token behind it if None.
    """

    store: Store
    specs: Sequence[SourceSpec]
    tokenizer_dir: str
    separator: str | None
    heldout_fraction: float
    bad_input: Literal["stop", "skip"]
    block_tokens: int = 2**20
    end_of_turn: str | None = None

    def run(self, progress: Callable[[str], None] = print) -> Manifests:
        """Bring the token shards of all sources up to date with their raw objects.

        Objects that no longer match a source's patterns leave its manifest (their shards stay, for
        the jobs that may be reading them). Ray has to be initialised where there is anything to do.

        Args:
            progress: takes lines for a person to read.

        Returns:
            The sources' manifests by name, in the order of `specs`.

        Raises:
            UserError: a source names no object or has bad input (when that stops); its held-out or
                training split is empty; the tokenizer or the store cannot be used.
        """
        sources = self._states()
        for source in sources.values():
            progress(source.describe())
        tasks = [Task(source.spec, info) for source in sources.values() for info in source.pending]
        if tasks:
            job = self._job({task.spec.format == "chat" for task in tasks}, progress)
            for name, done in ingest_objects(job, tasks, progress):
                sources[name].add(done)
        return _of_all(sources, lambda source: source.finish(progress))

    def done(self) -> Manifests:
        """The manifests that `run` would give, where it would have nothing to read.

        Raises:
            UserError: a source has objects that are not ingested with these settings.
        """
        sources = self._states()
        for name, source in sources.items():
            if source.pending:
                raise UserError(
                    f"corpora.{name}: {len(source.pending)} of its objects are not ingested with "
                    "this recipe's settings; run longspan ingest or the Ray job, which ingest them"
                )
        return _of_all(sources, lambda source: source.finish(lambda line: None))

    def ready(self, progress: Callable[[str], None] = print) -> Manifests:
        """The manifests of the objects that are ingested by now, while others may be at work.

        Nothing is read or saved.

        Raises:
            UserError: a source has nothing ready, or nothing of it is held out or left to train on.
        """
        return _of_all(self._states(), lambda source: source.ready(progress))

    @cached_property
    def settings(self) -> Settings:
        """What decides what an object becomes."""
        tokenizer = tokenizer_hash(self.tokenizer_dir)
        template = template_hash(self.tokenizer_dir)
        return Settings(
            tokenizer,
            self.separator,
            self.heldout_fraction,
            self.block_tokens,
            template,
            self.end_of_turn,
        )

    def _job(self, are_chat: set[bool], progress: Callable[[str], None]) -> IngestJob:
        tokenizer = chat_tokenizer = None
        if False in are_chat:
            tokenizer = Tokenizer(self.tokenizer_dir, self.separator)
            progress(_describe(tokenizer))
        if True in are_chat:
            tokenizer_of_chat = ChatTokenizer.load(self.tokenizer_dir)
            chat_tokenizer = ConversationTokenizer(Template(tokenizer_of_chat, self.end_of_turn))
            progress("ingest: conversations are rendered by the tokenizer's chat template")
        return IngestJob(self.store, self.settings, tokenizer, chat_tokenizer, self.bad_input)

    def _states(self) -> dict[str, SourceState]:
        names = [spec.name for spec in self.specs]
        assert len(set(names)) == len(names), f"sources of the same name: {names}"
        return {
            spec.name: SourceState(self.store, spec, self.settings, self.bad_input)
            for spec in self.specs
        }


def _of_all(
    sources: Mapping[str, SourceState], manifest: Callable[[SourceState], SourceManifest]
) -> Manifests:
    """The manifest of every source; what is wrong with several is one message, a line each.

    Raises:
        UserError: a source has no manifest, for instance because nothing is held out.
    """
    found: Manifests = {}
    problems: list[str] = []
    for name, source in sources.items():
        try:
            found[name] = manifest(source)
        except Unreachable:  # The store's problem, not the source's.
            raise
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    return found


def _describe(tokenizer: Tokenizer) -> str:
    lines = [f"ingest: tokenizer {tokenizer.hash}, encoded by {tokenizer.name}"]
    if tokenizer.name == "transformers":
        lines.append("(fastokens does not give the same ids for it)")
    if not tokenizer.splits_special:
        lines.append("(control tokens spelled out in a document become control tokens)")
    return " ".join(lines)
