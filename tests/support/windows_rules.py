# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Facts as rights.ps1 tells them, made of the text that Windows has for owners and rules: SDDL, see [MS-DTYP] 2.5.1."""

from __future__ import annotations

import re
from typing import Any

TRUSTED_INSTALLER = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"
SOMEBODY = "S-1-5-21-1004336348-1177238915-682003330-1001"
CONNECTED = "S-1-5-21-1004336348-1177238915-682003330-500"

# As Windows has them after it was installed: of the drive of a client, and of a server, and of a second one.
CLIENT_DRIVE = (
    f"O:{TRUSTED_INSTALLER}D:PAI(A;;LC;;;AU)(A;OICIIO;SDGXGWGR;;;AU)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
    "(A;OICI;0x1200a9;;;BU)"
)
SERVER_DRIVE = (
    f"O:{TRUSTED_INSTALLER}D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)(A;CI;LC;;;BU)(A;CIIO;DC;;;BU)"
    "(A;OICIIO;GA;;;CO)"
)
CLIENT_DATA_DRIVE = "O:BAD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;OICI;0x1301bf;;;AU)(A;OICI;0x1200a9;;;BU)"
SERVER_DATA_DRIVE = (
    "O:BAD:(A;OICI;FA;;;BA)(A;OICI;FA;;;SY)(A;CI;LC;;;BU)(A;CIIO;DC;;;BU)(A;OICI;0x1200a9;;;BU)(A;OICIIO;GA;;;CO)"
    "(A;;0x1200a9;;;WD)"
)
PROGRAM_DATA = "O:SYD:PAI(A;OICIIO;GA;;;CO)(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;CI;DCLCRPCR;;;BU)(A;OICI;0x1200a9;;;BU)"
PROGRAM_FILES = (
    f"O:{TRUSTED_INSTALLER}D:PAI(A;;FA;;;{TRUSTED_INSTALLER})(A;CIIO;GA;;;{TRUSTED_INSTALLER})(A;;0x1301bf;;;SY)"
    "(A;OICIIO;GA;;;SY)(A;;0x1301bf;;;BA)(A;OICIIO;GA;;;BA)(A;;0x1200a9;;;BU)(A;OICIIO;GXGR;;;BU)(A;OICIIO;GA;;;CO)"
    "(A;;0x1200a9;;;AC)(A;OICIIO;GXGR;;;AC)"
)
# What an administrator makes in them.
IN_PROGRAM_FILES = (
    "O:BAD:AI(A;ID;FA;;;SY)(A;OICIIOID;GA;;;SY)(A;ID;FA;;;BA)(A;OICIIOID;GA;;;BA)(A;ID;0x1200a9;;;BU)"
    "(A;OICIIOID;GXGR;;;BU)(A;OICIIOID;GA;;;CO)"
)
IN_PROGRAM_DATA = (
    "O:BAD:AI(A;OICIIOID;GA;;;CO)(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;CIID;DCLCRPCR;;;BU)(A;OICIID;0x1200a9;;;BU)"
)
IN_CLIENT_DRIVE = (
    "O:BAD:AI(A;ID;0x1301bf;;;AU)(A;OICIIOID;SDGXGWGR;;;AU)(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIID;0x1200a9;;;BU)"
)
IN_CLIENT_DATA_DRIVE = "O:BAD:AI(A;OICIID;FA;;;BA)(A;OICIID;FA;;;SY)(A;OICIID;0x1301bf;;;AU)(A;OICIID;0x1200a9;;;BU)"
IN_SERVER_DRIVE = (
    "O:BAD:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)(A;OICIID;0x1200a9;;;BU)(A;CIID;LC;;;BU)(A;CIID;DC;;;BU)"
    "(A;OICIIOID;GA;;;CO)"
)
# What the role makes, and what is in it.
OURS = "O:BAD:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
IN_OURS = "O:BAD:AI(A;OICIID;FA;;;SY)(A;OICIID;FA;;;BA)"
HOST = {
    "C:\\": CLIENT_DRIVE,
    "C:\\ProgramData": PROGRAM_DATA,
    "C:\\Program Files": PROGRAM_FILES,
    "C:\\Program Files\\Python313": IN_PROGRAM_FILES,
    "D:\\": SERVER_DATA_DRIVE,
}

_IDENTITIES = {
    "AC": "S-1-15-2-1",
    "AU": "S-1-5-11",
    "BA": "S-1-5-32-544",
    "BU": "S-1-5-32-545",
    "CO": "S-1-3-0",
    "OW": "S-1-3-4",
    "SY": "S-1-5-18",
    "WD": "S-1-1-0",
}
_RIGHTS = {"GA": 1 << 28, "GX": 1 << 29, "GW": 1 << 30, "GR": 1 << 31, "FA": 0x1F01FF, "FR": 0x120089}
_RIGHTS |= {"SD": 0x10000, "RC": 0x20000, "WD": 0x40000, "WO": 0x80000}
_RIGHTS |= {name: 1 << bit for bit, name in enumerate(("CC", "DC", "LC", "SW", "RP", "WP", "DT", "LO", "CR"))}
_FLAGS = {"OI": 1, "CI": 2, "NP": 4, "IO": 8, "ID": 16}
_TYPES = {"A": 0, "D": 1, "XA": 9}


def fact(path: str, sddl: str, kind: str = "directory", **more: Any) -> dict[str, Any]:
    match = re.fullmatch(r"O:(.+?)D:([A-Z]*?)((?:\(.*\))?)", sddl)
    assert match is not None, sddl
    owner, flags, rules = match.groups()
    told = [_rule(each) for each in re.findall(r"\(([^)]*)\)", rules)]
    return {
        "path": path,
        "kind": kind,
        "owner": _IDENTITIES.get(owner, owner),
        "protected": "P" in flags,
        "rules": told,
        **more,
    }


def _rule(text: str) -> str:
    kind, flags, rights, _object, _inherited, identity = text.split(";")
    mask = int(rights, 16) if rights.startswith("0x") else sum(_RIGHTS[each] for each in re.findall("..", rights))
    # PowerShell has a number with a sign.
    mask -= (mask >> 31) << 32
    number = sum(_FLAGS[each] for each in re.findall("..", flags))
    return f"{_TYPES[kind]} {number} {mask} {_IDENTITIES.get(identity, identity)}"
