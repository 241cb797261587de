# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import encryption, pipeline
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.encryption import Encryption, Keys
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed.pipeline import ProgramFailedError
from ansible_collections.sqliteops.backup.plugins.module_utils._engine.system.errors import (
    BackupDamagedError,
    EngineError,
    KeyRejectedError,
    NoSpaceError,
    ProgramMissingError,
    UsageError,
    doing,
)
from support import keys, leftovers, limits
from support.processes import needs_root, python

pytestmark = pytest.mark.thorough

TIMEOUT_SECONDS = 60.0
EMPTY = Path(os.devnull)
every_scheme = pytest.mark.parametrize("name", keys.SCHEMES)


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path) -> Iterator[Path]:
    keys.make_all()
    with leftovers.nothing_left(TIMEOUT_SECONDS) as directory:
        yield directory


def encrypted(path: Path, wanted: Encryption, content: bytes = b"content") -> Path:
    """An artifact of this content, made as the engine makes it."""
    plain = path.with_name("plain")
    plain.write_bytes(content)
    with encryption.encrypting(wanted) as commands, open(plain, "rb") as source, open(path, "wb") as target:
        pipeline.pour(commands, source, target, limit_bytes=1 << 40)
    return path


def decrypted(path: Path, method: str, given_keys: Keys) -> bytes:
    with doing(f"Cannot decrypt {path}"):
        try:
            with encryption.decrypting(path, method, given_keys) as commands, open(path, "rb") as source:
                return pipeline.output_of(commands[0], source, limit_bytes=1 << 30)
        except ProgramFailedError as error:
            raise encryption.explained(error, given_keys) from error


def gpg(home: Path, *words: str, content: bytes = b"") -> bytes:
    """What a person would run, with another home than ours."""
    home.mkdir(mode=0o700, exist_ok=True)
    command = ["gpg", "--batch", "--quiet", "--no-tty", "--pinentry-mode", "loopback", "--homedir", str(home), *words]
    try:
        return subprocess.run(command, input=content, capture_output=True, check=True, timeout=60).stdout
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True, timeout=60)


# --- options ---------------------------------------------------------------------------------------------------------

SOME = Path("/some/file")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Encryption("aes"), "unknown encryption 'aes'.*none, age, gpg"),
        (Encryption("AGE", ("age1x",)), "unknown encryption 'AGE'"),
        (Encryption("none", ("age1x",)), "no method.*Set method"),
        (Encryption("none", (), SOME), "no method.*Set method"),
        (Encryption("age"), "age needs recipients.*recipients of encryption"),
        (Encryption("age", ("age1x",), SOME), "age takes no passphrase_file"),
        (Encryption("gpg"), "either recipients or a passphrase_file"),
        (Encryption("gpg", ("/key",), SOME), "either recipients or a passphrase_file"),
    ],
)
def test_options_that_do_not_fit_together_are_told(wanted: Encryption, message: str) -> None:
    """Keys without a method would be a plain copy for someone who wanted an encrypted one."""
    with pytest.raises(UsageError, match=f".*{message}"):
        wanted.check()


def test_no_encryption_needs_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    Encryption().check()
    Keys().check("none")
    encryption.check_ciphertext(tmp_path / "missing", Encryption())
    with encryption.encrypting(Encryption()) as commands:
        assert not commands
    with encryption.decrypting(tmp_path / "missing", "none", Keys()) as commands:
        assert not commands


@every_scheme
def test_what_can_be_done_passes_the_check(name: str) -> None:
    wanted, given_keys = keys.scheme(name)
    wanted.check()
    given_keys.check(wanted.method)


