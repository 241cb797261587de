# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption with age or gpg: how to encrypt, how to decrypt, and what their failures mean.

A secret is only ever in a file, which the programs read themselves: by its path (age) or an open descriptor (gpg).
gpg works in a directory of its own, which goes away: it sees no keyring and no configuration of a user.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..system import files, launch, options, places, scratch
from ..system.errors import (
    BackupDamagedError,
    EngineError,
    KeyRejectedError,
    ProgramMissingError,
    UsageError,
    doing,
)
from ..system.options import Options
from . import ciphertext, keyfiles, pipeline
from .pipeline import Command, ProgramFailedError

SUFFIXES = {"none": "", "age": ".age", "gpg": ".gpg"}
# Of PBKDF2 with SHA-256, as OWASP recommends for passwords.
_FINGERPRINT_ROUNDS = 600_000
_GPG = (
    *("gpg", "--no-options", "--batch", "--no-tty", "--quiet", "--status-fd", "2"),
    *("--disable-dirmngr", "--pinentry-mode", "loopback"),
)
# The highest there is, about a tenth of a second. Without one gpg asks its agent, and the agent tries for a second.
_S2K_COUNT = "65011712"
_STRONG = (
    *("--cipher-algo", "AES256", "--compress-algo", "none"),
    *("--s2k-cipher-algo", "AES256", "--s2k-digest-algo", "SHA512", "--s2k-mode", "3", "--s2k-count", _S2K_COUNT),
)
# An agent of an old GnuPG does without.
_AGENT_SETTINGS = f"ignore-invalid-option s2k-count\ns2k-count {_S2K_COUNT}\n"
# With these it starts no agent, and writes nothing but a seed into its directory.
_WITHOUT_AGENT = ("--no-autostart", "--no-keyring")
_ENCRYPTED, _DECRYPTED = "[GNUPG:] END_ENCRYPTION", "[GNUPG:] DECRYPTION_OKAY"
# Never left out by a gpg that met changed content, whatever else it says.
_CHANGED = "[GNUPG:] BADMDC"
# What it is when it is neither key nor content: the host.
_HOST = re.compile(
    r"(?:no|the|to|start) agent|permission denied|no such file|file not found|cannot allocate|out of (?:core|memory)",
    re.IGNORECASE,
)
_KEY = {
    "age": re.compile(r"identity|identities|secret key|passphrase", re.IGNORECASE),
    "gpg": re.compile(
        r"bad[ _]passphrase|bad session key|no[ _]sec(?:ret )?key|can't get input|IMPORT_RES", re.IGNORECASE
    ),
}
_LOCKED = {"age": "passphrase", "gpg": "can't get input"}


def requested(given: Options | None) -> Encryption:
    """How to encrypt, from the values below the option ``encryption``."""
    if given is None:
        return NOT_ENCRYPTED
    return Encryption(given["method"], tuple(given["recipients"]), options.path(given, "passphrase_file"))


def keys(given: Options) -> Keys:
    """How to decrypt, from option values."""
    return Keys(options.path(given, "identity_file"), options.path(given, "passphrase_file"))


@dataclass(frozen=True)
class Encryption:
    """How to encrypt.

    ``age``: each of ``recipients`` is a recipient ("age1…", "ssh-ed25519 …", "ssh-rsa …") or the path of a file with
    recipients. ``gpg``: the first line of ``passphrase_file``, or ``recipients``, paths of files with one public key.
    """

    method: str = "none"
    recipients: tuple[str, ...] = ()
    passphrase_file: Path | None = None

    def check(self) -> None:
        """Raise unless this can be done here, now, with these keys: encrypts nothing, and looks at the result.

        ``UsageError`` for options that do not fit together and for keys that the program does not take,
        ``ProgramMissingError``, and ``PermissionDeniedError`` for a file that may not be read.
        """
        self.check_options()
        if self.method == "none":
            return
        self.readers()
        _require_program(self.method)
        option = "passphrase_file" if self.passphrase_file else "recipients"
        hint = f"Correct {option} of encryption."
        try:
            with doing(step="cannot encrypt"):
                with encrypting(self) as commands, open(os.devnull, "rb") as nothing:
                    head = pipeline.output_of(commands[0], nothing, limit_bytes=ciphertext.HEAD_BYTES)
                _check_head(head, self)
        except ProgramFailedError as error:
            host = error.of_the_host("cannot encrypt")
            if host:
                raise host from None
            raise UsageError(f"cannot encrypt with these {option}: {error.cause}", hint=hint) from None
        except ValueError as error:
            raise UsageError(f"cannot encrypt with these {option}: {error}.", hint=hint) from None

    def check_options(self) -> None:
        """Raise ``UsageError`` for options that do not fit together, whatever the host; looks at no file."""
        wrong, hint = _misfit(self)
        if wrong:
            raise UsageError(f"{wrong}.", hint=hint)

    def readers(self) -> list[str]:
        """Who can read, each once: age's recipients, or the SHA-256 of each of gpg's key files; none by passphrase."""
        if self.method == "age":
            found = (each for given in self.recipients for each in keyfiles.age_recipients(given))
            return list(dict.fromkeys(found))
        if self.passphrase_file:
            keyfiles.passphrase(self.passphrase_file)
        return list(keyfiles.gpg_keys(self.recipients))

    def fingerprint(self, salt: bytes) -> str:
        """A text that changes when the method, a recipient, a key file or the passphrase does, and tells none of them.

        With a passphrase it takes some tenths of a second, so that guessing from it is slow. Raises as ``check`` does
        for files that cannot be read.
        """
        with doing("Cannot tell for whom is encrypted"):
            secret = keyfiles.passphrase(self.passphrase_file) if self.passphrase_file else b""
            text = json.dumps([self.method, sorted(self.readers())]).encode() + b"\0" + secret
        return hashlib.pbkdf2_hmac("sha256", text, salt, _FINGERPRINT_ROUNDS if secret else 1).hex()

    def warning(self) -> str:
        """What should be changed about the passphrase file; empty when it is private."""
        return keyfiles.exposed(self.passphrase_file, "passphrase_file")


@dataclass(frozen=True)
class Keys:
    """How to decrypt.

    ``identity_file``: age's identity, or for gpg an exported secret key. ``passphrase_file``: its first line is gpg's
    passphrase, or that of the secret key.
    """

    identity_file: Path | None = None
    passphrase_file: Path | None = None

    def check(self, method: str) -> None:
        """Raise unless there are keys to try on what ``method`` encrypted, and the program to do so."""
        if method == "none":
            return
        if method not in SUFFIXES:
            raise UsageError(f"unknown encryption {method!r}.", hint="Update the collection.")
        if not self.identity_file and (method == "age" or not self.passphrase_file):
            other = " or its passphrase in passphrase_file" if method == "gpg" else ""
            raise KeyRejectedError(
                f"it is encrypted with {method}, and no key is given.",
                hint=f"Name the file of the secret key in identity_file{other}.",
            )
        if self.identity_file:
            keyfiles.content(self.identity_file, "identity_file")
        if self.passphrase_file and method == "gpg":
            keyfiles.passphrase(self.passphrase_file)
        _require_program(method)

    def warning(self) -> str:
        """What should be changed about the files; empty when they are private."""
        texts = [keyfiles.exposed(self.identity_file, "identity_file")]
        texts.append(keyfiles.exposed(self.passphrase_file, "passphrase_file"))
        return " ".join(filter(None, texts))


NOT_ENCRYPTED = Encryption()
NO_KEYS = Keys()


