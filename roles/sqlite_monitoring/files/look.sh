# shellcheck shell=sh
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is there, a line each: `nobody` when there is no user $1, `shared` when that user may write to the directory $2, and
# the paths among $3 and so on that are there.

user=$1
textfile=$2
shift 2
if [ -n "$user" ]; then
  id -u -- "$user" >/dev/null 2>&1 || echo nobody
  if [ -n "$textfile" ] && runuser -u "$user" -- test -w "$textfile" 2>/dev/null; then echo shared; fi
fi
for each in "$@"; do
  if [ -e "$each" ]; then printf '%s\n' "$each"; fi
done
