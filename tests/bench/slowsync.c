/* Makes every fsync and fdatasync of a process slower by BENCH_SYNC_DELAY_US: the disk of an office box.
 *
 * Loaded by LD_PRELOAD into fleetd and its peers alike. The real sync is still done, after the wait.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static void wait_a_little(void) {
    static long delay_us = -1;
    if (delay_us < 0) {
        const char *told = getenv("BENCH_SYNC_DELAY_US");
        delay_us = told ? atol(told) : 0;
    }
    struct timespec left = {delay_us / 1000000, delay_us % 1000000 * 1000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR)
        ;
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_a_little();
    return real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_a_little();
    return real(fd);
}
