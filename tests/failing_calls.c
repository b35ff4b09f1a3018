/* Makes the n-th call to the file system fail, in a process that loads this before the C library (LD_PRELOAD).
 *
 * Belongs here: the calls by which Python and SQLite change or read files below given folders. Does not belong here:
 * which call fails and what must hold then (tests/faults.py). A process that has not called failing_arm sees nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OPEN_READ = 1, OPEN_WRITE = 2, READ = 4, WRITE = 8, SYNC = 16, NAME = 32, REMOVE = 64, MODE = 128 };
enum { PLACES = 4 };

static char places[PLACES][PATH_MAX];
static int place_count, armed_kinds, armed_error, armed_for_good;
static long armed_call, passed;

/* Fail the call of this number among those of these kinds (0: only count); for_good: and all that come after it. */
void failing_arm(int kinds, int error, long call, int for_good)
{
    armed_kinds = kinds, armed_error = error, armed_call = call, armed_for_good = for_good, passed = 0;
}

/* Calls below this folder count; at most PLACES folders. */
void failing_below(const char *folder)
{
    if (place_count < PLACES)
        snprintf(places[place_count++], PATH_MAX, "%s", folder);
}

long failing_passed(void) { return passed; }

static int is_below(const char *path)
{
    for (int i = 0; i < place_count; i++) {
        size_t length = strlen(places[i]);
        if (strncmp(path, places[i], length) == 0 && (path[length] == '/' || path[length] == 0))
            return 1;
    }
    return 0;
}

static int fails(int kind, const char *path)
{
    if (!(armed_kinds & kind) || !is_below(path))
        return 0;
    passed++;
    if (armed_call == 0 || !(passed == armed_call || (armed_for_good && passed > armed_call)))
        return 0;
    errno = armed_error;
    return 1;
}

static int fails_at(int kind, int handle)
{
    char link[64], path[PATH_MAX];
    if (!(armed_kinds & kind))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return fails(kind, path);
}

static int kind_of_open(int flags) { return (flags & O_ACCMODE) == O_RDONLY ? OPEN_READ : OPEN_WRITE; }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                   \
    int name(const char *path, int flags, ...)                       \
    {                                                                \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                \
        return fails(kind_of_open(flags), path) ? -1 : REAL(name)(path, flags, mode); \
    }
#define OPENAT(name)                                                 \
    int name(int at, const char *path, int flags, ...)               \
    {                                                                \
        va_list rest;                                                \
        va_start(rest, flags);                                       \
        mode_t mode = (flags & (O_CREAT | O_TMPFILE)) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                \
        return fails(kind_of_open(flags), path) ? -1 : REAL(name)(at, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t read(int handle, void *to, size_t size) { return fails_at(READ, handle) ? -1 : REAL(read)(handle, to, size); }
ssize_t pread64(int handle, void *to, size_t size, off64_t at)
{
    return fails_at(READ, handle) ? -1 : REAL(pread64)(handle, to, size, at);
}
ssize_t write(int handle, const void *from, size_t size)
{
    return fails_at(WRITE, handle) ? -1 : REAL(write)(handle, from, size);
}
ssize_t pwrite64(int handle, const void *from, size_t size, off64_t at)
{
    return fails_at(WRITE, handle) ? -1 : REAL(pwrite64)(handle, from, size, at);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t size)
{
    return fails_at(WRITE, to) ? -1 : REAL(sendfile64)(to, from, at, size);
}
int ftruncate64(int handle, off64_t size) { return fails_at(WRITE, handle) ? -1 : REAL(ftruncate64)(handle, size); }
int fsync(int handle) { return fails_at(SYNC, handle) ? -1 : REAL(fsync)(handle); }
int fdatasync(int handle) { return fails_at(SYNC, handle) ? -1 : REAL(fdatasync)(handle); }
int rename(const char *from, const char *to) { return fails(NAME, to) ? -1 : REAL(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return fails(NAME, path) ? -1 : REAL(mkdir)(path, mode); }
int unlink(const char *path) { return fails(REMOVE, path) ? -1 : REAL(unlink)(path); }
int chmod(const char *path, mode_t mode) { return fails(MODE, path) ? -1 : REAL(chmod)(path, mode); }
