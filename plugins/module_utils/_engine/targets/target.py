# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A target, ready to be used: the transport that its URL asks for."""

from __future__ import annotations

from ..system.errors import doing
from .address import Address
from .rclone import Rclone
from .rsync import Rsync
from .transport import Transport

_TRANSPORTS: dict[str, type[Transport]] = {"ssh": Rsync, "file": Rsync}


def at(address: Address) -> Transport:
    """The transport to ``address``. Raises when its credentials, or its mount, cannot be used."""
    with doing(f"Cannot use the target {address.url}"):
        return _TRANSPORTS.get(address.scheme, Rclone)(address)  # type: ignore[call-arg]
