# shellcheck shell=sh
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Do $1 (running, stop, start) with the systemd unit $2, in the scope $3 (system, user), there of the user $4.
# `running` succeeds unless the unit is at rest: one that waits to be started again is not.

ask() {
  if [ "$scope" = system ]; then
    systemctl "$@"
    return
  fi
  user=${user:-$(id -un)}
  number=$(id -u "$user") || return
  if [ "$number" = "$(id -u)" ]; then
    XDG_RUNTIME_DIR=/run/user/$number systemctl --user "$@"
  else
    runuser -u "$user" -- env XDG_RUNTIME_DIR="/run/user/$number" systemctl --user "$@"
  fi
}

scope=$3
user=$4
case $1 in
  running)
    case $(ask is-active -- "$2") in
      '' | inactive | failed | unknown) exit 1 ;;
    esac
    ;;
  stop) ask stop -- "$2" ;;
  start)
    # An application that failed again and again may not be started, until that is forgotten.
    ask reset-failed -- "$2" 2>/dev/null
    ask start -- "$2"
    ;;
esac
