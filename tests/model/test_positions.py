import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from longspan.errors import UserError
from longspan.model.positions import (
    Positions,
    attention_scaling,
    decay,
    frequencies,
    granularity,
    own_positions,
    replaced_scaling,
    require_applicable,
    rope_parameters,
    supported,
    using_positions,
    verify,
)
from longspan.model.rope import FREQUENCY_KEYS

PLAIN = Positions("none", 10_000.0, 1.0, 4096)
PI = Positions("pi", 10_000.0, 8.0, 4096)
ABF = Positions("abf", 500_000.0, 8.0, 4096)
YARN = Positions("yarn", 10_000.0, 16.0, 4096)
XPOS = Positions("xpos_abf", 500_000.0, 8.0, 4096)
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
OWN_OF_LENGTH: dict[str, dict[str, Any]] = {
    "longrope": {
        "rope_type": "longrope",
        "rope_theta": 10_000.0,
        "short_factor": [1.0] * 32,
        "long_factor": [1.0 + pair / 8 for pair in range(32)],
        "original_max_position_embeddings": 64,
    },
    "dynamic": {"rope_type": "dynamic", "rope_theta": 10_000.0, "factor": 4.0},
}
DISTANCES = np.arange(32_384)


def config(**changes: object) -> LlamaConfig:
    sizes = {
        "vocab_size": 64,
        "hidden_size": 64,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "num_key_value_heads": 1,
    }
    return LlamaConfig(**{**sizes, **changes})  # pyrefly: ignore


def built(positions: Positions, head_dim: int = 64, window: int = 32_768) -> LlamaForCausalLM:
    return LlamaForCausalLM(
        config(
            head_dim=head_dim,
            max_position_embeddings=window,
            rope_parameters=rope_parameters(positions),
        )
    )


def rotary(model: LlamaForCausalLM) -> Any:
    return model.model.rotary_emb


@pytest.mark.parametrize("positions", [PLAIN, PI, ABF, YARN], ids=lambda p: p.encoding)
@pytest.mark.parametrize("head_dim", [32, 64, 128])
def test_frequencies_are_those_transformers_builds(positions: Positions, head_dim: int) -> None:
    window = round(positions.factor * positions.original_window)
    model = built(positions, head_dim, window)
    inv_freq = rotary(model).inv_freq.numpy()
    np.testing.assert_allclose(frequencies(positions, head_dim), inv_freq, rtol=1e-5)
    assert rotary(model).attention_scaling == pytest.approx(attention_scaling(positions), rel=1e-9)
    verify(model, positions)


def test_frequencies_follow_the_papers_formulas() -> None:
    pair = np.arange(64)
    plain = 10_000.0 ** (-pair / 64)
    np.testing.assert_allclose(frequencies(PLAIN, 128), plain)
    np.testing.assert_allclose(frequencies(PI, 128), plain / 8)
    np.testing.assert_allclose(frequencies(ABF, 128), 500_000.0 ** (-pair / 64))
    yarn = frequencies(YARN, 128)
    turns = plain * 4096 / (2 * np.pi)
    assert np.array_equal(yarn[turns > 40], plain[turns > 40]), "fast pairs are left alone"
    np.testing.assert_allclose(yarn[turns < 0.8], plain[turns < 0.8] / 16)
    assert np.all((yarn >= plain / 16) & (yarn <= plain))
    assert attention_scaling(YARN) == pytest.approx(0.1 * np.log(16) + 1)


def test_llama3_scaling_of_a_model_is_known_and_kept_by_none() -> None:
    own = own_positions(LLAMA3, 131_072)
    model = built(own, head_dim=128, window=131_072)
    verify(model, own)
    assert rope_parameters(own) == LLAMA3
    with pytest.raises(AssertionError, match="frequencies are off"):
        verify(model, Positions("none", 500_000.0, 1.0, 131_072))


def test_yarn_with_parameters_of_its_own_is_known() -> None:
    own = own_positions(
        {
            "rope_type": "yarn",
            "rope_theta": 1e6,
            "factor": 4.0,
            "original_max_position_embeddings": 32_768,
            "beta_fast": 24.0,
            "beta_slow": 2.0,
            "attention_factor": 1.25,
            "truncate": False,
        },
        131_072,
    )
    verify(built(own, head_dim=128, window=131_072), own)
    assert attention_scaling(own) == 1.25


