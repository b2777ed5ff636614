/* A load generator that costs far less than what it measures: one thread, epoll, requests made beforehand.
 *
 * load PORT FILE CONNECTIONS WARMUP_S SECONDS RATE
 *
 * FILE holds whole HTTP requests, each behind a 32-bit little-endian length; each is sent once at most.
 * RATE 0 is a closed loop: every connection sends its next request when it has its answer. Any other RATE is an
 * open loop: request i is due at i / RATE whatever the server does, and its latency counts from that moment, so
 * that a stalled server cannot hide the requests it kept waiting (no coordinated omission).
 * What was sent in the first WARMUP_S seconds is counted by status, and left out of rate and latency.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { ROOM = 16384, GRACE_S = 10 };
enum state { CONNECTING, IDLE, BUSY, CLOSED };

struct peer {
    int fd;
    enum state state;
    const char *out; /* the rest of the request still to be sent */
    size_t left;
    int64_t since; /* when the request was due */
    size_t have;
    char in[ROOM + 1];
};

static struct sockaddr_in far_side;
static int poller;
static const char *next_request, *end_of_file;
static int64_t began, measured_from, stop_at;
static double rate;
static int64_t sent, answered, broken, reconnected, in_window, malformed;
static int64_t statuses[600];
static uint32_t *latency_us;
static size_t latencies, latency_room;
static struct peer **idle;
static int idle_count, busy_count;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void dial(struct peer *p) {
    int one = 1;
    p->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (p->fd < 0) die("socket");
    setsockopt(p->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    p->state = CONNECTING;
    p->have = 0;
    if (connect(p->fd, (struct sockaddr *)&far_side, sizeof far_side) < 0 && errno != EINPROGRESS) die("connect");
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = p};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, p->fd, &e) < 0) die("epoll_ctl");
}

static void drop(struct peer *p) { /* the far side closed: a request without its answer is broken */
    if (p->state == BUSY) {
        broken++;
        busy_count--;
    }
    if (p->state == IDLE)
        for (int i = 0; i < idle_count; i++)
            if (idle[i] == p) {
                idle[i] = idle[--idle_count];
                break;
            }
    close(p->fd);
    p->state = CLOSED;
    if (now_ns() >= stop_at) return;
    reconnected++;
    if (reconnected > 1000000) {
        fprintf(stderr, "load: the server keeps closing\n");
        exit(1);
    }
    dial(p);
}