@every_scheme
def test_missing_program_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Never a plain copy."""
    wanted, given_keys = keys.scheme(name)
    monkeypatch.setenv("PATH", str(tmp_path))
    for check in (wanted.check, lambda: given_keys.check(wanted.method)):
        with pytest.raises(ProgramMissingError, match=f"{wanted.method} is not installed.*Install"):
            check()


@every_scheme
@pytest.mark.parametrize("content", [None, b""])
def test_lost_or_empty_key_file_is_told_before_anything_is_written(
    name: str, content: bytes | None, tmp_path: Path
) -> None:
    wanted, given_keys = keys.scheme(name)
    lost = tmp_path / "lost"
    if content is not None:
        lost.write_bytes(content)
    option = "passphrase_file" if wanted.passphrase_file else "recipients"
    broken = {option: lost if wanted.passphrase_file else (*wanted.recipients, str(lost))}
    with pytest.raises(UsageError, match=f"the {option} {re.escape(str(lost))} (does not exist|is empty)"):
        dataclasses.replace(wanted, **broken).check()
    for each in dataclasses.fields(given_keys):
        if getattr(given_keys, each.name):
            with pytest.raises(UsageError, match=f"the {each.name} {re.escape(str(lost))} (does not exist|is empty)"):
                dataclasses.replace(given_keys, **{each.name: lost}).check(wanted.method)


@keys.needs_age
@pytest.mark.parametrize("recipient", ["age1nonsense", "ssh-ed25519 AAAA", "age1unknown1qqqqqqqq"])
def test_recipient_that_age_does_not_take_is_told_before_anything_is_written(recipient: str) -> None:
    """Only age itself knows: a checksum, a plugin that is not installed."""
    with pytest.raises(UsageError, match="cannot encrypt with these recipients: age failed.*recipients of"):
        Encryption("age", (keys.age_recipient(), recipient)).check()


@keys.needs_gpg
def test_key_that_gpg_cannot_encrypt_for_is_told_before_anything_is_written(tmp_path: Path) -> None:
    signing = keys.gpg_key("signing", kind=("rsa2048", "sign"))[0]
    junk = tmp_path / "junk"
    junk.write_bytes(b"no key at all")
    for path in (signing, junk):
        with pytest.raises(UsageError, match="cannot encrypt with these recipients"):
            Encryption("gpg", (str(keys.gpg_key()[0]), str(path))).check()


@keys.needs_gpg
@pytest.mark.parametrize("secret", ["own", "locked"])
def test_exported_secret_key_is_refused_as_recipient(secret: str) -> None:
    """Who can read the host could read its backups."""
    protection = keys.KEY_PASSPHRASE if secret == "locked" else ""
    with pytest.raises(UsageError, match="secret key"):
        Encryption("gpg", (str(keys.gpg_key(secret, protection)[1]),)).check()


@keys.needs_age
def test_two_files_and_words_with_the_same_recipient_are_one(tmp_path: Path) -> None:
    path = tmp_path / "recipients"
    path.write_text(f"# mine\n{keys.age_recipient()}\n{keys.age_recipient('other')}\n")
    wanted = Encryption("age", (keys.age_recipient(), str(path)))
    wanted.check()
    assert wanted.readers() == [keys.age_recipient(), keys.age_recipient("other")]
    encryption.check_ciphertext(encrypted(tmp_path / "a", wanted), wanted)


def test_warning_names_what_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(b"x")
    path.chmod(0o644)
    assert "passphrase_file" in Encryption("gpg", (), path).warning()
    assert not Encryption("gpg", (str(path),)).warning(), "recipients are public"
    assert Keys(path, path).warning().count("can be read by others") == 2
    path.chmod(0o600)
    assert not Encryption("gpg", (), path).warning() + Keys(path, path).warning()


# --- there and back --------------------------------------------------------------------------------------------------


@every_scheme
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_content_comes_back(name: str, size: int, tmp_path: Path) -> None:
    wanted, given_keys = keys.scheme(name)
    content = b"0123456789abcdef" * (size // 16) + b"x" * (size % 16)
    path = encrypted(tmp_path / "a", wanted, content)
    encryption.check_ciphertext(path, wanted)
    assert decrypted(path, wanted.method, given_keys) == content
    assert content[:64] not in path.read_bytes() or size < 64


@keys.needs_age
@keys.needs_ssh
@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_ssh_keys_can_be_readers(kind: str, tmp_path: Path) -> None:
    identity = keys.ssh_identity(kind)
    public = identity.with_name(f"{identity.name}.pub")
    for given_recipient in (str(public), public.read_text().strip()):
        wanted = Encryption("age", (given_recipient, keys.age_recipient()))
        wanted.check()
        path = encrypted(tmp_path / "a", wanted)
        assert decrypted(path, "age", Keys(identity)) == b"content"
        path.unlink()


@keys.needs_age
def test_every_recipient_can_read(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "a", keys.scheme("age")[0])
    assert decrypted(path, "age", Keys(keys.age_identity("other"))) == b"content"


@keys.needs_age
def test_person_reads_with_age_what_was_written(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "a", keys.scheme("age")[0])
    command = ["age", "-d", "-i", str(keys.age_identity()), str(path)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"content"


@keys.needs_age
def test_what_a_person_wrote_with_age_is_read(tmp_path: Path) -> None:
    command = ["age", "-r", keys.age_recipient(), "-o", str(tmp_path / "a")]
    subprocess.run(command, input=b"content", check=True)
    assert decrypted(tmp_path / "a", "age", Keys(keys.age_identity())) == b"content"


@keys.needs_gpg
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
@pytest.mark.slow
def test_person_reads_with_gpg_what_was_written(
    locale: str, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the passphrase has letters that locales write differently."""
    monkeypatch.setenv("LC_ALL", locale)
    path = encrypted(tmp_path / "a", keys.scheme("gpg-passphrase")[0])
    home = temporary / "person"
    try:
        assert gpg(home, "--passphrase-file", str(keys.passphrase()), "-d", str(path)) == b"content"
        for name, protection in (("own", ""), ("locked", keys.KEY_PASSPHRASE)):
            public, secret = keys.gpg_key(name, protection)
            path = encrypted(tmp_path / name, Encryption("gpg", (str(public),)))
            gpg(home, "--import", str(secret))
            unlock = ["--passphrase-file", str(keys.passphrase(protection))] if protection else []
            assert gpg(home, *unlock, "-d", str(path)) == b"content"
    finally:
        shutil.rmtree(home)


