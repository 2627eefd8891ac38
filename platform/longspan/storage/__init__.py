"""One way to name and reach objects, in a folder or in an S3 bucket."""

from longspan.storage.objects import ObjectInfo, is_transport
from longspan.storage.store import Store

__all__ = ["ObjectInfo", "Store", "is_transport"]
