/*
 * Copyright: sqliteops.backup contributors
 * GNU General Public License v3.0 or later (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Preloaded before the C library: the n-th call below a directory that changes the disk (or reads from it) fails, is
 * cut short, or gets a signal, whoever makes it: Python, SQLite, or the process itself.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { COUNT, FAIL, SHORT, TEAR, BEFORE, AFTER };

static struct {
    char top[PATH_MAX];
    size_t length;
    long nth;
    int kind, value, lasting, reads, without_links;
} plan;
static int armed;
static atomic_long calls;
static char names[1 << 16];

/* `value` is an error number or a signal; `lasting`: every call from the n-th on fails; `reads`: count those instead. */
void faults_arm(const char *top, long nth, int kind, int value, int lasting, int reads, int without_links)
{
    snprintf(plan.top, sizeof plan.top, "%s", top);
    plan.length = strlen(plan.top);
    plan.nth = nth;
    plan.kind = kind;
    plan.value = value;
    plan.lasting = lasting;
    plan.reads = reads;
    plan.without_links = without_links;
    atomic_store(&calls, 0);
    armed = 1;
}

void faults_disarm(void) { armed = 0; }
long faults_calls(void) { return atomic_load(&calls); }
/* A letter for each call. */
const char *faults_names(void) { return names; }

static int is_below(const char *path)
{
    return !strncmp(path, plan.top, plan.length) && (path[plan.length] == '/' || !path[plan.length]);
}

static int is_file_below(int file)
{
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return is_below(path);
}

static int is_name_below(int directory, const char *path)
{
    return path[0] == '/' ? is_below(path) : directory != AT_FDCWD && is_file_below(directory);
}

/* Whether this call, of a kind with this letter, is the one; counts it. */
static int is_hit(char name, int below, int read)
{
    if (!armed || read != plan.reads || !below)
        return 0;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (number < (long)sizeof names)
        names[number - 1] = name;
    return plan.kind != COUNT && (number == plan.nth || (plan.lasting && number > plan.nth));
}

static void stop(void)
{
    int before = errno;
    kill(getpid(), plan.value);
    errno = before;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* The call, unless it is the one, of `size` bytes. `below` is looked at only when something is armed. */
#define CALL(letter, below, read, size, call) \
    int saved_ = errno; \
    int hit_ = armed && is_hit(letter, below, read); \
    errno = saved_; \
    if (hit_ && plan.kind == FAIL) { \
        errno = plan.value; \
        return -1; \
    } \
    if (hit_ && plan.kind == BEFORE) \
        stop(); \
    if (hit_ && (plan.kind == SHORT || plan.kind == TEAR) && size > 1) \
        size /= 2; \
    __typeof__(call) result_ = (call); \
    if (hit_ && (plan.kind == AFTER || plan.kind == TEAR)) \
        stop(); \
    return result_

#define WRITING(below, size, call) CALL('w', below, 0, size, call)
#define AROUND(letter, below, read, call) \
    size_t none_ = 0; \
    CALL(letter, below, read, none_, call)

ssize_t write(int file, const void *data, size_t size)
{
    REAL(write);
    WRITING(is_file_below(file), size, real(file, data, size));
}

ssize_t pwrite(int file, const void *data, size_t size, off_t place)
{
    REAL(pwrite);
    WRITING(is_file_below(file), size, real(file, data, size, place));
}

ssize_t pwrite64(int file, const void *data, size_t size, off64_t place)
{
    REAL(pwrite64);
    WRITING(is_file_below(file), size, real(file, data, size, place));
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    REAL(writev);
    AROUND('w', is_file_below(file), 0, real(file, parts, count));
}

ssize_t sendfile(int to, int from, off_t *place, size_t size)
{
    REAL(sendfile);
    WRITING(is_file_below(to), size, real(to, from, place, size));
}

ssize_t sendfile64(int to, int from, off64_t *place, size_t size)
{
    REAL(sendfile64);
    WRITING(is_file_below(to), size, real(to, from, place, size));
}

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *place, size_t size, unsigned flags)
{
    REAL(copy_file_range);
    WRITING(is_file_below(to), size, real(from, at, to, place, size, flags));
}

ssize_t read(int file, void *data, size_t size)
{
    REAL(read);
    AROUND('r', is_file_below(file), 1, real(file, data, size));
}

