"""The report shows every part, escapes what models wrote, and is the same for the same results."""

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from markupsafe import escape

from longspan.evaluate.aggregate import TaskInfo, task_result
from longspan.evaluate.report.excerpts import Excerpts, chosen
from longspan.evaluate.report.numbers import number, number_interval, percent, points, tokens
from longspan.evaluate.report.page import SECTIONS, write_report
from longspan.evaluate.report.paper import first_sentence_scores, paper_score
from longspan.evaluate.report.text import COLUMNS, summary
from longspan.evaluate.results import LeftOut, Results
from longspan.evaluate.suites.schema import PromptCut
from tests.evaluate.report_fixtures import (
    DEPTHS,
    LENGTHS,
    SUITES,
    empty_results,
    sample_record,
    sample_records,
    suite,
    whole_results,
)

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}"
VOID = {"meta", "link", "img", "br", "input"}


class Page(HTMLParser):
    """Elements of a page; text and attributes of each."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.tags: list[str] = []
        self.inline: list[str] = []
        self.texts: dict[str, str] = {}
        self.open: list[str] = []
        self._section = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append(tag)
        self.ids += filter(None, [given.get("id")])
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self.targets += filter(None, [given.get("href"), given.get("src")])
        if tag == "section":
            self._section = given["id"] or ""
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self._section = "" if tag == "section" else self._section

    def handle_data(self, data: str) -> None:
        self.texts[self._section] = self.texts.get(self._section, "") + data


@pytest.fixture(scope="module")
def whole() -> str:
    return write_report(whole_results(), sample_records(HOSTILE))


def test_a_whole_report_has_every_section_and_no_dangling_link(whole: str):
    page = Page(whole)
    assert page.open == []
    assert [section for section in SECTIONS if section not in page.ids] == []
    assert len(set(page.ids)) == len(page.ids)
    assert {target.removeprefix("#") for target in page.targets} <= set(page.ids)
    assert "Not measured" not in page.texts["scores"] + page.texts["losses"] + page.texts["suites"]


def test_a_report_of_nothing_says_so_in_every_section_that_could_be_measured():
    page = Page(write_report(empty_results(), {}))
    missing = {section for section, text in page.texts.items() if "Not measured" in text}
    assert missing == set(SECTIONS) - {"provenance", "notes"}


def test_a_window_shorter_than_the_models_own_is_stated():
    results = empty_results()
    whole = f"window of {results.model.window:,} tokens"
    assert whole in summary(results) and whole in write_report(results, {})
    longer = results.model.model_copy(update={"model_window": 131_072})
    judged = results.model_copy(update={"model": longer})
    stated = f"judged up to {results.model.window:,} of its 131,072 tokens"
    assert stated in summary(judged).splitlines()[0]
    page = Page(write_report(judged, {}))
    assert stated in page.texts[""] and stated in page.texts["provenance"]


@pytest.mark.parametrize("part", ["tasks", "losses", "suites", "comparison", "verdict"])
def test_any_one_part_may_be_missing(part: str):
    empty = {"comparison": None, "verdict": None}.get(part, [])
    whole = whole_results()
    few = whole.model_copy(update={"tasks": whole.tasks[:1], "losses": whole.losses[1:]})
    page = Page(write_report(few.model_copy(update={part: empty}), {}))
    assert page.open == []


def test_replies_are_text(whole: str):
    assert HOSTILE not in whole
    assert str(escape(HOSTILE)) in whole
    page = Page(whole)
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert HOSTILE in page.texts["samples"]


def test_names_of_models_and_tasks_are_text():
    results = whole_results()
    task = results.tasks[0].model_copy(update={"task": HOSTILE})
    model = results.model.model_copy(update={"name": HOSTILE})
    html = write_report(results.model_copy(update={"tasks": [task], "model": model}), {})
    assert HOSTILE not in html
    assert Page(html).tags.count("script") == 1


def test_the_content_policy_allows_this_style_and_script_alone(whole: str):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', whole)
    assert policy is not None
    stated = policy[1].replace("&#39;", "'")
    assert (
        stated.startswith("default-src 'none'; ")
        and "unsafe" not in stated
        and "http" not in stated
    )
    for tag in ("style", "script"):
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", whole, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in stated
    # A policy without 'unsafe-inline' would ignore them.
    assert Page(whole).inline == []


def test_equal_results_give_equal_bytes(whole: str):
    stored = Results.model_validate_json(whole_results().model_dump_json())
    assert write_report(stored, sample_records(HOSTILE)) == whole


def test_a_cell_without_a_score_is_no_zero(whole: str):
    rows = re.search(r'<tr id="task-vt">.*?</tr>', whole, re.DOTALL)
    assert rows is not None
    last_length = re.findall(r"<td.*?</td>", rows[0], re.DOTALL)[5]
    assert "no score" in last_length and "50 over length" in last_length
    assert "0.0" not in last_length


def test_every_measured_cell_leads_to_its_samples():
    samples = {"vt": sample_records()["vt"]}
    task = task_result(TaskInfo("vt", 1, "tracing", "contains_all"), samples["vt"], seed=0)
    html = write_report(empty_results().model_copy(update={"tasks": [task]}), samples)
    cells = re.findall(r'<td class="h?\d*">\s*<(a|span)', html)
    assert len(cells) == len(LENGTHS) * len(DEPTHS)
    assert set(cells) == {"a"}
    assert Page(html).open == []


def test_prompts_without_context_have_a_column_and_no_place_in_figures():
    records = [sample_record("vt", length, n, "x", 1.0) for length in (0, 1024) for n in range(9)]
    infos = [TaskInfo(name, 1, "association", "exact") for name in ("vt", "closed_book")]
    closed_book = [each.model_copy(update={"task": "closed_book"}) for each in records[:9]]
    tasks = [task_result(infos[0], records, 0), task_result(infos[1], closed_book, 0)]
    results = empty_results().model_copy(update={"tasks": tasks})
    html = write_report(results, {"vt": records})
    assert "no context" in html
    labels = re.findall(r'aria-label="(Score by length[^"]+)"', html)
    assert labels == ["Score by length of vt, in percent. Model: 1K: 100.0."]
    # There is no length up to which a closed-book task could hold.
    rows = {line.split()[0]: line for line in summary(results).splitlines() if "100.0" in line}
    assert "1K" in rows["vt"] and "none" not in rows["closed_book"]
    assert "100.0*" not in rows["closed_book"]


def test_an_invalid_value_of_a_suite_is_no_zero(whole: str):
    (row,) = re.findall(r'<tr><th scope="row">winogrande</th>.*?</tr>', whole, re.DOTALL)
    assert "no valid value" in row and "2 over length" in row
    (row,) = re.findall(r'<tr><th scope="row">bold</th>.*?</tr>', whole, re.DOTALL)
    assert "0.41 " in row


def test_figures_are_text_for_those_who_cannot_see_them(whole: str):
    labels = re.findall(r'<svg viewBox[^>]*role="img" aria-label="([^"]+)"', whole)
    assert "Score by length of vt, in percent." in " ".join(labels)
    assert "16K" not in next(label for label in labels if "of vt" in label)
    assert any(label.startswith("Loss by position") for label in labels)


def test_paper_numbers_need_the_same_settings():
    gsm = SUITES[0]
    found = paper_score(gsm, "none")
    assert found is not None and found.values == (16.8, 34.6, 47.4, 65.4)
    assert found.source == "Table 15"
    assert paper_score(gsm.model_copy(update={"shots": 5}), "none") is None
    assert paper_score(gsm.model_copy(update={"metric": "acc"}), "none") is None
    strict, flexible = (
        gsm.model_copy(update={"metric": f"exact_match,{filter}"})
        for filter in ("strict-match", "flexible-extract")
    )
    assert paper_score(strict, "none") is found
    assert paper_score(flexible, "none") is None
    assert paper_score(suite("qasper", "f1", 0.3, 2), "none") is None
    assert paper_score(gsm, "chat") is None
    assert paper_score(gsm.model_copy(update={"limit": 100}), "none") is None


@pytest.mark.parametrize(
    ("cut", "is_shown"),
    [
        pytest.param(PromptCut(tokens=16384), True, id="as in the paper"),
        pytest.param(PromptCut(tokens=8192), False, id="shorter"),
        pytest.param(PromptCut(side="document", tokens=16384), False, id="of the document"),
        pytest.param(None, False, id="never"),
    ],
)
def test_papers_numbers_of_long_tasks_need_its_prompts(cut: PromptCut | None, is_shown: bool):
    qasper = suite("paper_qasper", "f1", 0.3, 2, prompt_cut=cut)
    assert (paper_score(qasper, "none") is not None) == is_shown


def test_first_sentences_are_beside_the_papers_without_a_template_only():
    task = next(each for each in whole_results().tasks if each.task == "first_sentence")
    assert first_sentence_scores(task, "none", [1024, 1025]) == {1024: 95.7}
    assert first_sentence_scores(task, "chat", [1024]) == {}


def test_tasks_left_out_at_a_length_are_below_the_scores(whole: str):
    assert "Left out" not in Page(whole).texts["scores"]
    left_out = LeftOut(task="ruler_cwe", length=1024, reason=HOSTILE)
    html = write_report(whole_results().model_copy(update={"left_out": [left_out]}), {})
    assert HOSTILE not in html
    (row,) = re.findall(r'<tr><th scope="row">ruler_cwe</th>.*?</tr>', html)
    assert "<td>1K</td>" in row and str(escape(HOSTILE)) in row


def test_a_limit_of_questions_is_shown():
    few = suite("arc_easy", "acc_norm", 0.5, 0, limit=20)
    html = write_report(empty_results().model_copy(update={"suites": [few]}), {})
    assert "first 20 questions only" in html


def test_samples_shown_are_failures_first_then_both_ends():
    scores = [0.5, 1.0, None, 0.0, 0.75]
    records = [sample_record("vt", 512, index, "x", score) for index, score in enumerate(scores)]
    assert [record.index for record in chosen(records, 1)] == [2]
    assert [record.index for record in chosen(records, 3)] == [1, 2, 3]
    assert len(chosen(records, 10)) == 5


def test_excerpts_bound_the_page():
    long_reply = sample_records("y" * 5000)
    short = write_report(empty_results(), long_reply, Excerpts(samples_per_cell=1, characters=40))
    assert "y" * 40 in short and "y" * 41 not in short


def test_the_summary_is_plain_text_of_bounded_width():
    results = whole_results()
    named = results.tasks[0].model_copy(update={"task": "a_task_with_quite_a_long_name"})
    text = summary(results.model_copy(update={"tasks": [named, *results.tasks]}))
    assert max(map(len, text.splitlines())) <= COLUMNS
    assert "verdict: fail" in text and "not measured" in text
    (row,) = [line for line in text.splitlines() if line.startswith("vt") and "*" in line]
    assert row.split()[1:4] == ["4K", "96.0*", "91-100"]
    assert summary(empty_results()).count("not measured") == 2


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (percent(-0.0001), "0.0"),
        (percent(0.8556), "85.6"),
        (points(0.012), "+1.2"),
        (points(-0.012), "-1.2"),
        (number(-0.0), "0"),
        (number(0.00001234), "1.234e-05"),
        (number(None), ""),
        (number_interval(None, 0.2), "at most 0.2"),
        (number_interval(0.1, None), "at least 0.1"),
        (number_interval(None, None), ""),
        (tokens(1000), "1,000"),
        (tokens(131072), "128K"),
        (tokens(1048576), "1M"),
        (tokens(0), "no context"),
    ],
)
def test_numbers(shown: str, expected: str):
    assert shown == expected
