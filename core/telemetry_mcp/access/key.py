"""Keys of service accounts, and the file that they are in. What is kept of a key is a hash, made with a secret
that is not in the file: who has the file cannot ask anything with it, and cannot make a key."""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Literal

from pydantic import AwareDatetime, Field, SecretStr, ValidationError

from telemetry_mcp.errors import TelemetryError
from telemetry_mcp.setting import Strict

PREFIX = "tmcp_"
ID_BYTES = 6
SECRET_BYTES = 32
LIFETIME_S = 90 * 86_400.0
OVERLAP_S = 7 * 86_400.0
NOTICE_S = 14 * 86_400.0
"""How long before its end a key is complained about."""
NAME = re.compile(r"(?![0-9a-f]{12}$)[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
"""Never one that looks like the id of a key."""
OWNER_ONLY = 0o600

Standing = Literal["valid", "expires soon", "rotated", "expired", "revoked"]
Now = Callable[[], datetime]


class KeyFault(TelemetryError):
    """What was asked of the keys cannot be done, or their file cannot be used; the text says what to do."""


class Key(Strict):
    """What is kept of one key. `rotated` is when a newer one was made in its place."""

    id: str
    name: str
    roles: tuple[str, ...]
    created: AwareDatetime
    expires: AwareDatetime
    rotated: AwareDatetime | None = None
    revoked: AwareDatetime | None = None
    hash: str = Field(repr=False)

    def works(self, now: datetime) -> bool:
        return self.revoked is None and now < self.expires

    def standing(self, now: datetime) -> Standing:
        if self.revoked is not None:
            return "revoked"
        if now >= self.expires:
            return "expired"
        if self.rotated is not None:
            return "rotated"
        return "expires soon" if self.expires - now < timedelta(seconds=NOTICE_S) else "valid"


class Document(Strict):
    """The file. `check` tells whether the secret is the one with which its keys were made."""

    version: Literal[1] = 1
    check: str
    keys: tuple[Key, ...] = ()


class KeyFile:
    """Reads the file of keys, and changes it: one at a time, and whole or not at all."""

    def __init__(self, path: Path, secret: SecretStr, now: Now = lambda: datetime.now(UTC)) -> None:
        self.path = path
        self.secret = secret.get_secret_value().encode()
        self.now = now

    def hashed(self, key: str) -> str:
        return self.hmac("service-account key", key)

    def hmac(self, purpose: str, text: str) -> str:
        # The secret has other uses; what it makes for one is worth nothing for another.
        return hmac.new(self.secret, f"telemetry-mcp {purpose}\n{text}".encode(), "sha256").hexdigest()

    def read(self) -> Document:
        """What is in the file; a file that is not there yet holds no keys.

        Raises KeyFault for one that cannot be read, is none, or was made with another secret.
        """
        check = self.hmac("key file", "")
        try:
            found = Document.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return Document(check=check)
        except OSError as error:
            raise KeyFault(f"the keys in {self.path} cannot be read: {error.strerror}") from None
        except ValidationError:
            raise KeyFault(f"{self.path} is no file of keys; put the copy of it back that you have") from None
        if not hmac.compare_digest(found.check, check):
            raise KeyFault(
                f"the keys in {self.path} were made with another [access] secret: put that one back, or move "
                "the file away and make new keys"
            )
        return found

    def create(self, name: str, roles: Sequence[str], lifetime_s: float = LIFETIME_S) -> tuple[Key, str]:
        """A first key for a service account, and what is shown of it this once."""
        with self.changing() as keys:
            if any(key.name == name and key.works(self.now()) for key in keys):
                raise KeyFault(f"{name} has a key already: telemetry-mcp keys rotate {name}")
            made, text = self.made(keys, name, roles, lifetime_s)
            keys.append(made)
        return made, text

    def rotate(self, name: str, lifetime_s: float | None, overlap_s: float = OVERLAP_S) -> tuple[Key, str]:
        """A new key with the roles of the one before it, which goes on for as long as they overlap."""
        with self.changing() as keys:
            now = self.now()
            known = [key for key in keys if key.name == name and key.revoked is None]
            if not known:
                raise KeyFault(f"{name} has no key to rotate: {named(keys)}")
            works = [key for key in known if key.works(now)]
            if len(works) > 1:
                ids = " and ".join(key.id for key in works)
                raise KeyFault(f"{name} has two keys, {ids}: revoke the one that is no longer used first")
            last = max(known, key=lambda key: key.created)
            lifetime = (last.expires - last.created).total_seconds() if last.rotated is None else LIFETIME_S
            made, text = self.made(keys, name, last.roles, lifetime if lifetime_s is None else lifetime_s)
            end = now + timedelta(seconds=overlap_s)
            ended = [key.model_copy(update={"rotated": now, "expires": min(key.expires, end)}) for key in works]
            keys[:] = [next((new for new in ended if new.id == key.id), key) for key in keys] + [made]
        return made, text

    def revoke(self, which: str) -> list[Key]:
        """End a key by its id, or every key of a service account; those that were ended by it."""
        with self.changing() as keys:
            now = self.now()
            meant = [key for key in keys if which in (key.id, key.name)]
            if not meant:
                raise KeyFault(f"no key and no service account is called {which!r}: {named(keys)}")
            ended = [key.model_copy(update={"revoked": now}) for key in meant if key.revoked is None]
            keys[:] = [next((new for new in ended if new.id == key.id), key) for key in keys]
        return ended

    def made(self, keys: Sequence[Key], name: str, roles: Sequence[str], lifetime_s: float) -> tuple[Key, str]:
        if not NAME.fullmatch(name):
            raise KeyFault(
                f"{name!r} cannot be the name of a service account: letters, digits and . _ @ - , at most 64"
            )
        taken = {key.id for key in keys}
        id = next(new for new in iter(lambda: secrets.token_hex(ID_BYTES), "") if new not in taken)
        text = f"{PREFIX}{id}_{secrets.token_hex(SECRET_BYTES)}"
        now = self.now().replace(microsecond=0)
        made = Key(
            id=id,
            name=name,
            roles=tuple(dict.fromkeys(roles)),
            created=now,
            expires=now + timedelta(seconds=lifetime_s),
            hash=self.hashed(text),
        )
        return made, text

    @contextmanager
    def changing(self) -> Iterator[list[Key]]:
        """The keys, which are written back when the block ends well. Nobody else changes them meanwhile."""
        # Through a link, so that it stays one.
        path = self.path.resolve()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with locked(path.with_name(f".{path.name}.lock")):
                document = self.read()
                keys = list(document.keys)
                yield keys
                write(path, document.model_copy(update={"keys": tuple(keys)}))
        except OSError as error:
            raise KeyFault(f"the keys in {self.path} cannot be changed: {error.strerror}") from None


def named(keys: Sequence[Key]) -> str:
    names = ", ".join(sorted({key.name for key in keys if key.revoked is None}))
    return f"there are {names}" if names else "there are none; make one with telemetry-mcp keys create"


def write(path: Path, document: Document) -> None:
    """Put the document in the place of the one that is there, if any, keeping its owner."""
    text = json.dumps(document.model_dump(mode="json", exclude_none=True), indent=1) + "\n"
    with NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            os.chmod(file.name, OWNER_ONLY)
            if sys.platform != "win32":
                with suppress(FileNotFoundError, PermissionError):
                    before = path.stat()
                    os.chown(file.name, before.st_uid, before.st_gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except OSError:
            with suppress(OSError):
                os.unlink(file.name)
            raise


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Alone among all processes that ask for the same; the file that stands for it stays."""
    with open(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY), "rb") as file:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield
