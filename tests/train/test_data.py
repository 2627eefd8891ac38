"""What a run trains on is what it began with, whatever becomes of the corpora since."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from longspan.config.locations import open_store
from longspan.config.overrides import apply_overrides
from longspan.errors import UserError
from longspan.ingest.corpora import Ingest, Manifests
from longspan.ingest.state import SourceState
from longspan.recipe.load import parse_recipe
from longspan.recipe.schema import Recipe
from longspan.storage import Store, sealed
from longspan.train.data.corpora import check_data, check_ingest, ingest_of, known_data, run_data
from tests.in_process import ingest
from tests.raw import jsonl, sentences
from tests.tiny import make_tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def recipe(tmp_path: Path, tokenizer_dir: Path) -> Callable[..., Recipe]:
    """The recipe, with changes."""
    data = {
        "name": "run",
        "base_model": str(tokenizer_dir),
        "target_context": 4096,
        "corpora": [
            {"name": "books", "path": "raw/books", "weight": 0.5},
            {"name": "web", "path": ["raw/web/*.jsonl"], "weight": 0.5},
        ],
        "heldout": {"fraction": 0.2},
        "storage": {"root": str(tmp_path / "store")},
    }
    return lambda *changes: parse_recipe(apply_overrides(data, changes))


@pytest.fixture
def store(recipe: Callable[..., Recipe]) -> Store:
    """Two sources of three objects each."""
    store = open_store(recipe())
    for number in range(6):
        source = "books" if number < 3 else "web"
        store.write_bytes(f"raw/{source}/{number}.jsonl", jsonl(sentences(20, number)))
    return store


def test_examples_about_held_out_documents_are_never_trained_on(
    store: Store, recipe: Callable[..., Recipe]
) -> None:
    store.write_bytes("instruct/qa/examples/part.jsonl", jsonl(sentences(20, 7)))
    asked = recipe("corpora=[{name: qa, path: instruct/qa/examples, format: jsonl, weight: 1}]")
    split = {"split": "training", "heldout_fraction": 0.1}
    for manifest in (None, {"splits": {}}, {"splits": {"books": split}}):
        if manifest is not None:
            store.write_bytes("instruct/qa/manifest.json", sealed.dumps(manifest))
        check_data(asked, store)
    ingest(ingest_of(asked, store))
    both = {"splits": {"books": split, "web": split | {"split": "heldout"}}}
    store.write_bytes("instruct/qa/manifest.json", sealed.dumps(both))
    problem = r"corpora\.qa\.path: instruct/qa/examples asks about held-out documents \(of web\)"
    for act in (
        lambda: check_data(asked, store),
        lambda: check_ingest(asked),
        lambda: run_data(asked, store, Ingest.done),
    ):
        with pytest.raises(UserError, match=problem):
            act()


@pytest.fixture
def log() -> list[str]:
    return []


def never(*_: object, **__: object) -> Manifests:
    raise AssertionError("nothing is to be ingested")


def checkpointed(store: Store) -> None:
    store.write_bytes("runs/run/checkpoints/update-0000005/checkpoint.json", b"{}")


def test_a_run_goes_on_with_what_it_began_with(
    recipe: Callable[..., Recipe], store: Store, log: list[str]
) -> None:
    began = run_data(recipe(), store, ingest)
    assert run_data(recipe(), store, never, log.append) == began
    assert [line.split(": ", 2)[1] for line in log] == ["books", "web"]
    assert all(line.endswith(" tokens, as at this run's start") for line in log)

    log.clear()
    store.write_bytes("raw/books/new.jsonl", jsonl(sentences(5, 9)))
    store.write_bytes("raw/books/1.jsonl", jsonl(sentences(5, 8)))
    store.delete("raw/books/2.jsonl")
    store.delete("raw/web")
    assert run_data(recipe(), store, never, log.append) == began
    assert (
        "; 2 objects were added or changed after this run started (1 new, 1 changed) and are ignored"
        in log[0]
    )
    assert log[0].endswith(
        "1 of its objects were deleted after it started; it still trains on their shards"
    )
    assert "'raw/web/*.jsonl' matches no object" in log[1]
    check_data(recipe(), store)
    assert known_data(recipe(), store) == began
    # Another run takes them as they are.
    store.write_bytes("raw/web/7.jsonl", jsonl(sentences(20, 7)))
    other = run_data(recipe("name=other"), store, ingest)
    assert [item.path for item in other["books"].objects] == [
        "raw/books/0.jsonl",
        "raw/books/1.jsonl",
        "raw/books/new.jsonl",
    ]


def test_a_source_may_hold_out_another_share_or_none(
    recipe: Callable[..., Recipe], store: Store
) -> None:
    store.write_bytes("raw/one.txt", b"the only document")
    one = "corpora.books.path=raw/one.txt"
    for fraction in (0.4, 0.0001):
        with pytest.raises(UserError, match=r"corpora\.books: a held-out fraction of .* of its 1 "):
            run_data(recipe(one, f"heldout.fraction={fraction}"), store, ingest)
    with pytest.raises(UserError) as raised:
        run_data(recipe(one), store, ingest)
    (change,) = re.findall(r"set (corpora\S+=\S+),", str(raised.value))
    assert change == "corpora.books.heldout_fraction=0"
    found = run_data(recipe(one, change), store, ingest)
    assert (found["books"].train_documents, found["books"].heldout) == (1, ())
    assert found["web"].heldout

    # What else is suggested is accepted as well.
    store.write_bytes("raw/books/3.jsonl", jsonl(sentences(3, 4)))
    two = (
        "name=two",
        "corpora.books.path=raw/books/3.jsonl",
        "corpora.books.heldout_fraction=1e-6",
    )
    with pytest.raises(UserError) as raised:
        run_data(recipe(*two), store, ingest)
    (change, *_) = re.findall(r"(corpora\S+=[0-9.]+),", str(raised.value))
    found = run_data(recipe(*two, change), store, ingest)
    assert found["books"].heldout_documents == 1
    none = run_data(recipe("name=none", "heldout.fraction=0"), store, ingest)
    assert not none["books"].heldout and not none["web"].heldout


def test_the_share_of_a_source_is_no_other_sources_matter(
    recipe: Callable[..., Recipe], store: Store
) -> None:
    """Objects are read anew where it changes, and nowhere else."""
    run_data(recipe(), store, ingest)
    changed = ingest_of(recipe("corpora.books.heldout_fraction=0.3"), store)
    pending = {
        spec.name: len(SourceState(store, spec, changed.settings, "stop").pending)
        for spec in changed.specs
    }
    assert pending == {"books": 3, "web": 0}
    same = ingest_of(recipe("corpora.books.heldout_fraction=0.2"), store)
    assert not SourceState(store, same.specs[0], same.settings, "stop").pending


def test_start_on_ready_needs_no_held_out_document_where_none_is_asked_for(
    recipe: Callable[..., Recipe], store: Store
) -> None:
    early = recipe("start_on=ready", "heldout.fraction=0")
    ingest(ingest_of(early, store), most=1)
    assert not run_data(early, store, never)["books"].heldout


CHAT = (
    "corpora=[{name: talk, path: raw/talk, weight: 1, format: chat}]",
    "packing.method=best_fit",
)


def test_a_chat_template_whose_answers_do_not_end_is_told_before_anything_starts(
    recipe: Callable[..., Recipe], store: Store, tokenizer_dir: Path, tmp_path: Path
) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content }}//\n{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "endless")
    store.write_bytes("raw/talk/x.jsonl", b"{}")
    endless = f"tokenizer={tmp_path / 'endless'}"
    checks = (check_ingest, lambda r: check_data(r, store), lambda r: run_data(r, store, never))
    for check in checks:
        with pytest.raises(
            UserError, match=r"tokenizer: the chat template writes no control token"
        ):
            check(recipe(*CHAT, endless))
        with pytest.raises(UserError, match=r"end_of_turn: '</s>' does not follow an answer"):
            check(recipe(*CHAT, endless, "end_of_turn=</s>"))
    for check in checks[:2]:
        check(recipe(*CHAT, endless, "end_of_turn=//"))
        check(recipe(*CHAT))
    (info,) = store.list("raw/talk")
    ingests = [
        ingest_of(recipe(*CHAT, endless, *more), store) for more in ((), ("end_of_turn=//",))
    ]
    assert len({each.settings.key(each.specs[0], info) for each in ingests}) == 2


def test_a_tokenizer_without_a_chat_template_is_told_before_anything_starts(
    recipe: Callable[..., Recipe], store: Store, tmp_path: Path
) -> None:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path / "plain")
    store.write_bytes("raw/talk/x.jsonl", b"{}")
    with pytest.raises(UserError, match=r"tokenizer: .* has no chat template"):
        check_ingest(recipe(*CHAT, f"tokenizer={tmp_path / 'plain'}"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            "corpora.books.path=raw/*",
            "corpora.books.path: run 'run' began with ['raw/books'], this",
        ),
        ("corpora.web.min_tokens=2", "corpora.web.min_tokens: run 'run' began with 0, this recipe"),
        ("corpora.web.where={id: 1}", "this recipe has {'id': 1}; undo the change, or choose anot"),
        ("corpora.web.repository={name: a, path: b}", "corpora.web.repository: run 'run' began"),
        ("corpora.web.name=net", "corpora: run 'run' began with ['books', 'web'], this recipe has"),
        ("heldout.fraction=0.3", "heldout.fraction: run 'run' began with 0.2, this recipe has 0.3"),
        ("document_separator=<|endoftext|>", "document_separator: run 'run' began with none, this"),
    ],
)
def test_a_run_is_not_continued_on_other_data(
    recipe: Callable[..., Recipe], store: Store, change: str, said: str
) -> None:
    run_data(recipe(), store, ingest)
    checkpointed(store)
    for refuse in (lambda r: run_data(r, store, never), lambda r: check_data(r, store)):
        with pytest.raises(UserError) as raised:
            refuse(recipe(change))
        assert said in str(raised.value)
    assert run_data(recipe("corpora.web.min_tokens=0"), store, never), "that is the default"


def test_another_tokenizer_is_other_data(
    recipe: Callable[..., Recipe], store: Store, tmp_path: Path
) -> None:
    run_data(recipe(), store, ingest)
    checkpointed(store)
    tokenizer = make_tiny_tokenizer()
    tokenizer.add_tokens(["<more>"])
    tokenizer.save_pretrained(tmp_path / "other")
    with pytest.raises(UserError, match="tokenizer: run 'run' began with files with hash"):
        run_data(recipe(f"tokenizer={tmp_path / 'other'}"), store, never)


def test_a_run_without_a_checkpoint_begins_anew_with_other_settings(
    recipe: Callable[..., Recipe], store: Store
) -> None:
    run_data(recipe(), store, ingest)
    anew = run_data(recipe("corpora.web.max_tokens=20"), store, ingest)
    assert anew["web"].skipped["more than max_tokens"] > 0
    assert run_data(recipe("corpora.web.max_tokens=20"), store, never) == anew


def test_a_run_that_an_older_version_began_is_left_as_it_is(
    recipe: Callable[..., Recipe], store: Store
) -> None:
    store.write_bytes("runs/run/metrics/0.jsonl", b"{}")
    checkpointed(store)
    run_data(recipe(), store, ingest)
    assert not store.exists("runs/run/data")


def test_a_start_that_was_killed_while_it_kept_its_data_is_none(
    recipe: Callable[..., Recipe], store: Store
) -> None:
    began = run_data(recipe(), store, ingest)
    store.delete("runs/run/data/data.json")
    assert run_data(recipe(), store, ingest) == began
    assert run_data(recipe(), store, never) == began


def test_shards_that_are_gone(recipe: Callable[..., Recipe], store: Store) -> None:
    began = run_data(recipe(), store, ingest)
    shard = began["web"].train[0].shard
    store.delete(shard)
    with pytest.raises(UserError) as raised:
        run_data(recipe(), store, never)
    assert "run 'run' can't go on: of corpora.web, as it began, 1 of " in str(raised.value)
    assert shard in str(raised.value)
    # As the message says.
    ingest(ingest_of(recipe(), store))
    assert run_data(recipe(), store, never) == began


def test_a_run_may_start_on_what_is_ready(
    recipe: Callable[..., Recipe], store: Store, log: list[str]
) -> None:
    early = recipe("start_on=ready")
    with pytest.raises(UserError) as raised:
        run_data(early, store, never)
    assert "start_on=ready: corpora.books has none of its 3 objects ready" in str(raised.value)

    ingest(ingest_of(early, store), most=2)
    saved = store.list("shards/*/manifest.json")
    began = run_data(early, store, never, log.append)
    assert [len(manifest.objects) for manifest in began.values()] == [2, 2]
    assert log == [
        "data: books: 2 of 3 objects are ready",
        "data: web: 2 of 3 objects are ready",
    ]
    assert store.list("shards/*/manifest.json") == saved

    ingest(ingest_of(early, store))
    assert run_data(early, store, never, log.append) == began
    assert (
        "; 1 objects were added or changed after this run started (1 new, 0 changed) and" in log[-1]
    )


def test_too_little_may_be_ready(recipe: Callable[..., Recipe], store: Store) -> None:
    early = recipe("start_on=ready", "heldout.fraction=0.02")
    with pytest.raises(UserError):  # The ingest's own word: nothing is held out of so little.
        ingest(ingest_of(early, store), most=1)
    message = r"corpora\.(books|web) has no document held out in the 1 of 3 objects that are ready"
    with pytest.raises(UserError, match=message):
        run_data(early, store, never)


def test_touching_the_corpora_is_a_change_that_a_run_does_not_mind(
    recipe: Callable[..., Recipe], store: Store, log: list[str]
) -> None:
    began = run_data(recipe(), store, ingest)
    os.utime(f"{store.root}/raw/web/3.jsonl", (1, 1))
    assert run_data(recipe(), store, never, log.append) == began
    assert "(0 new, 1 changed)" in log[1]


def test_a_damaged_pin_is_named(recipe: Callable[..., Recipe], store: Store) -> None:
    run_data(recipe(), store, ingest)
    path = "runs/run/data/data.json"
    store.write_bytes(path, store.read_bytes(path).replace(b"books", b"bocks"))
    with pytest.raises(UserError, match=r"name: .*runs/run/data/data\.json is damaged"):
        run_data(recipe(), store, never)


def test_held_out_shares_that_cannot_work_are_told_of_all_sources_at_once(
    recipe: Callable[..., Recipe], store: Store
) -> None:
    asked = ingest_of(recipe("heldout.fraction=1e-9"), store)
    with pytest.raises(UserError):
        ingest(asked)
    for manifests in (asked.done, lambda: asked.ready(lambda line: None)):
        with pytest.raises(UserError) as told:
            manifests()
        lines = str(told.value).splitlines()
        assert [line.split(":")[0] for line in lines] == ["corpora.books", "corpora.web"]
        assert all("holds out none of its" in line for line in lines)
