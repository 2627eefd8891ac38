"""One service for all tests that ask a real one."""

from tests.serve.service import deployed  # noqa: F401
