from tests.distribution import SHARED_RAY, group_of, position


def test_real_tests_that_share_a_service_are_one_group() -> None:
    assert group_of("serve/test_api.py", real=True) == SHARED_RAY
    assert group_of("jobs/test_pipeline.py", real=True) == SHARED_RAY
    assert group_of("train/test_fallback.py", real=True) == SHARED_RAY
    assert group_of("page/test_page_browser.py", real=True) == "page"
    assert group_of("train/test_engine.py", real=True) == group_of("model/test_zero.py", real=True)


def test_a_module_of_unit_tests_is_a_group_of_its_own_and_starts_last() -> None:
    group = group_of("train/test_room.py", real=False)
    assert group == "train/test_room.py"
    assert position(SHARED_RAY) == 0
    assert position("chaos") < position("page") < position(group)
