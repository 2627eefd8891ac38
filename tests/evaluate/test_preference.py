"""Pairs are blind, votes are counted by example, and a judge is asked in both orders."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from longspan.errors import UserError
from longspan.evaluate.preference.__main__ import main
from longspan.evaluate.preference.answers import Answer, read_answers
from longspan.evaluate.preference.blind import BlindSet, Key, blind
from longspan.evaluate.preference.judge import Judge, ask_judge, verdict_of
from longspan.evaluate.preference.page import preference_page
from longspan.evaluate.preference.votes import Choice, Votes, preference
from longspan.generate.requests import Reply, Request
from longspan.storage import Store
from tests.openai_server import Body, Completion, OpenAIServer

NAMES = ("base-7b", "tuned-7b")


def answers(word: str, count: int = 40) -> list[Answer]:
    return [Answer(f"p{n}", f"Question {n}?", f"{word} {n}") for n in range(count)]


def made(count: int = 40, seed: int = 0) -> tuple[BlindSet, Key]:
    return blind(answers("left", count), answers("right", count), NAMES, seed)


def winner_votes(pairs: BlindSet, rater: str, word: str = "left") -> Votes:
    """Votes of somebody who always takes the reply that begins with a word."""
    votes: dict[str, Choice] = {p.id: "a" if p.a.startswith(word) else "b" for p in pairs.pairs}
    return Votes(set=pairs.set, rater=rater, votes=votes)


def test_the_page_names_no_model_and_no_prompt_id():
    pairs, key = made()
    page = preference_page(pairs)
    for hidden in (
        *NAMES,
        "swapped",
        *(f'"{example.prompt}"' for example in key.examples.values()),
    ):
        assert hidden not in page
    assert all(pair.id in page for pair in pairs.pairs)


def test_replies_are_text_on_the_page():
    hostile = '</script><script>alert("x")</script>'
    pairs, _ = blind([Answer("p", "Q", hostile)], [Answer("p", "Q", "fine")], NAMES, 0)
    page = preference_page(pairs)
    assert "</script><script>" not in page
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page)
    assert data is not None
    (pair,) = json.loads(data[1])["pairs"]
    assert hostile in (pair["a"], pair["b"])


def test_the_order_of_replies_and_pairs_is_the_seeds():
    pairs, key = made(200)
    swapped = [key.examples[pair.id].is_swapped for pair in pairs.pairs]
    assert 70 < sum(swapped) < 130
    assert [pair.a.startswith("right") for pair in pairs.pairs] == swapped
    assert [pair.prompt for pair in pairs.pairs] != [answer.prompt for answer in answers("", 200)]
    assert made(200) == (pairs, key)
    assert made(200, seed=1)[0].set != pairs.set


@pytest.mark.parametrize(
    ("second", "message"),
    [
        pytest.param([Answer("other", "Q", "x")], "share no prompt", id="no shared prompt"),
        pytest.param([Answer("p0", "Another?", "x")], "differ", id="other prompt"),
    ],
)
def test_pairs_need_the_same_prompts(second: list[Answer], message: str):
    with pytest.raises(UserError, match=message):
        blind(answers("left"), second, NAMES, 0)


def test_prompts_of_one_model_alone_are_left_out():
    pairs, _ = blind(answers("left", 5), answers("right", 3), NAMES, 0)
    assert len(pairs.pairs) == 3


def test_replies_that_state_a_name_are_counted():
    named = [Answer("p0", "Question 0?", "I am Tuned-7B.")]
    assert blind(answers("left", 1), named, NAMES, 0)[0].mentions(NAMES) == 1
    assert made()[0].mentions(NAMES) == 0


def test_whoever_always_takes_one_model_makes_it_win_all():
    pairs, key = made()
    for word, rate in (("left", 1.0), ("right", 0.0)):
        result = preference(key, [winner_votes(pairs, "ann", word)])
        assert (result.win_rate.value, result.win.value, result.loss.value) == (
            rate,
            rate,
            1 - rate,
        )
        # All alike is no certainty: with 40 examples the other may still win a few of 100.
        assert abs(result.win_rate.low - result.win_rate.high) > 0.05


def test_an_example_is_the_mean_of_its_raters():
    pairs, key = made(2)
    first, second = pairs.pairs
    only_first = Votes(set=pairs.set, rater="bob", votes={first.id: "tie"})
    result = preference(key, [winner_votes(pairs, "ann"), only_first])
    # (1 + 0.5) / 2 for the first example, 1 for the second: each counts once.
    assert result.win_rate.value == pytest.approx(0.875)
    assert result.tie.value == pytest.approx(0.25)
    assert (result.votes, result.raters, result.agreement) == (3, 2, 0.0)
    assert second.id not in only_first.votes


@given(st.lists(st.sampled_from(["a", "b", "tie"]), min_size=1, max_size=30))
def test_win_tie_and_loss_add_up(choices: list[Choice]):
    pairs, key = made(len(choices))
    ids = [pair.id for pair in pairs.pairs]
    votes = Votes(set=pairs.set, rater="ann", votes=dict(zip(ids, choices, strict=True)))
    result = preference(key, [votes])
    assert result.win.value + result.tie.value + result.loss.value == pytest.approx(1.0)
    assert result.win_rate.value == pytest.approx(result.win.value + result.tie.value / 2)
    assert result.win_rate.low <= result.win_rate.value <= result.win_rate.high


def test_the_interval_is_of_examples_not_of_votes():
    """Three raters that agree are no more evidence on the models than one."""
    pairs, key = made(60)
    choices: list[Choice] = ["a", "b", "tie"]
    votes = {pair.id: choices[n % 3] for n, pair in enumerate(pairs.pairs)}
    ballots = [Votes(set=pairs.set, rater=name, votes=votes) for name in ("ann", "bob", "eve")]
    one, three = preference(key, ballots[:1]), preference(key, ballots)
    assert three.win_rate == one.win_rate
    assert (one.agreement, three.agreement) == (None, 1.0)


def test_votes_on_other_pairs_are_refused():
    pairs, key = made()
    others, _ = made(seed=1)
    with pytest.raises(UserError, match="other pairs"):
        preference(key, [winner_votes(others, "ann")])
    with pytest.raises(UserError, match="twice"):
        preference(key, [winner_votes(pairs, "ann"), winner_votes(pairs, "ann")])
    with pytest.raises(UserError, match="there are none"):
        preference(key, [Votes(set=pairs.set, rater="ann", votes={})])


@dataclass
class FakeJudge:
    """Prefers a word, or a place, or states nothing."""

    prefers: str
    asked: list[Request] = field(default_factory=list)

    def respond(self, request: Request) -> Reply:
        self.asked.append(request)
        if self.prefers == "silence":
            return Reply(request.id, request.carry, "I can't tell.", "stop")
        if self.prefers == "refusal":
            return Reply.failed(request, "over_length", "9,000 tokens, the window has 8,192")
        if self.prefers == "first":
            return Reply(request.id, request.carry, "Verdict: 1", "stop")
        first = request.content.index("BEGIN REPLY 1")
        second = request.content.index("BEGIN REPLY 2")
        is_first = self.prefers in request.content[first:second]
        return Reply(request.id, request.carry, f"Good.\n**Verdict: {2 - is_first}**", "stop")


JUDGE = Judge(url="http://127.0.0.1:1/v1", model="judge", requests=2)


def test_a_judge_with_a_taste_wins_for_it_in_both_orders():
    pairs, key = made()
    client = FakeJudge("right")
    found = ask_judge(JUDGE, client, pairs)
    assert (len(client.asked), found.disagreements, found.problems) == (80, 0, {})
    assert len({request.id for request in client.asked}) == 80
    assert preference(key, [found.votes]).loss.value == 1.0


def test_a_judge_that_likes_the_first_place_finds_ties():
    pairs, key = made()
    found = ask_judge(JUDGE, FakeJudge("first"), pairs)
    assert found.disagreements == 40
    result = preference(key, [found.votes])
    assert (result.tie.value, result.win_rate.value) == (1.0, 0.5)


@pytest.mark.parametrize(
    ("prefers", "problem"), [("silence", "no verdict"), ("refusal", "over_length")]
)
def test_what_a_judge_does_not_say_is_no_vote(prefers: str, problem: str):
    pairs, _ = made()
    found = ask_judge(JUDGE, FakeJudge(prefers), pairs)
    assert found.votes.votes == {}
    assert len(found.problems) == 40
    assert all(message.startswith(problem) for message in found.problems.values())


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Verdict: 1", "a"),
        ("**Verdict:** 2", "b"),
        ("verdict: EQUAL.", "tie"),
        ("Not Verdict: 1 but\nVerdict: 2", "b"),
        ("Verdict: 12", None),
        ("Reply 1", None),
    ],
)
def test_verdicts(text: str, verdict: Choice | None):
    assert verdict_of(text) == verdict


def write_lines(path: Path, word: str) -> str:
    rows = [{"id": a.id, "prompt": a.prompt, "reply": a.reply} for a in answers(word)]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return str(path)


def test_from_answers_to_a_win_rate(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = write_lines(tmp_path / "first.jsonl", "left")
    second = write_lines(tmp_path / "second.jsonl", "right")
    folder = tmp_path / "out"
    assert main(["build", first, second, "--names", *NAMES, "--to", str(folder)]) == 0
    pairs, _ = made()
    assert (folder / "preference.html").read_text() == preference_page(pairs)
    votes = tmp_path / "votes.json"
    votes.write_text(winner_votes(pairs, "ann").model_dump_json())
    figure, stored = tmp_path / "wins.svg", tmp_path / "result.json"
    score = ["score", str(folder / "key.json"), str(votes)]
    assert main([*score, "--figure", str(figure), "--json", str(stored)]) == 0
    assert "win rate of base-7b  100.0" in capsys.readouterr().out
    assert json.loads(stored.read_text())["win_rate"]["value"] == 1.0
    assert "<svg" in figure.read_text()
    assert main(["score", str(votes), str(votes)]) == 2
    assert "is no file of key" in capsys.readouterr().err


def test_a_judge_behind_an_endpoint_votes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    first = write_lines(tmp_path / "first.jsonl", "left")
    second = write_lines(tmp_path / "second.jsonl", "right")
    assert main(["build", first, second, "--names", *NAMES, "--to", str(tmp_path)]) == 0

    def reply(body: Body) -> Completion:
        assert body["temperature"] == 0
        content = body["messages"][0]["content"]
        is_first = "left" in content[: content.index("BEGIN REPLY 2")]
        return Completion(f"Verdict: {2 - is_first}")

    with OpenAIServer("judge", reply) as server:
        judge = ["judge", str(tmp_path), "--url", server.url, "--model"]
        assert main([*judge, "other"]) == 2
        assert "judge.model: " in capsys.readouterr().err
        assert main([*judge, "judge"]) == 0
    assert main([*judge[:-1], "--model", "judge"]) == 2
    assert "judge.url: nothing answers" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "key.json"), str(tmp_path / "votes-judge.json")]) == 0
    assert "win rate of base-7b  100.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{", "no JSON", id="no JSON"),
        pytest.param("[]", "no JSON object", id="no object"),
        pytest.param('{"prompt": "Q"}', "reply is missing", id="no reply"),
        pytest.param('{"prompt": "Q", "reply": ""}\n{"prompt": "Q", "reply": ""}', "twice", id="twice"),
    ],
)  # fmt: skip
def test_files_of_answers_are_checked(tmp_path: Path, line: str, message: str):
    (tmp_path / "answers.jsonl").write_text(line)
    with pytest.raises(UserError, match=message):
        read_answers(Store(str(tmp_path)), "answers.jsonl")


def test_a_missing_file_of_answers_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"absent\.jsonl: there is no such file"):
        read_answers(Store(str(tmp_path)), "absent.jsonl")