@keys.needs_gpg
def test_what_a_person_wrote_with_gpg_is_read(tmp_path: Path, temporary: Path) -> None:
    home = temporary / "person"
    try:
        way = ["--passphrase-file", str(keys.passphrase())]
        (tmp_path / "s").write_bytes(gpg(home, *way, "--symmetric", content=b"content"))
        key = ["--trust-model", "always", "--recipient-file", str(keys.gpg_key()[0])]
        (tmp_path / "k").write_bytes(gpg(home, *key, "--encrypt", content=b"content"))
    finally:
        shutil.rmtree(home)
    assert decrypted(tmp_path / "s", "gpg", Keys(passphrase_file=keys.passphrase())) == b"content"
    assert decrypted(tmp_path / "k", "gpg", Keys(keys.gpg_key()[1])) == b"content"


@every_scheme
def test_artifact_may_have_a_second_name(name: str, tmp_path: Path) -> None:
    """As in the copies of a repository that share what they have in common."""
    wanted, given_keys = keys.scheme(name)
    path = encrypted(tmp_path / "a", wanted)
    os.link(path, tmp_path / "b")
    encryption.check_ciphertext(path, wanted)
    assert decrypted(path, wanted.method, given_keys) == b"content"


@keys.needs_gpg
def test_both_kinds_of_key_may_be_given_for_either_kind_of_file(tmp_path: Path) -> None:
    """A runner has one set of keys for backups from before and after a change."""
    both = Keys(keys.gpg_key()[1], keys.passphrase())
    for name in ("gpg-passphrase", "gpg-key"):
        assert decrypted(encrypted(tmp_path / name, keys.scheme(name)[0]), "gpg", both) == b"content"


# --- wrong keys ------------------------------------------------------------------------------------------------------


def check_no_secret(error: EngineError) -> None:
    text = f"{error} {error.__cause__} {error.__context__}"
    for secret in (keys.PASSPHRASE, keys.KEY_PASSPHRASE, "another", "AGE-SECRET-KEY"):
        assert secret not in text


@every_scheme
@pytest.mark.parametrize("size", [0, 3_000_000])
def test_wrong_key_is_told_as_such(name: str, size: int, tmp_path: Path) -> None:
    """Not as damage: the backup is good, and somebody has the key."""
    wanted = keys.scheme(name)[0]
    path = encrypted(tmp_path / "a", wanted, bytes(size))
    with pytest.raises(
        KeyRejectedError, match=f"Cannot decrypt {re.escape(str(path))}: .*with the key in .*Give the key"
    ) as caught:
        decrypted(path, wanted.method, keys.wrong_keys(name))
    assert caught.value.code == 14
    check_no_secret(caught.value)


