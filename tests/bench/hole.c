/* A far side that swallows: reads HTTP/1.1 requests on loopback and answers each the same, at next to no cost.
 *
 * hole STATUS: picks a port, prints it, and on SIGTERM prints {"requests": n, "bytes": n}.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ROOM = 65536, HEAD = 16384, PEERS = 1024 };

struct peer {
    int fd;
    size_t have;      /* bytes of an unfinished head */
    size_t body_left; /* bytes of a body still to swallow */
    char head[HEAD + 1];
};

static volatile sig_atomic_t stopped;
static long requests, bytes;
static char answer[256];

static void stop(int signal) {
    (void)signal;
    stopped = 1;
}

static int reply(struct peer *p) {
    requests++;
    return send(p->fd, answer, strlen(answer), MSG_NOSIGNAL) == (ssize_t)strlen(answer);
}

/* Swallows what came; false when the connection should be closed. */
static int swallow(struct peer *p, const char *data, size_t size) {
    bytes += size;
    while (size) {
        if (p->body_left) {
            size_t n = size < p->body_left ? size : p->body_left;
            p->body_left -= n, data += n, size -= n;
            if (!p->body_left && !reply(p)) return 0;
            continue;
        }
        size_t n = size < HEAD - p->have ? size : HEAD - p->have;
        memcpy(p->head + p->have, data, n);
        p->head[p->have + n] = 0;
        char *end = strstr(p->head, "\r\n\r\n");
        if (!end) {
            p->have += n;
            return p->have < HEAD;
        }
        size_t used = end + 4 - p->head - p->have;
        *end = 0;
        char *length = strcasestr(p->head, "\r\ncontent-length:");
        p->body_left = length ? strtoul(length + 17, NULL, 10) : 0;
        p->have = 0, data += used, size -= used;
        if (!p->body_left && !reply(p)) return 0;
    }
    return 1;
}

int main(int argc, char **argv) {
    static char room[ROOM];
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    struct sigaction quiet = {.sa_handler = stop};
    int door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), poller = epoll_create1(EPOLL_CLOEXEC);
    snprintf(answer, sizeof answer,
             "HTTP/1.1 %s x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", argc > 1 ? argv[1] : "200");
    sigaction(SIGTERM, &quiet, NULL);
    if (bind(door, (struct sockaddr *)&here, size) < 0 || listen(door, 128) < 0) return perror("hole"), 1;
    getsockname(door, (struct sockaddr *)&here, &size);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ready[64];
    epoll_ctl(poller, EPOLL_CTL_ADD, door, &e);
    while (!stopped) {
        int n = epoll_wait(poller, ready, 64, -1);
        for (int i = 0; i < n; i++) {
            struct peer *p = ready[i].data.ptr;
            if (!p) {
                int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
                if (fd < 0 || !(p = calloc(1, sizeof *p))) continue;
                p->fd = fd;
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                struct epoll_event more = {.events = EPOLLIN, .data.ptr = p};
                epoll_ctl(poller, EPOLL_CTL_ADD, fd, &more);
                continue;
            }
            ssize_t got = recv(p->fd, room, ROOM, 0);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0 || !swallow(p, room, got)) close(p->fd), free(p);
        }
    }
    printf("{\"requests\": %ld, \"bytes\": %ld}\n", requests, bytes);
    return 0;
}
