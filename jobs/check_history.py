"""Whether runs that were stopped, resized and restarted were each one undisturbed run.

python jobs/check_history.py RUN [RUN ...], such as .longspan/store/runs/quickstart or s3://bucket/prefix/runs/name
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from longspan.run import console


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python jobs/check_history.py",
        description="Read what every worker of a run was given, over all its starts, and say whether that is one "
        "undisturbed run: every row once, every token of an epoch once, and what was done twice the same both times. "
        "Several runs are also compared with each other. Status 0 if all is well, 1 if not.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="folder of a run in the store, or its s3:// address"
    )
    parser.add_argument("--endpoint", help="URL of an S3 server other than AWS (AWS_ENDPOINT_URL)")
    options = parser.parse_args(arguments)

    from longspan.history.report import report

    text, sound = report(options.runs, options.endpoint)
    print(text)
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(console.run(main, sys.argv[1:]))
