"""The project's own settings, changed where a test wants them so."""

from typing import Any

import yaml

from longspan.cluster.schema import Settings
from longspan.cluster.settings import SETTINGS, checked
from longspan.config.load import parse
from longspan.config.overrides import apply_overrides


def settings(*overrides: str) -> Settings:
    return checked(parse(Settings, apply_overrides(as_written(), overrides)))


def as_written() -> dict[str, Any]:
    return yaml.safe_load(SETTINGS.read_text())
