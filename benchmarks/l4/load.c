/* Load and upstream of the L4 benchmark.
 *
 *   load serve PORT                          echo; a connection whose first byte is 's' is only read
 *   load connect PORT CONNS SECONDS FILE     connections, CONNS at a time: send FILE, read as much, close
 *   load exchange PORT CONNS SECONDS         64 bytes to and fro on CONNS connections
 *   load bulk PORT SECONDS                   send on one connection
 *   load hold PORT CONNS                     CONNS connections, an exchange each, then silence until stdin ends
 *
 * All on 127.0.0.1, one process, level-triggered epoll. A load ends with one line of JSON. For measurements, not for use.
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 256
#define BUFFER_BYTES (1 << 20)
#define MESSAGE_BYTES 64
#define FDS 65536
#define SAMPLES (1 << 20)

enum { CONNECTING, WAITING, LISTENING, ECHOING, SINKING };

struct conn { int state; size_t got; double since; };

static struct conn conns[FDS];
static char buffer[BUFFER_BYTES];
static float samples_us[SAMPLES];
static size_t done, errors;
static int epoll_fd;

static void die(const char *what) { perror(what); exit(1); }

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in address(int port) {
    return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void watch(int op, int fd, unsigned events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, op, fd, &e)) die("epoll_ctl");
}

static int dial(int port, int flags) {
    struct sockaddr_in to = address(port);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | flags, 0);
    if (fd < 0 || fd >= FDS) die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
    return fd;
}

static void lose(int fd, int failed) {
    errors += failed;
    close(fd);
}

static void sample(double seconds) {
    if (done < SAMPLES) samples_us[done] = seconds * 1e6;
    done++;
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void report(double seconds) {
    size_t n = done < SAMPLES ? done : SAMPLES;
    qsort(samples_us, n, sizeof *samples_us, ascending);
    printf("{\"n\": %zu, \"errors\": %zu, \"seconds\": %.3f, \"p50_us\": %.1f, \"p99_us\": %.1f}\n", done, errors, seconds,
           n ? samples_us[n / 2] : 0, n ? samples_us[n * 99 / 100] : 0);
}

static void serve_one(int fd, struct conn *c) {
    if (c->state == LISTENING) {
        int one = 1, client = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
        if (client < 0) return;
        if (client >= FDS) die("accept");
        setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[client] = (struct conn){.state = ECHOING};
        watch(EPOLL_CTL_ADD, client, EPOLLIN);
        return;
    }
    ssize_t n = recv(fd, buffer, BUFFER_BYTES, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) close(fd);
        return;
    }
    if (c->got == 0 && buffer[0] == 's') c->state = SINKING;
    c->got += n;
    if (c->state == ECHOING && send(fd, buffer, n, MSG_NOSIGNAL) != n) close(fd);
}

static void serve(int port) {
    struct sockaddr_in at = address(port);
    struct epoll_event events[EVENTS];
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (void *)&at, sizeof at) || listen(fd, 4096)) die("bind");
    conns[fd].state = LISTENING;
    watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < n; i++) serve_one(events[i].data.fd, &conns[events[i].data.fd]);
    }
}

/* Return whether the connection is over. */
static int connect_one(int fd, struct conn *c, const char *message, size_t len) {
    if (c->state == CONNECTING) {
        if (send(fd, message, len, MSG_NOSIGNAL) != (ssize_t)len) return lose(fd, 1), 1;
        c->state = WAITING;
        watch(EPOLL_CTL_MOD, fd, EPOLLIN);
        return 0;
    }
    ssize_t n = recv(fd, buffer, BUFFER_BYTES, 0);
    if (n <= 0) return lose(fd, 1), 1;
    if ((c->got += n) < len) return 0;
    sample(now() - c->since);
    return lose(fd, 0), 1;
}

