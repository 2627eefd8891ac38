"""Copies what is below an address to a local folder: python -m longspan.storage s3://bucket/path FOLDER."""

import sys

from longspan.errors import UserError
from longspan.storage import Store


def main(arguments: list[str]) -> int:
    """Status 2 and a message where it cannot be done."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    address, folder = arguments
    try:
        Store(address).download("", folder)
    except (UserError, FileNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
