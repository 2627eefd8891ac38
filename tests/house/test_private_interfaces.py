"""Private interfaces of libraries are used in `longspan._compat` alone, and each has a contract test."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMPAT = ROOT / "platform" / "longspan" / "_compat"
FOLDERS = ("platform", "jobs", "serving", "tools", "cluster")
SOURCES = sorted(
    path for name in FOLDERS for path in (ROOT / name).rglob("*.py") if COMPAT not in path.parents
)
UNDOCUMENTED_MODULES = (
    "ray.autoscaler",
    "ray.core.generated",
    "ray.dashboard",
    "ray.llm",
    "ray.train.v2",
    "transformers.integrations",
)
UNDOCUMENTED_ATTRIBUTES = {
    # DeepSpeed's optimizers and parameters
    *("bit16_groups", "fp16_partitioned_groups_flat", "fp32_partitioned_groups_flat"),
    *("get_local_fp32_param", "grad_partitions_flat_buffer", "gradient_accumulation_dtype"),
    *("hp_fragment_address", "ipg_buckets", "lp_fragment_address", "overflow"),
    *("persistent_parameters", "single_partition_of_fp32_groups", "update_lp_params"),
    *("ds_id", "ds_numel", "ds_shape", "ds_status", "ds_tensor", "__compatible_ops__"),
    # vLLM's engine and application
    *("base_model_paths", "max_tokens_param", "openai_serving_models", "output_processor"),
    *("request_states", "vllm_config"),
    # Ray Data's processors
    *("map_batches_kwargs", "get_stage_by_name"),
}
OWN = {"only._rows", "Corpus._weight_survives_rounding"}
"""Names with an underscore of classes of the package, used in the module that defines them or beside it."""
TORCH = {"norm._parameters"}
"""Names of torch: `functional_call` would run the hooks that ZeRO-3 has on a module."""
STANDARD_LIBRARY = {"os._exit"}


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all that a module imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def private_imports(tree: ast.AST) -> list[str]:
    """Imports of another library's private or undocumented modules and names."""
    return [
        name
        for name in imported(tree)
        if not name.startswith(("longspan.", "__future__."))
        and (
            any(part.startswith("_") for part in name.split("."))
            or f"{name}.".startswith(tuple(f"{module}." for module in UNDOCUMENTED_MODULES))
        )
    ]


def private_attributes(tree: ast.AST) -> list[str]:
    """Uses of an attribute that is private, or of a library and undocumented, as `object.attribute`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            private = node.attr.startswith("_") and not node.attr.startswith("__")
            if private or node.attr in UNDOCUMENTED_ATTRIBUTES:
                on = ast.unparse(node.value)
                if on not in ("self", "cls", "super()") or not private:
                    found.append(f"{on}.{node.attr}")
        # Such as getattr(parameter, "ds_shape").
        if isinstance(node, ast.Constant) and node.value in UNDOCUMENTED_ATTRIBUTES:
            found.append(f"{node.value!r}")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import ray._private",
        "from ray._raylet import GcsClient",
        "from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError",
        "from ray.train.v2.api.exceptions import ControllerError",
        "from transformers.integrations import deepspeed",
        "from lm_eval.tasks import _yaml_loader",
    ],
)
def test_a_private_import_is_found(code: str) -> None:
    assert private_imports(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "ray._private.state.state.get_draining_nodes()",
        "self.engine._engine_client",
        "deepspeed_engine._zero3_consolidated_16bit_state_dict()",
        "engine.optimizer.fp32_partitioned_groups_flat",
        "getattr(parameter, 'ds_shape', None)",
    ],
)
def test_a_private_attribute_is_found(code: str) -> None:
    assert private_attributes(ast.parse(code))


def test_public_names_and_one_s_own_are_no_private_interfaces() -> None:
    tree = ast.parse("from ray.train import ScalingConfig\nself._deepspeed.step()\nsuper()._x()")
    assert not private_imports(tree)
    assert not private_attributes(tree)


def test_private_interfaces_are_used_in_one_package() -> None:
    allowed, found = OWN | TORCH | STANDARD_LIBRARY, set()
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        where = path.relative_to(ROOT)
        assert not private_imports(tree), f"{where}: use longspan._compat"
        uses = set(private_attributes(tree))
        found |= uses & allowed
        assert not uses - allowed, f"{where}: use longspan._compat"
    assert found == allowed, "an exception that nothing needs"


MODULES = sorted(path for path in COMPAT.glob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_each_private_interface_has_a_contract_test(path: Path) -> None:
    names = {
        node.name
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        # A dataclass is a result: the function that returns it is tested.
        and not any("dataclass" in ast.unparse(each) for each in node.decorator_list)
    }
    tests = (ROOT / "tests" / "compat").glob("*.py")
    tested = "\n".join(test.read_text() for test in tests)
    assert {name for name in names if name not in tested} == set(), "add it to tests/compat"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_the_layer_of_private_interfaces_is_below_all_others(path: Path) -> None:
    ours = [name for name in imported(ast.parse(path.read_text())) if name.startswith("longspan")]
    assert all(name.startswith(("longspan.errors.", "longspan._compat.")) for name in ours)
