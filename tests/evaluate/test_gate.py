from typing import Literal, get_args

import pytest

from longspan.evaluate.gate.judge import judge
from longspan.evaluate.gate.probes import SMOKE_TESTS
from longspan.evaluate.gate.thresholds import LOSS_ITEMS, ItemName, Thresholds
from longspan.evaluate.probes.registry import TASKS
from longspan.evaluate.results import (
    Results,
)
from longspan.evaluate.samples import Family
from tests.evaluate.gate_results import (
    ALL,
    DIFFERENCES,
    GOOD_LOSS,
    GOOD_TASKS,
    LENGTHS,
    around,
    cell,
    compared,
    difference,
    found,
    ladder,
    loss,
    own,
    results,
    rise,
    shots,
    suite,
    task,
    with_task,
    without,
)


def test_a_good_model_passes_every_item():
    verdict = judge(results(), ALL)
    assert [each.name for each in verdict.items] == list(get_args(ItemName))
    assert {each.status for each in verdict.items} == {"pass"}, verdict.items
    assert verdict.status == "pass"
    assert all(each.value is not None and each.source and each.detail for each in verdict.items)


CASES: list[tuple[ItemName, str, Results]] = [
    # Short tasks: one point for the mean, and for each suite that is certainly worse.
    (
        *("short_tasks_retained", "fail"),
        results(comparison=compared([difference("arc (acc)", -0.03, 0.005), DIFFERENCES[1]])),
    ),
    (
        *("short_tasks_retained", "fail"),
        results(
            comparison=compared(
                [difference("arc (acc)", -0.02, 0.005), difference("hellaswag (acc)", 0.05, 0)]
            )
        ),
    ),
    (
        *("short_tasks_retained", "inconclusive"),
        results(comparison=compared([difference("arc (acc)", 0, 0.05), DIFFERENCES[1]])),
    ),
    ("short_tasks_retained", "not_measured", results(suites=[])),
    ("short_tasks_retained", "not_measured", results(comparison=None)),
    ("short_tasks_retained", "not_measured", results(suites=[suite("arc", 0.5, group="long")])),
    ("short_tasks_retained", "fail", results(suites=[suite("arc", None, unanswered=2)])),
    ("short_tasks_retained", "fail", results(suites=[suite("arc", 0.5, truncated=1)])),
    (
        *("short_tasks_retained", "inconclusive"),
        results(suites=[suite("arc", 0.5), suite("piqa", 0.5)]),
    ),
    # Without samples to pair, standard errors are added as squares.
    (
        *("short_tasks_retained", "pass"),
        results(comparison=None, reference_suites=[suite("arc", 0.49), suite("hellaswag", 0.6)]),
    ),
    (
        *("short_tasks_retained", "fail"),
        results(comparison=None, reference_suites=[suite("arc", 0.6), suite("hellaswag", 0.6)]),
    ),
    (
        *("short_tasks_retained", "pass"),
        results(
            comparison=None,
            suites=[suite("ppl", 0.4, higher_is_better=False)],
            reference_suites=[suite("ppl", 0.5, higher_is_better=False)],
        ),
    ),
    (
        *("short_tasks_retained", "not_measured"),
        results(comparison=None, reference_suites=[suite("arc", 0.5, shots=5)]),
    ),
    # What was not compared in full is not judged by the rest.
    (
        *("short_tasks_retained", "inconclusive"),
        results(comparison=compared([difference("arc (acc)", 0, 0.001, 3), DIFFERENCES[1]])),
    ),
    (
        *("short_tasks_retained", "inconclusive"),
        results(reference_suites=[suite("arc", None), suite("hellaswag", 0.6)]),
    ),
    (
        *("short_tasks_retained", "inconclusive"),
        results(comparison=None, reference_suites=[suite("arc", None), suite("hellaswag", 0.6)]),
    ),
    (
        *("short_tasks_retained", "inconclusive"),
        results(suites=[suite("arc", 0.5)], reference_suites=[suite("arc", None)]),
    ),
    # Two metrics of the same questions are no two suites: with three times as many the interval would be narrow enough.
    (
        *("short_tasks_retained", "inconclusive"),
        results(
            suites=[suite("arc", 0.5, metric) for metric in ("acc", "acc_norm", "acc_bytes")],
            comparison=compared(
                [
                    difference(f"arc ({metric})", 0, 0.015)
                    for metric in ("acc", "acc_norm", "acc_bytes")
                ]
            ),
        ),
    ),
    (
        *("short_tasks_retained", "pass"),
        results(
            comparison=None,
            suites=[suite("arc", 0.5), suite("wikitext", 31.0, "word_perplexity")],
            reference_suites=[suite("arc", 0.5), suite("wikitext", 12.0, "word_perplexity")],
        ),
    ),
    (
        *("short_tasks_retained", "not_measured"),
        results(
            comparison=None,
            suites=[suite("wikitext", 0.99, "bits_per_byte")],
            reference_suites=[suite("wikitext", 1.1, "bits_per_byte")],
        ),
    ),
    # Loss at short contexts: 0.5 % at every context up to the base window.
    ("short_loss_retained", "fail", results(comparison=compared(changes=[rise(1024, 0.02)]))),
    (
        *("short_loss_retained", "inconclusive"),
        results(comparison=compared(changes=[rise(1024, 0.004, 0.002)])),
    ),
    (
        *("short_loss_retained", "pass"),
        results(comparison=compared(changes=[rise(2048, 0), rise(4096, 0.5)])),
    ),
    ("short_loss_retained", "not_measured", results(comparison=compared(changes=[rise(4096, 0)]))),
    ("short_loss_retained", "not_measured", results(comparison=None)),
    # Recall: the mean of tasks at each length.
    ("recall", "fail", with_task(task("needle", "retrieval", ladder(1, 1, 1, 0.6)))),
    ("recall", "fail", with_task(task("needle", "retrieval", ladder(0.6, 1, 1, 1)))),
    ("recall", "inconclusive", with_task(task("words", "aggregation", ladder(1, 1, 1, 0.74)))),
    (
        *("recall", "inconclusive"),
        results(tasks=[task("needle", "retrieval", ladder(1, 1, lengths=(1024, 4096)))]),
    ),
    # One length shows no range; a failure at it is one.
    (
        *("recall", "inconclusive"),
        results(tasks=[task("needle", "retrieval", ladder(1, lengths=(8192,)))]),
    ),
    (
        *("recall", "fail"),
        results(tasks=[task("needle", "retrieval", ladder(0.2, lengths=(8192,)))]),
    ),
    # The mean of some of the tasks at a length is no score of all of them.
    (
        *("recall", "inconclusive"),
        with_task(task("words", "aggregation", ladder(1, 1, 1, lengths=LENGTHS[:3]))),
    ),
    (
        *("recall", "inconclusive"),
        with_task(task("words", "aggregation", ladder(1, 1, 1, lengths=LENGTHS[1:]))),
    ),
    # Pass keys and other scales than RULER's neither count nor spoil.
    ("recall", "not_measured", results(tasks=[task("passkey", "retrieval", ladder(1, 1, 1, 1))])),
    (
        *("recall", "not_measured"),
        results(tasks=[task("first_sentence", "retrieval", ladder(1, 1, 1, 1), "rouge_l")]),
    ),
    (
        *("recall", "fail"),
        results(
            tasks=[
                task("needle", "retrieval", ladder(1, 1, 1, 0.8)),
                task("passkey", "retrieval", ladder(1, 1, 1, 1)),
                task("first_sentence", "retrieval", ladder(1, 1, 1, 1), "rouge_l"),
            ]
        ),
    ),
    (
        *("recall", "pass"),
        results(
            tasks=[
                *GOOD_TASKS,
                task("first_sentence", "retrieval", ladder(0.1, 0.1, 0.1, 0.1), "rouge_l"),
            ]
        ),
    ),
    ("recall", "not_measured", without("retrieval", "aggregation")),
    (
        *("recall", "not_measured"),
        results(tasks=[task("graph", "tracing", ladder(1, 1, 1, 1), "set_f1")]),
    ),
    # Beyond literal matching: 85 % of the own score at the shortest length.
    (
        "beyond_literal",
        "fail",
        with_task(task("places", "association", ladder(0.9, 0.9, 0.9, 0.5))),
    ),
    ("beyond_literal", "fail", with_task(task("stories", "reasoning", ladder(0.8, 0.5, 0.8, 0.8)))),
    (
        *("beyond_literal", "inconclusive"),
        with_task(task("places", "association", ladder(0.9, 0.9, 0.9, 0.77))),
    ),
    (
        *("beyond_literal", "inconclusive"),
        with_task(task("places", "association", ladder(0.1, 0.1, 0.1, 0.1))),
    ),
    ("beyond_literal", "not_measured", without("association", "reasoning")),
    # Neither family says anything about the other, but one of them can fail.
    ("beyond_literal", "inconclusive", without("association")),
    ("beyond_literal", "inconclusive", without("reasoning")),
    (
        *("beyond_literal", "inconclusive"),
        with_task(task("stories", "reasoning", ladder(0.8, lengths=(8192,)))),
    ),
    (
        *("beyond_literal", "fail"),
        results(tasks=[task("stories", "reasoning", ladder(0.8, 0.8, 0.8, 0.2))]),
    ),
    (
        *("beyond_literal", "inconclusive"),
        results(
            tasks=[
                *GOOD_TASKS,
                task("counting", "reasoning", ladder(0.8, 0.8, 0.8, lengths=LENGTHS[:3])),
            ]
        ),
    ),
    # Use of context: the whole interval above zero.
    ("context_gain", "fail", results(losses=[loss(around(-0.01, 0.005), None)])),
    ("context_gain", "fail", results(losses=[loss(around(0, 0), None)])),
    ("context_gain", "inconclusive", results(losses=[loss(around(0.01, 0.02), None)])),
    ("context_gain", "inconclusive", results(losses=[loss(around(0.05, 0.01), None, 2048)])),
    ("context_gain", "not_measured", results(losses=[loss(None, around(0.1, 0.02))])),
    ("context_gain", "not_measured", results(losses=[])),
    ("far_context_used", "fail", results(losses=[loss(None, around(-0.1, 0.02))])),
    ("far_context_used", "inconclusive", results(losses=[loss(None, around(0.01, 0.02))])),
    (
        *("far_context_used", "inconclusive"),
        results(losses=[loss(None, around(0.1, 0).model_copy(update={"method": "none"}))]),
    ),
    ("far_context_used", "not_measured", results(losses=[loss(around(0.1, 0.02), None)])),
    # From half the window to the window, the score falls by less than 5 points.
    ("no_drop_to_window", "fail", with_task(shots(0.6, 0.6, 0.6, 0.4))),
    ("no_drop_to_window", "pass", with_task(shots(0.9, 0.9, 0.6, 0.6))),
    # A fall that is certain and small passes, a wide interval around no fall does not.
    ("no_drop_to_window", "pass", with_task(shots(0.6, 0.6, 0.6, 0.585, n=20_000))),
    ("no_drop_to_window", "fail", with_task(shots(0.6, 0.6, 0.6, 0.535, n=20_000))),
    ("no_drop_to_window", "inconclusive", with_task(shots(0.6, 0.6, 0.6, 0.55, n=20_000))),
    ("no_drop_to_window", "inconclusive", with_task(shots(0.6, 0.6, 0.6, 0.6, n=200))),
    (
        *("no_drop_to_window", "inconclusive"),
        results(tasks=[shots(0.6, 0.6, lengths=(1024, 2048))]),
    ),
    ("no_drop_to_window", "not_measured", results(tasks=[shots(0.6, lengths=(8192,))])),
    ("no_drop_to_window", "not_measured", results(tasks=[shots(0.9, 0.2, lengths=(0, 8192))])),
    # One family suffices, but not one of which half the window was left out.
    ("no_drop_to_window", "pass", without("documents")),
    ("no_drop_to_window", "pass", without("many_shot")),
    ("no_drop_to_window", "inconclusive", with_task(shots(0.6, lengths=(8192,)))),
    (
        *("no_drop_to_window", "inconclusive"),
        results(
            tasks=[
                *GOOD_TASKS,
                task("sources", "many_shot", ladder(0.6, 0.6, 0.6, lengths=LENGTHS[:3])),
            ]
        ),
    ),
    # Own documents.
    ("own_documents_used", "fail", with_task(own(0.7, 0.7, 0.7, 0.1))),
    ("own_documents_used", "inconclusive", with_task(own(0.7, 0.7, 0.7, 0.17))),
    ("own_documents_used", "not_measured", results(tasks=[own(0.7, 0.7, 0.7, 0.7)])),
    ("own_documents_everywhere", "fail", with_task(own(0.7, 0.7, 0.2, 0.7))),
    ("own_documents_everywhere", "inconclusive", with_task(own(0.7, 0.7, 0.36, 0.7))),
    ("own_documents_everywhere", "not_measured", without("own_documents")),
    (
        *("own_documents_everywhere", "fail"),
        with_task(
            task("own_documents", "own_documents", [*ladder(*[0.7] * 4), cell(8192, 0.1, 0.5)])
        ),
    ),
]


