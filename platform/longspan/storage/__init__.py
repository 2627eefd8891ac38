"""One way to name and reach objects, in a folder or in an S3 bucket."""

from longspan.storage.objects import ObjectInfo
from longspan.storage.store import Store

__all__ = ["ObjectInfo", "Store"]
