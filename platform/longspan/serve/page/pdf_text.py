"""The text of a PDF: a program that reads one from its input, and writes one JSON object.

It runs as a process of its own, with little memory and time, because a PDF is a program of sorts that a
stranger wrote.

    {"text": "...", "pages": 12, "empty_pages": 1}      or      {"problem": "encrypted"}
"""

import io
import json
import resource
import sys
from typing import Any

MAX_PAGES = 5_000
MAX_CHARACTERS = 5_000_000
"""More than a million tokens: more than a window has, and small beside what the file itself may be."""
MEMORY = 1 << 30
"""Bytes of address space."""


def limit(cpu_seconds: int) -> None:
    """Bound this process: address space, CPU time, and no files written."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def text_of(data: bytes) -> dict[str, Any]:
    """The text of all pages, one empty line between them, or why there is none."""
    import pypdf
    from pypdf.errors import DependencyError, FileNotDecryptedError

    try:
        reader = pypdf.PdfReader(io.BytesIO(data))
        # Many files are encrypted with no password at all: they only ask not to be printed.
        if reader.is_encrypted and not reader.decrypt(""):
            return {"problem": "encrypted"}
        number = len(reader.pages)
        if number > MAX_PAGES:
            return {"problem": "pages", "pages": number}
        pages: list[str] = []
        characters = 0
        for page in reader.pages:
            # Fonts without a proper table give half of a surrogate pair at times.
            pages.append(page.extract_text().encode(errors="replace").decode().strip())
            characters += len(pages[-1])
            if characters > MAX_CHARACTERS:
                return {"problem": "text"}
    except (FileNotDecryptedError, DependencyError):
        return {"problem": "encrypted"}
    except MemoryError:
        return {"problem": "memory"}
    except Exception as error:  # Whatever a hostile or broken file can raise.
        return {"problem": "broken", "what": type(error).__name__}
    if not characters:
        return {"problem": "scan", "pages": number}
    text = "\n\n".join(page for page in pages if page)
    return {"text": text, "pages": number, "empty_pages": pages.count("")}


if __name__ == "__main__":
    limit(int(sys.argv[1]))
    # In UTF-8, not in escapes of six bytes: the service reads it into memory.
    said = json.dumps(text_of(sys.stdin.buffer.read()), ensure_ascii=False)
    sys.stdout.buffer.write(said.encode())
