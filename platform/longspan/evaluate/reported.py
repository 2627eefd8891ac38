"""Models as engines and endpoints report them: compared with what the evaluation knows of them, and recorded.

evaluate/replies/<model>/engines/<id>.json  report of an engine that has answered for a model
"""

from __future__ import annotations

from collections.abc import Callable

from longspan.chat.token_probe import TokenProbe
from longspan.errors import UserError
from longspan.evaluate.ask import replies_folder
from longspan.evaluate.models import EvaluatedModel
from longspan.evaluate.prepare import Prepared
from longspan.evaluate.results import ReportedEngine
from longspan.generate.endpoint import EndpointAccess, probe
from longspan.generate.endpoint_tokens import endpoint_tokens
from longspan.generate.engine_report import ExpectedModel
from longspan.generate.progress import Log
from longspan.hashing import content_id
from longspan.model.load import load_tokenizer
from longspan.model.source import named
from longspan.storage import Store


def expected_model(model: EvaluatedModel) -> ExpectedModel:
    """Return the facts of a model that an engine must agree with."""
    return ExpectedModel(model.name, model.key, model.rope, _tokens(model))


def report_recorder(store: Store, identity: str) -> Callable[[str], None]:
    """Return a function that records the report of an engine.

    Args:
        store: to write to.
        identity: of the model with all that decides its replies (`ProbeStage.identity`).
    """
    folder = _folder(identity)
    return lambda report: store.write_bytes(f"{folder}/{content_id(report)}.json", report.encode())


def recorded_reports(store: Store, identity: str) -> list[ReportedEngine]:
    """Return the reports of all engines that have answered for a model; arguments as for `report_recorder`.

    Raises:
        UserError: an object is not what `report_recorder` wrote.
    """
    found = []
    for item in sorted(store.list(f"{_folder(identity)}/*.json"), key=lambda item: item.path):
        try:
            found.append(ReportedEngine.model_validate_json(store.read_bytes(item.path)))
        except ValueError as error:
            raise UserError(
                f"{store.uri(item.path)}: not written by this job ({error}); delete it"
            ) from None
    return found


def check_endpoint(prepared: Prepared, log: Log) -> ReportedEngine:
    """Compare what the endpoint reports with the model's folder, and log what it does not report.

    Raises:
        UserError: its tokenizer or chat template makes other tokens; or it can't be reached.
    """
    endpoint = prepared.recipe.endpoint
    assert endpoint is not None and prepared.api_key is not None, "called for an endpoint only"
    access = EndpointAccess(endpoint, prepared.api_key, "endpoint")
    window = probe(access)
    chat = prepared.template == "chat"
    served = endpoint_tokens(access, chat)
    if problems := _tokens(prepared.model).differences(served.probe, "the endpoint"):
        raise UserError(
            f"endpoint.model: {endpoint.url} serves {endpoint.model!r} with other tokens than the folder of "
            f"{prepared.model.name!r} (model): {'; '.join(problems)}. Set model to the folder of the served model"
        )
    unchecked = ["RoPE base: no API reports it"]
    if window is None:
        unchecked.append("window: /v1/models states no max_model_len")
    if served.problem:
        names = "tokenizer and chat template" if chat else "tokenizer"
        unchecked.append(f"{names}: {served.problem}")
    for each in unchecked:
        log(f"endpoint: not checked: {each}")
    return ReportedEngine(window=window, tokens=served.probe.hashes, unchecked=unchecked)


def _folder(identity: str) -> str:
    return f"{replies_folder(identity)}/engines"


def _tokens(model: EvaluatedModel) -> TokenProbe:
    with named(model.key):
        return TokenProbe.of(load_tokenizer(model.folder))
