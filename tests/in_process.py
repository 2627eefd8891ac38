"""Jobs up to the point where Ray or workers would start, in this process."""

from collections.abc import Callable
from functools import partial

from longspan.chat.template import Template
from longspan.chat.tokenizer import ChatTokenizer
from longspan.cli.entry import command_named, invoke
from longspan.corpus.text_tokenizer import Tokenizer
from longspan.ingest.conversations import ConversationTokenizer
from longspan.ingest.corpora import Ingest, Manifests
from longspan.ingest.objects import ingest_object
from longspan.ingest.state import SourceState


def main_of(job: str) -> Callable[[list[str]], int]:
    """The command of jobs/JOB.py with its arguments; mistakes of the user's are raised."""
    return partial(invoke, command_named(job), f"python jobs/{job}.py")


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
