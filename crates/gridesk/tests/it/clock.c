/* The time of day as one center node sees it: the real one, and as many milliseconds more as a file says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead_ms;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void) {
    char line[4096];
    const char *file = getenv("TEST_CLOCK_FILE"), *node = getenv("TEST_CLOCK_NODE");
    int command = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t length = command < 0 ? 0 : read(command, line, sizeof line);
    if (command >= 0) close(command);
    if (!file || !node || length <= 0 || !memmem(line, (size_t)length, node, strlen(node))) return;
    int known = open(file, O_RDONLY | O_CLOEXEC);
    if (known < 0) return;
    void *page = mmap(NULL, sizeof *ahead_ms, PROT_READ, MAP_SHARED, known, 0);
    close(known);
    if (page != MAP_FAILED) ahead_ms = page;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, time);
    if (!failed && clock == CLOCK_REALTIME && ahead_ms) {
        int64_t ns = time->tv_nsec + *ahead_ms % 1000 * 1000000;
        time->tv_sec += *ahead_ms / 1000 + (ns < 0 ? -1 : ns / 1000000000);
        time->tv_nsec = (ns + 1000000000) % 1000000000;
    }
    return failed;
}
