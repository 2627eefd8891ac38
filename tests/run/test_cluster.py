import pytest

from longspan.run.cluster import lacks


@pytest.mark.parametrize(
    ("workers", "each", "resources", "said"),
    [
        (2, {"GPU": 0.0, "CPU": 1.0}, {"CPU": 2.0}, None),
        (8, {"GPU": 0.0, "CPU": 1.0}, {"CPU": 2.0}, "8 workers need 8 CPUs and the cluster has 2"),
        (2, {"GPU": 1.0, "CPU": 1.0}, {"CPU": 2.0}, "2 workers need 2 GPUs and the cluster has 0"),
        (2, {"GPU": 0.5, "CPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}, None),
    ],
)
def test_a_cluster_that_is_too_small_is_told(workers, each, resources, said) -> None:
    assert lacks(resources, workers, each) == said