static int push(struct peer *p) {
    while (p->left) {
        ssize_t n = send(p->fd, p->out, p->left, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 0 : -1;
        p->out += n;
        p->left -= n;
    }
    return 0;
}

static int take(struct peer *p, int64_t due) { /* 0 when there is nothing left to send */
    uint32_t size;
    if (next_request + 4 > end_of_file) return 0;
    memcpy(&size, next_request, 4);
    p->out = next_request + 4;
    p->left = size;
    next_request += 4 + size;
    p->state = BUSY;
    p->since = due;
    p->have = 0;
    busy_count++;
    sent++;
    if (push(p) < 0) drop(p);
    return 1;
}

static void rest(struct peer *p) { /* a connection is free */
    int64_t now = now_ns();
    if (rate == 0 && now < stop_at && take(p, now)) return;
    p->state = IDLE;
    idle[idle_count++] = p;
}

static const char *field(const char *head, const char *name) {
    const char *at = strcasestr(head, name);
    return at ? at + strlen(name) : NULL;
}

static void finish(struct peer *p, int status, int closing) {
    int64_t now = now_ns();
    answered++;
    statuses[status > 0 && status < 600 ? status : 0]++;
    busy_count--;
    if (p->since >= measured_from && p->since < stop_at) {
        if (now <= stop_at) in_window++;
        if (latencies == latency_room) {
            latency_room = latency_room ? latency_room * 2 : 1 << 16;
            latency_us = realloc(latency_us, latency_room * sizeof *latency_us);
            if (!latency_us) die("realloc");
        }
        latency_us[latencies++] = (now - p->since) / 1000;
    }
    p->have = 0;
    p->state = CONNECTING; /* neither busy nor idle, whichever way it goes on */
    if (closing)
        drop(p);
    else
        rest(p);
}

static void pull(struct peer *p) {
    for (;;) {
        ssize_t n = recv(p->fd, p->in + p->have, ROOM - p->have, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            drop(p);
            return;
        }
        p->have += n;
        p->in[p->have] = 0;
        char *end = strstr(p->in, "\r\n\r\n");
        if (!end && p->have < ROOM) continue;
        if (!end || p->state != BUSY) {
            malformed++;
            drop(p);
            return;
        }
        *end = 0;
        const char *length = field(p->in, "\r\ncontent-length:");
        const char *connection = field(p->in, "\r\nconnection:");
        size_t whole = (end + 4 - p->in) + (length ? strtoul(length, NULL, 10) : 0);
        int closing = connection && strncasecmp(connection + strspn(connection, " "), "close", 5) == 0;
        int status = p->have > 12 ? atoi(p->in + 9) : 0;
        *end = '\r';
        if (p->have < whole && p->have < ROOM) continue;
        finish(p, status, closing);
        return; /* never pipelined: nothing more can have come */
    }
}

static void turn(struct peer *p, uint32_t events) {
    int fd = p->fd;
    if (p->state == CONNECTING && events & (EPOLLERR | EPOLLHUP)) {
        fprintf(stderr, "load: cannot connect\n");
        exit(1);
    }
    if (p->state == CONNECTING && events & EPOLLOUT) rest(p);
    if (p->state == BUSY && p->left && events & EPOLLOUT && push(p) < 0) drop(p);
    if (p->fd == fd && p->state != CLOSED && events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) pull(p);
}

static void send_what_is_due(void) {
    int64_t now = now_ns();
    while (idle_count) {
        int64_t due = began + (int64_t)(sent * 1e9 / rate);
        if (due > now || due >= stop_at || !take(idle[idle_count - 1], due)) return;
        idle_count--;
    }
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double at(double q) { return latencies ? latency_us[(size_t)(q * (latencies - 1))] / 1e3 : 0; }

static void print(double seconds, int exhausted) {
    struct rusage own;
    double sum = 0;
    getrusage(RUSAGE_SELF, &own);
    if (latencies) qsort(latency_us, latencies, sizeof *latency_us, by_size);
    for (size_t i = 0; i < latencies; i++) sum += latency_us[i] / 1e3;
    int64_t due = rate ? (int64_t)((stop_at - began) * rate / 1e9) : sent;
    printf("{\"unsent\":%ld,", exhausted || due < sent ? 0L : (long)(due - sent));
    printf("\"sent\":%ld,\"answered\":%ld,\"broken\":%ld,\"malformed\":%ld,\"unanswered\":%d,\"reconnected\":%ld,",
           (long)sent, (long)answered, (long)broken, (long)malformed, busy_count, (long)reconnected);
    printf("\"exhausted\":%s,\"seconds\":%.6f,\"in_window\":%ld,\"rate_per_s\":%.1f,\"statuses\":{",
           exhausted ? "true" : "false", seconds, (long)in_window, in_window / seconds);
    const char *comma = "";
    for (int s = 0; s < 600; s++)
        if (statuses[s]) {
            printf("%s\"%d\":%ld", comma, s, (long)statuses[s]);
            comma = ",";
        }
    printf("},\"latency_ms\":{\"count\":%zu,\"min\":%.3f,\"mean\":%.3f,\"p50\":%.3f,\"p90\":%.3f,\"p99\":%.3f,"
           "\"p999\":%.3f,\"max\":%.3f},",
           latencies, at(0), latencies ? sum / latencies : 0, at(.5), at(.9), at(.99), at(.999), at(1));
    printf("\"own_cpu_s\":%.3f}\n", own.ru_utime.tv_sec + own.ru_stime.tv_sec +
                                        (own.ru_utime.tv_usec + own.ru_stime.tv_usec) / 1e6);
}

static void map(const char *path) {
    struct stat facts;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &facts) < 0) die(path);
    next_request = mmap(NULL, facts.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (next_request == MAP_FAILED) die("mmap");
    end_of_file = next_request + facts.st_size;
}

static void tick(int timer) {
    int64_t due = began + (int64_t)(sent * 1e9 / rate);
    struct itimerspec when = {.it_value = {due / 1000000000LL, due % 1000000000LL}};
    timerfd_settime(timer, TFD_TIMER_ABSTIME, &when, NULL);
}

int main(int argc, char **argv) {
    if (argc != 7) {
        fprintf(stderr, "usage: load PORT FILE CONNECTIONS WARMUP_S SECONDS RATE\n");
        return 2;
    }
    far_side.sin_family = AF_INET;
    far_side.sin_port = htons(atoi(argv[1]));
    far_side.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    map(argv[2]);
    int connections = atoi(argv[3]);
    double warmup = atof(argv[4]), seconds = atof(argv[5]);
    rate = atof(argv[6]);
    poller = epoll_create1(EPOLL_CLOEXEC);
    idle = calloc(connections, sizeof *idle);
    struct peer *peers = calloc(connections, sizeof *peers);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
    epoll_ctl(poller, EPOLL_CTL_ADD, timer, &e);
    began = now_ns();
    measured_from = began + warmup * 1e9;
    stop_at = measured_from + seconds * 1e9;
    for (int i = 0; i < connections; i++) dial(&peers[i]);
    int64_t now = began, last = 0;
    while ((now < stop_at && (next_request < end_of_file || busy_count)) ||
           (busy_count && now < stop_at + GRACE_S * 1000000000LL)) {
        if (rate && idle_count) tick(timer);
        int n = epoll_wait(poller, ready, 256, 100);
        for (int i = 0; i < n; i++)
            if (ready[i].data.ptr) turn(ready[i].data.ptr, ready[i].events);
        if (rate) send_what_is_due();
        now = now_ns();
        if (now < stop_at) last = now;
    }
    int exhausted = next_request >= end_of_file;
    print(((exhausted && last < stop_at ? last : stop_at) - measured_from) / 1e9, exhausted);
    return 0;
}
