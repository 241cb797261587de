# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every transport can do: list a target; compare, put, get and remove files there, by relative names."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..sealed.pipeline import ProgramFailedError
from ..system.clock import Deadline
from ..system.errors import EngineError, TargetUnreachableError, UsageError
from . import programs
from .address import Address
from .programs import Hear

Told = Callable[[int], None]
"""Takes how many bytes one transfer has carried so far."""


class NoDirectoryError(TargetUnreachableError):
    """The target has no such directory, perhaps not yet."""


@dataclass(frozen=True)
class Comparison:
    """Of the files that were asked for: which ones the target lacks, and which are there with other content.

    ``shorter`` are those of the different ones that may be what is there of an upload that was cut; ``unknown`` are
    there, and nobody tells more.
    """

    missing: frozenset[str]
    different: frozenset[str]
    shorter: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


class Transport(abc.ABC):
    """A target that can be used until the deadline of its address, counted from when this was made.

    Whatever fails is a ``TargetUnreachableError``, a missing program aside. ``unusable`` finds what its program takes
    in no file name.
    """

    unusable = re.compile("\0")

    def __init__(self, address: Address, environment: Mapping[str, str], secrets: Sequence[str] = ()) -> None:
        self.address = address
        self._environment = environment
        self._secrets = secrets
        self._deadline = Deadline(address.timeout_seconds)

    @abc.abstractmethod
    def names(self) -> dict[str, int]:
        """Every file that is there, with its bytes; empty where there is no such directory yet."""

    @abc.abstractmethod
    def compare(self, top: Path, names: Sequence[str], *, digests: bool = False) -> Comparison:
        """Compare the files ``names`` below ``top`` with the target: by size, or by digest as far as it tells them."""

    @abc.abstractmethod
    def put(self, top: Path, names: Sequence[str], tell: Told) -> None:
        """Copy the files ``names`` below ``top`` there. One that is there already is left as it is."""

    @abc.abstractmethod
    def get(self, names: Sequence[str], into: Path, watch: Callable[[], None]) -> None:
        """Copy files from there into the directory ``into``, under their own names; ``watch`` ends it by raising."""

    @abc.abstractmethod
    def remove(self, names: Sequence[str]) -> None:
        """Remove files; those that are not there are no error."""

    @abc.abstractmethod
    def _may_pass(self, error: ProgramFailedError) -> bool:
        """Whether a failure may be another one in a moment."""

    @abc.abstractmethod
    def _hear(self, tell: Told) -> Hear:
        """What understands how the program tells its progress."""

    def _run(
        self,
        words: Sequence[str],
        names: Sequence[str] = (),
        *,
        separator: str = "\0",
        fine: Sequence[int] = (0,),
        tell: Told = lambda _bytes: None,
        watch: Callable[[], None] = lambda: None,
    ) -> bytes:
        """What the program prints; ``names`` go to its standard input."""
        for each in names:
            if self.unusable.search(each):
                raise UsageError(f"the file name {each!r:.80} cannot be copied.", hint="Rename what is included.")
        given = "".join(f"{each}{separator}" for each in names)

        def once() -> bytes:
            return programs.output_of(
                words,
                environment=self._environment,
                given=given.encode("utf-8", "surrogateescape"),
                deadline=self._deadline,
                fine=fine,
                hear=self._hear(tell),
                watch=watch,
            )

        try:
            return programs.persistently(
                once, tries=self.address.retries + 1, deadline=self._deadline, may_pass=self._may_pass
            )
        except ProgramFailedError as error:
            self._censor(error)
            raise self._explained(error) from None

    def _censor(self, error: ProgramFailedError) -> None:
        """Take what is secret out of what a program said."""
        for each in self._secrets:
            error.said = error.said.replace(each, "***")
        error.said = re.sub(r"(?i)\b(sig|signature|token)=[^&\s\"']+", r"\1=***", error.said)

    def _explained(self, error: ProgramFailedError) -> EngineError:
        """The engine's error, which says who failed and with which words."""
        words = error.words or f"exit code {error.exit_code}"
        if re.search(_NO_DIRECTORY, error.said):
            return NoDirectoryError(f"{error.name} failed: {words}.", hint="Make the directory of the URL there first.")
        for pattern, hint in _HINTS.items():
            if re.search(pattern, error.said, re.IGNORECASE):
                return TargetUnreachableError(f"{error.name} was refused: {words}.", hint=hint)
        hint = "See whether it can be reached from this host; the next run goes on where this one ended."
        return TargetUnreachableError(f"{error.name} failed: {words}.", hint=hint)


REFUSALS = (
    r"AccessDenied|Forbidden|InvalidAccessKeyId|SignatureDoesNotMatch|AuthenticationFailed|AuthorizationFailure|"
    r"AuthorizationPermissionMismatch|invalid_grant|Unauthorized|[Pp]ermission denied|\b40[13]\b|"
    r"rrsync error|server is not allowed"
)
_HINTS = {
    r"no space left|remaining disk space|disk quota|QuotaExceeded|InsufficientStorage": (
        "The target is full: make room there."
    ),
    r"host key verification failed|no \S+ host key is known": (
        "Put the host's key into known_hosts, after it was compared with the one on the host itself."
    ),
    REFUSALS: "See whether credentials_file is right, and what it may do there: doctor tries each right.",
    r"NoSuchBucket|ContainerNotFound|bucket not found": "Make the bucket or the container first.",
}
_NO_DIRECTORY = r"No such file or directory|directory not found"