@pytest.mark.parametrize(
    ("name", "status", "given"),
    CASES,
    ids=[f"{name}-{status}-{number}" for number, (name, status, _) in enumerate(CASES)],
)
def test_item(name: ItemName, status: str, given: Results):
    item = found(name, given)
    assert item.status == status, item.detail
    assert item.detail


@pytest.mark.parametrize("count", ["refused", "over_length", "unanswered"])
@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("recall", 0),
        ("beyond_literal", 2),
        ("no_drop_to_window", 4),
        ("own_documents_used", 6),
        ("own_documents_everywhere", 6),
    ],
)
def test_one_prompt_without_a_reply_fails_its_item(name: ItemName, index: int, count: str):
    good = GOOD_TASKS[index]
    *cells, last = good.cells
    faulty = last.model_copy(update={count: 1})
    item = found(name, with_task(good.model_copy(update={"cells": [*cells, faulty]})))
    assert item.status == "fail"
    assert f"{good.task} at 8,192: 1" in item.detail


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("recall", 0),
        ("beyond_literal", 2),
        ("no_drop_to_window", 4),
        ("own_documents_used", 6),
        ("own_documents_everywhere", 6),
    ],
)
def test_a_sample_that_cannot_be_made_leaves_its_item_open(name: ItemName, index: int):
    """It says nothing about the model, and the others are not all that was asked for."""
    good = GOOD_TASKS[index]
    *cells, last = good.cells
    lacking = last.model_copy(update={"unmeasurable": 1})
    item = found(name, with_task(good.model_copy(update={"cells": [*cells, lacking]})))
    assert item.status == "inconclusive"
    assert f"{good.task} at 8,192: 1 samples can't be made" in item.detail


