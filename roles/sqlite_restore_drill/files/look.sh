# shellcheck shell=sh
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is there of the files $2 and so on, a path a line; then, behind an empty line, a list in JSON of what is configured
# in $1.

directory=$1
shift
for each in "$@"; do
  if [ -e "$each" ]; then printf '%s\n' "$each"; fi
done
echo
between='['
for each in "$directory"/databases.d/*.json; do
  if [ -f "$each" ]; then
    printf '%s' "$between"
    cat -- "$each"
    between=,
  fi
done
if [ "$between" = '[' ]; then printf '['; fi
echo ']'
