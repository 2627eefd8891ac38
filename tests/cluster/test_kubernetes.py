"""The manifests for KubeRay: the same cluster as aws.yaml has, closed, and as the schemas want them."""

import functools
import importlib.util
import ipaddress
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from longspan.cli.job_options import split_words
from longspan.cluster.files import notes, rendered
from longspan.cluster.kubernetes.clusters import chat, pretrain
from longspan.cluster.kubernetes.objects import base
from longspan.cluster.kubernetes.pods import DRAIN
from longspan.cluster.launcher import launcher_config
from longspan.config.load import parse
from longspan.errors import UserError
from longspan.recipe.load import load_recipe
from longspan.serve.config import application_of
from longspan.serve.schema import ServeSettings
from tests.cluster.settings import settings

CRDS = "LONGSPAN_KUBERAY_CRDS"
FILES = ("base", "pretrain", "chat")
SHA = f"sha256:{'0123456789abcdef' * 4}"
Json = dict[str, Any]


@functools.cache
def objects(name: str, *overrides: str) -> list[Json]:
    return {"base": base, "pretrain": pretrain, "chat": chat}[name](settings(*overrides))


def documents(name: str, *overrides: str) -> dict[str, Json]:
    """By kind; of several of a kind the last."""
    return {each["kind"]: each for each in objects(name, *overrides)}


def cluster(name: str, *overrides: str) -> Json:
    ours = documents(name, *overrides)
    if name == "chat":
        return ours["RayService"]["spec"]["rayClusterConfig"]
    return ours["RayJob"]["spec"]["rayClusterSpec"]


def templates(name: str, *overrides: str) -> list[Json]:
    ours = cluster(name, *overrides)
    groups = [ours["headGroupSpec"], *ours["workerGroupSpecs"]]
    submitter = (
        [] if name == "chat" else [documents(name)["RayJob"]["spec"]["submitterPodTemplate"]]
    )
    return [group["template"] for group in groups] + submitter


def seen_by_ray(name: str) -> Json:
    """What Ray's own autoscaler makes of the cluster."""
    from ray.autoscaler._private.kuberay import autoscaling_config

    spec = {"metadata": {"name": name, "namespace": "longspan"}, "spec": cluster(name)}
    return autoscaling_config._derive_autoscaling_config_from_ray_cr(spec)


@pytest.mark.parametrize(
    ("name", "pools"),
    [
        ("pretrain", ["head", "data", "training", "training-on-demand"]),
        ("chat", ["head", "serving"]),
    ],
)
def test_ray_sees_the_same_nodes_as_on_aws(name: str, pools: list[str]) -> None:
    aws = launcher_config(settings())
    seen = seen_by_ray(name)
    types = {
        ("head" if key == "headgroup" else key): each
        for key, each in seen["available_node_types"].items()
    }
    assert list(types) == pools
    assert seen["idle_timeout_minutes"] == aws["idle_timeout_minutes"]
    for pool in pools:
        here, there = types[pool], aws["available_node_types"][pool]
        resources = {key: value for key, value in here["resources"].items() if key != "memory"}
        assert {"GPU": 0, **resources} == there["resources"]
        assert here["labels"] == there["labels"]
        assert here["max_workers"] == there["max_workers"]
        assert here.get("priority", 0) == there.get("priority", 0)


def test_machines_come_when_the_job_and_the_service_ask_for_their_pool() -> None:
    overrides = ("pools.training_on_demand.min=2", "pools.serving.min=1")
    for changed, least in (((), [0, 0, 0, 0]), (overrides, [0, 0, 2, 1])):
        groups = [
            group
            for name in ("pretrain", "chat")
            for group in cluster(name, *changed)["workerGroupSpecs"]
        ]
        assert [group["minReplicas"] for group in groups] == least
        assert [group["replicas"] for group in groups] == least


@pytest.mark.parametrize("name", ["pretrain", "chat"])
def test_ray_asks_for_a_token_and_scales_by_its_second_autoscaler(name: str) -> None:
    ours = cluster(name)
    assert ours["authOptions"] == {"mode": "token"}
    assert (ours["enableInTreeAutoscaling"], ours["autoscalerOptions"]["version"]) == (True, "v2")
    assert f"ray=={ours['rayVersion']}" in Path("constraints/cpu.txt").read_text().split()