@every_scheme
def test_no_key_is_told_as_such(name: str, tmp_path: Path) -> None:
    wanted = keys.scheme(name)[0]
    path = encrypted(tmp_path / "a", wanted)
    with pytest.raises(KeyRejectedError, match="no key is given.*identity_file"):
        decrypted(path, wanted.method, Keys())


@keys.needs_gpg
def test_key_of_the_other_kind_is_told_as_such(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "s", keys.scheme("gpg-passphrase")[0])
    with pytest.raises(KeyRejectedError, match="needs a passphrase.*passphrase_file"):
        decrypted(path, "gpg", Keys(keys.gpg_key()[1]))
    path = encrypted(tmp_path / "k", keys.scheme("gpg-key")[0])
    with pytest.raises(KeyRejectedError, match="needs a secret key.*identity_file"):
        decrypted(path, "gpg", Keys(passphrase_file=keys.passphrase()))


@keys.needs_gpg
def test_locked_key_without_its_passphrase_is_told_as_such(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "a", keys.scheme("gpg-locked-key")[0])
    with pytest.raises(KeyRejectedError, match="itself protected by a passphrase.*passphrase_file"):
        decrypted(path, "gpg", Keys(keys.gpg_key("locked", keys.KEY_PASSPHRASE)[1]))


@keys.needs_age
@keys.needs_ssh
def test_locked_identity_of_age_is_told_as_such(tmp_path: Path) -> None:
    """Age asks for its passphrase on a terminal, which a runner does not have: it must not wait there."""
    identity = tmp_path / "locked"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "a passphrase", "-f", str(identity)], check=True)
    path = encrypted(tmp_path / "a", Encryption("age", (str(identity.with_suffix(".pub")),)))
    with limits.within(10), pytest.raises(KeyRejectedError, match="itself protected by a passphrase.*age -d"):
        decrypted(path, "age", Keys(identity))


@pytest.mark.parametrize("name", [keys.AGE, keys.GPG_KEY])
def test_file_that_is_no_key_is_rejected_and_not_quoted(name: str, tmp_path: Path) -> None:
    junk = tmp_path / "junk"
    wanted = keys.scheme(name)[0]
    path = encrypted(tmp_path / "a", wanted)
    for content in ("hunter2 is my password", "AGE-SECRET-KEY-1HUNTER2", "\0\1\2hunter2"):
        junk.write_text(content)
        with pytest.raises(KeyRejectedError) as caught:
            decrypted(path, wanted.method, Keys(junk))
        assert "hunter2" not in str(caught.value).lower()


@keys.needs_gpg
def test_public_key_in_place_of_the_secret_one_is_rejected(tmp_path: Path) -> None:
    path = encrypted(tmp_path / "a", keys.scheme("gpg-key")[0])
    with pytest.raises(KeyRejectedError):
        decrypted(path, "gpg", Keys(keys.gpg_key()[0]))


def test_unknown_method_asks_for_an_update(tmp_path: Path) -> None:
    """A newer version may have written it."""
    with pytest.raises(UsageError, match="unknown encryption 'rot13'.*Update"):
        Keys().check("rot13")


# --- damage ----------------------------------------------------------------------------------------------------------