def test_a_cell_without_any_reply_fails_and_is_not_taken_for_a_zero():
    cells = [*ladder(1, 1, 1, 1)[:3], cell(8192, None, refused=50)]
    item = found("recall", with_task(task("needle", "retrieval", cells)))
    assert item.status == "fail"
    assert item.value is None
    assert "50 refused" in item.detail
    assert "at 8,192 there is no score of needle" in item.detail


def test_replies_that_end_at_max_tokens_are_counted_but_no_fault():
    cells = [*ladder(1, 1, 1, 1)[:3], cell(8192, 1, truncated=50)]
    item = found("recall", with_task(task("needle", "retrieval", cells)))
    assert item.status == "pass"
    assert "50 replies ended at max_tokens" in item.detail


def test_lengths_beyond_the_window_do_not_count():
    unsolved = [cell(12000, 0), cell(16384, None, over_length=50)]
    beyond = [each.model_copy(update={"cells": [*each.cells, *unsolved]}) for each in GOOD_TASKS]
    assert judge(results(tasks=beyond), ALL) == judge(results(), ALL)


def test_every_recall_task_can_be_judged_by_itself():
    weak = with_task(task("words", "aggregation", ladder(0.99, 0.98, 0.95, 0.78)))
    assert found("recall", weak).status == "pass"
    assert "lowest task: words at 8,192: 0.780" in found("recall", weak).detail
    strict = found("recall", weak, Thresholds(recall_rule="every_task"))
    assert strict.status == "fail"
    assert strict.detail.startswith("worst: words at 8,192")


