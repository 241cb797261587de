# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Who owns a directory and the files in it, and who may reach them by a rule of their own: a line for each that is
# neither the system, an administrator, nor the account that runs the backups; and a line for each link.
[CmdletBinding()]
param ([String[]]$Path, [String]$Account)

$kind = [System.Security.Principal.SecurityIdentifier]
$current = [System.Security.Principal.WindowsIdentity]::GetCurrent().User.Value
# S-1-3-4 is whoever owns it.
$allowed = @("S-1-5-18", "S-1-3-4", "S-1-5-32-544", $current)
if ($Account -match "^S-1-") {
    $allowed += $Account
}
else {
    $name = $Account -replace "^\.\\", "$env:COMPUTERNAME\"
    $allowed += (New-Object System.Security.Principal.NTAccount($name)).Translate($kind).Value
}

foreach ($each in $Path) {
    if (-not (Test-Path -LiteralPath $each)) {
        continue
    }
    $items = @(Get-Item -LiteralPath $each -Force)
    $items += @(Get-ChildItem -LiteralPath $each -File -Force)
    foreach ($item in $items) {
        if ($item.LinkType -in @("Junction", "SymbolicLink")) {
            "$($item.FullName): a link"
            continue
        }
        $rules = Get-Acl -LiteralPath $item.FullName
        $found = @($rules.GetOwner($kind).Value)
        $found += @($rules.GetAccessRules($true, $false, $kind) | ForEach-Object { $_.IdentityReference.Value })
        foreach ($who in @($found | Where-Object { $_ -notin $allowed } | Select-Object -Unique)) {
            "$($item.FullName): $who"
        }
    }
}
