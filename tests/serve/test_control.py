"""API keys and version records: where they are, and who else could write them."""

import os

import pytest

from longspan.config.load import parse
from longspan.errors import UserError
from longspan.serve.__main__ import main
from longspan.serve.control import open_control, open_to_others, require_writable
from longspan.serve.gateway import keys
from longspan.serve.schema import ServeSettings
from longspan.storage import Store


def settings(tmp_path, **more) -> ServeSettings:
    return parse(
        ServeSettings, {"model": "m", "storage": {"root": str(tmp_path / "store")}, **more}
    )


def test_keys_and_versions_are_in_the_store_unless_they_have_one_of_their_own(tmp_path):
    assert open_control(settings(tmp_path)).root == str(tmp_path / "store")
    apart = settings(tmp_path, control={"root": "s3://apart/chat", "region": "eu-central-1"})
    control = open_control(apart)
    assert (control.root, control.region) == ("s3://apart/chat", "eu-central-1")


def test_the_keys_command_goes_to_the_store_of_keys(tmp_path, capsys):
    config = tmp_path / "chat.yaml"
    config.write_text(
        "applications: [{name: chat, import_path: 'longspan.serve.app:build', args: {model: m, "
        f"storage: {{root: '{tmp_path}/store'}}, control: {{root: '{tmp_path}/apart'}}}}}}]\n"
    )
    assert main(["keys", "add", "alice", "--config", str(config)]) == 0
    assert [name for name, _ in keys.listed(Store(str(tmp_path / "apart")))] == ["alice"]
    assert not (tmp_path / "store").exists()


def test_what_may_not_be_recorded_is_told_before_anything_starts(tmp_path):
    require_writable(settings(tmp_path))
    (tmp_path / "apart").write_text("no folder")
    apart = settings(tmp_path, control={"root": str(tmp_path / "apart")})
    with pytest.raises(
        UserError, match=r"control.root: .*serving/versions cannot be written here.*operator"
    ):
        require_writable(apart)


@pytest.mark.parametrize(
    ("place", "mode", "told"),
    [
        ("keys", 0o700, None),
        ("keys", 0o755, None),
        ("keys", 0o777, "writable by everybody"),
        ("keys", 0o775, "writable by group 54321"),
        ("keys/alice.json", 0o666, "writable by everybody"),
        (".", 0o777, "writable by everybody"),
        ("serving/versions", 0o777, "writable by everybody"),
    ],
)
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another group")
def test_folders_of_keys_and_versions_that_others_can_write_are_told(tmp_path, place, mode, told):
    store = Store(str(tmp_path))
    keys.add(store, "alice")
    store.write_bytes("serving/versions/0001.yaml", b"")
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    os.chown(tmp_path / place, 0, 54321)
    (tmp_path / place).chmod(mode)
    found = list(open_to_others(store))
    assert len(found) == (told is not None)
    assert all(told in line and f"chmod go-w {tmp_path / place}" in line for line in found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to root's own group")
def test_a_group_of_the_owner_alone_lets_nobody_in(tmp_path):
    (tmp_path / "keys").mkdir()
    os.chown(tmp_path / "keys", 0, 0)
    (tmp_path / "keys").chmod(0o770)
    assert list(open_to_others(Store(str(tmp_path)))) == []


def test_credentials_of_the_store_of_keys_are_not_sent_in_clear() -> None:
    control = {"root": "s3://keys/chat", "endpoint": "http://192.0.2.9:9000"}
    settings = ServeSettings.model_validate({"model": "m", "control": control})
    with pytest.raises(UserError, match=r"would be sent to 192\.0\.2\.9 in clear"):
        open_control(settings)