def test_the_worst_case_is_named_with_its_numbers():
    item = found(
        "beyond_literal", with_task(task("stories", "reasoning", ladder(0.8, 0.5, 0.3, 0.8)))
    )
    assert item.detail.startswith("worst: reasoning at 4,096: 0.300 [")
    assert item.value == pytest.approx(0.3 - 0.85 * 0.8)
    assert item.threshold == 0


def test_a_control_without_documents_is_no_task_of_documents():
    control = task("paragraphs_closed_book", "documents", [cell(0, 0.05)])
    assert judge(results(tasks=[*GOOD_TASKS, control]), ALL) == judge(results(), ALL)


def test_a_failed_item_fails_the_verdict_even_beside_inconclusive_ones():
    verdict = judge(
        results(losses=[loss(around(-0.01, 0.005), around(0.01, 0.02))]),
        ALL,
    )
    assert {"fail", "inconclusive"} <= {each.status for each in verdict.items}
    assert verdict.status == "fail"


def test_an_inconclusive_item_makes_the_verdict_so():
    verdict = judge(results(losses=[loss(around(0.01, 0.02), GOOD_LOSS.far_swap)]), ALL)
    assert verdict.status == "inconclusive"


@pytest.mark.parametrize(("required", "status"), [(True, "inconclusive"), (False, "pass")])
def test_only_a_required_item_must_be_measured(required: bool, status: str):
    names = [name for name in get_args(ItemName) if required or not name.startswith("own_")]
    verdict = judge(without("own_documents"), Thresholds(required=names))
    assert verdict.status == status
    item = found("own_documents_used", without("own_documents"), Thresholds(required=names))
    assert item.detail.startswith("required, but not measured") == required


