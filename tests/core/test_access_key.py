"""Keys of service accounts: made, rotated, revoked in their file, and known by a server that runs."""

from __future__ import annotations

import json
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from telemetry_mcp.access.caller import Caller
from telemetry_mcp.access.key import KeyFault, KeyFile
from telemetry_mcp.access.keyring import LOOK_S, NOBODY, Keyring
from telemetry_mcp.access.setting import AccessSettings
from telemetry_mcp.access.token import CallerToken, Refused
from telemetry_mcp.access.verifier import verifier_for
from tests.core.mint import Clock, Mint, access_of

SECRET = SecretStr("0123456789abcdef0123456789abcdef")
KNOWN = frozenset({"viewer", "responder", "admin"})
DAY = timedelta(days=1)


class Calendar:
    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def calendar() -> Calendar:
    return Calendar()


@pytest.fixture(autouse=True)
def _heard(caplog: pytest.LogCaptureFixture) -> None:
    """Warnings, however quiet the tests that ran before made the log."""
    caplog.set_level(logging.WARNING, "telemetry_mcp")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def file(tmp_path: Path, calendar: Calendar) -> KeyFile:
    return KeyFile(tmp_path / "keys.json", SECRET, calendar)


@pytest.fixture
def keyring(file: KeyFile, clock: Clock) -> Keyring:
    return Keyring(file, KNOWN, ("telemetry:read",), clock)


async def looked(keyring: Keyring, clock: Clock, key: str) -> CallerToken:
    """What the server says of a key two seconds later."""
    clock.now += 2
    return await keyring.examine(key)


# ---- in the file


def test_only_a_hash_of_a_key_is_kept(file: KeyFile) -> None:
    made, key = file.create("ci", ["viewer"])
    text = file.path.read_text()
    assert key.startswith(f"tmcp_{made.id}_")
    assert len(key.rpartition("_")[2]) == 64
    assert key.rpartition("_")[2] not in text
    assert SECRET.get_secret_value() not in text
    assert made.hash in text
    assert made.hash not in repr(made)
    assert made.expires - made.created == 90 * DAY


