# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files with keys, passphrases and tokens, as an operator names them in an option. No message quotes what is in one."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
import sys
from pathlib import Path

from ..system.errors import RefusedError, UsageError, from_os_error

_LIMIT_BYTES = 1024 * 1024
_AGE_RECIPIENTS = ("age1", "ssh-ed25519 ", "ssh-rsa ")
# Private keys of age and its plugins, SSH and PGP as text, and what a PGP private key begins with as bytes (RFC 9580).
_SECRET = re.compile(rb"AGE-(?:SECRET-KEY|PLUGIN)-|-----BEGIN [A-Z ]*PRIVATE KEY|\A[\x94-\x97\xc5]", re.IGNORECASE)

# Of RFC 9110, 5.6.2 and 5.5, without the bytes of other encodings.
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e]+")


def content(path: Path, option: str) -> bytes:
    """What the file that ``option`` names holds. Raises ``UsageError`` or ``PermissionDeniedError``."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"the {option} {path} is not a regular file.", hint=f"Correct {option}.")
        with open(path, "rb") as file:
            found = file.read(_LIMIT_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(f"the {option} {path} does not exist.", hint=f"Correct {option}.") from None
    except OSError as error:
        raise from_os_error(error, f"cannot read the {option} {path}") from error
    if not found.strip():
        raise UsageError(f"the {option} {path} is empty.", hint=f"Correct {option}, or restore the file.")
    if len(found) > _LIMIT_BYTES:
        raise UsageError(f"the {option} {path} is too large for what it is to hold.", hint=f"Correct {option}.")
    return found


def passphrase(path: Path) -> bytes:
    """The first line of the file, which is what gpg takes of it."""
    first = content(path, "passphrase_file").split(b"\n", 1)[0]
    if not first.strip():
        raise UsageError(f"the first line of the passphrase_file {path} is empty.", hint="Put the passphrase there.")
    return first


def headers(path: Path) -> dict[str, str]:
    """The headers of a request in a private file: ``Name: value``, one a line; comments begin with ``#``."""
    check_private(path, "headers_file")
    lines = content(path, "headers_file").decode(errors="replace").splitlines()
    found = {}
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            name, colon, value = line.partition(":")
            if not colon or not _HEADER_NAME.fullmatch(name) or not _HEADER_VALUE.fullmatch(value.strip()):
                raise UsageError(
                    f"line {number} of the headers_file {path} is not a header.", hint="Write it like Name: value."
                )
            found[name] = value.strip()
    return found


def age_recipients(given: str) -> list[str]:
    """The recipients that ``given`` is, or that the file at this path holds, without their comments."""
    if given.startswith(_AGE_RECIPIENTS):
        return [_age_recipient(given, "recipients")]
    _refuse_secret(given.encode("ascii", errors="replace"), "recipients")
    data = content(Path(given), "recipients")
    _refuse_secret(data, given)
    numbered = [(number, line.strip()) for number, line in enumerate(data.decode(errors="replace").splitlines(), 1)]
    found = [
        _age_recipient(line, f"line {number} of {given}")
        for number, line in numbered
        if line and not line.startswith("#")
    ]
    if not found:
        raise UsageError(f"{given} holds no recipients.", hint="Put one on a line, or correct recipients.")
    return found


def _age_recipient(text: str, where: str) -> str:
    words = text.split()
    wanted_words = 2 if text.startswith("ssh-") else 1
    if not text.startswith(_AGE_RECIPIENTS) or len(words) < wanted_words:
        raise UsageError(
            f"{where} is not a recipient of age.", hint="Use age1…, ssh-ed25519 … or ssh-rsa …, one on a line."
        )
    # What follows an SSH key is a comment.
    return " ".join(words[:wanted_words])


def _refuse_secret(data: bytes, where: str) -> None:
    """Who can read the host must not be able to read its backups."""
    if _SECRET.search(data):
        raise UsageError(
            f"{where} holds a secret key, which does not belong on this host.",
            hint="Use its public key: `age-keygen -y` and `gpg --export` tell it.",
        )


def gpg_keys(paths: tuple[str, ...]) -> dict[str, str]:
    """The path of each file with a public key, by the SHA-256 of its content: the same key twice is one."""
    found: dict[str, str] = {}
    for path in paths:
        data = content(Path(path), "recipients").strip()
        _refuse_secret(data, path)
        found.setdefault(hashlib.sha256(data).hexdigest(), os.path.abspath(path))
    return found


def check_private(path: Path, option: str) -> None:
    """Raise ``RefusedError`` when others can read the file with a secret that ``option`` names."""
    wrong = exposed(path, option)
    if wrong:
        raise RefusedError(f"{wrong[:1].lower()}{wrong[1:]}", hint=f"chmod 0600 {shlex.quote(str(path))}")


def exposed(path: Path | None, option: str) -> str:
    """What should be changed about a file with a secret; empty when only its owner can read it."""
    if path is None or sys.platform == "win32":
        return ""
    try:
        mode = stat.S_IMODE(os.stat(path).st_mode)
    except OSError:
        return ""
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return ""
    return f"The {option} {path} can be read by others (mode {mode:04o}): give it the mode 0600."
