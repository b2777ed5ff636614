/* Makes the disk calls of a process fail, wait or lie, as a plan in shared memory says.
 *
 * Loaded by LD_PRELOAD into the tested daemon. FAULTS_PLAN names the file that holds the plan: the
 * test writes it while the daemon runs. Only files below FAULTS_UNDER are meant, so that the fault
 * is one of the data folder's disk and not of the whole machine.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timex.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { SYNC = 1, WRITE = 2, OPEN = 4, LOG_ONLY = 8, READ = 16 };

struct plan {
    int64_t kinds;    /* which calls are meant: SYNC | WRITE | OPEN | READ, LOG_ONLY: a checkpoint's */
    int64_t error;    /* the errno they fail with; 0: none fails */
    int64_t after;    /* so many of them still go well */
    int64_t times;    /* then so many fail */
    int64_t delay_us; /* every sync waits so long first */
    int64_t clock;    /* adjtimex says: 1 nobody keeps this clock, 2 NTP does */
    int64_t calls;    /* out: calls that were meant */
    int64_t failed;   /* out: calls that were made to fail */
};

static struct plan *plan;
static char *under;

__attribute__((constructor)) static void begin(void) {
    static int (*real)(const char *, int, ...);
    real = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    const char *path = getenv("FAULTS_PLAN");
    const char *folder = getenv("FAULTS_UNDER");
    if (!path || !folder) return;
    under = strdup(folder);
    int fd = real(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *at = mmap(NULL, sizeof *plan, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) plan = at;
    close(fd);
}

static int is_ours(const char *path) { return path && strncmp(path, under, strlen(under)) == 0; }

static int is_ours_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    if (plan->kinds & LOG_ONLY && (n < 10 || strcmp(path + n - 10, "log.sqlite"))) return 0;
    return is_ours(path);
}

static int is_armed(int kind) { return plan && plan->error && (plan->kinds & kind); }

/* Whether this one fails; counts it. */
static int fails(void) {
    int64_t number = __atomic_fetch_add(&plan->calls, 1, __ATOMIC_SEQ_CST);
    if (number < plan->after || number >= plan->after + plan->times) return 0;
    __atomic_fetch_add(&plan->failed, 1, __ATOMIC_SEQ_CST);
    errno = (int)plan->error;
    return 1;
}

static int fails_fd(int kind, int fd) { return is_armed(kind) && is_ours_fd(fd) && fails(); }

static void wait_a_little(int fd) {
    if (!plan || !plan->delay_us || !is_ours_fd(fd)) return;
    struct timespec left = {plan->delay_us / 1000000, plan->delay_us % 1000000 * 1000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

#define REAL(result, name, ...)                                        \
    static result (*real)(__VA_ARGS__);                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define SYNC_CALL(name)                          \
    int name(int fd) {                           \
        REAL(int, name, int);                    \
        wait_a_little(fd);                       \
        return fails_fd(SYNC, fd) ? -1 : real(fd); \
    }

SYNC_CALL(fsync)
SYNC_CALL(fdatasync)

ssize_t write(int fd, const void *body, size_t size) {
    REAL(ssize_t, write, int, const void *, size_t);
    return fails_fd(WRITE, fd) ? -1 : real(fd, body, size);
}

#define PWRITE_CALL(name, offset)                                          \
    ssize_t name(int fd, const void *body, size_t size, offset at) {       \
        REAL(ssize_t, name, int, const void *, size_t, offset);            \
        return fails_fd(WRITE, fd) ? -1 : real(fd, body, size, at);        \
    }

PWRITE_CALL(pwrite, off_t)
PWRITE_CALL(pwrite64, off64_t)

#define PREAD_CALL(name, offset)                                           \
    ssize_t name(int fd, void *body, size_t size, offset at) {             \
        REAL(ssize_t, name, int, void *, size_t, offset);                  \
        return fails_fd(READ, fd) ? -1 : real(fd, body, size, at);         \
    }

PREAD_CALL(pread, off_t)
PREAD_CALL(pread64, off64_t)

#define OPEN_CALL(name)                                                    \
    int name(const char *path, int flags, ...) {                           \
        REAL(int, name, const char *, int, ...);                           \
        va_list more;                                                      \
        va_start(more, flags);                                             \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more);                                                      \
        if (is_armed(OPEN) && is_ours(path) && fails()) return -1;         \
        return real(path, flags, mode);                                    \
    }

OPEN_CALL(open)
OPEN_CALL(open64)

int adjtimex(struct timex *state) {
    REAL(int, adjtimex, struct timex *);
    int told = real(state);
    if (!plan || !plan->clock) return told;
    state->status = plan->clock == 1 ? state->status | STA_UNSYNC : 0;
    return plan->clock == 1 ? TIME_ERROR : TIME_OK;
}
