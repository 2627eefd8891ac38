"""The project's corpora in a bucket on S3, for runs whose store fails."""

from collections.abc import Iterator
from contextlib import contextmanager

from longspan.storage import Store
from tests.fault_proxy import FaultProxy, Faults
from tests.jobs.project import Project
from tests.s3 import S3Server


class Bucket:
    """A copy of the project's corpora."""

    def __init__(self, project: Project, server: S3Server) -> None:
        self._project, self._server = project, server
        self._root = f"s3://{server.bucket}/chaos"
        self.store = Store(self._root, endpoint=server.endpoint)
        self.store.upload(project.folder / "store/corpora", "corpora")

    @contextmanager
    def behind_a_proxy(self, faults: Faults) -> Iterator[FaultProxy]:
        """The way to it, as long as the context lasts."""
        with FaultProxy(self._server.endpoint, faults, seed=1).running() as proxy:
            yield proxy

    def settings(self, proxy: FaultProxy) -> tuple[str, ...]:
        """What makes a run use it."""
        return f"storage.root={self._root}", f"storage.endpoint={proxy.endpoint}"

    def fetch(self, run: str) -> None:
        """Bring a run to where the project keeps its own."""
        self.store.download(f"runs/{run}", self._project.folder / "store/runs" / run)