def test_the_file_is_its_owners_alone(file: KeyFile) -> None:
    file.create("ci", ["viewer"])
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    os.chmod(file.path, 0o644)
    file.create("cd", ["viewer"])
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_link_to_the_file_stays_a_link(file: KeyFile, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    file.path.symlink_to(tmp_path / "elsewhere" / "k.json")
    file.create("ci", ["viewer"])
    assert file.path.is_symlink()
    assert (tmp_path / "elsewhere" / "k.json").is_file()


def test_many_who_change_it_at_once_lose_nothing(file: KeyFile) -> None:
    def make(number: int) -> None:
        KeyFile(file.path, SECRET).create(f"ci{number}", ["viewer"])

    threads = [threading.Thread(target=make, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {key.name for key in file.read().keys} == {f"ci{number}" for number in range(20)}


def test_a_change_that_fails_leaves_the_file_as_it_was(file: KeyFile) -> None:
    file.create("ci", ["viewer"])
    before = file.path.read_bytes()
    with pytest.raises(KeyFault, match="rotate ci"):
        file.create("ci", ["viewer"])
    with pytest.raises(KeyFault, match="there are ci"):
        file.revoke("nobody")
    assert file.path.read_bytes() == before
    assert {path.name for path in file.path.parent.iterdir()} == {"keys.json", ".keys.json.lock"}


@pytest.mark.parametrize("name", ["", "a b", "a/b", "-a", "é", "a" * 65, "0123456789ab", "a\nb", "a\n"])
def test_a_name_that_could_be_mistaken_is_refused(file: KeyFile, name: str) -> None:
    with pytest.raises(KeyFault, match="cannot be the name"):
        file.create(name, ["viewer"])


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"version": 2, "check": "", "keys": []}'])
def test_a_file_that_is_none_of_ours_is_left_alone(file: KeyFile, text: str) -> None:
    file.path.write_text(text)
    with pytest.raises(KeyFault, match="is no file of keys"):
        file.create("ci", ["viewer"])
    assert file.path.read_text() == text


def test_keys_of_another_secret_are_named_as_such(file: KeyFile) -> None:
    file.create("ci", ["viewer"])
    with pytest.raises(KeyFault, match="another \\[access\\] secret"):
        KeyFile(file.path, SecretStr("x" * 32)).read()


# ---- known by a server


async def test_a_key_lets_its_service_account_in(keyring: Keyring, file: KeyFile, clock: Clock) -> None:
    made, key = file.create("ci", ["viewer", "responder"])
    token = await looked(keyring, clock, key)
    assert token.caller == Caller("ci", "service_account", ("viewer", "responder"), f"key:{made.id}")
    assert (token.token, token.scopes, token.subject) == ("", ["telemetry:read"], "ci")
    assert token.expires_at == int(made.expires.timestamp())


async def test_a_role_that_is_no_longer_there_is_nothing(keyring: Keyring, file: KeyFile, clock: Clock) -> None:
    _, key = file.create("ci", ["viewer", "gone"])
    assert (await looked(keyring, clock, key)).caller.roles == ("viewer",)


async def test_a_key_that_is_not_right_is_refused(keyring: Keyring, file: KeyFile, clock: Clock) -> None:
    made, key = file.create("ci", ["viewer"])
    other, _ = file.create("cd", ["viewer"])
    wrong = [key[:-1], key + "0", key[:-1] + ("0" if key[-1] != "0" else "1"), key.upper(), "tmcp_", "tmcp__"]
    wrong += [f"tmcp_{made.id}", f"tmcp_{made.id}_", f"tmcp_{made.hash}", f"tmcp_{made.id}_{made.hash}"]
    wrong += [key.replace(made.id, other.id), f"tmcp_{'0' * 12}_{'0' * 64}"]
    assert await looked(keyring, clock, key)
    for each in wrong:
        with pytest.raises(Refused, match="no such key"):
            await keyring.examine(each)


class Constant(KeyFile):
    """Every key has the same hash, which is also the one that stands in for that of no key."""

    asked = 0

    def hashed(self, key: str) -> str:
        self.asked += 1
        return NOBODY


async def test_every_key_is_hashed_and_compared_whether_there_is_one_or_not(tmp_path: Path) -> None:
    file = Constant(tmp_path / "keys.json", SECRET)
    made, _ = file.create("ci", ["viewer"])
    keyring, before = Keyring(file, KNOWN), file.asked
    assert await keyring.examine(f"tmcp_{made.id}_")
    with pytest.raises(Refused, match="no such key"):
        await keyring.examine(f"tmcp_{'f' * 12}_")
    assert file.asked - before == 2


async def test_an_expired_key_is_refused(
    keyring: Keyring, file: KeyFile, calendar: Calendar, clock: Clock
) -> None:
    _, key = file.create("ci", ["viewer"], 86_400)
    assert await looked(keyring, clock, key)
    calendar.now += DAY
    with pytest.raises(Refused, match="has expired"):
        await keyring.examine(key)


async def test_a_revoked_key_is_refused_within_two_seconds(keyring: Keyring, file: KeyFile, clock: Clock) -> None:
    made, key = file.create("ci", ["viewer"])
    assert await looked(keyring, clock, key)
    assert [ended.id for ended in file.revoke(made.id)] == [made.id]
    assert LOOK_S < 2
    with pytest.raises(Refused, match="was revoked"):
        await looked(keyring, clock, key)
    assert file.revoke("ci") == []


async def test_two_keys_work_during_a_rotation_and_one_after_it(
    keyring: Keyring, file: KeyFile, calendar: Calendar, clock: Clock
) -> None:
    _, old = file.create("ci", ["viewer"], 30 * 86_400)
    calendar.now += 20 * DAY
    made, new = file.rotate("ci", None)
    assert made.expires - made.created == 30 * DAY
    assert made.roles == ("viewer",)
    for key in (old, new):
        assert (await looked(keyring, clock, key)).caller.subject == "ci"
    with pytest.raises(KeyFault, match="has two keys"):
        file.rotate("ci", None)
    calendar.now += 7 * DAY
    assert await looked(keyring, clock, new)
    with pytest.raises(Refused, match="has expired"):
        await keyring.examine(old)
    assert file.rotate("ci", None)


def test_a_rotation_never_lengthens_the_life_of_the_old_key(file: KeyFile, calendar: Calendar) -> None:
    old, _ = file.create("ci", ["viewer"], 86_400)
    file.rotate("ci", None, overlap_s=7 * 86_400)
    assert file.read().keys[0].expires == old.expires
    file.revoke(file.read().keys[1].id)
    file.rotate("ci", 3600.0, overlap_s=0)
    assert not file.read().keys[0].works(calendar.now)
    assert [key.standing(calendar.now) for key in file.read().keys] == ["expired", "revoked", "expires soon"]


def test_a_revoked_account_is_not_rotated_but_made_anew(file: KeyFile) -> None:
    file.create("ci", ["viewer"])
    file.revoke("ci")
    with pytest.raises(KeyFault, match="no key to rotate"):
        file.rotate("ci", None)
    assert file.create("ci", ["admin"])


async def test_a_key_that_ends_soon_is_complained_about_once_a_day(
    keyring: Keyring, file: KeyFile, calendar: Calendar, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    made, key = file.create("ci", ["viewer"])
    await looked(keyring, clock, key)
    calendar.now += 76 * DAY - timedelta(hours=1)
    await keyring.examine(key)
    assert caplog.text == ""
    calendar.now += 2 * timedelta(hours=1)
    for _ in range(3):
        await keyring.examine(key)
    (told,) = caplog.records
    assert f"{made.id} of ci works until 2026-05-30; run: telemetry-mcp keys rotate ci" in told.getMessage()
    assert key not in caplog.text
    clock.now += 86_400
    await keyring.examine(key)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("harm", ["no json", "unreadable"])
async def test_a_file_that_becomes_unusable_does_not_shut_everybody_out(
    keyring: Keyring, file: KeyFile, clock: Clock, caplog: pytest.LogCaptureFixture, harm: str
) -> None:
    _, key = file.create("ci", ["viewer"])
    assert await looked(keyring, clock, key)
    if harm == "no json":
        file.path.write_text("{")
    else:
        file.path.unlink()
        file.path.mkdir()
    with caplog.at_level(logging.ERROR):
        assert await looked(keyring, clock, key)
        assert await looked(keyring, clock, key)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_a_file_that_is_taken_away_ends_its_keys(keyring: Keyring, file: KeyFile, clock: Clock) -> None:
    _, key = file.create("ci", ["viewer"])
    assert await looked(keyring, clock, key)
    file.path.unlink()
    with pytest.raises(Refused):
        await looked(keyring, clock, key)


def test_a_server_does_not_start_over_a_file_that_it_cannot_use(file: KeyFile) -> None:
    file.path.write_text("{")
    with pytest.raises(KeyFault):
        verifier_for(AccessSettings(keys=file.path, secret=SECRET))


# ---- beside an authorization server


@pytest.fixture
def mint() -> Iterator[Mint]:
    with Mint() as mint:
        yield mint


async def test_keys_and_tokens_are_told_apart_and_no_key_is_sent_away(mint: Mint, tmp_path: Path) -> None:
    url = mint.backend.url + "/introspect"
    oauth = access_of(mint, introspection_url=url, client_id="c", client_secret="s")
    with_keys = oauth.model_copy(update={"keys": tmp_path / "keys.json", "secret": SECRET})
    _, key = KeyFile(tmp_path / "keys.json", SECRET).create("ci", ["viewer"])
    mint.introspected = {"active": True, **mint.claims()}
    both, only_oauth = verifier_for(with_keys), verifier_for(oauth)
    assert both
    assert only_oauth
    assert (await both.examine(key)).subject == "ci"
    for verifier in (both, only_oauth):
        with pytest.raises(Refused):
            await verifier.examine("tmcp_" + "0" * 12 + "_" + "0" * 64)
        with pytest.raises(Refused):
            await verifier.examine("line\r\nbreak")
        with pytest.raises(Refused):
            await verifier.examine("x" * 17_000)
    assert mint.backend.requests == []
    assert (await both.examine("opaque")).subject == "alice"
    await both.close()
    await only_oauth.close()


def test_nobody_is_asked_where_nothing_is_configured() -> None:
    assert verifier_for(AccessSettings()) is None


def test_the_keys_command_imports_no_more_than_it_needs() -> None:
    look = "import sys, telemetry_mcp.access.key; print([n for n in ('mcp', 'jwt', 'httpx') if n in sys.modules])"
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert json.loads(found.stdout.replace("'", '"')) == []
