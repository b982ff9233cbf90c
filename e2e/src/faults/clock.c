/* A wall clock that can be stepped under one running process; see clock.rs.
 *
 * CLOCK_OFFSET names a file of eight bytes: seconds to add to the real time, as a signed number of this machine. It is
 * mapped, so a step is seen by the next call. Waits whose deadline is on the wall clock (C11's, which librdkafka uses) are
 * made in short slices that look at the clock again, as the kernel does with such waits when somebody sets the time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NANOS 20000000L
#define SECOND_NANOS 1000000000L

static const volatile int64_t *offset;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
        offset = page == MAP_FAILED ? NULL : page;
        close(file);
    }
}

static int real_now(clockid_t clock, struct timespec *now) {
    if (!real_clock_gettime)
        real_clock_gettime = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    return real_clock_gettime(clock, now);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int outcome = real_now(clock, now);
    if (outcome == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += *offset;
    return outcome;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec precise;
    int outcome = clock_gettime(CLOCK_REALTIME, &precise);
    if (outcome == 0 && now) {
        now->tv_sec = precise.tv_sec;
        now->tv_usec = precise.tv_nsec / 1000;
    }
    return outcome;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

time_t time(time_t *result) {
    struct timespec now = {0};
    clock_gettime(CLOCK_REALTIME, &now);
    if (result)
        *result = now.tv_sec;
    return now.tv_sec;
}

/* glibc's C11 condition variables and mutexes are its POSIX ones under other names. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict deadline) {
    for (;;) {
        struct timespec now, slice;
        clock_gettime(CLOCK_REALTIME, &now);
        int64_t seconds = (int64_t)deadline->tv_sec - now.tv_sec;
        long nanos = deadline->tv_nsec - now.tv_nsec;
        if (seconds < 0 || (seconds == 0 && nanos <= 0) || (seconds == 1 && nanos <= -SECOND_NANOS))
            return thrd_timedout;
        if (seconds == 0 && nanos < SLICE_NANOS)
            ; /* the rest */
        else if (seconds == 1 && nanos < 0 && nanos + SECOND_NANOS < SLICE_NANOS)
            nanos += SECOND_NANOS;
        else
            nanos = SLICE_NANOS;
        real_now(CLOCK_REALTIME, &slice);
        slice.tv_nsec += nanos;
        if (slice.tv_nsec >= SECOND_NANOS) {
            slice.tv_nsec -= SECOND_NANOS;
            slice.tv_sec += 1;
        }
        int outcome = pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, &slice);
        if (outcome == 0)
            return thrd_success;
        if (outcome != ETIMEDOUT)
            return thrd_error;
    }
}
