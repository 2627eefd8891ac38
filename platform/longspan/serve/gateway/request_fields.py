"""Fields of a request body, one by one: forwarded within bounds, ignored, or refused with the reason.

Only what these models parse reaches the engine, as they parsed it: pydantic makes the same conversions
here that it makes in vLLM ("3" is 3), and nothing is left for the engine to read differently. Bounds
that a config can change are in `request_bounds`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_LIST = 1024
"""Token ids in one list: as many as vLLM's sampler has room for."""
MAX_WORDS = 128
MAX_WORD_CHARACTERS = 256
MAX_TEXT_CHARACTERS = 1024
MAX_TOOLS = 128
MAX_DOCUMENTS = 256
MAX_PATTERN_TOKENS = 100
"""Tokens of a repeated pattern that `repetition_detection` looks for at each step."""
MAX_TEMPLATE_KEYS = 16

TokenId = Annotated[int, Field(ge=0)]
TokenIds = Annotated[list[TokenId], Field(max_length=MAX_LIST)]
Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)]
Scalar = bool | int | float | Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)] | None


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore")


class StreamOptions(_Fields):
    """Options of a stream: the usage that it carries besides the answer."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class StructuredOutputs(_Fields):
    """The grammar of an answer, in one of these forms."""

    json_: str | dict[str, Any] | None = Field(None, alias="json")
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    json_object: bool | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: Annotated[str, Field(max_length=MAX_TEXT_CHARACTERS)] | None = None
    structural_tag: str | None = None


class RepetitionDetection(_Fields):
    """When an answer that repeats itself ends."""

    max_pattern_size: int = Field(0, ge=0, le=MAX_PATTERN_TOKENS)
    min_pattern_size: int = Field(0, ge=0, le=MAX_PATTERN_TOKENS)
    min_count: int = Field(0, ge=0, le=MAX_PATTERN_TOKENS)


class GenerationFields(_Fields):
    """Fields that both routes take."""

    model: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS)
    n: int | None = None
    max_tokens: int | None = None
    min_tokens: int = Field(0, ge=0)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # Sampling.
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    length_penalty: float = 1.0
    logit_bias: Annotated[dict[str, float], Field(max_length=MAX_LIST)] | None = None
    allowed_token_ids: TokenIds | None = None
    bad_words: Annotated[
        list[Annotated[str, Field(max_length=MAX_WORD_CHARACTERS)]], Field(max_length=MAX_WORDS)
    ] = []
    # The end of an answer.
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=MAX_WORDS)] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    thinking_token_budget: int | None = Field(None, ge=-1, lt=2**31)
    repetition_detection: RepetitionDetection | None = None
    # What the answer shows.
    prompt_logprobs: int | None = None
    logprob_token_ids: Annotated[list[TokenId], Field(max_length=MAX_WORDS)] | None = None
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    # What the prompt becomes.
    truncate_prompt_tokens: int | None = Field(None, ge=-1, lt=2**31)
    truncation_side: Literal["left", "right"] | None = None
    add_special_tokens: bool | None = None
    cache_salt: Text | None = None
    # The form of an answer.
    response_format: dict[str, Any] | None = None
    structured_outputs: StructuredOutputs | None = None


class ChatFields(GenerationFields):
    """Fields of /v1/chat/completions."""

    messages: list[dict[str, Any]] = []
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = 0
    tools: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = (
        None
    )
    include_reasoning: bool = True
    echo: bool = False
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    documents: Annotated[list[dict[str, str]], Field(max_length=MAX_DOCUMENTS)] | None = None
    chat_template_kwargs: (
        Annotated[dict[str, Scalar], Field(max_length=MAX_TEMPLATE_KEYS)] | None
    ) = None
    return_prompt_text: bool | None = None


class CompletionFields(GenerationFields):
    """Fields of /v1/completions."""

    prompt: list[TokenId] | list[list[TokenId]] | str | list[str] | None = None
    logprobs: int | None = None
    echo: bool | None = None


_ACCOUNTS = """
    user store metadata service_tier safety_identifier prompt_cache_key prompt_cache_retention
    prompt_cache_options verbosity prediction moderation
"""
"""They describe the request to whoever keeps accounts, or ask for speed."""
_OURS = "request_id session_id stream_interval"
"""The gateway or the engine sets them."""
_ELSEWHERE = "return_token_offsets return_assistant_tokens_mask"
"""The engine knows them on routes that are not served."""
IGNORED = frozenset(f"{_ACCOUNTS} {_OURS} {_ELSEWHERE}".split())
"""Fields that ordinary clients send and that change no answer: taken, and not forwarded."""

_GRAMMAR = (
    "was replaced; send response_format, or structured_outputs with json, regex, choice or grammar"
)
_TEXT_ONLY = "only text is served; leave it out"
_ENGINE = "is for whoever runs the engine; leave it out"

REFUSED = {
    "use_beam_search": "beam search is not served; send n and a temperature",
    "early_stopping": "beam search is not served; leave it out",
    "suffix": "text is only continued, not filled in; leave it out",
    "prompt_embeds": "embeddings are not read from requests; send prompt as text or token ids",
    "chat_template": "templates of requests are not run; the model's own is used",
    "media_io_kwargs": _TEXT_ONLY,
    "mm_processor_kwargs": _TEXT_ONLY,
    "audio": _TEXT_ONLY,
    "priority": "all requests have the same priority; leave it out, or send 0",
    "kv_transfer_params": _ENGINE,
    "ec_transfer_params": _ENGINE,
    "vllm_xargs": _ENGINE,
    "logits_processors": _ENGINE,
    "routed_experts_prompt_start": _ENGINE,
    "functions": "was replaced; send tools",
    "function_call": "was replaced; send tool_choice",
    "web_search_options": "nothing is searched; leave it out",
    "system": "is not read here; send a first message with the role system",
    "guided_json": _GRAMMAR,
    "guided_regex": _GRAMMAR,
    "guided_choice": _GRAMMAR,
    "guided_grammar": _GRAMMAR,
    "guided_decoding_backend": _GRAMMAR,
    "guided_whitespace_pattern": _GRAMMAR,
}
"""Fields that would change the answer or the engine, with what to do instead. A value that asks for nothing
(null, false, 0 or empty) is ignored."""