@every_scheme
def test_artifact_cut_anywhere_is_damage(name: str, tmp_path: Path) -> None:
    """Not a wrong key. A message of gpg without any content gives exit code 0."""
    wanted, given_keys = keys.scheme(name)
    whole = encrypted(tmp_path / "a", wanted, b"x" * 300_000).read_bytes()
    for length in (0, 1, 10, 15, 40, 100, 300, 65_536, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a").write_bytes(whole[:length])
        with pytest.raises(BackupDamagedError, match=f"Cannot decrypt {re.escape(str(tmp_path / 'a'))}: "):
            decrypted(tmp_path / "a", wanted.method, given_keys)


@every_scheme
@pytest.mark.parametrize("place", [0.1, 0.5, 1.0])
def test_changed_byte_of_the_content_is_damage(name: str, place: float, tmp_path: Path) -> None:
    wanted, given_keys = keys.scheme(name)
    whole = bytearray(encrypted(tmp_path / "a", wanted, b"x" * 300_000).read_bytes())
    whole[int((len(whole) - 1) * place)] ^= 1
    (tmp_path / "a").write_bytes(whole)
    with pytest.raises(BackupDamagedError):
        decrypted(tmp_path / "a", wanted.method, given_keys)


@every_scheme
@pytest.mark.slow
def test_changed_byte_of_the_header_never_gives_other_content(name: str, tmp_path: Path) -> None:
    """Whether key or damage cannot be told everywhere there, and some bytes matter only to another reader."""
    wanted, given_keys = keys.scheme(name)
    whole = bytearray(encrypted(tmp_path / "a", wanted).read_bytes())
    detected = 0
    for position in range(0, 200, 13):
        if position < len(whole):
            whole[position] ^= 1
            (tmp_path / "a").write_bytes(whole)
            whole[position] ^= 1
            try:
                assert decrypted(tmp_path / "a", wanted.method, given_keys) == b"content"
            except (BackupDamagedError, KeyRejectedError):
                detected += 1
    assert detected > 2


@every_scheme
@pytest.mark.parametrize("tail", [b"x", bytes(4096), None], ids=["a byte", "zeros", "another artifact"])
def test_bytes_behind_the_end_are_damage(name: str, tail: bytes | None, tmp_path: Path) -> None:
    wanted, given_keys = keys.scheme(name)
    whole = encrypted(tmp_path / "a", wanted).read_bytes()
    (tmp_path / "a").write_bytes(whole + (whole if tail is None else tail))
    with pytest.raises(BackupDamagedError):
        decrypted(tmp_path / "a", wanted.method, given_keys)


@pytest.mark.parametrize("method", [keys.AGE, pytest.param("gpg", marks=keys.needs_gpg)])
def test_file_that_is_not_encrypted_is_damage(method: str, tmp_path: Path) -> None:
    """Gpg would unpack a signed or a plain message, and be content: somebody put it there in place of ours."""
    (tmp_path / "plain").write_bytes(b"\xcb\x0db\x00\0\0\0\0content")
    (tmp_path / "database").write_bytes(b"SQLite format 3\0" * 100)
    some_keys = keys.scheme("age" if method == "age" else "gpg-passphrase")[1]
    for name in ("plain", "database"):
        with pytest.raises(BackupDamagedError):
            decrypted(tmp_path / name, method, some_keys)


# --- failures of the host --------------------------------------------------------------------------------------------


def failed(name: str, said: str, code: int = 2) -> EngineError:
    return encryption.explained(ProgramFailedError(name, code, said), Keys(SOME))


@pytest.mark.parametrize(
    "said",
    [
        "gpg: can't connect to the agent: IPC connect call failed\ngpg: decryption failed: No secret key",
        "gpg: failed to start agent '/usr/bin/gpg-agent': No such file or directory",
        "gpg: problem with the agent: No agent running",
        "gpg: out of memory while allocating 4096 bytes",
        "gpg: can't mmap pool of 65536 bytes: Cannot allocate memory",
    ],
)
def test_trouble_of_the_host_is_neither_key_nor_damage(said: str) -> None:
    assert failed("gpg", said).code == EngineError.code


@pytest.mark.parametrize(
    ("name", "said", "code"),
    [
        # 1.0 and 1.1; 1.2.1; 1.3
        ("age", "age: error: no identity matched any of the recipients", 14),
        ("age", "age: error: incorrect identity for recipient block", 14),
        ("age", "age: error: identity did not match any of the recipients: incorrect identity", 14),
        ("age", "age: error: unexpected EOF", 13),
        ("age", "age: error: failed to decrypt and authenticate payload chunk", 13),
        ("age", "age: error: bad header MAC", 13),
        ("age", "age: error: trailing data after end of encrypted file", 13),
        ("gpg", "gpg: decryption failed: Bad session key", 14),
        ("gpg", "[GNUPG:] NO_SECKEY 7D0F5587640D6287\n[GNUPG:] DECRYPTION_FAILED", 14),
        ("gpg", "[GNUPG:] ERROR symkey_decrypt.maybe_error 11_BAD_PASSPHRASE\n[GNUPG:] DECRYPTION_FAILED", 14),
        ("gpg", "gpg: public key decryption failed: Bad passphrase\n[GNUPG:] DECRYPTION_FAILED", 14),
        ("gpg", "[GNUPG:] BADMDC\n[GNUPG:] DECRYPTION_FAILED\ngpg: decryption failed: Bad session key", 13),
        ("gpg", "gpg: decryption failed: Invalid packet\n[GNUPG:] DECRYPTION_FAILED", 13),
    ],
)
def test_words_of_every_version_are_understood(name: str, said: str, code: int) -> None:
    assert failed(name, said).code == code


def test_damage_is_told_in_the_words_of_the_program() -> None:
    assert failed("age", "age: error: bad header MAC").message == "age: error: bad header MAC."
    assert failed("gpg", "[GNUPG:] BADMDC\n[GNUPG:] DECRYPTION_FAILED").message == "it is not whole."


def test_program_ended_by_a_signal_is_neither_key_nor_damage() -> None:
    error = failed("gpg", "[GNUPG:] BADMDC", -9)
    assert failed("gpg", "gpg: error writing: No space left on device").code == 16
    assert (error.code, error.message) == (1, "gpg was ended by signal 9.")


@keys.needs_gpg
@pytest.mark.parametrize("name", ["gpg-passphrase", "gpg-key"])
def test_full_disk_for_what_gpg_needs_is_told_as_such(name: str) -> None:
    """Not as keys that should be corrected: gpg wants to write a few bytes into its directory."""
    wanted = keys.scheme(name)[0]
    with limits.full_disk_after(0), pytest.raises(NoSpaceError, match="cannot encrypt"):
        wanted.check()


@keys.needs_gpg
def test_temporary_directory_that_cannot_be_written_is_told(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(temporary / "missing"))
    with pytest.raises(EngineError, match="cannot encrypt: no such file"):
        keys.scheme("gpg-passphrase")[0].check()


# --- nothing is seen or left -----------------------------------------------------------------------------------------


@every_scheme
@pytest.mark.parametrize("way", ["encrypt", "decrypt"])
def test_no_secret_is_on_a_command_line_or_in_an_environment(name: str, way: str, tmp_path: Path) -> None:
    """Every user can read the one, and every process of this user the other."""
    wanted, given_keys = keys.scheme(name)
    path = encrypted(tmp_path / "a", wanted, os.urandom(8_000_000))
    secrets = [keys.PASSPHRASE.encode(), keys.KEY_PASSPHRASE.encode(), b"AGE-SECRET-KEY"]
    with open(path, "rb") as source:
        context = (
            encryption.encrypting(wanted)
            if way == "encrypt"
            else encryption.decrypting(path, wanted.method, given_keys)
        )
        with context as commands, pipeline.reading(commands, source) as stream:
            assert stream.read(1)
            children = leftovers.children()
            assert wanted.method in children
            for number in children.values():
                for what in ("cmdline", "environ"):
                    seen = Path("/proc", str(number), what).read_bytes()
                    assert seen
                    assert not [each for each in secrets if each in seen]


@every_scheme
def test_home_of_the_user_stays_as_it_is(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No keyring of the user is changed, none is needed, and no configuration of theirs gets in the way."""
    home = tmp_path / "home"
    (home / ".gnupg").mkdir(parents=True, mode=0o700)
    (home / ".gnupg" / "gpg.conf").write_text("armor\nno-such-option\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GNUPGHOME", str(home / ".gnupg"))
    before = sorted(home.rglob("*"))
    wanted, given_keys = keys.scheme(name)
    wanted.check()
    path = encrypted(tmp_path / "a", wanted)
    assert decrypted(path, wanted.method, given_keys) == b"content"
    assert sorted(home.rglob("*")) == before


@needs_root
@keys.needs_gpg
def test_nothing_stays_where_agents_put_their_sockets(tmp_path: Path) -> None:
    """With a session of the user, they are below /run/user, and outlive their agent."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("no mount namespace of its own can be had")
    wanted, given_keys = keys.scheme("gpg-locked-key")
    path = encrypted(tmp_path / "a", wanted)
    code = (
        "import os, subprocess, sys; from pathlib import Path\n"
        "from ansible_collections.sqliteops.backup.plugins.module_utils._engine.sealed import codec, encryption\n"
        "os.makedirs('/run/user', exist_ok=True)\n"
        "subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', '/run/user'], check=True)\n"
        "os.mkdir('/run/user/0', 0o700)\n"
        "path, identity, passphrase = map(Path, sys.argv[1:])\n"
        "with codec.open_artifact(path, 'none', 'gpg', encryption.Keys(identity, passphrase)) as stream:\n"
        "    assert os.listdir('/run/user/0/gnupg')\n"
        "    assert stream.read(100) == b'content'\n"
        "print(os.listdir('/run/user/0/gnupg'))\n"
    )
    assert "[]" in python(
        "import os, sys; os.execvp('unshare', ['unshare', '-m', sys.executable, '-c', *sys.argv[1:]])",
        code, path, given_keys.identity_file, given_keys.passphrase_file,
    )  # fmt: skip


# --- for whom --------------------------------------------------------------------------------------------------------

RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
OTHER = "age1lvyvwawkr0mcnnnncaghunadrqkmuf9e6507x9y920xxpp866cnql7dp2z"
SSH = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJSHYDpSKGqJNWT4Kbi3C9DsTKvpyuzcmHMu0V9qHXoc"


def test_fingerprint_is_the_same_for_the_same_readers(tmp_path: Path) -> None:
    """However they are written down."""
    path = tmp_path / "recipients"
    path.write_text(f"# a comment\n{SSH} me@host\n\n{OTHER}\n")
    ways = [(RECIPIENT, OTHER, SSH), (SSH, OTHER, RECIPIENT, OTHER), (RECIPIENT, str(path))]
    assert len({Encryption("age", way).fingerprint(b"salt") for way in ways}) == 1


def test_fingerprint_is_what_earlier_versions_stored() -> None:
    """Else every database would get a full backup after an update."""
    told = f'["age", ["{RECIPIENT}"]]\0'.encode()
    expected = hashlib.pbkdf2_hmac("sha256", told, b"salt", 1).hex()
    assert Encryption("age", (RECIPIENT,)).fingerprint(b"salt") == expected


@pytest.mark.slow
def test_fingerprint_changes_with_whatever_changes_the_readers(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"key one")
    second.write_bytes(b"key two")
    every = [
        Encryption(),
        Encryption("age", (RECIPIENT,)),
        Encryption("age", (OTHER,)),
        Encryption("age", (RECIPIENT, OTHER)),
        Encryption("gpg", (), first),
        Encryption("gpg", (), second),
        Encryption("gpg", (str(first),)),
        Encryption("gpg", (str(second),)),
        Encryption("gpg", (str(first), str(second))),
    ]
    prints = [each.fingerprint(salt) for each in every for salt in (b"salt", b"pepper")]
    assert len(set(prints)) == 2 * len(every)
    first.write_bytes(b"key three")
    assert every[4].fingerprint(b"salt") not in prints
    assert every[6].fingerprint(b"salt") not in prints


def test_fingerprint_of_a_passphrase_is_slow_to_guess_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "p"
    path.write_bytes(b"secret\n")
    rounds = []
    derive = encryption.hashlib.pbkdf2_hmac

    def record(name: str, text: bytes, salt: bytes, count: int) -> bytes:
        rounds.append(count)
        return derive(name, text, salt, 1)

    monkeypatch.setattr(encryption.hashlib, "pbkdf2_hmac", record)
    assert "secret" not in Encryption("gpg", (), path).fingerprint(b"salt")
    assert rounds == [600_000]


@pytest.mark.slow
def test_fingerprint_takes_only_what_gpg_takes_of_a_passphrase_file(tmp_path: Path) -> None:
    path = tmp_path / "p"
    path.write_bytes(b"secret\n")
    before = Encryption("gpg", (), path).fingerprint(b"salt")
    path.write_bytes(b"secret\nand a remark\n")
    assert Encryption("gpg", (), path).fingerprint(b"salt") == before


# --- what was written ------------------------------------------------------------------------------------------------


@every_scheme
def test_artifact_for_others_is_not_what_was_asked_for(name: str, tmp_path: Path) -> None:
    """A program, or its configuration, may encrypt for more, for fewer, or not at all."""
    wanted, _keys = keys.scheme(name)
    path = encrypted(tmp_path / "a", wanted)
    encryption.check_ciphertext(path, wanted)
    if wanted.recipients:
        more = dataclasses.replace(wanted, recipients=(*wanted.recipients, _another(wanted.method)))
        with pytest.raises(EngineError, match="wrote something else than was asked for"):
            encryption.check_ciphertext(path, more)
        with pytest.raises(EngineError, match="wrote something else than was asked for"):
            encryption.check_ciphertext(encrypted(tmp_path / "b", more), wanted)
    path.write_bytes(b"SQLite format 3\0")
    with pytest.raises(EngineError, match="Cannot use .*: .* wrote something else"):
        encryption.check_ciphertext(path, wanted)


def _another(method: str) -> str:
    return keys.age_recipient("stranger") if method == "age" else str(keys.gpg_key("stranger")[0])


@keys.needs_gpg
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--symmetric", "--cipher-algo", "AES128"), id="weaker cipher"),
        pytest.param(("--symmetric", "--armor"), id="text"),
        pytest.param(("--symmetric", "--encrypt", "--recipient-file", "KEY"), id="also for a key"),
        pytest.param(("--encrypt", "--recipient-file", "KEY"), id="only for a key"),
        pytest.param(("--store",), id="not encrypted"),
    ],
)
@pytest.mark.slow
def test_other_message_of_gpg_is_not_what_was_asked_for(
    words: tuple[str, ...], tmp_path: Path, temporary: Path
) -> None:
    way = ["--passphrase-file", str(keys.passphrase()), "--trust-model", "always"]
    home = temporary / "person"
    given_words = [str(keys.gpg_key()[0]) if word == "KEY" else word for word in words]
    try:
        (tmp_path / "a").write_bytes(gpg(home, *way, *given_words, content=b"content"))
    finally:
        shutil.rmtree(home)
    with pytest.raises(EngineError, match="gpg wrote something else"):
        encryption.check_ciphertext(tmp_path / "a", keys.scheme("gpg-passphrase")[0])


