"""The service as its owner handles it, by commands."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
WINDOW = 1024


class Service:
    """A config file, and the commands that take it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.url = folder, f"http://127.0.0.1:{port}"
        self.config = folder / "chat.yaml"
        config = yaml.safe_load((ROOT / "serving" / "chat.yaml").read_text())
        config["http_options"]["port"] = port
        config["applications"][0]["args"] = {
            "model": str(folder / "model-1"),
            "name": "tiny",
            "storage": {"root": str(folder / "store")},
            "cache_gib": 0.25,
        }
        self.config.write_text(yaml.safe_dump(config))

    def start(self, command: str, *overrides: str) -> "subprocess.Popen[str]":
        """Start `python -m longspan.serve command overrides`."""
        import ray

        address = ray.get_runtime_context().gcs_address
        typed = [sys.executable, "-m", "longspan.serve", command, *overrides]
        return subprocess.Popen(
            [*typed, "--config", str(self.config)],
            cwd=ROOT,
            env=os.environ | {"RAY_ADDRESS": address},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def command(self, command: str, *overrides: str) -> tuple[int, str]:
        """The same to its end: status, and all that it printed."""
        process = self.start(command, *overrides)
        output, _ = process.communicate(timeout=280)
        return process.returncode, output
