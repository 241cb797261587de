# shellcheck shell=sh
# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# What is there of what the role makes. Each argument is a question, KIND=WHAT, and each line of an answer begins with the
# number of its question. What is not there has no answer, and a program that is missing gives none.

number=0

answer() {
  printf '%s %s\n' "$number" "$1"
}

backed_up() {
  set -- "$1"/*Z-*/manifest.json
  [ -e "$1" ]
}

# Which of the timers have a file, and for each of those whether it is enabled, and whether it is active.
timers() {
  there=
  for timer; do
    if [ -f "/etc/systemd/system/$timer" ]; then there="$there $timer"; fi
  done
  # shellcheck disable=SC2086 # names without spaces
  set -- $there
  if [ $# -gt 0 ]; then
    answer "$*"
    # It reads the links anew, which `show` does not.
    answer "$(systemctl is-enabled "$@" 2>/dev/null | tr '\n' ' ')"
    answer "$(systemctl is-active "$@" 2>/dev/null | tr '\n' ' ')"
  fi
}

for question; do
  number=$((number + 1))
  what=${question#*=}
  case $question in
    user=*) getent passwd "$what" | { IFS=: read -r _ _ id _ && answer "$id"; } ;;
    group=*) getent group "$what" | { IFS=: read -r _ _ id _ && answer "$id"; } ;;
    # Mode, owner and group; of a link, those of what it leads to.
    path=*)
      # shellcheck disable=SC2012 # `stat` has other options on each system; the name is not read
      ls -ldLn "$what" 2>/dev/null | { read -r mode _ owner group _ && answer "$mode $owner $group"; }
      ;;
    repository=*) if backed_up "$what"; then answer backups; fi ;;
    timers=*)
      # shellcheck disable=SC2086 # names with spaces between them
      timers $what
      ;;
    # Nothing of the user's own lines is told. A comment of Ansible is about the line behind it.
    crontab=*)
      crontab -l 2>/dev/null | sed -n -e "/^#Ansible: $what/{p;n;p;d;}" -e '/^#Ansible: /n' |
        while IFS= read -r line; do answer "$line"; done
      ;;
  esac
done
exit 0