def _misfit(encryption: Encryption) -> tuple[str, str]:
    """What is wrong with the options, and what to do about it; nothing when they fit together."""
    method, recipients, passphrase_file = encryption.method, encryption.recipients, encryption.passphrase_file
    wrong = hint = ""
    if method not in SUFFIXES:
        wrong, hint = f"unknown encryption {method!r}", f"Use {', '.join(SUFFIXES)}."
    elif method == "none" and (recipients or passphrase_file):
        wrong, hint = "keys are given, but no method of encryption", "Set method of encryption to age or gpg."
    elif method == "age" and passphrase_file:
        wrong, hint = "age takes no passphrase_file", "Name recipients, or set method of encryption to gpg."
    elif method == "age" and not recipients:
        wrong, hint = "age needs recipients", "Name at least one in recipients of encryption."
    elif method == "gpg" and bool(recipients) == bool(passphrase_file):
        wrong, hint = "gpg needs either recipients or a passphrase_file", "Give exactly one of them in encryption."
    return wrong, hint


def _require_program(method: str) -> None:
    if not launch.find(method):
        raise ProgramMissingError(f"{method} is not installed.", hint=f"Install {method}.")


def check_ciphertext(path: Path, encryption: Encryption) -> None:
    """Raise ``EngineError`` unless the file at ``path`` begins as one that exactly these readers can read."""
    if encryption.method == "none":
        return
    try:
        with places.reading(path, alone=False) as file:
            _check_head(files.read_exactly(file, ciphertext.HEAD_BYTES), encryption)
    except ValueError as error:
        raise EngineError(
            f"{encryption.method} wrote something else than was asked for: {error}.",
            action=f"Cannot use {path}",
            hint=f"Look at the configuration of {encryption.method} on this host, and at the program itself.",
        ) from None


def _check_head(head: bytes, encryption: Encryption) -> None:
    with doing("Cannot check what was encrypted"):
        wanted = len(encryption.readers())
    if encryption.method == "age":
        found = ciphertext.age_recipients(head)
        if "scrypt" in found or len(found) != wanted:
            raise ValueError(f"it is for {len(found)} recipients ({ascii(found)[:200]}), not for {wanted}")
        return
    readers = ciphertext.openpgp_readers(head)
    passphrases = (ciphertext.AES256,) if encryption.passphrase_file else ()
    if readers.public_keys != wanted or readers.passphrase_ciphers != passphrases:
        raise ValueError(
            f"it is for {readers.public_keys} keys, and with the ciphers {list(readers.passphrase_ciphers)} "
            f"for a passphrase, not for {wanted} and {list(passphrases)}"
        )


@contextlib.contextmanager
def encrypting(encryption: Encryption) -> Iterator[list[Command]]:
    """What encrypts, for as long as the block lasts: one program, or none."""
    action = "Cannot encrypt"
    with contextlib.ExitStack() as stack:
        if encryption.method == "none":
            yield []
        elif encryption.method == "age":
            with doing(action):
                recipients = [word for each in encryption.readers() for word in ("-r", each)]
            yield [Command(("age", *recipients))]
        else:
            way, environment = _gpg(stack)
            words, descriptors = _passphrase(stack, encryption.passphrase_file)
            with doing(action):
                keys = keyfiles.gpg_keys(encryption.recipients).values()
            words += tuple(word for each in keys for word in ("--recipient-file", each))
            words += ("--trust-model", "always", "--no-encrypt-to", "--encrypt") if keys else ("--symmetric",)
            yield [Command((*way, *_WITHOUT_AGENT, *_STRONG, *words), descriptors, environment, proof=_ENCRYPTED)]


@contextlib.contextmanager
def decrypting(path: Path, method: str, keys: Keys) -> Iterator[list[Command]]:
    """What decrypts the file at ``path``, for as long as the block lasts: one program, or none.

    Raises ``KeyRejectedError`` when the keys are not of the kind that it needs, and ``BackupDamagedError`` when it does
    not begin as a file that ``method`` wrote.
    """
    with doing(f"Cannot decrypt {path}"):
        keys.check(method)
    with contextlib.ExitStack() as stack:
        yield [] if method == "none" else [_decrypts(stack, path, method, keys)]


