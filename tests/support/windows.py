# Copyright: sqliteops.backup contributors
# GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of tests/unit Windows cannot pass, and why: each reason with the tests that it keeps out.

A test is named as pytest names it below tests/unit, with its parameters or for all of them; a file stands for all that
is in it. A fault of the engine is no reason. Reasons that begin with "Wine" are not about Windows: a real one may pass.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

# What has its turn in `make test`: the rooms that do otherwise on Windows, and the core. All of tests/unit would take
# an hour in Wine.
FILES = (
    "test_address.py", "test_audit.py", "test_backup.py", "test_check_mode.py", "test_codec.py", "test_config.py",
    "test_database.py", "test_files.py", "test_held.py", "test_incremental.py", "test_locks.py",
    "test_manifest.py", "test_processes.py", "test_repository.py", "test_restore.py", "test_scratch.py",
    "test_snapshot.py", "test_switch.py", "test_urls.py", "test_wal.py", "test_windows.py",
)  # fmt: skip

CANNOT: Mapping[str, tuple[str, ...]] = {
    "no owners and modes": (
        "test_audit.py::test_every_event_goes_where_the_host_wants_it_too",
        "test_audit.py::test_user_without_a_name_does_not_stop_a_run",
        "test_backup.py::test_everything_is_private_from_its_first_byte",
        "test_backup.py::test_existing_wide_open_repository_is_made_private",
        "test_database.py::test_file_of_another_user_is_a_missing_permission",
        "test_files.py::test_copy_stands_in_where_no_second_name_is_possible",
        "test_files.py::test_existing_directory_keeps_its_mode",
        "test_files.py::test_mode_is_that_of_the_old_file",
        "test_files.py::test_private_directories_are_private_from_the_start",
        "test_files.py::test_private_file_is_private_from_its_first_byte",
        "test_files.py::test_public_file_can_be_read_by_everybody_whatever_the_umask",
        "test_files.py::test_working_directory_that_somebody_else_may_have_made_is_refused[open to all]",
        "test_files.py::test_written_replaced_appended_and_copied_files_are_private",
        "test_locks.py::test_lock_file_is_private_and_stays",
        "test_locks.py::test_lock_that_may_not_be_made_is_a_missing_permission",
        "test_manifest.py::test_artifact_that_may_not_be_read_is_a_missing_permission",
        "test_restore.py::test_mode_after_a_deletion_is_that_of_the_backup",
        "test_restore.py::test_mode_is_that_of_the_old_file",
        "test_restore.py::test_restore_that_fails_in_its_workplace_leaves_none",
        "test_scratch.py::test_it_is_private_and_goes_with_the_block",
        "test_codec.py::test_artifact_is_private_and_on_the_disk",
        "test_database.py::test_file_that_may_not_be_read_is_a_missing_permission",
        "test_files.py::test_tree_that_cannot_be_removed_is_an_error",
    ),
    "no fsync of directories": (
        "test_files.py::test_any_user_can_flush_a_directory",
        "test_files.py::test_everything_is_flushed_before_a_directory_gets_its_name",
        "test_files.py::test_moved_directory_is_durable",
        "test_files.py::test_moved_file_is_durable",
        "test_files.py::test_name_of_a_new_working_directory_is_flushed",
        "test_files.py::test_names_of_new_directories_are_flushed",
        "test_files.py::test_public_file_is_flushed_before_it_gets_the_name",
        "test_files.py::test_removed_file_is_durably_gone",
        "test_files.py::test_replacement_is_flushed_before_it_gets_the_name",
        "test_repository.py::test_name_of_a_removed_backup_is_off_the_disk_before_its_files",
    ),
    "links need a privilege, and Wine has none": (
        "test_backup.py::test_symlink_is_followed_to_the_wal_of_the_database",
        "test_database.py::test_symbolic_link_is_followed_to_where_the_wal_is",
        "test_files.py::test_private_file_is_not_written_through_a_symbolic_link",
        "test_files.py::test_public_file_takes_the_place_of_what_somebody_put_there[link]",
        "test_files.py::test_second_name_is_of_a_link_and_not_of_what_it_leads_to",
        "test_files.py::test_working_directory_that_somebody_else_may_have_made_is_refused[link]",
        "test_restore.py::test_symlink_at_the_destination_is_followed",
        "test_processes.py::test_file_is_known_by_any_name",
        "test_scratch.py::test_a_link_in_the_place_of_a_leftover_leads_nowhere",
        "test_urls.py::test_two_names_of_one_file_are_no_question",
    ),
    "no fifos": (
        "test_database.py::test_pipe_is_refused_and_never_waited_for",
        "test_files.py::test_public_file_takes_the_place_of_what_somebody_put_there[fifo]",
    ),
    "no limits of a process": (
        "test_files.py::test_public_file_that_cannot_be_written_leaves_the_old_content_and_nothing_else",
        "test_locks.py::test_lock_is_got_on_a_full_disk",
        "test_codec.py::test_full_disk_is_told_as_such_and_nothing_hangs",
        "test_codec.py::test_disk_that_is_full_at_the_last_byte_is_told_as_such",
    ),
    "no such names of files": (
        'test_backup.py::test_strange_paths[a "quote"]',
        "test_backup.py::test_strange_paths[line\\nbreak]",
        "test_backup.py::test_strange_paths[100%41?x=1#y]",
        "test_backup.py::test_strange_paths[\\xff\\xfe]",
        "test_database.py::test_database_with_an_odd_name_is_opened_and_no_other",
        "test_urls.py::test_every_path_survives_its_url",
        "test_urls.py::test_every_relative_name_survives_its_url",
        "test_urls.py::test_prisma_takes_every_name_as_it_is",
    ),
    "no home directories of Unix": ("test_config.py::test_directory_of_root_and_of_others",),
    "no file that is open is removed": (
        "test_repository.py::test_reader_that_waited_for_the_removal_is_told_so",
        "test_scratch.py::test_directory_that_somebody_else_removed_is_no_failure",
    ),
    "programs of the test are shell scripts": ("test_codec.py::test_zstd_that_fails_is_an_error_with_its_words",),
    "no sudo and no ssh session": ("test_audit.py::test_who_came_from_elsewhere_is_told_also_behind_sudo",),
    "pages are copied by SQLite's backup interface, never read where they are": (
        "test_restore.py::test_what_is_right_already_must_be_as_expected",
        "test_snapshot.py::test_log_that_ends_too_early_is_no_page",
        "test_snapshot.py::test_pages_are_read_where_they_are",
        "test_snapshot.py::test_another_users_log_is_read_where_it_was_copied_to",
        "test_snapshot.py::test_deadline_holds_while_pages_are_read",
        "test_snapshot.py::test_index_that_is_being_written_is_looked_at_again",
        "test_snapshot.py::test_lock_byte_page_is_passed_over",
        "test_snapshot.py::test_page_that_is_neither_in_the_file_nor_in_the_log_is_corrupt",
        "test_snapshot.py::test_rollback_mode_is_copied_for_work_that_takes_its_time",
        "test_snapshot.py::test_source_that_ends_too_early_is_corrupt",
        # The room that reads them there.
        "test_wal.py",
    ),
    "no telling whether it is this process that has a file open": (
        "test_processes.py::test_own_open_file_is_not_reported",
    ),
    "Wine does not name who has a file open": (
        "test_processes.py::test_every_process_is_named",
        "test_processes.py::test_process_that_has_only_a_sidecar_open_is_named",
        "test_processes.py::test_process_that_has_the_database_open_is_named",
        "test_restore.py::test_open_database_is_refused_by_name",
    ),
}


def reason(name: str) -> str | None:
    """Why Windows cannot pass the test of this ``name``, such as ``test_a.py::test_b[c]``; None where it can."""
    return _REASONS.get(name) or _REASONS.get(name.partition("[")[0]) or _REASONS.get(name.partition("::")[0])


def unknown(names: Iterable[str]) -> set[str]:
    """What is listed here, but is none of the tests of these ``names``."""
    known = {each for name in names for each in (name, name.partition("[")[0], name.partition("::")[0])}
    return set(_REASONS) - known


def counted(reasons: Iterable[str]) -> list[str]:
    """A line for each of ``reasons``, with how many tests it kept out."""
    return [f"{count:5}  {each}" for each, count in Counter(reasons).most_common()]


_REASONS = {test: why for why, tests in CANNOT.items() for test in tests}
