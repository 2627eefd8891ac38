"""Command `doctor`."""

from __future__ import annotations

from functools import partial

import click

from longspan.cli.exit_codes import ExitCode
from longspan.cli.help import Command

EXAMPLES = """
Examples:
  {program}                                   this machine, and .longspan/store below the current folder
  {program} --store s3://bucket/prefix        the store of a recipe's storage.root
  ray job submit -- {program}                 the head node, with the environment that jobs have there

Exit status: 0 if nothing stops a job, 2 if something does. Secrets are not printed.
"""


@click.command(cls=Command, examples=EXAMPLES)
@click.option(
    "--store",
    "root",
    default=".longspan/store",
    show_default=True,
    metavar="ROOT",
    help="Folder or s3://bucket/prefix that jobs will use.",
)
@click.option("--endpoint", metavar="URL", help="S3 server other than AWS (AWS_ENDPOINT_URL).")
def doctor(root: str, endpoint: str | None) -> int:
    """Check what jobs need: packages, devices, attention, Ray and its token, store, clock, disk.

    One line each, with the remedy where something is wrong. Nothing is started or changed.
    """
    from longspan.cli.checks.devices import check_attention, check_devices
    from longspan.cli.checks.disk import check_disk
    from longspan.cli.checks.finding import findings
    from longspan.cli.checks.packages import check_packages
    from longspan.cli.checks.ray_head import check_ray
    from longspan.cli.checks.store import StoreAddress, check_store

    checks = {
        "packages": check_packages,
        "devices": check_devices,
        "attention": check_attention,
        "ray": check_ray,
        "store": partial(check_store, StoreAddress(root, endpoint)),
        "disk": partial(check_disk, root),
    }
    has_error = False
    for subject, check in checks.items():
        for finding in findings(subject, check):
            print(finding.line(), flush=True)
            has_error |= finding.status == "error"
    return ExitCode.USER_ERROR if has_error else ExitCode.OK
