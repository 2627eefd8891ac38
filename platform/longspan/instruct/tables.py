"""Schemas of the Parquet objects of a self-instruct set."""

from __future__ import annotations

import pyarrow as pa

SPAN = pa.struct(
    [
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("first_token", pa.int64()),
        ("end_token", pa.int64()),
    ]
)
"""A part of a document: its characters from `start` up to `end`, its tokens from `first_token` up to `end_token`."""
CHUNK = pa.struct(
    [
        ("id", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("first_token", pa.int64()),
        ("end_token", pa.int64()),
    ]
)
DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("corpus", pa.string()),
        ("object", pa.string()),
        ("number", pa.int64()),
        ("tokens", pa.int64()),
        ("text", pa.large_string()),
        ("chunks", pa.list_(CHUNK)),
    ]
)
"""Documents that may be asked about; `number` counts an object's documents, tokens are the generator's."""

_OUTCOME = [
    ("id", pa.string()),
    ("reply", pa.large_string()),
    ("prompt_tokens", pa.int64()),
    ("reply_tokens", pa.int64()),
    ("problem", pa.string()),
]
REPLIES = pa.schema(
    [
        *_OUTCOME,
        ("chunk", pa.string()),
        ("style", pa.string()),
        ("seed", pa.int64()),
        ("question", pa.large_string()),
        ("answer", pa.large_string()),
        ("grounding", pa.float64()),
    ]
)
"""What became of each request for a question; `problem` is "" where there is a question and an answer."""
VERDICTS = pa.schema(
    [
        *_OUTCOME,
        ("answerable", pa.bool_()),
        ("correct", pa.bool_()),
        ("supported", pa.bool_()),
        ("score", pa.int64()),
    ]
)
"""What became of each request for a verdict; its id is that of the question."""

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
EXAMPLES = pa.schema(
    [
        ("id", pa.string()),
        ("messages", pa.list_(MESSAGE)),
        ("question", pa.large_string()),
        ("tokens", pa.int64()),
        ("document", pa.string()),
        ("corpus", pa.string()),
        ("object", pa.string()),
        ("number", pa.int64()),
        ("document_tokens", pa.int64()),
        ("kept", SPAN),
        ("chunk", pa.string()),
        ("chunk_span", SPAN),
        ("chunk_at", pa.int64()),
        ("position", pa.float64()),
        ("style", pa.string()),
        ("generator", pa.string()),
        ("prompts", pa.string()),
        ("seed", pa.int64()),
        ("grounding", pa.float64()),
        ("answerable", pa.bool_()),
        ("correct", pa.bool_()),
        ("supported", pa.bool_()),
        ("score", pa.int64()),
    ]
)
"""Training examples; docs/self_instruct.md says what each column is."""
