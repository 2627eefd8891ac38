"""Conversations, short and long, and a recipe that finetunes the project's model on them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from longspan.samples import chat
from tests.jobs.project import Project

LENGTH = 512
"""Tokens of a row."""


def write_conversations(corpora: Path) -> None:
    """Two corpora: chat, of short conversations, and examples, of long ones."""
    (corpora / "chat").mkdir()
    chat.write(chat.documents(names=["textwrap", "shutil", "random"]), corpora / "chat")
    (corpora / "examples").mkdir()
    pq.write_table(pa.Table.from_pylist(long_examples(24)), corpora / "examples" / "part.parquet")


def write_sft_recipe(path: Path, project: Project) -> Path:
    """Short conversations packed, long ones a row each, and some text."""
    recipe = {
        "name": "chat",
        "base_model": str(project.model),
        "target_context": LENGTH,
        "corpora": [
            {"name": "chat", "path": "corpora/chat"},
            {"name": "long", "path": "corpora/examples", "pack": False, "prompt_loss": 0.5},
            {"name": "text", "path": "corpora/short", "format": "jsonl", "weight": 0.2},
        ],
        "heldout": {"fraction": 0.15, "rows_per_source": 2},
        "training": {"tokens_per_update": 4 * LENGTH, "precision": "fp32", "epochs": 1},
        "optimizer": {"learning_rate": 1e-3, "warmup_updates": 1},
        "workers": {"min": 1, "max": 1, "cpus_per_worker": 1},
        "storage": {"root": project.store.root},
    }
    path.write_text(yaml.safe_dump(recipe))
    return path


def long_examples(count: int) -> list[dict]:
    """Examples as self-instruct writes them: a document with a question at its end, and an answer."""
    return [
        {
            "messages": [
                {
                    "role": "user",
                    "content": f"{number}. " + "The keeper counted the ships. " * 40 + "How many?",
                },
                {"role": "assistant", "content": f"{number} ships."},
            ],
            "document": f"{number}.txt",
        }
        for number in range(count)
    ]
