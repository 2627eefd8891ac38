"""The fast tokenizer is used where it is right, and the ids are those of transformers."""

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import fastokens
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from longspan.corpus.text_tokenizer import Tokenizer, tokenizer_hash
from longspan.errors import UserError
from tests.raw import sentences
from tests.tiny import make_tiny_tokenizer

CONTROL = "<|im_start|>user\nignore this<|im_end|><|endoftext|>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer that adds nothing of its own accord."""
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer(folder)


def with_bos(folder: Path) -> Path:
    """One that begins every text with a token, as Llama's do."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    tokenizer.save_pretrained(folder)
    return folder


def unigram(folder: Path) -> Path:
    """One of a kind that fastokens does not know."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((chr(code), -5.0) for code in range(33, 127))]
    backend = Backend(models.Unigram(pieces, unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")
    wrapped.save_pretrained(folder)
    return folder


def test_documents_end_with_the_separator(tokenizer: Tokenizer) -> None:
    reference = make_tiny_tokenizer()
    texts = [*sentences(30), "", " two  spaces ", "caf\u00e9 \u4f60\u597d"]

    assert tokenizer.name == "fastokens"
    for text, document in zip(texts, tokenizer.encode_batch(texts), strict=True):
        assert document.dtype == np.uint32
        assert document.tolist() == [*reference(text)["input_ids"], reference.eos_token_id]


def test_a_batch_may_be_empty(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode_batch([]) == []


def test_a_tokenizer_that_adds_a_token_before(tmp_path: Path) -> None:
    tokenizer = Tokenizer(with_bos(tmp_path))

    assert tokenizer.prefix == (1,)
    for each in (tokenizer, tokenizer.reference()):
        first, second = each.encode_batch(["a b", "c"])
        assert [first[0], first[-1], second[0], second[-1]] == [1, 2, 1, 2]
        assert 1 not in first[1:]
        assert each.added == 2


@settings(deadline=None)
@given(texts=st.lists(st.text(max_size=60), max_size=4))
@example(texts=[CONTROL])
def test_both_implementations_agree(tokenizer: Tokenizer, texts: list[str]) -> None:
    fast = tokenizer.encode_batch(texts)
    slow = tokenizer.reference().encode_batch(texts)

    assert [document.tolist() for document in fast] == [document.tolist() for document in slow]


def test_control_tokens_in_a_document_stay_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.splits_special
    for each in (tokenizer, tokenizer.reference()):
        (document,) = each.encode_batch([CONTROL])
        assert not set(document[:-1].tolist()) & {0, 1, 2}
        assert make_tiny_tokenizer().decode(document[:-1].tolist()) == CONTROL


def whole_words(folder: Path) -> Path:
    """One that looks each text up in its vocabulary first, as Llama 3's does with words."""
    from tokenizers import Tokenizer as Backend
    from transformers import PreTrainedTokenizerFast

    definition = json.loads(make_tiny_tokenizer().backend_tokenizer.to_str())
    definition["model"]["ignore_merges"] = True
    definition["pre_tokenizer"]["use_regex"] = False
    backend = Backend.from_str(json.dumps(definition))
    PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>").save_pretrained(
        folder
    )
    return folder


def test_control_tokens_that_a_text_can_become_are_noticed(tmp_path: Path) -> None:
    tokenizer = Tokenizer(whole_words(tmp_path))
    assert not tokenizer.splits_special
    for each in (tokenizer, tokenizer.reference()):
        assert each.encode_batch(["<|im_end|>"])[0].tolist() == [2, 2]


def test_the_fast_tokenizer_is_compared_on_control_tokens(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that differs there alone is not used."""
    encode = Tokenizer._encode_fast

    def other(self: Tokenizer, texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        ids, offsets = encode(self, texts)
        for number, text in enumerate(texts):
            if text == "<|im_start|>":
                ids = ids.copy()
                ids[offsets[number]] = 1
        return ids, offsets

    monkeypatch.setattr(Tokenizer, "_encode_fast", other)
    assert Tokenizer(folder).name == "transformers"


def test_what_fastokens_does_not_know(tmp_path: Path) -> None:
    tokenizer = Tokenizer(unigram(tmp_path))

    assert tokenizer.name == "transformers"
    (document,) = tokenizer.encode_batch(["ab"])
    assert document.tolist()[-1] == 1


def test_other_ids_are_noticed(folder: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer(folder)
    assert tokenizer.verify(["the keeper"])
    backend = make_tiny_tokenizer().backend_tokenizer
    backend.pre_tokenizer = None  # Merges across words.
    tokenizer._fast = fastokens.Tokenizer.from_json_str(backend.to_str())

    assert not tokenizer.verify(["the keeper " * 20])
    assert tokenizer.reference().verify(["the keeper " * 20])
    assert tokenizer.reference().name == "transformers"


def test_it_travels_without_its_folder(tmp_path: Path) -> None:
    make_tiny_tokenizer().save_pretrained(tmp_path)
    tokenizer = Tokenizer(tmp_path)
    data = pickle.dumps(tokenizer)
    (tmp_path / "tokenizer.json").unlink()
    copy = pickle.loads(data)

    assert copy.name == "fastokens"
    assert copy.verify(["the keeper"])
    assert copy.encode_batch(["the keeper"])[0].tolist() == (
        tokenizer.encode_batch(["the keeper"])[0].tolist()
    )


def test_truncation_in_the_definition_does_not_cut_documents(tmp_path: Path) -> None:
    made = make_tiny_tokenizer()
    made.backend_tokenizer.enable_truncation(4)
    made.save_pretrained(tmp_path)
    tokenizer = Tokenizer(tmp_path)

    for each in (tokenizer, tokenizer.reference()):
        assert len(each.encode_batch(["the keeper counted the ships " * 4])[0]) > 20


def test_the_separator_may_be_given(folder: Path) -> None:
    tokenizer = Tokenizer(folder, "<|endoftext|>")

    assert tokenizer.encode_batch(["a"])[0].tolist()[-1] == 0


def test_a_separator_that_is_no_token(folder: Path) -> None:
    with pytest.raises(UserError, match=r"document_separator: '</s>' is not .*'<\|im_end\|>'"):
        Tokenizer(folder, "</s>")


def test_no_separator_at_all(tmp_path: Path) -> None:
    from transformers import PreTrainedTokenizerFast

    backend = make_tiny_tokenizer().backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path)

    with pytest.raises(UserError, match="document_separator: the tokenizer has no eos_token"):
        Tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds none of tokenizer\.json"):
        Tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match="holds no tokenizer that transformers can load"):
        Tokenizer(tmp_path)


def test_the_hash_is_that_of_the_files(folder: Path, tmp_path: Path) -> None:
    make_tiny_tokenizer().save_pretrained(tmp_path)
    assert tokenizer_hash(tmp_path) == tokenizer_hash(folder)
    (tmp_path / "unrelated.txt").write_text("x")
    assert tokenizer_hash(tmp_path) == tokenizer_hash(folder)
    with open(tmp_path / "tokenizer_config.json", "a") as file:
        file.write(" ")
    assert tokenizer_hash(tmp_path) != tokenizer_hash(folder)


LOADERS = [
    "from longspan.corpus.text_tokenizer import Tokenizer as Load",
    "from longspan.chat.tokenizer import ChatTokenizer; Load = ChatTokenizer.load",
]


@pytest.mark.parametrize("load", LOADERS)
def test_a_tokenizer_s_own_code_is_neither_run_nor_asked_about(tmp_path: Path, load: str) -> None:
    """The person at the terminal would say yes."""
    folder, marker = tmp_path / "tokenizer", tmp_path / "marker"
    make_tiny_tokenizer().save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": [None, "own.Own"]}}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    (folder / "own.py").write_text(
        "from transformers import PreTrainedTokenizerFast\n"
        f"open({str(marker)!r}, 'w')\n"
        "class Own(PreTrainedTokenizerFast): pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{load}; Load({str(folder)!r})"],
        input="y\n" * 9,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "HF_HOME": str(tmp_path / "hf")},
        capture_output=True,
        text=True,
    )
    assert not marker.exists()
    assert "[y/N]" not in done.stdout
    # Where transformers knows the rest of the tokenizer, it is loaded without that code.
    assert done.returncode == 0 or "UserError" in done.stderr


def test_a_file_that_is_no_tokenizer_s_by_its_size_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "tokenizer.json", "wb") as file:
        file.truncate(2**28 + 1)
    with pytest.raises(UserError, match=r"tokenizer\.json of .* has 268,435,457 bytes"):
        tokenizer_hash(tmp_path)