def test_an_unknown_scaling_of_the_model_is_refused() -> None:
    own = own_positions({"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}, 4096)
    with pytest.raises(UserError, match="'dynamic' is not supported"):
        frequencies(own, 64)


def from_attribute(path: Path) -> LlamaForCausalLM:
    loaded = LlamaConfig.from_pretrained(path)
    loaded.rope_theta = 500_000.0
    return LlamaForCausalLM(loaded)


def from_keyword(path: Path) -> LlamaForCausalLM:
    loaded = LlamaConfig.from_pretrained(path).to_dict()
    return LlamaForCausalLM(LlamaConfig(**loaded, rope_theta=500_000.0))


@pytest.mark.parametrize("build", [from_attribute, from_keyword])
def test_verify_fails_where_transformers_ignored_the_base(
    build: Callable[[Path], LlamaForCausalLM], tiny: Path
) -> None:
    with pytest.raises(AssertionError, match=r"base 10000\b"):
        verify(build(tiny), ABF)


def test_verify_fails_where_the_base_came_after_the_model_was_built() -> None:
    model = built(PLAIN)
    model.config.rope_parameters = rope_parameters(ABF)
    with pytest.raises(AssertionError, match="frequencies are off"):
        verify(model, ABF)


def test_verify_fails_on_frequencies_that_went_through_bfloat16() -> None:
    model = built(ABF)
    model.to(torch.bfloat16)
    with pytest.raises(AssertionError, match="bfloat16, not float32"):
        verify(model, ABF)
    model.to(torch.float32)
    with pytest.raises(AssertionError, match="frequencies are off"):
        verify(model, ABF)


def test_verify_fails_on_another_attention_scaling() -> None:
    model = built(YARN)
    rotary(model).attention_scaling = 1.0
    with pytest.raises(AssertionError, match="attention scaling is 1"):
        verify(model, YARN)


def test_using_positions_gives_a_model_other_positions_and_its_own_back() -> None:
    model, tokens = built(ABF).eval(), torch.arange(40)[None]
    with torch.no_grad():
        extended = model(tokens).logits
        as_built = built(YARN).eval()
        as_built.load_state_dict(model.state_dict())
        with using_positions(model, YARN):
            torch.testing.assert_close(model(tokens).logits, as_built(tokens).logits)
        with pytest.raises(KeyError), using_positions(model, PLAIN):
            raise KeyError
        assert torch.equal(model(tokens).logits, extended)
    verify(model, ABF)


@pytest.mark.parametrize("kind", ["longrope", "dynamic"])
def test_a_model_is_measured_with_positions_that_change_with_the_length_of_a_row(kind: str) -> None:
    own = OWN_OF_LENGTH[kind]
    model = built(ABF).eval()
    came_with = LlamaForCausalLM(
        config(head_dim=64, max_position_embeddings=128, rope_parameters=own)
    ).eval()
    came_with.load_state_dict(model.state_dict())
    with torch.no_grad(), using_positions(model, own_positions(own, 128)):
        for length in (40, 100, 200):
            tokens = torch.arange(length)[None] % 64
            torch.testing.assert_close(model(tokens).logits, came_with(tokens).logits)
    verify(model, ABF)


def test_keys_of_frequencies_are_all_that_transformers_knows() -> None:
    from transformers.modeling_rope_utils import RopeParameters

    kept = set(RopeParameters.__annotations__) - FREQUENCY_KEYS
    assert kept == {"partial_rotary_factor", "mrope_section"}


def test_figure_4_abf_decays_far_less_than_rope_and_stays_granular() -> None:
    rope, pi, abf = (decay(p, 128, DISTANCES) for p in (PLAIN, PI, ABF))
    assert rope[0] == pi[0] == abf[0] == pytest.approx(128 / np.sqrt(128))
    far = slice(8192, None)
    assert abf[far].mean() > 3 * abs(rope[far].mean()), "ABF keeps far tokens in sight"
    np.testing.assert_allclose(pi[8 * np.arange(4000)], rope[:4000], atol=1e-9)
    # PI keeps far tokens by crowding near ones: its curve hardly falls over the first tokens.
    assert pi[0] - pi[1] < 0.1 * (abf[0] - abf[1])


def test_figure_4_xpos_abf_is_the_smoothed_abf_curve() -> None:
    near = decay(XPOS, 128, DISTANCES[:64]) / decay(ABF, 128, DISTANCES[:64])
    assert near.min() > 0.95, "at short distances the two agree"
    # The weights below one damp the fast pairs, so that the far part swings less.
    swing = [np.abs(np.diff(decay(p, 128, DISTANCES)[16_000:])).mean() for p in (ABF, XPOS)]
    assert swing[1] < 0.2 * swing[0]


def test_granularity_is_what_appendix_b_prints() -> None:
    quarter = Positions("pi", 10_000.0, 4.0, 4096)
    # The printed values are limits for many dimensions: sin(x) = x up to theta = 1.
    assert granularity(ABF, 128) == pytest.approx(0.076, rel=0.1)
    assert granularity(quarter, 128) == pytest.approx(0.027, rel=0.1)


def test_xpos_is_refused_where_a_model_would_be_built() -> None:
    assert not supported("xpos_abf")
    assert all(supported(name) for name in ("none", "pi", "abf", "yarn"))
    assert frequencies(XPOS, 64).shape == (32,)
    with pytest.raises(UserError, match=r"positions.encoding: xpos_abf .* stock attention"):
        rope_parameters(XPOS)


@pytest.mark.parametrize("positions", [PI, YARN], ids=lambda p: p.encoding)
def test_pi_and_yarn_need_plain_positions_and_a_whole_factor_of_the_window(
    positions: Positions,
) -> None:
    plain = {"rope_type": "default", "rope_theta": 10_000.0}
    window = round(positions.factor * 4096)
    require_applicable(positions, plain, window)
    with pytest.raises(UserError, match="scaled already"):
        require_applicable(positions, LLAMA3, window)
    with pytest.raises(UserError, match="target_context is 5,000"):
        require_applicable(positions, plain, 5000)


def test_abf_says_that_it_replaces_a_scaling() -> None:
    require_applicable(ABF, LLAMA3, 32_768)
    said = replaced_scaling(ABF, LLAMA3)
    assert said is not None and "replaces the model's own llama3 scaling (factor 8," in said
    assert replaced_scaling(ABF, {"rope_type": "default", "rope_theta": 1e4}) is None


def test_positions_travel_and_compare() -> None:
    own = own_positions(LLAMA3, 131_072)
    assert pickle.loads(pickle.dumps(own)) == own == copy.deepcopy(own)
    assert len({own, ABF, PI, own_positions(OWN_OF_LENGTH["longrope"], 128)}) == 4
