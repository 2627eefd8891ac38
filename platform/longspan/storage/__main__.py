"""Copies what is below an address to a local folder: python -m longspan.storage s3://bucket/path FOLDER."""

import argparse
import sys

from longspan.errors import UserError
from longspan.storage import Store


def main(arguments: list[str]) -> int:
    """Status 2 and a message where it cannot be done."""
    parser = argparse.ArgumentParser(
        prog="python -m longspan.storage",
        description="Copy what is below an address, such as an exported model, to a local folder.",
    )
    parser.add_argument("address", help="s3://bucket/path, or a folder")
    parser.add_argument("folder", metavar="FOLDER", help="where to; made if it is not there")
    options = parser.parse_args(arguments)
    address, folder = options.address, options.folder
    try:
        Store(address).download("", folder)
    except (UserError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