@pytest.mark.parametrize(
    "required",
    [[], sorted(LOSS_ITEMS)],
    ids=["none", "losses"],
)
def test_losses_alone_are_never_sufficient(required: list[ItemName]):
    verdict = judge(results(tasks=[], suites=[]), Thresholds(required=required))
    assert {each.status for each in verdict.items if each.name in LOSS_ITEMS} == {"pass"}
    assert verdict.status == "inconclusive"
    assert verdict.items[-1].name == "more_than_loss"


def test_nothing_measured_is_inconclusive():
    nothing = results(tasks=[], suites=[], losses=[], comparison=None)
    assert judge(nothing, Thresholds(required=[])).status == "inconclusive"


@pytest.mark.parametrize(
    ("name", "stricter"),
    [
        ("recall", 0.9999),
        ("short_loss", 0.0),
        ("short_tasks", 0.0),
        ("base_share", 1.0),
        ("base_score", 0.95),
        ("closed_book_margin", 0.65),
        ("collapse_share", 0.99),
        ("drop_margin", 0.001),
    ],
)
def test_each_threshold_is_used(name: str, stricter: float):
    thresholds = Thresholds.model_validate({"required": ALL.required, name: stricter})
    assert judge(results(), thresholds).status != "pass"


def test_recall_names_the_tasks_that_it_is_made_of():
    others = [
        task("passkey", "retrieval", ladder(1, 1, 1, 1)),
        task("first_sentence", "retrieval", ladder(1, 1, 1, 1), "rouge_l"),
    ]
    item = found("recall", results(tasks=[*others, *GOOD_TASKS]))
    assert "tasks: needle, words" in item.detail.split("; ")


def test_tasks_that_do_not_count_for_recall_are_probes():
    assert set(TASKS) >= SMOKE_TESTS


@pytest.mark.parametrize("rule", ["mean", "every_task"])
def test_a_task_that_a_length_lacks_is_named(rule: Literal["mean", "every_task"]):
    lacking = with_task(task("words", "aggregation", ladder(1, 1, 1, lengths=LENGTHS[:3])))
    item = found("recall", lacking, Thresholds(recall_rule=rule))
    assert item.status == "inconclusive"
    assert "at 8,192 there is no score of words: leave the length out" in item.detail


