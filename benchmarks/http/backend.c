/* The upstream of the benchmarks: HTTP/1.1 keep-alive, as cheap as can be.
 *
 *   backend PORT
 *
 * Answers each request with a fixed body of 128 bytes, or of 1 MiB where the path ends in "/big".
 * Reads requests without a body only. One process, edge to edge with epoll; for measurements, not for use.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES 65536
#define BIG_BYTES (1 << 20)
#define EVENTS 256

struct answer { const char *bytes; size_t len; };

struct conn {
    int fd, watches_out;
    size_t in_len;
    struct answer queue[64];    /* answers not yet sent; pipelining beyond is left in the socket */
    unsigned head, tail;
    size_t sent;                /* of queue[head] */
    char in[IN_BYTES + 1];
};

static int epoll_fd;
static struct answer small_answer, big_answer;

static struct answer make_answer(size_t body) {
    char *out = malloc(body + 256);
    int n = sprintf(out, "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
                         "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", body);
    memset(out + n, 'x', body);
    return (struct answer){out, n + body};
}

static void watch(struct conn *c, int out) {
    if (c->watches_out == out) return;
    struct epoll_event e = {.events = out ? EPOLLOUT : EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    c->watches_out = out;
}

/* Send what is queued; 0 = all sent, 1 = the socket is full, -1 = the connection is gone. */
static int flush(struct conn *c) {
    while (c->head != c->tail) {
        struct answer *a = &c->queue[c->head % 64];
        ssize_t n = send(c->fd, a->bytes + c->sent, a->len - c->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 1 : -1;
        c->sent += n;
        if (c->sent == a->len) { c->head++; c->sent = 0; }
    }
    return 0;
}

/* Queue an answer for each whole request in the buffer. */
static void answer_requests(struct conn *c) {
    char *at = c->in, *end = c->in + c->in_len, *stop;
    while (c->tail - c->head < 64 && (stop = memmem(at, end - at, "\r\n\r\n", 4))) {
        char *target = memchr(at, ' ', stop - at);
        char *after = target ? memchr(target + 1, ' ', stop - target - 1) : 0;
        int big = after && after - target > 4 && !memcmp(after - 4, "/big", 4);
        c->queue[c->tail++ % 64] = big ? big_answer : small_answer;
        at = stop + 4;
    }
    c->in_len = end - at;
    memmove(c->in, at, c->in_len);
}

static int serve(struct conn *c, unsigned events) {
    if (!(events & EPOLLOUT)) {
        ssize_t n = recv(c->fd, c->in + c->in_len, IN_BYTES - c->in_len, 0);
        if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
        c->in_len += n;
    }
    int state;
    do {
        answer_requests(c);
        state = flush(c);
    } while (!state && memmem(c->in, c->in_len, "\r\n\r\n", 4));
    if (state >= 0) watch(c, state);
    return state;
}

static void take(int listener) {
    int fd = accept4(listener, 0, 0, SOCK_NONBLOCK), on = 1;
    if (fd < 0) return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct conn *c = calloc(1, sizeof *c);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    c->fd = fd;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv) {
    if (argc != 2) { fprintf(stderr, "usage: backend PORT\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    small_answer = make_answer(128);
    big_answer = make_answer(BIG_BYTES);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (void *)&a, sizeof a) || listen(listener, 4096)) { perror("backend"); return 1; }
    epoll_fd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = 0}, events[EVENTS];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c) take(listener);
            else if (serve(c, events[i].events) < 0) { close(c->fd); free(c); }
        }
    }
}