def _decrypts(stack: contextlib.ExitStack, path: Path, method: str, keys: Keys) -> Command:
    action = f"Cannot decrypt {path}"
    with places.reading(path, alone=False) as file:
        head = files.read_exactly(file, ciphertext.HEAD_BYTES)
    with doing(action):
        try:
            if method == "age":
                ciphertext.age_recipients(head)
                return Command(("age", "-d", "-i", os.path.abspath(keys.identity_file or "")))
            readers = ciphertext.openpgp_readers(head)
        except ValueError as error:
            raise _damaged(str(error)) from None
        if not readers.public_keys and not keys.passphrase_file:
            raise KeyRejectedError("it needs a passphrase.", hint="Name its file in passphrase_file.")
        if readers.public_keys and not keys.identity_file:
            raise KeyRejectedError("it needs a secret key.", hint="Name its file in identity_file.")
    way, environment = _gpg(stack)
    words, descriptors = _passphrase(stack, keys.passphrase_file)
    if readers.public_keys:
        Path(environment["GNUPGHOME"], "gpg-agent.conf").write_text(_AGENT_SETTINGS, encoding="ascii")
        with doing(action):
            _import(Command((*way, "--import"), (), environment), keys)
    else:
        words += _WITHOUT_AGENT
    return Command((*way, *words, "--decrypt"), descriptors, environment, proof=_DECRYPTED)


def _import(command: Command, keys: Keys) -> None:
    with open(os.path.abspath(keys.identity_file or ""), "rb") as file:
        try:
            pipeline.output_of(command, file, limit_bytes=ciphertext.HEAD_BYTES)
        except ProgramFailedError as error:
            raise explained(error, keys) from None


def _gpg(stack: contextlib.ExitStack) -> tuple[tuple[str, ...], dict[str, str]]:
    """How gpg is called, with a private directory that exists as long as ``stack``, and its environment."""
    home = str(stack.enter_context(scratch.directory()))
    stack.callback(_leave, home)
    return (*_GPG, "--homedir", home), {"GNUPGHOME": home}


def _leave(home: str) -> None:
    """End the agent that works in the directory, if there is one."""
    if os.path.isdir(os.path.join(home, "private-keys-v1.d")):
        with open(os.devnull, "rb") as nothing, contextlib.suppress(EngineError):
            for last in (("--kill", "gpg-agent"), ("--remove-socketdir",)):
                pipeline.output_of(Command(("gpgconf", "--homedir", home, *last)), nothing, limit_bytes=0)


def _passphrase(stack: contextlib.ExitStack, path: Path | None) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """How gpg gets a passphrase, and the descriptors for that, which stay open as long as ``stack``."""
    if path is None:
        return (), ()
    if sys.platform == "win32":
        # A process there inherits no numbered descriptors.
        return ("--passphrase-file", os.path.abspath(path)), ()
    descriptor = os.open(path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return ("--passphrase-fd", str(descriptor)), (descriptor,)


def explained(error: ProgramFailedError, keys: Keys) -> EngineError:
    """What it means that age or gpg could not decrypt, as the engine's error. Quotes nothing about a key file."""
    method, said = error.name, error.said
    host = error.of_the_host()
    if host or _HOST.search(said):
        return host or EngineError(error.cause)
    if _CHANGED in said or not _KEY[method].search(said):
        return _damaged(error.words or "it is not whole")
    file = keys.identity_file or keys.passphrase_file
    if _LOCKED[method] in said:
        return KeyRejectedError(
            f"the key in {file} is itself protected by a passphrase.",
            hint="Give gpg's in passphrase_file; decrypt an identity of age with `age -d` first.",
        )
    return KeyRejectedError(
        f"{method} cannot read it with the key in {file}.",
        hint="Give the key that it was encrypted for; if this is it, then the first bytes of the artifact are damaged.",
    )


def _damaged(cause: str) -> BackupDamagedError:
    return BackupDamagedError(f"{cause}.", hint="Use another backup, or a copy of this one from off-site.")
