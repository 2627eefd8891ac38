"""The arms over real shards: rows hold the documents, and the shares, that the recipe asks for."""

import pytest

from longspan.corpus.sources import SourceSpec
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.errors import UserError
from longspan.ingest.objects import Settings, ingest_object
from longspan.order.order import Order, Stage
from longspan.recipe.load import parse_recipe
from longspan.recipe.schema import Recipe
from longspan.shards.manifest import SourceManifest
from longspan.storage import Store
from longspan.stream.rows import RowReader
from longspan.train.data.row_sources import sources_of_rows
from tests.raw import jsonl, sentences
from tests.tiny import make_tiny_tokenizer

THRESHOLD = 60


def recipe(**mixture: object) -> Recipe:
    return parse_recipe(
        {
            "name": "arms",
            "base_model": "x",
            "target_context": 64,
            "training": {"tokens_per_update": 512},
            "corpora": [
                {"name": "new", "path": "n", "weight": 0.5},
                {"name": "old", "path": "o", "weight": 0.2, "base_weight": 0.25},
                {"name": "web", "path": "w", "weight": 0.3, "base_weight": 0.75},
            ],
            "mixture": mixture,
        }
    )


@pytest.fixture(scope="module")
def corpora(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Store, list[SourceManifest]]:
    folder = tmp_path_factory.mktemp("arms")
    make_tiny_tokenizer().save_pretrained(folder / "tokenizer")
    tokenizer = Tokenizer(folder / "tokenizer")
    store = Store(str(folder / "store"))
    settings = Settings(tokenizer.hash, None, 0.0, 500)
    manifests = []
    for number, name in enumerate(("new", "old", "web")):
        objects = []
        for part in range(2):
            path = f"raw/{name}/{part}.jsonl"
            store.write_bytes(path, jsonl(sentences(60, seed=10 * number + part)))
            (info,) = store.list(path)
            spec = SourceSpec(name, (path,))
            objects.append(ingest_object(store, spec, info, settings, tokenizer, "stop"))
        manifests.append(SourceManifest.of(name, tokenizer.hash, None, objects))
    return store, manifests


def taken(store: Store, wanted: Recipe, manifests: list[SourceManifest]) -> dict[str, int]:
    """Tokens that rows take of every source."""
    sources = sources_of_rows(wanted, THRESHOLD, store, manifests)
    order = Order(
        [[block.tokens for block in source.manifest.train] for source in sources],
        [source.weight for source in sources],
        [Stage(64, 8, 60)],
        seed=1,
    )
    reader = RowReader(store, [source.manifest for source in sources], order)
    found = {source.name: 0 for source in sources}
    for index in range(order.num_rows):
        row = reader.read(order.row(index))
        found[sources[row.source].name] += len(row.tokens)
    return found


def share_of(found: dict[str, int], ending: str) -> float:
    counted = sum(tokens for name, tokens in found.items() if name.endswith(ending))
    return counted / sum(found.values())


def test_the_own_mix_is_as_given(corpora: tuple[Store, list[SourceManifest]]) -> None:
    found = taken(corpora[0], recipe(), corpora[1])
    assert list(found) == ["new", "old", "web"]
    assert share_of(found, "new") == pytest.approx(0.5, abs=0.01)


def test_the_base_mix_leaves_new_data_out(corpora: tuple[Store, list[SourceManifest]]) -> None:
    found = taken(corpora[0], recipe(arm="base"), corpora[1])
    assert list(found) == ["old", "web"]
    assert share_of(found, "web") == pytest.approx(0.75, abs=0.01)


def test_long_documents_removed(corpora: tuple[Store, list[SourceManifest]]) -> None:
    store, manifests = corpora
    sources = sources_of_rows(recipe(arm="long_removed"), THRESHOLD, store, manifests)
    assert [source.name for source in sources] == ["old/short", "web/short"]
    for source, whole in zip(sources, manifests[1:], strict=True):
        assert max(source.manifest.lengths) <= 5 < max(whole.lengths)
        assert source.manifest.train_tokens < whole.train_tokens
    assert share_of(taken(store, recipe(arm="long_removed"), manifests), "/short") == 1


def test_long_documents_sampled_more_often(corpora: tuple[Store, list[SourceManifest]]) -> None:
    store, manifests = corpora
    asked = recipe(arm="long_upsampled", share=0.9)
    found = taken(store, asked, manifests)
    assert list(found) == ["old/short", "old/long", "web/short", "web/long"]
    assert share_of(found, "/long") == pytest.approx(0.9, abs=0.01)
    sources = sources_of_rows(asked, THRESHOLD, store, manifests)
    for short, long, whole in zip(sources[::2], sources[1::2], manifests[1:], strict=True):
        parts = (short.manifest, long.manifest)
        assert sum(part.train_documents for part in parts) == whole.train_documents
        assert sum(part.train_tokens for part in parts) == whole.train_tokens


def test_a_share_that_long_documents_have_already(
    corpora: tuple[Store, list[SourceManifest]],
) -> None:
    with pytest.raises(UserError, match=r"mixture.arm: long_upsampled can't be had .* already"):
        sources_of_rows(recipe(arm="long_upsampled", share=0.01), THRESHOLD, *corpora)


@pytest.mark.parametrize(
    ("mixture", "message"),
    [
        ({"arm": "base", "share": 0.5}, "share 0.5 would be ignored by arm base"),
        ({"arm": "longest"}, "mixture.arm: must be"),
    ],
)
def test_mistakes_in_the_recipe(mixture: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        recipe(**mixture)
