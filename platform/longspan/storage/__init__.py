"""One way to name and reach objects, in a folder or in an S3 bucket."""

from longspan.storage.local import LocalCopy
from longspan.storage.objects import ObjectInfo, is_transport, retried
from longspan.storage.preflight import Need
from longspan.storage.store import Store

__all__ = ["LocalCopy", "Need", "ObjectInfo", "Store", "is_transport", "retried"]
