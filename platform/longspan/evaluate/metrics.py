"""Scores of replies: one function for each `Scoring`, and the SQuAD measures they share with the suites."""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Sequence, Set
from functools import cache
from typing import TYPE_CHECKING, assert_never

from longspan.evaluate.samples import Scoring

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer

PUNCTUATION = str.maketrans("", "", string.punctuation)


def score(scoring: Scoring, reply: str, references: Sequence[str]) -> float:
    """Return the score of a reply, in [0, 1].

    Args:
        scoring: how to compare.
        reply: text of the answer, as generated.
        references: right answers; for `one_of_labels` the right label first, then all others; for `set_f1` the
            members of the set, which may be none.

    Raises:
        ValueError: there are no references.
    """
    if not references and scoring != "set_f1":
        raise ValueError(f"{scoring}: a sample without references cannot be scored")
    match scoring:
        case "contains_all":
            return contains_all(reply, references)
        case "contains_any":
            return contains_any(reply, references)
        case "exact":
            return exact_match(reply, references)
        case "f1":
            return token_f1(reply, references)
        case "rouge_l":
            return rouge_l(reply, references)
        case "label":
            return first_label(reply, references[0])
        case "one_of_labels":
            return one_of_labels(reply, references[0], references[1:])
        case "set_f1":
            return set_f1(last_list(reply), frozenset(references))
        case _:
            assert_never(scoring)


def contains_all(reply: str, references: Sequence[str]) -> float:
    """Share of the references that occur in the reply, in lower case (RULER: `string_match_all`)."""
    found = [reference.lower() in reply.lower() for reference in references]
    return sum(found) / len(found)


def contains_any(reply: str, references: Sequence[str]) -> float:
    """Whether one of the references occurs in the reply, in lower case (RULER: `string_match_part`)."""
    return float(any(reference.lower() in reply.lower() for reference in references))


def exact_match(reply: str, references: Sequence[str], ascii_only: bool = False) -> float:
    """Whether the normalized reply equals a normalized reference (SQuAD, SCROLLS: EM)."""
    given = squad_normalized(reply, ascii_only)
    return float(any(given == squad_normalized(each, ascii_only) for each in references))


def token_f1(reply: str, references: Sequence[str], ascii_only: bool = False) -> float:
    """Bag-of-words F1 with the best reference, after normalization (SQuAD, SCROLLS: F1).

    If the reply or a reference has no words, F1 with that reference is 1 if neither has any, else 0 (SQuAD 2.0).
    """
    given = squad_normalized(reply, ascii_only).split()
    return max(_bag_f1(given, squad_normalized(each, ascii_only).split()) for each in references)


def _bag_f1(given: Sequence[str], right: Sequence[str]) -> float:
    if not given or not right:
        return float(not given and not right)
    common = (Counter(given) & Counter(right)).total()
    return 2 * common / (len(given) + len(right))


def squad_normalized(text: str, ascii_only: bool = False) -> str:
    """Lower case, without punctuation and the words a, an, the, with single blanks (SQuAD v1.1).

    Args:
        text: any.
        ascii_only: reduce it to ASCII first, as ZeroSCROLLS does. Characters are decomposed (Unicode NFKD) and
            what is not ASCII then is dropped. ZeroSCROLLS transliterates with `unidecode`, whose licence is GPL:
            results differ for letters without a decomposition (ø, ß) and for other scripts.
    """
    if ascii_only:
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = text.lower().translate(PUNCTUATION)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", text).split())


def rouge_l(reply: str, references: Sequence[str]) -> float:
    """ROUGE-L F with the best reference, without stemming.

    Words are those of `rouge_score` in ASCII text. In other text they are runs of letters and digits of any script,
    and single characters where a script does not separate words; `rouge_score` itself drops all of them.
    """
    scorer = _rouge_l_scorer()
    return max(float(scorer.score(each, reply)["rougeL"].fmeasure) for each in references)


@cache
def _rouge_l_scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import Tokenizer

    class Words(Tokenizer):
        """Splits a text into words of any script."""

        def tokenize(self, text: str) -> list[str]:
            return words(text)

    return RougeScorer(["rougeL"], use_stemmer=False, tokenizer=Words())


def words(text: str) -> list[str]:
    """Words of a text in lower case; single characters of Chinese, Japanese, and scripts of Southeast Asia."""
    return re.findall(
        r"[\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]|[^\W_]+", text.lower()
    )


def first_label(reply: str, reference: str) -> float:
    """Whether the first integer of the reply is the reference, or for other labels, its first words are.

    A heading such as "Label:" or "Answer:" before the label is skipped.
    """
    if reference.strip().isdecimal():
        number = re.search(r"\d+", reply)
        return float(number is not None and int(number.group()) == int(reference))
    reply = re.sub(r"^\s*(?:label|answer)\s*:", "", reply, flags=re.IGNORECASE)
    return float(_starts_with_words(words(reply), words(reference)))


def _starts_with_words(text: Sequence[str], beginning: Sequence[str]) -> bool:
    return bool(beginning) and list(text[: len(beginning)]) == list(beginning)


def one_of_labels(reply: str, right: str, others: Sequence[str]) -> float:
    """Whether the first sentence of the reply names the right label and no other (BABILong).

    Labels are compared in lower case and as whole words. Text from the word "question" on, which models that
    complete a text add, is ignored.
    """
    answer = re.split(r"\.|\bquestion\b", reply.lower(), maxsplit=1)[0]
    return float(_names(answer, right) and not any(_names(answer, each) for each in others))


def _names(text: str, label: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(label.lower())}(?!\w)", text) is not None


def last_list(reply: str) -> frozenset[str] | None:
    """Items of the last list in brackets, without quotes; None if there is none.

    The list may lack its first bracket where the reply begins: then that was part of the prompt.
    """
    lists = re.findall(r"(?:\[|\A)([^\[\]]*)\]", reply)
    if not lists:
        return None
    items = (item.strip().strip("'\"`").strip() for item in lists[-1].split(","))
    return frozenset(item for item in items if item)


def set_f1(given: Set[str] | None, right: Set[str]) -> float:
    """F1 of two sets (Graphwalks); 1 if both are empty, 0 if none was given."""
    if given is None:
        return 0.0
    if not given and not right:
        return 1.0
    return 2 * len(given & right) / (len(given) + len(right))
