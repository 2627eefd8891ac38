"""Suites over the harness: local files, no network, no silent cut, and the numbers of the harness' own backend."""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest

from longspan.errors import UserError
from longspan.evaluate.scoring.batches import score_all
from longspan.evaluate.scoring.requests import Request as ScoreRequest
from longspan.evaluate.scoring.requests import Score, Texts
from longspan.evaluate.scoring.scorer import Scorer
from longspan.evaluate.suites.checks import check_suites
from longspan.evaluate.suites.library import OWN, Library
from longspan.evaluate.suites.load import Workspace, load_suites
from longspan.evaluate.suites.model import SuiteModel
from longspan.evaluate.suites.presets import preset_tasks
from longspan.evaluate.suites.run import SuiteRun, run_suites, run_tasks
from longspan.evaluate.suites.schema import Preset, PromptCut, Suite
from longspan.evaluate.suites.settings import settings_over
from longspan.generate.generators import InProcessGenerator
from longspan.generate.requests import Reply, Request
from longspan.storage import Store
from tests.evaluate.isolation import require_sandbox
from tests.tiny import make_tiny_model

WINDOW = 256

CHOICE_TASK = """
task: ships
dataset_path: json
validation_split: validation
training_split: train
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_target: "{{answer}}"
doc_to_choice: options
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 3}
"""
TEXT_TASK = """
task: pages
dataset_path: json
validation_split: validation
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {do_sample: false, max_gen_toks: 12, until: ["\\n", "e"]}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
"""
ROLLING_TASK = """
task: prose
dataset_path: json
validation_split: validation
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""


@dataclass
class InProcessScoring:
    """Scores in this process, without keeping anything."""

    scorer: Scorer
    asked: int = 0

    def score(
        self, requests: Sequence[ScoreRequest], texts: Texts, name: str
    ) -> Mapping[str, Score]:
        self.asked += len(requests)
        return score_all(self.scorer, requests, texts)


@dataclass
class Replies:
    """Answers with a function of the prompt's text; keeps what it was asked."""

    tokenizer: Any
    answer: Callable[[str], str]
    asked: list[Request] = field(default_factory=list)

    def respond(self, request: Request) -> Reply:
        self.asked.append(request)
        text = self.answer(self.tokenizer.decode(request.prompt_ids))
        return Reply(request.id, request.carry, text, "stop", len(request.prompt_ids), 1)

    @property
    def prompts(self) -> list[str]:
        return [self.tokenizer.decode(request.prompt_ids) for request in self.asked]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model"), WINDOW, tied=False)


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    # The window is the suite's to heed.
    return Scorer.load(folder, "fp32", allow_beyond_window=True)


@pytest.fixture(scope="module")
def all_tasks() -> Any:
    """The harness' own tasks too, whose index takes seconds."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=OWN, include_defaults=True)


@pytest.fixture
def harness(all_tasks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Library, "_all", all_tasks)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError(f"a connection was tried: {arguments[-1]}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    store = Store(str(tmp_path / "store"))
    for task in (CHOICE_TASK, TEXT_TASK, ROLLING_TASK):
        name = task.split()[1]
        store.write_bytes(f"tasks/{name}.yaml", task.encode())
    return Workspace(store, tmp_path / "local", lambda line: None)


def put(workspace: Workspace, path: str, rows: Sequence[Any]) -> None:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    workspace.store.write_bytes(path, text.encode())


def ships(number: int) -> list[dict[str, Any]]:
    words = ["storm", "harvest", "letter", "book of names", "tide"]
    return [
        {
            "question": f"Which of them carried number {at}, and what did the {words[at % 5]} say?",
            "options": [f"the {words[(at + shift) % 5]} of {shift}" for shift in range(2 + at % 3)],
            "answer": at % 2,
        }
        for at in range(number)
    ]


def suite(*tasks: Any, **settings: Any) -> Suite:
    values = {"name": "own", "tasks": list(tasks), "data": "data", "include": ["tasks"]}
    return Suite.model_validate(values | settings)


@pytest.fixture
def scored(tokenizer: Any, scorer: Scorer) -> SuiteModel:
    return SuiteModel("tiny", WINDOW, tokenizer, InProcessScoring(scorer))


def answering(tokenizer: Any, answer: Callable[[str], str], **settings: Any) -> SuiteModel:
    """A model that replies with a function of the prompt."""
    model = SuiteModel(
        "fake", WINDOW, tokenizer, None, InProcessGenerator(Replies(tokenizer, answer))
    )
    return replace(model, **settings)


def replies(model: SuiteModel) -> Replies:
    assert isinstance(model.generator, InProcessGenerator)
    assert isinstance(model.generator.responder, Replies)
    return model.generator.responder


def values(run: SuiteRun) -> dict[tuple[str, str], float | None]:
    """Values by task and metric."""
    return {(result.task, result.metric): result.value for result in run.results}


def of_harness(name: str, rows: Sequence[Any], folder: Path, tmp_path: Path) -> dict[str, Any]:
    """What the harness' own backend finds on the same rows."""
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    written = tmp_path / "harness.yaml"
    arguments = {"data_files": {"validation": str(data)}, "cache_dir": str(tmp_path / "cache")}
    source = tmp_path / "store" / "tasks" / f"{name}.yaml"
    written.write_text(
        f"include: {source}\ntask: {name}\ntraining_split: null\nnum_fewshot: 0\n"
        f"dataset_kwargs: {json.dumps(arguments)}\n"
    )
    lm = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
        batch_size=1,
    )
    loaded = TaskManager(include_defaults=False).load([str(written)])
    found = evaluate(lm, loaded, bootstrap_iters=0)
    assert found is not None
    return found