@keys.needs_gpg
@pytest.mark.parametrize("way", ["encrypt", "decrypt"])
def test_gpg_that_ends_well_and_does_not_say_so_did_not(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an exit code of 0 alone it may have stopped half way."""
    wanted, given_keys = keys.scheme("gpg-passphrase")
    artifact = encrypted(tmp_path / "a", wanted)
    directory = tmp_path / "bin"
    directory.mkdir()
    (directory / "gpg").write_text(f'#!/bin/sh\nexec {shutil.which("gpg")} "$@" 2>/dev/null\n')
    (directory / "gpg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(EngineError, match="gpg failed with exit code 0|it is not whole"):
        if way == "encrypt":
            encrypted(tmp_path / "b", wanted)
        else:
            decrypted(artifact, "gpg", given_keys)


def test_age_file_with_a_passphrase_is_not_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"age-encryption.org/v1\n-> scrypt c2FsdA 18\nAAAA\n--- AAAA\n")
    with pytest.raises(EngineError, match="age wrote something else.*scrypt"):
        encryption.check_ciphertext(tmp_path / "a", Encryption("age", (RECIPIENT,)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"age-encryption.org/v1\n", b"\x8c\x0d\x04\x09", b"\x85\x01"]))
def test_no_bytes_give_anything_but_an_engine_error(tmp_path: Path, tail: bytes, start: bytes) -> None:
    """An artifact is whatever the program, or somebody else, put there."""
    (tmp_path / "a").write_bytes(start + tail)
    (tmp_path / "p").write_bytes(b"x")
    for wanted in (Encryption("age", (RECIPIENT,)), Encryption("gpg", (), tmp_path / "p")):
        with contextlib.suppress(EngineError):
            encryption.check_ciphertext(tmp_path / "a", wanted)