ssize_t pread(int file, void *data, size_t size, off_t place)
{
    REAL(pread);
    AROUND('r', is_file_below(file), 1, real(file, data, size, place));
}

ssize_t pread64(int file, void *data, size_t size, off64_t place)
{
    REAL(pread64);
    AROUND('r', is_file_below(file), 1, real(file, data, size, place));
}

/* Opening changes the disk only when it creates or empties. */
#define OPENING(directory, path, flags, call) \
    mode_t mode = 0; \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
        va_list more; \
        va_start(more, flags); \
        mode = va_arg(more, mode_t); \
        va_end(more); \
    } \
    int reads = !(flags & (O_CREAT | O_TRUNC)); \
    AROUND('o', is_name_below(directory, path), reads, call)

int open(const char *path, int flags, ...)
{
    REAL(open);
    OPENING(AT_FDCWD, path, flags, real(path, flags, mode));
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    OPENING(AT_FDCWD, path, flags, real(path, flags, mode));
}

int openat(int directory, const char *path, int flags, ...)
{
    REAL(openat);
    OPENING(directory, path, flags, real(directory, path, flags, mode));
}

int openat64(int directory, const char *path, int flags, ...)
{
    REAL(openat64);
    OPENING(directory, path, flags, real(directory, path, flags, mode));
}

#define CHANGE(letter, name, parameters, below, arguments) \
    int name parameters \
    { \
        REAL(name); \
        AROUND(letter, below, 0, real arguments); \
    }

CHANGE('n', rename, (const char *old, const char *new), is_below(new) || is_below(old), (old, new))
CHANGE('n', renameat, (int from, const char *old, int to, const char *new),
       is_name_below(to, new) || is_name_below(from, old), (from, old, to, new))
CHANGE('n', renameat2, (int from, const char *old, int to, const char *new, unsigned flags),
       is_name_below(to, new) || is_name_below(from, old), (from, old, to, new, flags))
CHANGE('u', unlink, (const char *path), is_below(path), (path))
CHANGE('u', unlinkat, (int directory, const char *path, int flags), is_name_below(directory, path),
       (directory, path, flags))
CHANGE('u', rmdir, (const char *path), is_below(path), (path))
CHANGE('d', mkdir, (const char *path, mode_t mode), is_below(path), (path, mode))
CHANGE('d', mkdirat, (int directory, const char *path, mode_t mode), is_name_below(directory, path),
       (directory, path, mode))
CHANGE('t', ftruncate, (int file, off_t size), is_file_below(file), (file, size))
CHANGE('t', ftruncate64, (int file, off64_t size), is_file_below(file), (file, size))
CHANGE('t', truncate, (const char *path, off_t size), is_below(path), (path, size))
CHANGE('t', fallocate, (int file, int mode, off_t place, off_t size), is_file_below(file), (file, mode, place, size))
CHANGE('s', fsync, (int file), is_file_below(file), (file))
CHANGE('s', fdatasync, (int file), is_file_below(file), (file))
CHANGE('m', fchmod, (int file, mode_t mode), is_file_below(file), (file, mode))
CHANGE('m', chmod, (const char *path, mode_t mode), is_below(path), (path, mode))
CHANGE('m', fchmodat, (int directory, const char *path, mode_t mode, int flags), is_name_below(directory, path),
       (directory, path, mode, flags))
CHANGE('m', fchown, (int file, uid_t user, gid_t group), is_file_below(file), (file, user, group))
CHANGE('m', chown, (const char *path, uid_t user, gid_t group), is_below(path), (path, user, group))
CHANGE('m', lchown, (const char *path, uid_t user, gid_t group), is_below(path), (path, user, group))
CHANGE('m', fchownat, (int directory, const char *path, uid_t user, gid_t group, int flags),
       is_name_below(directory, path), (directory, path, user, group, flags))
CHANGE('m', fsetxattr, (int file, const char *name, const void *value, size_t size, int flags), is_file_below(file),
       (file, name, value, size, flags))

int link(const char *old, const char *new)
{
    REAL(link);
    if (armed && plan.without_links && is_below(new)) {
        errno = EPERM;
        return -1;
    }
    AROUND('l', is_below(new), 0, real(old, new));
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    REAL(linkat);
    if (armed && plan.without_links && is_name_below(to, new)) {
        errno = EPERM;
        return -1;
    }
    AROUND('l', is_name_below(to, new), 0, real(from, old, to, new, flags));
}