@pytest.mark.parametrize("name", ["pretrain", "chat"])
def test_no_pod_has_rights_and_each_gets_what_it_asks_for(name: str) -> None:
    for template in templates(name):
        pod = template["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert not any("hostPath" in volume for volume in pod.get("volumes", []))
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "privileged" not in security
            assert security["readOnlyRootFilesystem"] is True
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            assert {"/tmp", "/dev/shm", "/cache"} >= set(mounts) >= {"/tmp"}
            writable = {mount["name"] for mount in container["volumeMounts"]}
            assert writable <= {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", ["pretrain", "chat"])
def test_the_autoscaler_alone_has_an_account_of_kubernetes(name: str) -> None:
    from ray.autoscaler._private.kuberay import node_provider as ray

    pods = [template["spec"] for template in templates(name)]
    assert not any(pod["automountServiceAccountToken"] for pod in pods)
    head, *others = pods
    secret = [volume["name"] for volume in head["volumes"] if "projected" in volume]
    assert not any("projected" in volume for pod in others for volume in pod["volumes"])
    # Jobs' drivers run in the containers of the template; KubeRay adds the autoscaler's.
    mounted = [
        each["name"] for container in head["containers"] for each in container["volumeMounts"]
    ]
    assert not set(secret) & set(mounted)
    options = cluster(name)["autoscalerOptions"]
    assert options["securityContext"]["readOnlyRootFilesystem"] is True
    token, tmp = options["volumeMounts"]
    assert [token["name"]] == secret
    assert tmp["name"] not in mounted
    assert f"{token['mountPath']}/token" == ray.IN_CLUSTER_TOKEN_PATH
    assert f"{token['mountPath']}/ca.crt" == ray.IN_CLUSTER_CA_CERT_PATH
    # Rights that KubeRay binds to the head's account are no other pod's.
    accounts = [pod["serviceAccountName"] for pod in pods]
    assert accounts[0] == "longspan-head"
    worker = "worker" if name == "pretrain" else "serving"
    assert set(accounts[1:]) == {f"longspan-{worker}"}
    known = {each["metadata"]["name"]: each for each in objects("base")}
    assert all(known[account]["automountServiceAccountToken"] is False for account in accounts)


def test_each_account_has_annotations_of_its_own() -> None:
    given = "kubernetes.service_account_annotations={serving: {eks.amazonaws.com/role-arn: keys}}"
    found = {
        each["metadata"]["name"]: each["metadata"].get("annotations")
        for each in objects("base", given)
    }
    assert found["longspan-serving"] == {"eks.amazonaws.com/role-arn": "keys"}
    assert found["longspan-worker"] == found["longspan-head"] == {}
    with pytest.raises(UserError, match=r"each account has its own.*serving: \{KEY"):
        settings("kubernetes.service_account_annotations={eks.amazonaws.com/role-arn: all}")


def test_an_image_that_has_to_write_may() -> None:
    for template in templates("chat", "kubernetes.read_only_root=false"):
        (container,) = template["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is False


@pytest.mark.parametrize("name", ["pretrain", "chat"])
def test_budgets_and_policies_find_their_pods(name: str) -> None:
    pods = [template["metadata"]["labels"] for template in templates(name)]
    budgets = [each["spec"] for each in objects(name) if each["kind"] == "PodDisruptionBudget"]
    chosen = [
        [
            pod["longspan.io/pool"]
            for pod in pods
            if budget["selector"]["matchLabels"].items() <= pod.items()
        ]
        for budget in budgets
    ]
    assert chosen == ([["head"]] if name == "pretrain" else [["head"], ["serving"]])
    # Kubernetes counts with no other kind of budget for pods of a controller that it does not know.
    assert all(isinstance(budget["minAvailable"], int) for budget in budgets)
    everybody, head = (each["podSelector"]["matchLabels"] for each in policies(name))
    assert all(everybody.items() <= pod.items() for pod in pods)
    assert [head.items() <= pod.items() for pod in pods] == [True] + [False] * (len(pods) - 1)


def test_only_the_chat_port_is_open_and_to_those_who_are_named() -> None:
    overrides = ("kubernetes.clients=[ingress]", "kubernetes.metrics_from=[monitoring]")
    rules = policies("chat", *overrides)[0]["ingress"]
    ports = [[port["port"] for port in rule.get("ports", [])] for rule in rules]
    assert ports == [[], [8265, 52365, 8000], [8000], [8080]]
    names = [
        peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for rule in rules
        for peer in rule["from"]
        if "namespaceSelector" in peer
    ]
    assert names == ["kuberay", "ingress", "monitoring"]
    assert "8000" not in str(policies("pretrain"))


@pytest.mark.parametrize(
    ("address", "port", "who"),
    [
        ("52.218.1.1", 443, "all"),  # S3, the hub
        ("2600::1", 443, "all"),
        ("10.0.0.1", 6443, "head"),  # Kubernetes' API
        ("169.254.169.254", 80, None),  # the metadata service
        ("169.254.169.254", 443, None),
        ("fd00:ec2::254", 443, None),
        ("169.254.169.254", 6443, None),
        ("52.218.1.1", 80, None),
        ("10.0.0.9", 22, None),
        ("10.0.0.9", 9000, None),
        ("169.254.20.10", 53, "all"),  # DNS
        ("8.8.8.8", 53, None),
    ],
)
def test_pods_connect_to_what_they_need_alone(address: str, port: int, who: str | None) -> None:
    for name in ("pretrain", "chat"):
        everybody, head = policies(name)
        assert {"Egress"} <= set(everybody["policyTypes"]) & set(head["policyTypes"])
        assert reaches(everybody, address, port) is (who == "all")
        assert reaches(head, address, port) is (who == "head")


def test_what_the_settings_name_is_reached_too_but_for_the_metadata_service() -> None:
    given = (
        "kubernetes.egress=[{cidr: 10.0.0.0/24, ports: [9000]}, {cidr: 0.0.0.0/0, ports: [80]},"
        " {cidr: 169.254.170.23/32, ports: [80]}]"
    )
    everybody, _ = policies("chat", given)
    assert reaches(everybody, "10.0.0.9", 9000)
    assert reaches(everybody, "1.1.1.1", 80)
    assert reaches(everybody, "169.254.170.23", 80)
    assert not reaches(everybody, "169.254.169.254", 80)
    with pytest.raises(UserError, match="is the metadata service, which hands out"):
        settings("kubernetes.egress=[{cidr: 169.254.169.254/32, ports: [80]}]")


def policies(name: str, *overrides: str) -> list[Json]:
    """Of all pods, and of the head."""
    found = [each for each in objects(name, *overrides) if each["kind"] == "NetworkPolicy"]
    return [each["spec"] for each in found]


def reaches(policy: Json, address: str, port: int) -> bool:
    """Whether a policy lets its pods connect to an address that is no pod's."""
    where = ipaddress.ip_address(address)
    return any(
        port in [each["port"] for each in rule.get("ports", [])]
        and any(
            where in ipaddress.ip_network(block["cidr"])
            and not any(where in ipaddress.ip_network(each) for each in block.get("except", []))
            for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer)
        )
        for rule in policy["egress"]
    )


def test_ray_drains_a_node_that_is_to_go_within_the_time_of_a_spot_notice() -> None:
    from ray._private import ray_constants

    assert hasattr(ray_constants, DRAIN), "this Ray does not drain by itself"
    groups = [*cluster("pretrain")["workerGroupSpecs"], *cluster("chat")["workerGroupSpecs"]]
    for group in groups:
        pod = group["template"]["spec"]
        grace = 630 if group["groupName"] == "serving" else 120
        assert pod["terminationGracePeriodSeconds"] == grace
        assert {"name": DRAIN, "value": str(grace - 10)} in pod["containers"][0]["env"]
    spot = cluster("chat", "pools.serving.spot=true")["workerGroupSpecs"][0]["template"]["spec"]
    assert spot["terminationGracePeriodSeconds"] == 120


def test_the_job_is_started_again_and_its_recipe_loads() -> None:
    job = documents("pretrain", "kubernetes.overrides=['workers={min: 8, max: 64}']")["RayJob"][
        "spec"
    ]
    assert (job["backoffLimit"], job["shutdownAfterJobFinishes"], job["suspend"]) == (
        3,
        True,
        False,
    )
    python, script, *arguments = shlex.split(job["entrypoint"])
    assert (python, Path(script).is_file()) == ("python", True)
    recipe = load_recipe(*split_words(tuple(arguments), "quickstart"))
    assert recipe.storage.root == "s3://your-bucket/longspan"
    workers = recipe.workers
    assert (workers.min, workers.max, workers.pool) == (8, 64, "training")
    assert recipe.data.pool == "data"


def test_what_is_served_is_the_service_that_chat_yaml_has() -> None:
    spec = documents("chat")["RayService"]["spec"]
    config = yaml.safe_load(spec["serveConfigV2"])
    own = yaml.safe_load(Path("serving/chat.yaml").read_text())
    assert application_of(config) | {"args": None} == application_of(own) | {"args": None}
    served = parse(ServeSettings, application_of(config)["args"])
    assert (served.replicas.min, served.replicas.max, served.pool) == (1, 4, "serving")
    assert served.storage.root == "s3://your-bucket/longspan"
    # KubeRay's service sends requests to pods with a proxy that others reach.
    assert config["proxy_location"] == "EveryNode"
    assert config["http_options"] == {"host": "0.0.0.0", "port": 8000}
    assert spec["rayClusterDeletionDelaySeconds"] == served.replicas.drain
    with pytest.raises(UserError, match=r"replicas.*max 1 is below min 2"):
        documents("chat", "kubernetes.chat.replicas={min: 2, max: 1}")


def test_pods_are_where_the_settings_say() -> None:
    ours = cluster(
        "pretrain",
        "kubernetes.storage_class=gp3",
        "kubernetes.gpu=nvidia.com/mig-3g.40gb",
        "kubernetes.spot.node_selector={pool: cheap}",
        "kubernetes.pools={training: {node_selector: {rack: a}, tolerations: [{key: mine, operator: Exists}]}}",
    )
    training = ours["workerGroupSpecs"][1]["template"]["spec"]
    assert training["nodeSelector"] == {
        "pool": "cheap",
        "rack": "a",
        "node.kubernetes.io/instance-type": "p5.48xlarge",
    }
    assert [each["key"] for each in training["tolerations"]] == ["nvidia.com/gpu", "mine"]
    assert training["containers"][0]["resources"]["limits"]["nvidia.com/mig-3g.40gb"] == "8"
    replica = training["volumes"][1]["ephemeral"]["volumeClaimTemplate"]["spec"]
    assert replica["resources"]["requests"] == {"storage": "500Gi"}
    assert "tolerations" not in ours["headGroupSpec"]["template"]["spec"]


def test_the_files_hold_these_objects() -> None:
    files = rendered(settings())
    for name in FILES:
        text = files[f"kubernetes/{name}.yaml"]
        assert list(yaml.load_all(text, yaml.CSafeLoader)) == objects(name)
    # For people to read.
    assert "serveConfigV2: |\n" in files["kubernetes/chat.yaml"]


@pytest.mark.parametrize("name", ["mine/x", "mine/x:1", "host.example:5000/mine/x:1"])
def test_an_image_is_known_by_its_digest_and_a_tag_alone_is_noted(name: str) -> None:
    by_digest = notes(settings(f"kubernetes.image={name}@{SHA}"))
    assert [note for note in by_digest if note.startswith("kubernetes")] == []
    (note,) = [
        n for n in notes(settings("kubernetes.image=mine/x:1")) if n.startswith("kubernetes")
    ]
    assert "kubernetes.image: mine/x:1 is a tag" in note
    assert "docker buildx imagetools inspect mine/x:1" in note
    for wrong in (f"{name}@sha256:12", f"{name}@{SHA[:-1]}", f"{name}@{SHA}0"):
        with pytest.raises(UserError, match=r"kubernetes\.image: .*tag or a digest"):
            settings(f"kubernetes.image={wrong}")


def test_mistakes_and_placeholders_are_told_and_without_the_section_nothing_is_rendered() -> None:
    assert any("kubernetes.image" in note for note in notes(settings()))
    assert not any("kubernetes" in note for note in notes(settings(f"kubernetes.image=x@{SHA}")))
    assert not any("kubernetes" in name for name in rendered(settings("kubernetes=null")))
    for image in ("longspan", "mine/longspan:latest"):
        with pytest.raises(UserError, match=r"kubernetes\.image: .*tag or a digest"):
            settings(f"kubernetes.image={image}")
    with pytest.raises(UserError, match="over 38 characters, which KubeRay does not take"):
        settings(f"cluster={'x' * 39}")


@pytest.mark.parametrize("name", FILES)
def test_kubernetes_schemas_take_it(name: str) -> None:
    if importlib.util.find_spec("kubernetes_validate") is None:
        pytest.skip("pip install kubernetes-validate: Kubernetes' own schemas, 108 MB")
    validate = importlib.import_module("kubernetes_validate").validate
    pods = (
        []
        if name == "base"
        else [
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "x", **each["metadata"]},
                "spec": each["spec"],
            }
            for each in templates(name)
        ]
    )
    known = [each for each in objects(name) if not each["apiVersion"].startswith("ray.io/")]
    for each in known + pods:
        validate(each, "1.31", strict=True)


@pytest.mark.parametrize(("name", "kind"), [("pretrain", "RayJob"), ("chat", "RayService")])
def test_kuberays_schemas_take_it(name: str, kind: str) -> None:
    import jsonschema

    folder = os.environ.get(CRDS)
    if not folder:
        pytest.skip(
            f"{CRDS} names no folder with KubeRay's CRDs; docs/cluster.md has where they are"
        )
    crd = yaml.load((Path(folder) / f"ray.io_{kind.lower()}s.yaml").read_text(), yaml.CSafeLoader)
    (version,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    jsonschema.Draft7Validator(schema).validate(documents(name)[kind])


def strict(schema: Any, top: bool = True) -> Any:
    """The same, refusing fields that it does not know, which Kubernetes drops without a word."""
    if isinstance(schema, list):
        return [strict(each, top=False) for each in schema]
    if not isinstance(schema, dict):
        return schema
    ours = {
        key: {name: strict(each, top=False) for name, each in value.items()}
        if key == "properties"
        else strict(value, top=False)
        for key, value in schema.items()
    }
    closed = "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields")
    if closed and not top:
        ours.setdefault("additionalProperties", False)
    return ours