def test_each_task_can_fail_at_a_length_that_lacks_another():
    tasks = [
        task("needle", "retrieval", ladder(1, 1, 1, 0.5)),
        task("words", "aggregation", ladder(1, 1, 1, lengths=LENGTHS[:3])),
    ]
    item = found("recall", results(tasks=tasks), Thresholds(recall_rule="every_task"))
    assert item.status == "fail"
    assert item.detail.startswith("worst: needle at 8,192") and "no score of words" in item.detail


@pytest.mark.parametrize(
    ("name", "family", "stated"),
    [
        ("beyond_literal", "association", "association: not measured"),
        ("beyond_literal", "reasoning", "reasoning: not measured"),
        ("no_drop_to_window", "documents", "documents: not measured"),
        ("no_drop_to_window", "many_shot", "many_shot: not measured"),
    ],
)
def test_a_family_that_was_not_measured_is_named(name: ItemName, family: Family, stated: str):
    assert stated in found(name, without(family)).detail.split("; ")


def test_a_length_that_a_family_lacks_is_named():
    one_length = with_task(task("stories", "reasoning", ladder(0.8, lengths=(8192,))))
    assert "reasoning: one length only" in found("beyond_literal", one_length).detail
    item = found("no_drop_to_window", with_task(shots(0.6, lengths=(8192,))))
    assert "many_shot: no score at half the window" in item.detail


def test_of_several_metrics_of_a_task_the_first_counts():
    two = [suite("arc", 0.5, "acc"), suite("arc", 0.4, "acc_norm"), suite("hellaswag", 0.6)]
    item = found("short_tasks_retained", results(suites=two))
    assert item.status == "pass"
    assert item.detail.startswith("worst: mean change of 2 suites")
    assert "not counted (suites.tasks.metrics chooses): arc (acc_norm) beside acc" in item.detail


def test_metrics_of_another_scale_are_skipped_and_named():
    other = [suite("wikitext", 31.0, "word_perplexity", higher_is_better=False)]
    differences = [*DIFFERENCES, difference("wikitext (word_perplexity)", 19.0, 0.1)]
    given = results(
        suites=[suite("arc", 0.5), *other],
        comparison=compared(differences),
        reference_suites=[suite("arc", 0.5), *other],
    )
    item = found("short_tasks_retained", given)
    assert item.status == "pass"
    assert "no shares in [0, 1], not counted: wikitext (word_perplexity)" in item.detail
    alone = found("short_tasks_retained", given.model_copy(update={"suites": other}))
    assert alone.status == "not_measured"
    assert "wikitext (word_perplexity)" in alone.detail


def test_questions_that_were_not_compared_are_stated():
    left_out = compared([difference("arc (acc)", 0, 0.001, 3), DIFFERENCES[1]])
    item = found("short_tasks_retained", results(comparison=left_out))
    assert "arc (acc): 3 questions without a score of both models" in item.detail
    invalid = results(reference_suites=[suite("arc", None), suite("hellaswag", 0.6)])
    assert "arc (acc): no value of the reference" in found("short_tasks_retained", invalid).detail


@pytest.mark.parametrize("name", ["short_loss_retained", "context_gain", "far_context_used"])
def test_documents_shorter_than_the_window_are_the_stated_reason(name: ItemName):
    shorter = loss(None, None, too_short=64).model_copy(update={"by_context": []})
    item = found(name, results(losses=[shorter], comparison=compared(DIFFERENCES)))
    assert item.status == "not_measured"
    assert "no document has the 8,192 tokens of the window; all 64 are shorter" in item.detail


def test_documents_left_out_of_losses_by_context_are_counted():
    some = loss(GOOD_LOSS.last_doubling_gain, GOOD_LOSS.far_swap, too_short=7)
    for name in ("context_gain", "far_context_used"):
        item = found(name, results(losses=[some]))
        assert item.status == "pass"
        assert item.detail.endswith("documents shorter than the window are left out: 7")


def test_with_long_documents_their_length_is_no_reason():
    one_document = results(losses=[loss(GOOD_LOSS.last_doubling_gain, None, too_short=7)])
    assert "no document has" not in found("far_context_used", one_document).detail
