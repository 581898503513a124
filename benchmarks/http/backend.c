/* The upstream of the benchmarks: HTTP/1.1 and HTTP/2 in clear text on one port, as cheap as can be.
 *
 *   backend PORT
 *
 * HTTP/1.1: each request gets a fixed body of 128 bytes, of 1 MiB where the path ends in "/big", or the counts of what
 * has come so far where it is "/counts". Requests have no body. HTTP/2, by prior knowledge: each call gets a head, a
 * gRPC message of 100 bytes and trailers with grpc-status 0; what is asked for is not read.
 * One process, edge to edge with epoll; for measurements, not for use.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_BYTES 65536
#define BIG_BYTES (1 << 20)
#define EVENTS 256
#define MESSAGE_BYTES (5 + 100)
#define CREDIT_BYTES (1 << 20)  /* of the connection's window, given back at once */

enum { DATA = 0, HEADERS = 1, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4 };

struct answer { const char *bytes; size_t len; };

struct conn {
    int fd, watches_out;
    enum { UNKNOWN, HTTP1, HTTP2 } speaks;
    size_t in_len;
    /* HTTP/1.1 */
    struct answer queue[64];    /* answers not yet sent; pipelining beyond is left in the socket */
    unsigned head, tail;
    size_t sent;                /* of queue[head], or of out */
    char counts[256];
    /* HTTP/2 */
    char *out;
    size_t out_len, out_room;
    int64_t window;             /* bytes of DATA that the peer takes */
    uint32_t owed;              /* bytes of DATA received, and not given back */
    uint32_t *waiting;          /* ids of the calls that the window keeps waiting */
    size_t n_waiting, waiting_room;
    char in[IN_BYTES + 1];
};

static int epoll_fd;
static struct answer small_answer, big_answer;
static unsigned char call_answer[512];
static size_t call_answer_len, call_ids[3];     /* where its three frames have their stream's id */
static unsigned long http1_requests, http2_calls, http2_connections;

static struct answer make_answer(size_t body) {
    char *out = malloc(body + 256);
    int n = sprintf(out, "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n"
                         "Content-Type: application/octet-stream\r\nContent-Length: %zu\r\n\r\n", body);
    memset(out + n, 'x', body);
    return (struct answer){out, n + body};
}

