import subprocess
import sys

import psutil
import pytest

from tools import processes

JOB = """
import os
import psutil
import ray

def listening():
    connections = psutil.Process().net_connections(kind="inet")
    return {each.laddr.ip.removeprefix("::ffff:") for each in connections if each.status == "LISTEN"}

print(os.getcwd())
ray.init(log_to_driver=False)
found = listening() | ray.get(ray.remote(listening).remote())
print("driver and worker listen on", sorted(found))
"""


def make(checkout, *arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments, cwd=checkout, capture_output=True, text=True, check=False, timeout=200
    )


@pytest.mark.deep
@pytest.mark.real
def test_a_head_serves_jobs_on_loopback_to_those_who_have_the_token_and_is_ended(checkout):
    token = checkout / ".longspan" / "ray" / "token"
    token.parent.mkdir(parents=True)
    token.write_text("0123456789abcdef" * 4)
    started = make(checkout, "tools/head.sh", "start")
    try:
        assert started.returncode == 0, started.stderr
        assert "running already" in make(checkout, "tools/head.sh", "start").stdout

        pids = processes.marked(checkout, "ray")
        listening = {
            connection.laddr.ip.removeprefix("::ffff:")
            for pid in pids
            for connection in psutil.Process(pid).net_connections(kind="inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}

        (checkout / "job.py").write_text(JOB)
        done = make(checkout, "bash", "-c", ". ./env.sh && ray job submit -- python job.py")
        assert done.returncode == 0, done.stdout
        assert f"\n{checkout}\n" in done.stdout
        assert "\ndriver and worker listen on ['127.0.0.1']\n" in done.stdout

        (checkout / "wrong").write_text("f" * 64)
        refused = make(
            checkout,
            "bash",
            "-c",
            ". ./env.sh && RAY_AUTH_TOKEN_PATH=$PWD/wrong ray job submit -- true",
        )
        assert refused.returncode != 0
    finally:
        make(checkout, sys.executable, "-m", "tools.head", "stop")
    assert processes.marked(checkout, "ray") == []
