"""One service for all tests of this package that ask a real one."""

from tests.serve.service import deployed  # noqa: F401