static struct answer counts_answer(struct conn *c) {
    char body[128];
    int n = sprintf(body, "{\"http1\": %lu, \"http2\": %lu, \"http2_connections\": %lu}\n", http1_requests, http2_calls,
                    http2_connections);
    int all = sprintf(c->counts, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", n, body);
    return (struct answer){c->counts, all};
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
    while (c->out_len) {
        ssize_t n = send(c->fd, c->out + c->sent, c->out_len - c->sent, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN ? 1 : -1;
        c->sent += n;
        if (c->sent == c->out_len) c->out_len = c->sent = 0;
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
        if (target && !memcmp(target, " /counts ", 9)) c->queue[c->tail++ % 64] = counts_answer(c);
        else { c->queue[c->tail++ % 64] = big ? big_answer : small_answer; http1_requests++; }
        at = stop + 4;
    }
    c->in_len = end - at;
    memmove(c->in, at, c->in_len);
}

/* ---- HTTP/2 */

static size_t put_frame(unsigned char *to, size_t len, int type, int flags, uint32_t id) {
    unsigned char head[9] = {len >> 16, len >> 8, len, type, flags, id >> 24, id >> 16, id >> 8, id};
    memcpy(to, head, sizeof head);
    return sizeof head;
}

static size_t put_number(unsigned char *to, uint32_t n) {
    to[0] = n >> 24; to[1] = n >> 16; to[2] = n >> 8; to[3] = n;
    return 4;
}

static uint32_t get_number(const unsigned char *at) {
    return (uint32_t)at[0] << 24 | at[1] << 16 | at[2] << 8 | at[3];
}

static void queue_bytes(struct conn *c, const void *bytes, size_t n) {
    if (c->out_len + n > c->out_room) c->out = realloc(c->out, c->out_room = 2 * (c->out_len + n));
    memcpy(c->out + c->out_len, bytes, n);
    c->out_len += n;
}

static void queue_number(struct conn *c, int type, uint32_t n) {
    unsigned char frame[13];
    put_number(frame + put_frame(frame, 4, type, 0, 0), n);
    queue_bytes(c, frame, sizeof frame);
}

/* A field that is not indexed, RFC 7541 section 6.2.2. */
static size_t put_field(unsigned char *to, const char *name, const char *value) {
    return sprintf((char *)to, "%c%c%s%c%s", 0, (int)strlen(name), name, (int)strlen(value), value);
}

static void make_call_answer(void) {
    unsigned char head[64] = {0x88}, trailers[64], *at = call_answer;    /* 0x88: ":status: 200" */
    size_t n_head = 1 + put_field(head + 1, "content-type", "application/grpc");
    size_t n_trailers = put_field(trailers, "grpc-status", "0");
    call_ids[0] = at - call_answer + 5;
    at += put_frame(at, n_head, HEADERS, END_HEADERS, 0);
    memcpy(at, head, n_head);
    at += n_head;
    call_ids[1] = at - call_answer + 5;
    at += put_frame(at, MESSAGE_BYTES, DATA, 0, 0);
    at += 1 + put_number(at + 1, MESSAGE_BYTES - 5);      /* not compressed, so long */
    memset(at, 'x', MESSAGE_BYTES - 5);
    at += MESSAGE_BYTES - 5;
    call_ids[2] = at - call_answer + 5;
    at += put_frame(at, n_trailers, HEADERS, END_HEADERS | END_STREAM, 0);
    memcpy(at, trailers, n_trailers);
    call_answer_len = at + n_trailers - call_answer;
}

/* Answer a call, or let it wait for the connection's window; those of streams are taken to be larger than a message. */
static void answer_call(struct conn *c, uint32_t id) {
    if (c->window < MESSAGE_BYTES) {
        if (c->n_waiting == c->waiting_room)
            c->waiting = realloc(c->waiting, (c->waiting_room = 2 * c->waiting_room + 64) * sizeof id);
        c->waiting[c->n_waiting++] = id;
        return;
    }
    c->window -= MESSAGE_BYTES;
    for (int i = 0; i < 3; i++) put_number(call_answer + call_ids[i], id);
    queue_bytes(c, call_answer, call_answer_len);
    http2_calls++;
}

static void widen(struct conn *c, uint32_t increment) {
    size_t n = 0;
    c->window += increment;
    while (n < c->n_waiting && c->window >= MESSAGE_BYTES) answer_call(c, c->waiting[n++]);
    memmove(c->waiting, c->waiting + n, (c->n_waiting - n) * sizeof *c->waiting);
    c->n_waiting -= n;
}

/* Act on each whole frame in the buffer; 1 = the peer takes its leave. */
static int answer_frames(struct conn *c) {
    unsigned char *at = (unsigned char *)c->in, *end = at + c->in_len, reply[17];
    int leaves = 0;
    for (size_t len; end - at >= 9 && (len = at[0] << 16 | at[1] << 8 | at[2], (size_t)(end - at) >= 9 + len);
         at += 9 + len) {
        int type = at[3], flags = at[4];
        uint32_t id = get_number(at + 5);
        if (type == DATA) c->owed += len;
        if ((type == DATA || type == HEADERS) && flags & END_STREAM) answer_call(c, id);
        else if (type == SETTINGS && !(flags & ACK)) queue_bytes(c, reply, put_frame(reply, 0, SETTINGS, ACK, 0));
        else if (type == PING && !(flags & ACK)) {
            memcpy(reply + put_frame(reply, 8, PING, ACK, 0), at + 9, 8);
            queue_bytes(c, reply, 17);
        } else if (type == WINDOW_UPDATE && !id) widen(c, get_number(at + 9));
        else if (type == GOAWAY) leaves = 1;
    }
    c->in_len = end - at;
    memmove(c->in, at, c->in_len);
    if (c->owed >= CREDIT_BYTES) {
        queue_number(c, WINDOW_UPDATE, c->owed);
        c->owed = 0;
    }
    return leaves;
}

static int greet(struct conn *c) {
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    static const unsigned char settings[] = {0, 3, 0, 0, 4, 0};     /* MAX_CONCURRENT_STREAMS: 1024 */
    size_t n = sizeof preface - 1;
    if (memcmp(c->in, preface, c->in_len < n ? c->in_len : n)) { c->speaks = HTTP1; return 1; }
    if (c->in_len < n) return 0;
    unsigned char frame[9];
    c->speaks = HTTP2;
    c->window = 65535;
    http2_connections++;
    queue_bytes(c, frame, put_frame(frame, sizeof settings, SETTINGS, 0, 0));
    queue_bytes(c, settings, sizeof settings);
    queue_number(c, WINDOW_UPDATE, 4 * CREDIT_BYTES);
    memmove(c->in, c->in + n, c->in_len -= n);
    return 1;
}

/* ---- both */

static int serve(struct conn *c, unsigned events) {
    if (!(events & EPOLLOUT)) {
        ssize_t n = recv(c->fd, c->in + c->in_len, IN_BYTES - c->in_len, 0);
        if (n <= 0) return n < 0 && errno == EAGAIN ? 0 : -1;
        c->in_len += n;
    }
    if (c->speaks == UNKNOWN && !greet(c)) return 0;
    int state;
    if (c->speaks == HTTP2) {
        if (answer_frames(c)) return -1;
        state = flush(c);
    } else do {
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

static void drop(struct conn *c) {
    close(c->fd);
    free(c->out);
    free(c->waiting);
    free(c);
}

int main(int argc, char **argv) {
    if (argc != 2) { fprintf(stderr, "usage: backend PORT\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    small_answer = make_answer(128);
    big_answer = make_answer(BIG_BYTES);
    make_call_answer();
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
            else if (serve(c, events[i].events) < 0) drop(c);
        }
    }
}
