"""From a recipe to what a job needs: its store, prompts, tokenizers and sizes; nothing is started."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from longspan.chat.tokenizer import ChatTokenizer
from longspan.errors import UserError
from longspan.hashing import content_id
from longspan.instruct.choose import shares
from longspan.instruct.documents import Choice
from longspan.instruct.endpoint import probe, read_key
from longspan.instruct.prompt_files import Prompts, load_prompts
from longspan.instruct.replies import STOP, pair_schema
from longspan.instruct.requests import Questions, Sampling
from longspan.instruct.schema import InstructRecipe
from longspan.instruct.sizes import Sizes, derive_sizes
from longspan.model.facts import read_facts
from longspan.model.source import local_tokenizer_dir, require_weights, revision
from longspan.recipe.model import resolve
from longspan.recipe.sources import find_objects, local_path, open_store, source_specs
from longspan.storage import Need, Store
from longspan.storage.preflight import LIST_ROOT
from longspan.train.job import Job

PARSER = 2
"""Changes when what is read out of a reply does."""


@dataclass(frozen=True)
class Prepared:
    """A job that can begin.

    Attributes:
        recipe: what is asked for.
        store: where everything is.
        prompts: the texts.
        tokenizer: the generator's; for an endpoint that of the model to be tuned stands in.
        chat: of the model to be tuned.
        model: the generator's address; None for an endpoint.
        identity: of the generator; changes with its weights.
        key: the endpoint's API key.
        sizes: of chunks and prompts.
    """

    recipe: InstructRecipe
    store: Store
    prompts: Prompts
    tokenizer: ChatTokenizer
    chat: ChatTokenizer
    model: str | None
    identity: str
    key: SecretStr | None
    sizes: Sizes

    @property
    def folder(self) -> str:
        """The set's, in the store."""
        return f"instruct/{self.recipe.name}"

    @property
    def choice(self) -> Choice:
        """Of documents and chunks."""
        recipe = self.recipe
        return Choice(
            self.folder,
            self.tokenizer,
            self.sizes.chunk,
            recipe.chunks_per_document,
            shares(recipe),
            recipe.seed,
            recipe.bad_input,
            recipe.splits,
        )

    @property
    def sampling(self) -> Sampling:
        """Of questions and answers."""
        asked = self.recipe.generator
        if asked.constrained:
            schema = json.dumps(pair_schema())
            return Sampling(asked.max_tokens, asked.temperature, asked.top_p, schema=schema)
        return Sampling(asked.max_tokens, asked.temperature, asked.top_p, STOP)

    def questions(self, done: frozenset[str] = frozenset()) -> Questions:
        """What is asked for; `done` are ids of what is there."""
        recipe = self.recipe
        return Questions(
            self.store, self.prompts, recipe.questions_per_chunk, recipe.seed, self.sampling, done
        )

    @property
    def replies_folder(self) -> str:
        """Replies of this generator, sampled like this."""
        sampling = vars(self.sampling)
        return f"{self.folder}/replies-{content_id(PARSER, self.identity, sampling)[:16]}"

    @property
    def verdicts_folder(self) -> str:
        """Its verdicts on them."""
        key = content_id(
            self.replies_folder, self.prompts.hash_of("critique"), self.recipe.critique.max_tokens
        )
        return f"{self.folder}/verdicts-{key[:16]}"


def prepare(recipe: InstructRecipe) -> Prepared:
    """Look at everything that can be looked at.

    Raises:
        UserError: something is not as the recipe needs it; the key to change is named.
    """
    store = open_store(recipe)
    prompts = load_prompts(Path(local_path(recipe.prompts)) if recipe.prompts else None)
    generator = recipe.generator
    chat = _tokenizer(recipe.tokenizer, "tokenizer", store) if recipe.tokenizer else None
    key = model = window = None
    if generator.endpoint:
        key = read_key(generator.endpoint)
        probe(generator.endpoint, key)
        identity = content_id(generator.endpoint.url, generator.endpoint.model)
        own = chat
    else:
        assert generator.model is not None
        model = resolve(generator.model, store)
        with under("generator.model"):
            require_weights(model, store)
            folder = local_tokenizer_dir(model, store, Job.cache_folder())
            window = read_facts(folder).window
        identity = _identity(model, store)
        own = ChatTokenizer.load(folder, "generator.model")
    assert own is not None, "the schema asks for a tokenizer with an endpoint"
    chat = chat or own
    sizes = derive_sizes(recipe, prompts, own, chat, window)
    find_objects(recipe, store)
    return Prepared(recipe, store, prompts, own, chat, model, identity, key, sizes)


def needs(prepared: Prepared) -> list[Need]:
    """What the job does with its store."""
    read = [
        Need("read", pattern, f"corpora.{spec.name}.path")
        for spec in source_specs(prepared.recipe)
        for pattern in spec.patterns
    ]
    model = prepared.model or ""
    of_model = [Need("read", f"{model}/*", "generator.model")] if model.startswith("s3://") else []
    return [LIST_ROOT, *read, *of_model, Need("write", prepared.folder, "storage.root")]


def _tokenizer(name: str, key: str, store: Store) -> ChatTokenizer:
    with under(key):
        folder = local_tokenizer_dir(resolve(name, store), store, Job.cache_folder())
    return ChatTokenizer.load(folder, key)


def _identity(model: str, store: Store) -> str:
    """Of a model's files where they can be listed, else of its name."""
    return content_id(revision(model, store) or model)


@contextmanager
def under(key: str) -> Iterator[None]:
    """Name the recipe's own key in messages about models."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).replace("base_model", key)) from None