def test_likelihoods_are_those_of_the_harness_own_backend(scored, workspace, folder, tmp_path):
    rows = ships(12)
    put(workspace, "data/ships/validation.jsonl", rows)
    ours = run_suites([suite("ships")], scored, workspace)
    theirs = of_harness("ships", rows, folder, tmp_path)["results"]["ships"]
    assert values(ours) == {
        ("ships", metric): pytest.approx(theirs[f"{metric},none"], abs=1e-9)
        for metric in ("acc", "acc_norm")
    }
    assert 0 < theirs["acc,none"] < 1


def test_each_likelihood_is_that_of_the_harness_own_backend(scored, workspace, folder):
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM
    from transformers import AutoModelForCausalLM

    from longspan.evaluate.suites.answers import Answers
    from longspan.evaluate.suites.language_model import LanguageModel
    from longspan.evaluate.suites.prompts import PromptEncoder

    pairs = [
        ("The keeper counted", " the ships"),
        ("The keeper counted", " them"),
        ("The keeper counted  ", "the ships that passed"),
        ("", "A longer memory"),
        ("<|im_start|>user\n", "Which ship came first?"),
    ]
    requests = [
        Instance("loglikelihood", {}, pair, 0, ("t", number, 1))
        for number, pair in enumerate(pairs)
    ]
    whole = [
        Instance("loglikelihood_rolling", {}, ("She wrote their names. " * 20,), 0, ("t", 9, 1))
    ]
    hf = HFLM(
        pretrained=AutoModelForCausalLM.from_pretrained(folder),
        tokenizer=scored.tokenizer,
        device="cpu",
        batch_size=1,
    )
    answers = Answers(scored)
    ours = LanguageModel(answers, PromptEncoder(scored.tokenizer), {})
    ours.gather([*requests, *whole])
    answers.ask(workspace.store, print)
    for mine, theirs in zip(
        ours.loglikelihood(requests), hf.loglikelihood(requests, disable_tqdm=True), strict=True
    ):
        assert mine == (pytest.approx(theirs[0], rel=1e-6), theirs[1])
    assert ours.loglikelihood_rolling(whole) == pytest.approx(
        hf.loglikelihood_rolling(whole, disable_tqdm=True), rel=1e-5
    )


def test_replies_are_cut_as_the_harness_own_backend_cuts_them(
    tokenizer, workspace, folder, tmp_path
):
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder)

    def generate(prompt: str) -> str:
        ids = torch.tensor([tokenizer.encode(prompt)])
        out = model.generate(ids, max_new_tokens=12, do_sample=False)
        return tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True)

    rows = [{"question": row["question"], "answer": "x"} for row in ships(6)]
    put(workspace, "data/pages/validation.jsonl", rows)
    ours = run_suites([suite("pages")], answering(tokenizer, generate), workspace)
    theirs = of_harness("pages", rows, folder, tmp_path)["samples"]["pages"]
    assert [sample.reply for sample in ours.samples] == [
        each["filtered_resps"][0] for each in theirs
    ]
    assert len({sample.reply for sample in ours.samples}) > 1


