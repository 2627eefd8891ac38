"""Jobs up to the point where Ray or workers would start, in this process."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.ingest.conversations import ConversationTokenizer
from longspan.ingest.corpora import Ingest, Manifests
from longspan.ingest.objects import ingest_object
from longspan.ingest.state import SourceState
from longspan.ingest.tokenizer import Tokenizer

ROOT = Path(__file__).parents[1]


def main_of(job: str) -> Callable[[list[str]], int]:
    """`main` of jobs/JOB.py, which is a script and in no package."""
    spec = importlib.util.spec_from_file_location(f"jobs_{job}", ROOT / "jobs" / f"{job}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def ingest(asked: Ingest, most: int = 1000) -> Manifests:
    """An ingest without Ray, of at most so many objects of each source."""
    store, settings = asked.store, asked.settings
    states = {spec.name: SourceState(store, spec, settings, "stop") for spec in asked.specs}
    for state in states.values():
        tokenizer = _tokenizer(asked, chat=state.spec.format == "chat")
        for info in state.pending[:most]:
            state.add(ingest_object(store, state.spec, info, settings, tokenizer, "stop"))
    return {name: state.finish(lambda line: None) for name, state in states.items()}


def _tokenizer(asked: Ingest, *, chat: bool) -> Tokenizer | ConversationTokenizer:
    if chat:
        return ConversationTokenizer(Template(ChatTokenizer.load(asked.tokenizer_dir)))
    return Tokenizer(asked.tokenizer_dir, asked.separator)
