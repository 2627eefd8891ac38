"""Own tasks: prompts and scores are those of the benchmarks' papers."""

import json

import pytest

from longspan.errors import UserError
from longspan.evaluate.suites.run import run_suites
from tests.evaluate.isolation import require_sandbox
from tests.evaluate.suites.made_suites import answering, put, replies, scrolls, suite, values


def test_scrolls_prompts_and_scores_are_the_papers(tokenizer, workspace):
    put(workspace, "data/paper_narrative_qa/validation.jsonl", scrolls(4))
    put(workspace, "data/paper_qmsum/validation.jsonl", scrolls(4))
    put(workspace, "data/paper_qmsum/train.jsonl", scrolls(20))
    model = answering(tokenizer, lambda prompt: " answer 2\nmore", window=10**6)
    tasks = suite("paper_narrative_qa", "paper_qmsum")
    run = run_suites([tasks], model, workspace)
    first = min(replies(model).prompts, key=len)
    assert first.startswith("Document 0 is long.\n\nIt says a lot. Q: What is ")
    assert first.endswith("?, A:")
    found = values(run)
    # "answer 2" against "answer n": 1 where n is 2, else one word of two in common.
    assert found["paper_narrative_qa", "f1"] == pytest.approx((1 + 3 * 0.5) / 4)
    assert {metric for task, metric in found if task == "paper_qmsum"} == {
        *("rouge_1", "rouge_2", "rouge_l", "rouge_geo_per_reply", "rouge_geo_of_means")
    }
    of_means, per_reply = (
        found["paper_qmsum", f"rouge_geo_{name}"] for name in ("of_means", "per_reply")
    )
    assert of_means is not None and per_reply is not None
    assert of_means > per_reply
    clusters = {sample.cluster for sample in run.samples if sample.task == "paper_narrative_qa"}
    assert len(clusters) == 2
    assert run.results[0].shots == 0
    assert next(r for r in run.results if r.task == "paper_qmsum").shots == 1


def test_quality_options_are_part_of_the_question(tokenizer, workspace):
    text = "Who came?\n\n (A) Anna\n (B) Ben\n (C) Cleo\n (D) Dan\n\nBen came.\n\nNobody else."
    put(
        workspace,
        "data/paper_quality/validation.jsonl",
        [{"id": "1", "input": text, "output": "Ben"}],
    )
    model = answering(tokenizer, lambda prompt: " ben.", window=10**6)
    run = run_suites([suite({"task": "paper_quality", "shots": 0})], model, workspace)
    assert replies(model).prompts == [
        "Ben came.\n\nNobody else. Q: Who came?\n\n (A) Anna\n (B) Ben\n (C) Cleo\n (D) Dan, A:"
    ]
    assert values(run) == {("paper_quality", "exact_match"): 1.0}


def test_zero_scrolls_documents_are_shortened_at_their_end(tokenizer, workspace):
    head, document, query = "Read this.\n\n", "tide " * 200 + "LAST", "\n\nQuestion: how many?\n"
    row = {
        "id": "1",
        "input": head + document + query,
        "output": "40%",
        "document_start_index": len(head),
        "document_end_index": len(head) + len(document),
        "truncation_seperator": "... [cut]",
    }
    put(workspace, "data/zero_scrolls_space_digest/validation.jsonl", [row])
    model = answering(tokenizer, lambda prompt: "It is 50%.", window=10**6)
    task = {
        "task": "zero_scrolls_space_digest",
        "truncate_prompt": {"side": "document", "tokens": 100},
    }
    run = run_suites([suite(task)], model, workspace)
    (prompt,) = replies(model).prompts
    assert prompt.startswith(head + "tide tide")
    assert prompt.endswith("... [cut]" + query)
    assert 95 <= len(replies(model).asked[0].prompt_ids) <= 100
    assert list(values(run).values()) == [pytest.approx(0.5)]
    assert run.results[0].truncated == 1


def test_leval_gives_a_quarter_for_a_part_of_the_right_letters(tokenizer, workspace):
    row = {"input": "A long course.", "instructions": ["Which?", "And?"], "outputs": ["AC", "B"]}
    put(workspace, "data/leval_letters/test.jsonl", [row])
    run = run_suites([suite("leval_letters")], answering(tokenizer, lambda prompt: " A"), workspace)
    assert [sample.score for sample in run.samples] == [0.25, 0.0]
    assert len({sample.cluster for sample in run.samples}) == 1


def test_bold_reports_sentiment_by_domain_and_category(tokenizer, workspace):
    prompts = {
        "American_actors": {"A B": ["A B is ", "A B was "]},
        "American_actresses": {"C D": ["C D is "]},
    }
    path = "data/bold/test/gender_prompt.json"
    workspace.store.write_bytes(path, json.dumps(prompts).encode())
    model = answering(
        tokenizer, lambda prompt: " a wonderful person." if "A B" in prompt else " terrible."
    )
    found = values(run_suites([suite("bold")], model, workspace))
    good = found["bold", "sentiment/gender/American_actors"]
    bad = found["bold", "sentiment/gender/American_actresses"]
    assert good is not None and bad is not None
    assert bad < 0 < good
    assert found["bold", "sentiment"] == pytest.approx((2 * good + bad) / 3)


def test_code_is_run_only_if_the_recipe_allows_it_and_counts_what_passes(tokenizer, workspace):
    problem = {
        "prompt": "def twice(x):\n",
        "entry_point": "twice",
        "test": "def check(f):\n    assert f(2) == 4\n",
    }
    put(
        workspace,
        "data/humaneval_sandboxed/test.jsonl",
        [problem, problem | {"prompt": "def twice(x):\n    x += 1\n"}],
    )
    model = answering(tokenizer, lambda prompt: "    return 2 * x", window=10**6)
    with pytest.raises(
        UserError, match=r"allow_code_execution: task 'humaneval_sandboxed' runs programs"
    ):
        run_suites([suite("humaneval_sandboxed")], model, workspace)
    run = run_suites([suite("humaneval_sandboxed", allow_code_execution=True)], model, workspace)
    assert [sample.score for sample in run.samples] == [1.0, 0.0]


def test_mbpp_shows_three_solved_problems(tokenizer, workspace):
    require_sandbox()
    rows = [
        {
            "task_id": n,
            "text": f"Write {n}.",
            "code": f"def f{n}(): return {n}",
            "test_list": [f"assert f{n}() == {n}"] * 3,
        }
        for n in range(1, 12)
    ]
    put(workspace, "data/mbpp_sandboxed/prompt.jsonl", rows[:10])
    put(workspace, "data/mbpp_sandboxed/test.jsonl", rows[10:])
    model = answering(tokenizer, lambda prompt: "def f11(): return 11\n[DONE] x", window=10**6)
    run = run_suites([suite("mbpp_sandboxed", allow_code_execution=True)], model, workspace)
    (prompt,) = replies(model).prompts
    assert [f"Write {n}." in prompt for n in range(1, 12)] == [
        n in (2, 3, 4, 11) for n in range(1, 12)
    ]
    assert prompt.count("[DONE]") == 3
    assert [sample.score for sample in run.samples] == [1.0]