def test_what_was_answered_is_not_asked_again_and_models_do_not_share_answers(tokenizer, workspace):
    put(
        workspace,
        "data/pages/validation.jsonl",
        [{"question": f"q {n}", "answer": "yes"} for n in range(5)],
    )
    first = answering(tokenizer, lambda prompt: "yes")
    assert values(run_suites([suite("pages")], first, workspace)) == {("pages", "exact_match"): 0.0}
    # "yes" ends at its "e".
    again = answering(tokenizer, lambda prompt: "y")
    assert values(run_suites([suite("pages")], again, workspace)) == {("pages", "exact_match"): 0.0}
    assert (len(replies(first).asked), len(replies(again).asked)) == (5, 0)
    other = answering(tokenizer, lambda prompt: "no", identity="other")
    run_suites([suite("pages")], other, workspace)
    assert len(replies(other).asked) == 5


def test_a_longer_prompt_than_the_window_is_refused_and_makes_the_result_invalid(
    tokenizer, scored, workspace
):
    long = {"question": "tide " * 300, "answer": "0", "options": ["a", "b"]}
    put(workspace, "data/pages/validation.jsonl", [{"question": "short", "answer": "y"}, long])
    put(workspace, "data/ships/validation.jsonl", [ships(1)[0], long | {"answer": 0}])
    model = answering(tokenizer, lambda prompt: "y", scoring=scored.scoring)
    run = run_suites([suite("pages", "ships")], model, workspace)
    assert set(values(run).values()) == {None}
    assert {result.over_length for result in run.results} == {1}
    assert len(replies(model).asked) == 1
    scores = {sample.score for sample in run.samples if sample.problem}
    assert scores == {None}
    assert all(
        sample.problem.startswith("over_length: ") for sample in run.samples if sample.problem
    )


def test_a_prompt_is_cut_at_its_left_only_where_asked_and_cuts_are_counted(tokenizer, workspace):
    rows = [
        {"question": "tide " * 300 + "END", "answer": "y"},
        {"question": "short", "answer": "y"},
    ]
    put(workspace, "data/pages/validation.jsonl", rows)
    model = answering(tokenizer, lambda prompt: "y")
    task = {"task": "pages", "truncate_prompt": {"tokens": 64}}
    run = run_suites([suite(task)], model, workspace)
    assert values(run) == {("pages", "exact_match"): 1.0}
    assert run.results[0].truncated == 1
    assert run.results[0].prompt_cut == PromptCut(side="left", tokens=64)
    assert [sample.is_prompt_truncated for sample in run.samples] == [True, False]
    lengths = [len(request.prompt_ids) for request in replies(model).asked]
    assert max(lengths) == 64
    assert replies(model).prompts[0].endswith("END")


def test_the_first_questions_are_the_same_whatever_the_limit_and_the_other_tasks(
    tokenizer, workspace
):
    rows = ships(10)
    put(
        workspace,
        "data/pages/validation.jsonl",
        [{"question": r["question"], "answer": "y"} for r in rows],
    )
    put(workspace, "data/paper_qasper/validation.jsonl", scrolls(8))
    put(workspace, "data/paper_qasper/train.jsonl", scrolls(20))

    def prompts(*tasks: Any) -> tuple[set[str], list[int | None]]:
        model = answering(tokenizer, lambda prompt: "y", identity=repr(tasks), window=10**6)
        run = run_suites([suite(*tasks)], model, workspace)
        asked = {prompt for prompt in replies(model).prompts if "Q:" in prompt}
        return asked, [result.limit for result in run.results]

    few, limits = prompts({"task": "paper_qasper", "limit": 3})
    assert len(few) == 3 and limits == [3]
    # A limit that leaves nothing out is none.
    more, limits = prompts("pages", {"task": "paper_qasper", "limit": 8})
    assert few < more and limits == [None, None]


def scrolls(number: int) -> list[dict[str, Any]]:
    """Two references for each of some questions, two questions on each document."""
    return [
        {
            "id": f"q{at}",
            "pid": f"q{at}_{reference}",
            "input": f"What is {at}?\n\nDocument {at // 2} is long.\n\nIt says a lot.",
            "output": f"The answer {at}" if reference else "something else",
        }
        for at in range(number)
        for reference in range(2)
    ]


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


