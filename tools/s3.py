"""A local S3 server for trying s3:// recipes: python -m tools.s3 start|stop.

SeaweedFS on 127.0.0.1, with one identity whose keys are made here, its data in .longspan/s3, and
one bucket that holds the sample corpora. Needs the environment for start, and only Python for stop.
"""

import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from tools import processes
from tools.places import Trouble, choose_port, private_folder

ROOT = Path(__file__).resolve().parents[1]
STATE = ROOT / ".longspan" / "s3"
LOG = ROOT / ".longspan" / "logs" / "s3.log"
CORPORA = ROOT / ".longspan" / "store" / "corpora"
BUCKET = "longspan"


def start() -> None:
    """Starts the server, makes the bucket, uploads the corpora, says how to use it."""
    if processes.marked(ROOT, "s3"):
        print("s3: running already")
    else:
        _wait(_launch(_keys()))
    uploaded = _fill(_variables())
    print(f"s3: bucket {BUCKET} at {_variables()['AWS_ENDPOINT_URL']}, {uploaded} files uploaded")
    print(
        "\nTo train on it, its keys given to the job alone:\n"
        "  . ./env.sh\n"
        "  ray job submit --runtime-env .longspan/s3/runtime-env.json -- python jobs/pretrain.py"
        f" jobs/recipes/quickstart.yaml storage.root=s3://{BUCKET}\n"
        "To look at it with any S3 client:  . .longspan/s3/s3.env\n"
        "To end it:  make stop   (its data stays in .longspan/s3; make clean removes it)"
    )


def stop() -> None:
    """Ends the server; its data stays."""
    if processes.end(ROOT, "s3"):
        print("s3: stopped")
    if (STATE / "ports.json").exists():
        for port in json.loads((STATE / "ports.json").read_text()).values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink(missing_ok=True)
        (STATE / "ports.json").unlink()


def _keys() -> dict[str, str]:
    """The identity's keys, the same at every start."""
    private_folder(STATE)
    STATE.chmod(0o700)
    path = STATE / "identities.json"
    if not path.exists():
        key = {"accessKey": secrets.token_hex(10), "secretKey": secrets.token_hex(20)}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "longspan", "credentials": [key], "actions": actions}
        path.write_text(json.dumps({"identities": [identity]}))
    key = json.loads(path.read_text())["identities"][0]["credentials"][0]
    return {"AWS_ACCESS_KEY_ID": key["accessKey"], "AWS_SECRET_ACCESS_KEY": key["secretKey"]}


def _launch(keys: dict[str, str]) -> subprocess.Popen[bytes]:
    taken: set[int] = set()
    names = {
        "s3.port": 8333,
        "s3.port.grpc": 18333,
        "master.port": 9333,
        "master.port.grpc": 19333,
        "volume.port": 8080,
        "volume.port.grpc": 18080,
        "filer.port": 8888,
        "filer.port.grpc": 18888,
    }
    ports = {
        name: choose_port(port, name.upper().replace(".", "_"), taken)
        for name, port in names.items()
    }
    (STATE / "ports.json").write_text(json.dumps(ports))
    data = STATE / "data"
    data.mkdir(exist_ok=True)
    command = [
        str(Path(sys.executable).parent / "weed"),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.volumeSizeLimitMB=1024",
        "-master.garbageThreshold=0.1",  # Checkpoints come and go: what is deleted is to be freed.
        "-volume.max=0",
        "-filer",
        "-s3",
        f"-s3.config={STATE / 'identities.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]
    name, value = processes.mark(ROOT, "s3")
    private_folder(LOG.parent)
    with LOG.open("w") as log:
        # A group of its own: Ctrl-C in the terminal is not for it.
        server = subprocess.Popen(
            command,
            cwd=STATE,
            env={**os.environ, name: value},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    endpoint = f"http://127.0.0.1:{ports['s3.port']}"
    variables = {**keys, "AWS_ENDPOINT_URL": endpoint, "AWS_DEFAULT_REGION": "us-east-1"}
    (STATE / "runtime-env.json").write_text(json.dumps({"env_vars": variables}))
    exports = "".join(f"export {key}={value}\n" for key, value in variables.items())
    (STATE / "s3.env").write_text(exports)
    return server


def _variables() -> dict[str, str]:
    return json.loads((STATE / "runtime-env.json").read_text())["env_vars"]


def _wait(server: subprocess.Popen[bytes], patience: float = 60.0) -> None:
    endpoint = _variables()["AWS_ENDPOINT_URL"]
    deadline = time.monotonic() + patience
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            opener.open(endpoint + "/healthz", timeout=5).close()
            return
        except urllib.error.HTTPError as refusal:
            if refusal.code < 500:
                return
        except OSError:
            pass
        if time.monotonic() > deadline or server.poll() is not None:
            server.kill()
            raise Trouble(f"the S3 server did not come up; see {LOG}")
        time.sleep(0.2)


def _fill(variables: dict[str, str]) -> int:
    """Makes the bucket and uploads the corpora that it lacks; returns how many files."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        aws_access_key_id=variables["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        region_name=variables["AWS_DEFAULT_REGION"],
        config=Config(retries={"max_attempts": 10, "mode": "standard"}, proxies={}),
    )
    if BUCKET not in [bucket.get("Name") for bucket in client.list_buckets()["Buckets"]]:
        client.create_bucket(Bucket=BUCKET)
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="corpora/")
    there = {
        item.get("Key"): item.get("Size") for page in pages for item in page.get("Contents", [])
    }
    uploaded = 0
    for path in sorted(path for path in CORPORA.rglob("*") if path.is_file()):
        key = f"corpora/{path.relative_to(CORPORA).as_posix()}"
        if there.get(key) != path.stat().st_size:
            client.upload_file(str(path), BUCKET, key)
            uploaded += 1
    if not CORPORA.is_dir():
        print("s3: no sample corpora to upload yet: make sample, then make s3 again")
    return uploaded


def main(arguments: list[str]) -> int:
    """Runs one command; 1 and a message where it could not be done."""
    commands = {"start": start, "stop": stop}
    if arguments in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    if len(arguments) != 1 or arguments[0] not in commands:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        commands[arguments[0]]()
    except Trouble as trouble:
        print(f'\nFAILED in step "s3": {trouble}', file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
