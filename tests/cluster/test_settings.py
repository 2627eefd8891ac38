"""What is wrong with settings is said before anything starts, with what would be right."""

from pathlib import Path

import pytest

from longspan.cluster.__main__ import main
from longspan.cluster.settings import (
    SETTINGS,
    image_of,
    instance_of,
    load_settings,
    node_types,
    unfilled,
)
from longspan.errors import UserError
from tests.cluster.settings import settings


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("pools.training.tipe=x", "pools.training.tipe: unknown key; the nearest known key is"),
        (
            "pools.training.type=p5.49xlarge",
            "'p5.49xlarge' is not in the table.*p5.48xlarge.*insta",
        ),
        (
            "pools.training.type=m7i.large",
            "m7i.large has no GPU, which training needs; .*g6.xlarge",
        ),
        ("pools.training.min=9", "pools.training: max 8 is below min 9"),
        ("pools.training_on_demand.spot=true", "pools: training_on_demand.spot: must be false"),
        ("buckets.0.access=read", "buckets: none has access: write"),
        ("buckets.0.name=s3://mine/x", "buckets.s3://mine/x.name: .* no name of a bucket.*prefix"),
        ("buckets.0.name=My_Bucket", "My_Bucket' is no name of a bucket: 3 to 63 lower-case"),
        ("buckets.0.name=10.0.0.1", "no name of a bucket"),
        ("buckets.0.prefix=a/*", "without wildcards"),
        ("buckets=[]", "buckets: must be"),
        ("image.us-west-2=ubuntu", "image: us-west-2: 'ubuntu' is no AMI id"),
        ("zones=[us-east-1a]", "zones: 'us-east-1a' is not in region us-west-2"),
        ("region=Oregon", "region: must be .*'Oregon'"),
        ("cluster=My Cluster", "cluster: 'My Cluster': use up to 40 lower-case"),
        ("ssh_from=203.0.113.7/24", "ssh_from: .*203.0.113.7/32 is one address"),
        (
            "ssh_from=0.0.0.0/0",
            "ssh_from: 0.0.0.0/0 opens SSH to the internet; .*, or anywhere alone",
        ),
        ("ssh_from=[0.0.0.0/1, 128.0.0.0/1]", "ssh_from: 0.0.0.0/1 opens SSH to the internet"),
        ("ssh_from=[9.9.9.9/32, anywhere]", "ssh_from: .*'anywhere'"),
        ("ssh_from=[]", "ssh_from: must"),
        ("extra_index='https://me:secret@host/x'", "extra_index: give an http.s. address without"),
        ("efa={subnet: x, security_group: sg-1}", "efa.subnet: must be"),
        ("instances={x1: {vcpus: 1, memory: 1, gpus: 1, on_demand: 1, spot: 1}}", "gpu .its name."),
    ],
)
def test_a_mistake_is_named_with_what_would_be_right(override, message):
    with pytest.raises(UserError, match=message):
        settings(override)


def test_a_region_without_an_image_says_how_to_find_one():
    with pytest.raises(
        UserError, match=r"no AMI for region eu-west-1 \(given: us-west-2\)"
    ) as told:
        image_of(settings("region=eu-west-1"))
    assert "aws ssm get-parameter --region eu-west-1" in str(told.value)


def test_who_reaches_port_22_has_to_be_said(tmp_path):
    text = SETTINGS.read_text()
    path = tmp_path / "settings.yaml"
    path.write_text(text.replace("ssh_from:", "# ssh_from:"))
    with pytest.raises(UserError, match=r"ssh_from: .*(missing|required)"):
        load_settings(path)
    assert [line.partition(":")[0] for line in unfilled(settings())] == ["image", "ssh_from"]
    for good in ("8.8.8.8/32", "[10.0.0.0/8, 9.9.9.0/24]", "anywhere"):
        assert [line[:5] for line in unfilled(settings(f"ssh_from={good}"))] == ["image"]


def test_types_and_prices_of_ones_own_are_taken():
    ours = settings(
        "instances={x1.big: {vcpus: 8, memory: 64, gpus: 2, gpu: L4, gpu_memory: 24, on_demand: 3, spot: 1}}",
        "prices={x1.big: {spot: 0.5}, m7i.xlarge: {on_demand: 9}}",
        "pools.training.type=x1.big",
    )
    found = instance_of(ours, "x1.big", "")
    assert (found.on_demand, found.spot, found.gpus) == (3, 0.5, 2)
    prices = {node.name: node.price for node in node_types(ours)}
    assert (prices["head"], prices["training"]) == (9, 0.5)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="settings: there is no file"):
        load_settings(tmp_path / "settings.yaml")


def test_the_kept_files_are_what_the_settings_say(capsys):
    assert main(["render", "--check"]) == 0, capsys.readouterr().err


def test_files_that_are_not_are_named_and_nothing_is_written(tmp_path, capsys):
    assert main(["render", "--to", str(tmp_path)]) == 0
    assert "placeholder" in capsys.readouterr().err
    before = contents(tmp_path)
    assert main(["render", "--check", "--to", str(tmp_path), "pools.data.max=7"]) == 2
    told = capsys.readouterr().err
    assert (
        f"{tmp_path}/aws.yaml, {tmp_path}/kubernetes/pretrain.yaml: not what the settings" in told
    )
    assert contents(tmp_path) == before


def contents(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}
