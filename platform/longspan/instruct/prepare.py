"""From a recipe to what a job needs: its store, prompts, tokenizers and sizes; nothing is started."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import SecretStr

from longspan.chat.tokenizer import ChatTokenizer
from longspan.config.locations import local_path, open_store
from longspan.generate.endpoint import EndpointAccess, probe, read_api_key
from longspan.generate.requests import Sampling
from longspan.hashing import content_id
from longspan.instruct.choose import shares
from longspan.instruct.documents import Choice
from longspan.instruct.prompt_files import Prompts, load_prompts
from longspan.instruct.replies import STOP, pair_schema
from longspan.instruct.requests import Questions
from longspan.instruct.schema import InstructRecipe
from longspan.instruct.sizes import Sizes, derive_sizes
from longspan.model.address import model_address
from longspan.model.cache import model_cache_folder
from longspan.model.facts import read_facts
from longspan.model.source import local_tokenizer_dir, named, require_weights, revision
from longspan.recipe.sources import find_objects, source_specs
from longspan.storage import Need, Store
from longspan.storage.preflight import LIST_ROOT

PARSER = 2
"""Changes when what is read out of a reply does."""
ENDPOINT = "generator.endpoint"
"""The recipe's key of the endpoint."""


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
        free = Sampling(asked.max_tokens, asked.temperature, asked.top_p)
        if asked.constrained:
            return replace(free, schema=json.dumps(pair_schema()))
        return replace(free, stop=(STOP,), include_stop=True)

    def questions(self, done: frozenset[str] = frozenset()) -> Questions:
        """What is asked for; `done` are ids of what is there."""
        recipe = self.recipe
        return Questions(
            self.store, self.prompts, recipe.questions_per_chunk, recipe.seed, self.sampling, done
        )

    @property
    def replies_folder(self) -> str:
        """Replies of this generator, sampled like this."""
        return f"{self.folder}/replies-{replies_key(self.identity, self.sampling)}"

    @property
    def verdicts_folder(self) -> str:
        """Its verdicts on them."""
        key = content_id(
            self.replies_folder, self.prompts.hash_of("critique"), self.recipe.critique.max_tokens
        )
        return f"{self.folder}/verdicts-{key[:16]}"


def replies_key(identity: str, sampling: Sampling) -> str:
    """Return the identity of the replies of a generator: the same sampling must keep it, or sets would begin anew."""
    parameters = {
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "stop": sampling.stop[0] if sampling.stop else None,
        "schema": sampling.schema,
    }
    return content_id(PARSER, identity, parameters)[:16]


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
        key = read_api_key(generator.endpoint, ENDPOINT)
        probe(EndpointAccess(generator.endpoint, key, ENDPOINT))
        identity = content_id(generator.endpoint.url, generator.endpoint.model)
        own = chat
    else:
        assert generator.model is not None
        model = model_address(generator.model, store)
        with named("generator.model"):
            require_weights(model, store)
            folder = local_tokenizer_dir(model, store, model_cache_folder())
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
    with named(key):
        folder = local_tokenizer_dir(model_address(name, store), store, model_cache_folder())
    return ChatTokenizer.load(folder, key)


def _identity(model: str, store: Store) -> str:
    """Of a model's files where they can be listed, else of its name."""
    return content_id(revision(model, store) or model)
