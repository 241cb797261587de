# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is there of what the role needs and makes, a line each: the program rclone, the files with credentials, and the
# targets whose files have the line $Mark.
[CmdletBinding()]
param ([String]$Directory, [String]$Mark)

# As a task of the system has it, and not as who connects.
foreach ($each in [Environment]::GetEnvironmentVariable("PATH", "Machine") -split ";") {
    $place = $each.Trim(' "').TrimEnd("\")
    if ($place -match "^[A-Za-z]:|^\\\\" -and (Test-Path -LiteralPath "$place\rclone.exe" -PathType Leaf)) {
        "program rclone"
        break
    }
}
foreach ($each in @(Get-ChildItem -LiteralPath "$Directory\credentials" -File -ErrorAction SilentlyContinue)) {
    "credentials $($each.Name)"
}
foreach ($each in @(Get-ChildItem -LiteralPath "$Directory\targets.d" -Filter *.json -File -ErrorAction SilentlyContinue)) {
    if (Select-String -LiteralPath $each.FullName -SimpleMatch -Pattern $Mark -Quiet) {
        "managed $($each.BaseName)"
    }
}