def test_a_chat_model_gets_turns_of_its_template_and_one_bos(tokenizer, workspace):
    put(workspace, "data/paper_qasper/validation.jsonl", scrolls(2))
    put(workspace, "data/paper_qasper/train.jsonl", scrolls(20))
    model = answering(tokenizer, lambda prompt: "The answer 0", window=10**6, chat=True)
    run_suites([suite({"task": "paper_qasper", "limit": 1})], model, workspace)
    (request,) = replies(model).asked
    prompt = tokenizer.decode(request.prompt_ids)
    assert prompt.startswith("<|im_start|>user\nDocument ")
    assert prompt.count("<|im_start|>") == 6
    assert prompt.endswith("Q: What is 0?, A:<|im_end|>\n<|im_start|>assistant\n")


def test_repeated_draws_are_different_prompts_and_greedy_ones_are_not(tokenizer, workspace):
    put(workspace, "data/pages/validation.jsonl", [{"question": "Which?", "answer": "y"}])
    for options, asked in (("do_sample: false", 1), ("do_sample: true, temperature: 0.9", 3)):
        drawn = TEXT_TASK.replace("do_sample: false", options) + "repeats: 3\n"
        workspace.store.write_bytes("tasks/pages.yaml", drawn.encode())
        model = answering(tokenizer, lambda prompt: "y", identity=options)
        run_suites([suite("pages")], model, workspace)
        assert len({request.seed for request in replies(model).asked}) == asked
        assert len(replies(model).asked) == asked


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": [{"task": "ships", "metrics": ["f1"]}]}, r"no metric 'f1'; it has acc"),
        ({"tasks": ["ships"], "data": "nowhere"}, r"suites.data: .*nowhere/ships has no data"),
        (
            {"tasks": [{"task": "ships", "files": {"test": "data/ships/validation.jsonl"}}]},
            r"needs its split 'validation'",
        ),
        ({"tasks": [{"task": "ships", "shots": 2}]}, r"needs its split 'train'"),
        (
            {"tasks": [{"task": "pages", "files": {"validation": "nothing.jsonl"}}]},
            r"nothing.jsonl does not exist",
        ),
        (
            {"preset": "paper-long", "without": ["ships"]},
            r"'ships' is no task of preset 'paper-long'",
        ),
        ({"tasks": [{"task": "ships", "max_tokens": 3}]}, r"'ships' generates nothing"),
        (
            {"tasks": [{"task": "prose", "truncate_prompt": {"tokens": 9}}]},
            r"task 'prose' has no prompts",
        ),
        ({"tasks": ["ships", "pages"]}, r"suites.data: .*data/pages has no data"),
        (
            {"include": ["nowhere"], "tasks": ["ships"]},
            r"suites.include: .*nowhere is not a folder",
        ),
    ],
    ids=[
        *("metric", "data", "split", "examples", "file", "without", "max-tokens", "no-prompts"),
        *("second-task", "include"),
    ],
)
def test_mistakes_are_named_before_anything_is_asked(scored, workspace, settings, message):
    put(workspace, "data/ships/validation.jsonl", ships(4))
    put(workspace, "data/prose/validation.jsonl", [{"text": "A tide."}])
    with pytest.raises(UserError, match=message):
        run_suites([suite(**settings)], scored, workspace)
    assert scored.scoring.asked == 0
    # Without data being read, as before a job starts.
    with pytest.raises(UserError, match=message):
        check_suites([suite(**settings)], workspace.store, workspace.folder, likelihoods=True)


def test_an_unknown_task_is_named_with_the_closest_ones(workspace, tmp_path):
    library = Library((tmp_path / "store" / "tasks",), tmp_path)
    # The harness' own tasks, whose index takes seconds.
    library.__dict__["_all"] = library._ours
    with pytest.raises(UserError, match=r"no task 'shipz'; did you mean ships\?"):
        library.leaves("shipz")


def test_examples_are_not_taken_from_the_questions(scored, workspace):
    leaking = CHOICE_TASK.replace("training_split: train", "fewshot_split: validation")
    workspace.store.write_bytes("tasks/ships.yaml", leaking.encode())
    put(workspace, "data/ships/validation.jsonl", ships(4))
    with pytest.raises(UserError, match="may show a question with its answer"):
        run_suites([suite({"task": "ships", "shots": 1})], scored, workspace)


