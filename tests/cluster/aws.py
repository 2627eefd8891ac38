"""A stand-in of AWS on loopback: moto's server, which answers as EC2, IAM, S3, STS and Service Quotas do."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

REGION = "us-west-2"
SECRET = "never-to-be-printed"


@contextmanager
def serving(home: Path, patch: pytest.MonkeyPatch) -> Iterator[str]:
    """Its address; meanwhile this process's AWS clients ask it alone, with credentials of a test."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    address = "http://{}:{}".format(*server.get_host_and_port())
    patch.delenv("AWS_PROFILE", raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        patch.setenv(name, str(home / "none"))
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("AWS_ENDPOINT_URL", address)
    patch.setenv("AWS_ACCESS_KEY_ID", "test")
    patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    patch.setenv("HOME", str(home))  # Ray keeps the key pairs it makes in ~/.ssh.
    try:
        yield address
    finally:
        server.stop()


@contextmanager
def permissions_count(address: str) -> Iterator[None]:
    """Whatever is asked meanwhile must be allowed to who asks."""
    _authorize(address, "0")
    try:
        yield
    finally:
        _authorize(address, "inf")


def _authorize(address: str, after: str) -> None:
    headers = {"Content-Type": "text/plain"}
    request = urllib.request.Request(f"{address}/moto-api/reset-auth", after.encode(), headers)
    urllib.request.urlopen(request).close()


def client(service: str, region: str = REGION) -> Any:
    make: Any = boto3.client
    return make(service, region_name=region)


def image() -> str:
    """A new one."""
    return client("ec2").register_image(Name="ubuntu", Architecture="x86_64")["ImageId"]


def instances() -> list[dict[str, Any]]:
    """All machines, ended ones included."""
    reservations = client("ec2").describe_instances()["Reservations"]
    return [each for reservation in reservations for each in reservation["Instances"]]


def tags(instance: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in instance["Tags"]}


def open_to_the_world(group: dict[str, Any]) -> list[tuple[int, int, str]]:
    """Ports from and to, and who reaches them, of a security group's rules that name addresses."""
    return [
        (rule["FromPort"], rule["ToPort"], each["CidrIp"])
        for rule in group["IpPermissions"]
        for each in rule["IpRanges"]
    ]
