"""No format that the package reads can make it run code: the calls that could are listed here, or not there."""

import ast
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "platform" / "longspan"
FOLDERS = ("platform", "jobs", "serving", "cluster", "tools")
SOURCES = sorted(path for name in FOLDERS for path in (ROOT / name).rglob("*.py"))

# Readers of columns, whose types may be another library's: pyarrow's, pandas' and Ray Data's own.
READERS = {
    *("ParquetFile", "ParquetDataset", "read_table", "read_metadata", "read_schema"),
    *("read_pandas", "read_parquet", "read_parquet_bulk", "read_feather", "read_orc"),
    *("read_message", "read_record_batch", "RecordBatchFileReader", "RecordBatchStreamReader"),
    *("read_numpy", "read_pickle", "read_hdf", "read_webdataset", "read_tfrecords"),
}
READING = {"pyarrow.dataset", "pyarrow.feather", "pyarrow.orc", "pyarrow.ipc", "pyarrow.flight"}
READ_OR_WRITTEN = {
    "longspan/storage/parquet.py": {"pq.ParquetFile", "pa.ipc.read_schema"},
    "longspan/shards/token_shards.py": {"pq.ParquetWriter"},
    "longspan/history/records.py": {"pq.write_table"},
    "longspan/samples/documents.py": {"pq.write_table"},
    "longspan/generate/tables.py": {"pq.write_table"},
    "longspan/evaluate/document_files.py": {"pq.write_table"},
    # Functions of ours, which open what they read by the helper.
    "longspan/generate/parts.py": {"read_table"},
    "longspan/corpus/sources.py": {"chat.read_parquet"},
}

RUNS_CODE = {
    *("pickle", "cPickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"),
    *("runpy", "code", "codeop"),
}
PICKLES = {
    # A tokenizer travels to workers inside Ray's own pickles; no stored bytes come here.
    "platform/longspan/chat/tokenizer.py": {"pickle"},
    "platform/longspan/evaluate/prompt_format.py": {"pickle"},
}
UNSAFE_YAML = {
    "load",
    "load_all",
    "full_load",
    "unsafe_load",
    "Loader",
    "FullLoader",
    "UnsafeLoader",
}
SAFE_YAML = {
    # The project's own files, and a config file of the user's.
    "platform/longspan/cluster/settings.py",
    "platform/longspan/cluster/kubernetes/clusters.py",
    # Files of the package.
    "platform/longspan/evaluate/probes/association.py",
    "platform/longspan/evaluate/suites/presets.py",
    # What the package itself has dumped.
    "platform/longspan/config/overrides.py",
}


@functools.cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text())) for path in SOURCES]


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules, and what is imported from them, by their full names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def calls(tree: ast.Module) -> Sequence[tuple[str, str, ast.Call]]:
    """What is called: on what, by which name."""
    found: list[tuple[str, str, ast.Call]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found.append((ast.unparse(node.func.value), node.func.attr, node))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            found.append(("", node.func.id, node))
    return found


def test_columns_are_read_by_one_helper() -> None:
    for path, tree in trees():
        found = {
            f"{on}.{name}".removeprefix(".")
            for on, name, _ in calls(tree)
            if name in READERS or on in ("pq", "parquet", "pa.ipc", "pa.dataset")
        }
        found -= {"parquet.read"}  # corpus.parquet
        assert found == READ_OR_WRITTEN.get(path.removeprefix("platform/"), set()), path
        for name in imported(tree):
            assert not any(name == each or name.startswith(f"{each}.") for each in READING), path
            assert not name.startswith("pyarrow.parquet."), path


def test_nothing_is_unpickled_or_evaluated() -> None:
    for path, tree in trees():
        roots = {name.split(".")[0] for name in imported(tree)}
        assert roots & RUNS_CODE <= PICKLES.get(path, set()), path
        for on, name, _ in calls(tree):
            assert on or name not in {"eval", "exec", "compile", "__import__"}, path
            module = on.rsplit(".", 1)[-1]
            assert (module, name) not in {("torch", "load"), ("np", "load"), ("numpy", "load")}, (
                path
            )
            assert (module, name) not in {("torch", "jit"), ("hub", "load"), ("os", "system")}, path


def test_yaml_makes_plain_values_alone() -> None:
    for path, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "yaml":
                assert node.attr not in UNSAFE_YAML, path
                assert node.attr != "safe_load" or path in SAFE_YAML, path
        assert not {f"yaml.{name}" for name in UNSAFE_YAML} & set(imported(tree)), path
    assert yaml.SafeLoader.yaml_constructors.keys().isdisjoint({"tag:yaml.org,2002:python/object"})


def test_transformers_is_told_each_time_to_run_no_code_of_a_model() -> None:
    """Left out, it asks on a terminal whether to run it."""
    benchmarks = [(str(path), ast.parse(path.read_text())) for path in ROOT.glob("benchmarks/*.py")]
    loading = 0
    for path, tree in [*trees(), *benchmarks]:
        for on, name, call in calls(tree):
            automatic = on.rsplit(".", 1)[-1].startswith("Auto")
            if (automatic and name in ("from_pretrained", "from_config")) or name == "pipeline":
                told = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
                assert told.get("trust_remote_code") == "False", f"{path}:{call.lineno}"
                loading += 1
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "trust_remote_code":
                assert ast.unparse(node.value) == "False", path
    assert loading >= 8


def test_gguf_is_read_for_the_sample_alone() -> None:
    """That file's hash is known; transformers would read any."""
    found = {
        path
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "gguf_file"
    }
    assert found == {"platform/longspan/samples/model.py"}


SAFE = ("bounds", "parquet_footer", "parquet_pages", "thrift")


@pytest.mark.parametrize(
    "name", [*(f"storage/{each}.py" for each in ("parquet", *SAFE)), "config/yaml_text.py"]
)
def test_what_is_safe_has_no_other_part_of_the_package_behind_it(name: str) -> None:
    names = set(imported(ast.parse((PACKAGE / name).read_text())))
    ours = {each for each in names if each.startswith("longspan")}
    safe = tuple(f"longspan.storage.{each}" for each in SAFE)
    assert all(each.startswith(safe) for each in ours)