static void connections(int port, int at_a_time, double seconds, const char *file) {
    static char message[65536];
    struct epoll_event events[EVENTS];
    FILE *f = fopen(file, "r");
    if (!f) die(file);
    size_t len = fread(message, 1, sizeof message, f);
    double began = now();
    int live = 0;
    while (now() < began + seconds || live) {
        for (; live < at_a_time && now() < began + seconds; live++) {
            int fd = dial(port, SOCK_NONBLOCK);
            conns[fd] = (struct conn){.state = CONNECTING, .since = now()};
            watch(EPOLL_CTL_ADD, fd, EPOLLOUT);
        }
        int n = epoll_wait(epoll_fd, events, EVENTS, 5000);
        if (n <= 0) { errors += live; break; }
        for (int i = 0; i < n; i++)
            live -= connect_one(events[i].data.fd, &conns[events[i].data.fd], message, len);
    }
    report(now() - began);
}

static void exchange(int port, int n_conns, double seconds) {
    struct epoll_event events[EVENTS];
    memset(buffer, 'e', MESSAGE_BYTES);
    for (int i = 0; i < n_conns; i++) {
        int fd = dial(port, 0);
        conns[fd] = (struct conn){.since = now()};
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
        if (send(fd, buffer, MESSAGE_BYTES, MSG_NOSIGNAL) != MESSAGE_BYTES) errors++;
    }
    double began = now();
    while (now() < began + seconds) {
        int n = epoll_wait(epoll_fd, events, EVENTS, 1000);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            struct conn *c = &conns[fd];
            ssize_t got = recv(fd, buffer, MESSAGE_BYTES, 0);
            if (got <= 0) { lose(fd, 1); continue; }
            if ((c->got += got) < MESSAGE_BYTES) continue;
            double t = now();
            sample(t - c->since);
            *c = (struct conn){.since = t};
            if (send(fd, buffer, MESSAGE_BYTES, MSG_NOSIGNAL) != MESSAGE_BYTES) errors++;
        }
    }
    report(now() - began);
}

static void bulk(int port, double seconds) {
    int fd = dial(port, 0);
    double began = now();
    memset(buffer, 's', BUFFER_BYTES);
    while (now() < began + seconds) {
        ssize_t n = send(fd, buffer, BUFFER_BYTES, MSG_NOSIGNAL);
        if (n < 0) { errors++; break; }
        done += n;
    }
    shutdown(fd, SHUT_WR);
    while (recv(fd, buffer, BUFFER_BYTES, 0) > 0) {}
    printf("{\"n\": %zu, \"errors\": %zu, \"seconds\": %.3f}\n", done, errors, now() - began);
}

static void hold(int port, int n_conns) {
    memset(buffer, 'e', MESSAGE_BYTES);
    for (int i = 0; i < n_conns; i++) {
        int fd = dial(port, 0);
        if (send(fd, buffer, MESSAGE_BYTES, MSG_NOSIGNAL) != MESSAGE_BYTES) die("send");
        if (recv(fd, buffer, MESSAGE_BYTES, MSG_WAITALL) != MESSAGE_BYTES) die("recv");
    }
    puts("ready");
    fflush(stdout);
    while (read(0, buffer, sizeof buffer) > 0) {}
}

int main(int argc, char **argv) {
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(0);
    const char *what = argc > 2 ? argv[1] : "";
    int port = argc > 2 ? atoi(argv[2]) : 0;
    if (!strcmp(what, "serve")) serve(port);
    else if (!strcmp(what, "connect") && argc == 6) connections(port, atoi(argv[3]), atof(argv[4]), argv[5]);
    else if (!strcmp(what, "exchange") && argc == 5) exchange(port, atoi(argv[3]), atof(argv[4]));
    else if (!strcmp(what, "bulk") && argc == 4) bulk(port, atof(argv[3]));
    else if (!strcmp(what, "hold") && argc == 4) hold(port, atoi(argv[3]));
    else return fprintf(stderr, "load.c says how to call this\n"), 2;
    return 0;
}