def test_a_group_that_sets_its_own_examples_does_not_ignore_the_recipes(scored, workspace):
    group = "group: fleet\ntask:\n  - {task: ships, num_fewshot: 1}\n"
    workspace.store.write_bytes("tasks/fleet.yaml", group.encode())
    for split in ("train", "validation"):
        put(workspace, f"data/ships/{split}.jsonl", ships(4))
    with pytest.raises(UserError, match="group 'fleet' sets 1 examples for 'ships'"):
        run_suites([suite({"task": "fleet", "shots": 2})], scored, workspace)


def test_a_group_is_one_result_with_the_samples_of_all_its_tasks(scored, workspace):
    aggregated = "aggregate_metric_list: [{metric: acc, weight_by_size: true}]\n"
    names = [f"ships_{number}" for number in range(3)]
    for number, name in enumerate(names):
        own = CHOICE_TASK.replace("task: ships", f"task: {name}")
        workspace.store.write_bytes(f"tasks/{name}.yaml", own.encode())
        put(workspace, f"data/{name}/validation.jsonl", ships(2 + 3 * number))
    part = f"group: part\ntask: [ships_0, ships_1]\n{aggregated}"
    whole = f"group: fleet\ntask: [part, ships_2]\n{aggregated}"
    workspace.store.write_bytes("tasks/part.yaml", part.encode())
    workspace.store.write_bytes("tasks/fleet.yaml", whole.encode())
    run = run_suites([suite({"task": "fleet", "metrics": ["acc"]})], scored, workspace)
    alone = run_suites(
        [suite(*({"task": name, "metrics": ["acc"]} for name in names))], scored, workspace
    )
    found = {result.task: result for result in run.results}
    assert {name: (own.n, own.group) for name, own in found.items()} == {
        "fleet": (15, "own"),
        "part": (7, "own, parts of fleet"),
    }
    scores = {result.task: (result.value, result.n) for result in alone.results}
    assert found["fleet"].value == pytest.approx(
        sum((value or 0) * n for value, n in scores.values()) / 15
    )
    assert found["fleet"].stderr is not None
    of_fleet = {sample.id: sample.score for sample in run.samples if sample.task == "fleet"}
    assert of_fleet == {sample.id: sample.score for sample in alone.samples}


def test_an_endpoint_gives_no_likelihoods(tokenizer, workspace):
    put(workspace, "data/ships/validation.jsonl", ships(2))
    with pytest.raises(UserError, match="which an endpoint does not tell"):
        run_suites([suite("ships")], answering(tokenizer, lambda prompt: "y"), workspace)
    with pytest.raises(UserError, match=r"task 'ships' .*\(multiple_choice\), which an endpoint"):
        check_suites([suite("ships")], workspace.store, workspace.folder, likelihoods=False)


def test_suites_without_a_mistake_pass_their_checks(workspace):
    for name in ("ships", "pages"):
        put(workspace, f"data/{name}/validation.jsonl", ships(2))
    check = partial(check_suites, store=workspace.store, folder=workspace.folder)
    names = {"task": "pages", "metrics": ["exact_match", "exact_match,none"]}
    check([suite(names)], likelihoods=False)
    # A task of the harness itself: only that its files are there is known.
    elsewhere = {"task": "piqa", "files": {"validation": "data/ships/*.jsonl"}}
    check([suite("ships", names, elsewhere)], likelihoods=True)
    with pytest.raises(UserError, match=r"suites.tasks.files: .*none.jsonl does not exist"):
        check([suite({"task": "piqa", "files": {"validation": "none.jsonl"}})], likelihoods=True)
    with pytest.raises(UserError, match=r"suites.allow_code_execution: .*humaneval_sandboxed"):
        check([suite("humaneval_sandboxed")], likelihoods=True)


def test_loaded_tasks_are_the_same_for_each_model_that_is_asked_them(scored, workspace):
    for split in ("train", "validation"):
        put(workspace, f"data/ships/{split}.jsonl", ships(9))
    tasks = load_suites([suite({"task": "ships", "shots": 2})], workspace, likelihoods=True)
    model = replace(scored, window=10**6)
    first = run_tasks(tasks, model, workspace)
    assert run_tasks(tasks, model, workspace) == first
    assert run_suites([suite({"task": "ships", "shots": 2})], model, workspace) == first


