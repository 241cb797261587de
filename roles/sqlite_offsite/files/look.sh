# shellcheck shell=sh
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is there of what the role needs and makes, a path a line: programs, files of the configuration in $1, and last,
# behind an empty line, the targets whose files have the line $2.

for each in rsync rclone ssh ssh-keygen; do
  command -v "$each"
done
for each in "$1"/targets.d/*.json "$1"/credentials/* "$1"/known_hosts.d/*; do
  if [ -f "$each" ]; then printf '%s\n' "$each"; fi
done
echo
grep -lsF -e "$2" -- "$1"/targets.d/*.json
exit 0
