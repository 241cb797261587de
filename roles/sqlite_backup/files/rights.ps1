# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Facts alone, a line of JSON each; plugins/plugin_utils/windows_rights.py judges them. First who connects and who will
# run; then, for each $Path and every directory above it, what it is, who owns it, and its access control entries, each
# as "type flags mask SID"; for all in $Below one of those that are alike; of $Names what is in them; and the
# directories of the PATH of the system, in which each $Program is looked for, up to the one that has it.
[CmdletBinding()]
param ([String[]]$Path, [String[]]$Below, [String[]]$Names, [String[]]$Program, [String]$Account)

$limit = 200
$kind = [System.Security.Principal.SecurityIdentifier]
$told = @{}

function Write-Fact ($Fact) {
    ConvertTo-Json -InputObject $Fact -Compress -Depth 3
}

function Get-Fact ($Item) {
    $fact = [ordered]@{ path = $Item.FullName; kind = "file" }
    if ($Item.PSIsContainer) {
        $fact.kind = "directory"
    }
    if ($Item.LinkType -in @("Junction", "SymbolicLink")) {
        $fact.kind = "link"
        return $fact
    }
    $bytes = (Get-Acl -LiteralPath $Item.FullName).GetSecurityDescriptorBinaryForm()
    $rules = New-Object System.Security.AccessControl.RawSecurityDescriptor -ArgumentList @($bytes, 0)
    $fact.owner = $rules.Owner.Value
    $fact.protected = [bool]($rules.ControlFlags -band [System.Security.AccessControl.ControlFlags]::DiscretionaryAclProtected)
    $fact.rules = $null
    if ($null -ne $rules.DiscretionaryAcl) {
        $fact.rules = @($rules.DiscretionaryAcl | ForEach-Object {
                "$([int]$_.AceType) $([int]$_.AceFlags) $($_.AccessMask) $($_.SecurityIdentifier.Value)"
            })
    }
    $fact
}

# It, and what is above it up to the drive, each once.
function Write-Place ($Name) {
    while ($Name -and -not $told.ContainsKey($Name)) {
        $told[$Name] = $true
        try {
            $fact = Get-Fact (Get-Item -LiteralPath $Name -Force -ErrorAction Stop)
            $fact.path = $Name
        }
        catch [System.Management.Automation.ItemNotFoundException], [System.Management.Automation.DriveNotFoundException] {
            $fact = @{ path = $Name; kind = "absent" }
        }
        Write-Fact $fact
        $Name = [System.IO.Path]::GetDirectoryName($Name)
    }
}

$current = [System.Security.Principal.WindowsIdentity]::GetCurrent().User.Value
$who = $Account
if ($Account -notmatch "^S-1-") {
    $name = $Account -replace "^\.\\", "$env:COMPUTERNAME\"
    $who = (New-Object System.Security.Principal.NTAccount($name)).Translate($kind).Value
}
Write-Fact @{ current = $current; account = $who }

foreach ($each in $Path) {
    Write-Place $each
}

foreach ($each in $Names) {
    if (Test-Path -LiteralPath $each -PathType Container) {
        $found = @(Get-ChildItem -LiteralPath $each -Force | Select-Object -First $limit | ForEach-Object {
                $_.Name
                if (Test-Path -LiteralPath "$($_.FullName)\repository.json") {
                    "$($_.Name)\repository.json"
                }
            })
        Write-Fact @{ path = $each; names = $found }
    }
}

foreach ($each in $Below) {
    $alike = @{}
    $waiting = New-Object System.Collections.Stack
    if ((Test-Path -LiteralPath $each -PathType Container) -and -not (Get-Item -LiteralPath $each -Force).LinkType) {
        $waiting.Push($each)
    }
    while ($waiting.Count -gt 0 -and $alike.Count -le $limit) {
        foreach ($item in @(Get-ChildItem -LiteralPath $waiting.Pop() -Force)) {
            $fact = Get-Fact $item
            $key = "$($fact.kind) $($fact.owner) $($fact.rules)"
            if (-not $alike.ContainsKey($key) -and $alike.Count -le $limit) {
                $alike[$key] = $true
                $fact.below = $each
                if ($alike.Count -gt $limit) {
                    $fact.kind = "more"
                }
                Write-Fact $fact
            }
            if ($fact.kind -eq "directory") {
                $waiting.Push($item.FullName)
            }
        }
    }
}

# What is no absolute path there, the runner leaves out, too.
$places = @([Environment]::GetEnvironmentVariable("PATH", "Machine") -split ";" | ForEach-Object { $_.Trim(' "') -replace "/", "\" } |
        Where-Object { $_ -match "^([A-Za-z]:\\|\\\\[^\\]+\\[^\\]+)" } |
        ForEach-Object { $_.TrimEnd("\") -replace ":$", ":\" })
foreach ($each in $Program) {
    foreach ($place in $places) {
        if (-not $told.ContainsKey("PATH $place")) {
            $told["PATH $place"] = $true
            Write-Fact @{ path = $place; kind = "searched" }
            Write-Place $place
        }
        $file = "$($place.TrimEnd('\'))\$each"
        if (Test-Path -LiteralPath $file -PathType Leaf) {
            $item = Get-Item -LiteralPath $file -Force
            if ($item.LinkType -eq "SymbolicLink" -and @($item.Target)[0] -match "^[A-Za-z]:\\") {
                $file = @($item.Target)[0]
            }
            Write-Fact @{ path = $file; kind = "program" }
            Write-Place $file
            break
        }
    }
}