def test_unknown_sampling_is_refused():
    from longspan.evaluate.suites.language_model import sampling_of

    assert sampling_of({"until": "\n", "max_tokens": 7}, "t").stop == ("\n",)
    assert sampling_of({"temperature": 0.8, "do_sample": True}, "t").temperature == 0.8
    with pytest.raises(UserError, match=r"generation_kwargs.num_beams is not supported"):
        sampling_of({"num_beams": 4}, "t")


@pytest.mark.deep
def test_tasks_of_the_harness_run_on_files_one_by_one_and_in_groups(harness, scored, workspace):
    truth = {
        "question": "Which ship came first?",
        "mc1_targets": {"choices": ["the storm", "the tide"], "labels": [1, 0]},
        "mc2_targets": {"choices": ["the storm", "a tide", "none"], "labels": [1, 1, 0]},
    }
    for name in ("mc1", "mc2"):
        put(workspace, f"data/truthfulqa_{name}/validation.jsonl", [truth] * 2)
    question = {"question": "2 + 2?", "choices": ["1", "2", "3", "4"], "answer": 3, "subject": "x"}
    members = Library((), workspace.folder).leaves("mmlu_stem")
    for member in members:
        put(workspace, f"data/{member}/test.jsonl", [question] * 2)
        put(workspace, f"data/{member}/dev.jsonl", [question | {"question": "1 + 1?"}] * 3)
    tasks = suite(
        "truthfulqa_mc1", "truthfulqa_mc2", {"task": "mmlu_stem", "shots": 2, "metrics": ["acc"]}
    )
    model = replace(scored, window=10**6)
    run = run_suites([tasks], model, workspace)
    found = {result.task: result for result in run.results}
    assert found.keys() == {"truthfulqa_mc1", "truthfulqa_mc2", "mmlu_stem"}
    assert found["mmlu_stem"].n == 2 * len(members) == 38
    assert found["mmlu_stem"].shots == 2
    assert {result.value is None for result in run.results} == {False}
    assert found["mmlu_stem"].stderr is not None


@pytest.mark.deep
def test_own_tasks_take_no_name_of_the_harness(all_tasks):
    import lm_eval.tasks
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=OWN, include_defaults=False).all_tasks
    assert len(own) == len(list(OWN.glob("[!_]*.yaml")))
    theirs = Path(lm_eval.tasks.__file__).parent
    for name in own:
        # A name that both have is an own task here, and is another one in the harness.
        assert not list(theirs.glob(f"**/{name}.yaml")), name
    assert set(own) < set(all_tasks.all_tasks)


@pytest.mark.deep
def test_presets_are_of_tasks_that_exist_and_have_their_metrics(harness, tmp_path):
    library = Library((), tmp_path)
    for task in [each for name in get_args(Preset) for each in preset_tasks(name)]:
        for leaf in library.leaves(task.task):
            config = library.config(leaf)
            evaluated = config.get("test_split") or config["validation_split"]
            splits = {evaluated, config.get("training_split"), config.get("fewshot_split")}
            examples = (config.get("fewshot_config") or {}).get("split")
            files = {str(split): ["a.jsonl"] for split in {*splits, examples}}
            assert settings_over(task, leaf, config, files, tmp_path)["num_fewshot"] == task.shots
            known = {each["metric"] for each in config["metric_list"]}
            known |= {f"{name},strict-match" for name in known}
            assert set(task.metrics) <= known, leaf
            is_sandboxed = (config.get("metadata") or {}).get("sandboxed", False)
            assert bool(config.get("unsafe_code")) == is_sandboxed, leaf


@pytest.mark.deep
def test_a_task_of_the_harness_without_files_asks_for_them_where_there_is_no_hub(
    harness, scored, workspace
):
    with pytest.raises(UserError, match=r"'piqa' could not be loaded .*: give the data as `files`"):
        run_suites([suite("piqa", data=None)], scored, workspace)


def test_loading_the_package_reads_no_heavy_library():
    import subprocess
    import sys

    code = (
        "import sys; import longspan.evaluate.suites.schema, longspan.evaluate.suites.run; "
        "sys.exit(any(name in sys.modules for name in ('lm_eval', 'torch', 'datasets', 'ray', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
