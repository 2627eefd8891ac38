"""The page before a real model, whose answers may fill its small window: one question is what fits."""

import pytest

from tests.page.conftest import browser, chat  # noqa: F401
from tests.page.standin import Service
from tests.page.test_page_browser import test_a_wrong_key_then_the_right_one  # noqa: F401
from tests.serve.service import Service as Deployed
from tests.serve.service import metric

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def service(deployed: Deployed) -> Service:
    return Service(deployed.url, deployed.key, lambda: int(metric("ray_vllm_num_requests_running")))
