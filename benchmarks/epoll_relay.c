/* epoll_relay.c: a relay with nothing but epoll and the C core around each byte: what no Python can beat.
 *
 *   cc -O3 -std=gnu11 -Icsrc benchmarks/epoll_relay.c csrc/[!_]*.c -lsodium -o epoll_relay
 *   ./epoll_relay PORT-OF-THE-TARGET plain|libsodium|sse2|avx2|avx512
 *
 * It listens on a port of its own choice, which it says in one line of JSON, takes one connection, dials the target and
 * relays both ways until one of them closes. `plain` copies; the others open, re-number and seal again, with the key
 * 00 01 02 ... and the nonce 100 101 102 ... everywhere, and req 1 for req 1. Reads are of 64 KiB. It ends with its
 * standard input. Linux. */
#define _GNU_SOURCE
#include "ssbfast.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ 65536u
#define OUT (4u * READ)
#define POOL 4096u /* slabs */

typedef struct {
    int fd;
    uint32_t wanted; /* events asked of epoll */
    size_t from, to; /* of `out`, still to be sent */
    int more;        /* the link has more than `out` could hold */
    ssb_link link;
    ssb_lane lane;
    ssb_inlet inlet;
    uint8_t out[OUT];
} side;

static side sides[2];
static uint8_t in[READ], events[READ * 2];
static ssb_hub hub;
static ssb_crypto crypto = {crypto_secretbox_easy, crypto_secretbox_open_easy, sodium_memzero, NULL};
static ssb_kernel kernel;
static int poll_fd, boxed;

static void check(int right, const char *what) {
    if (right) return;
    perror(what);
    exit(1);
}

static void prepare(const char *path) {
    const ssb_limits limits = {4096, 65536, 65536, 1 << 20, 1 << 20, 0};
    uint8_t key[SSB_KEY], nonce[SSB_NONCE];
    boxed = strcmp(path, "plain") != 0;
    if (!boxed) return;
    if (strcmp(path, "libsodium") != 0) {
        check(ssb_kernel_init(&kernel, path) == SSB_OK, "this machine has no such path");
        crypto.kernel = &kernel;
    }
    for (size_t i = 0; i < SSB_KEY; i++) key[i] = (uint8_t)i;
    for (size_t i = 0; i < SSB_NONCE; i++) nonce[i] = (uint8_t)(100 + i);
    const size_t size = ssb_hub_size(POOL);
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(memory != MAP_FAILED && ssb_hub_init(&hub, memory, size) == SSB_OK, "memory");
    for (uint32_t i = 0; i < 2; i++) ssb_link_init(&sides[i].link, &hub, i, &crypto, &limits, key, nonce, key, nonce, 0);
    ssb_lane_init(&sides[0].lane, &sides[0].link, -1, 1 << 18);
    ssb_lane_init(&sides[1].lane, &sides[1].link, 1, 1 << 18);
    ssb_inlet_init(&sides[0].inlet, &sides[0].link, 1, &sides[1].lane);
    ssb_inlet_init(&sides[1].inlet, &sides[1].link, -1, &sides[0].lane);
}

static void want(side *s, uint32_t events_wanted) {
    struct epoll_event e = {.events = events_wanted, .data.ptr = s};
    if (s->wanted == events_wanted) return;
    s->wanted = events_wanted;
    check(epoll_ctl(poll_fd, EPOLL_CTL_MOD, s->fd, &e) == 0, "epoll_ctl");
}

/* Send what waits for `s`; 1 when nothing is left. */
static int push(side *s) {
    for (;;) {
        if (s->from == s->to && s->more) {
            s->from = 0;
            const int code = ssb_link_flush(&s->link, s->out, OUT, &s->to);
            check(code >= 0, "flush");
            s->more = code == SSB_FULL;
        }
        if (s->from == s->to) return 1;
        const ssize_t n = send(s->fd, s->out + s->from, s->to - s->from, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return 0;
        if (n < 0) exit(0);
        s->from += (size_t)n;
    }
}

/* Read once from `s` for the other side; 0 at the end. */
static int pull(side *s, side *other) {
    const ssize_t n = recv(s->fd, in, sizeof in, 0);
    if (n < 0 && errno == EAGAIN) return 1;
    if (n <= 0) return 0;
    if (!boxed) {
        memcpy(other->out, in, (size_t)n); /* what cannot be sent at once has to be kept somewhere */
        other->from = 0;
        other->to = (size_t)n;
        return 1;
    }
    size_t ev_n = sizeof events, need = 0;
    int code = ssb_link_receive(&s->link, in, (size_t)n, events, &ev_n, &need);
    while (code == SSB_AGAIN) {
        ev_n = sizeof events;
        code = ssb_link_proceed(&s->link, events, &ev_n, &need);
    }
    check(code == SSB_OK, "an answer is WRONG");
    other->more = 1;
    /* The end of the stream, the only event there can be, is passed on as it is. */
    if (ev_n > 0) check(ssb_lane_packet(&other->lane, 14, (const uint8_t *)"true", 4) == SSB_OK, "end");
    return 1;
}

static int listening(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    const int server = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(server, (struct sockaddr *)&a, sizeof a) == 0 && listen(server, 1) == 0, "listen");
    check(getsockname(server, (struct sockaddr *)&a, &n) == 0, "getsockname");
    printf("{\"event\": \"ready\", \"port\": %d}\n", ntohs(a.sin_port));
    fflush(stdout);
    const int fd = accept(server, NULL, NULL);
    check(fd >= 0, "accept");
    return fd;
}

static int dialled(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    a.sin_port = htons((uint16_t)port);
    check(connect(fd, (struct sockaddr *)&a, sizeof a) == 0, "connect");
    return fd;
}

static void begin(side *s, int fd) {
    const int one = 1, lowat = 65536;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    s->fd = fd;
    s->wanted = EPOLLIN;
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0, "nodelay");
    check(setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof lowat) == 0, "lowat");
    check(fcntl(fd, F_SETFL, O_NONBLOCK) == 0, "nonblocking");
    check(epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
}

int main(int argc, char **argv) {
    struct epoll_event found[4], e = {.events = EPOLLIN};
    check(argc == 3 && sodium_init() >= 0, "usage");
    prepare(argv[2]);
    poll_fd = epoll_create1(0);
    (void)epoll_ctl(poll_fd, EPOLL_CTL_ADD, 0, &e); /* a file, or nothing, cannot be waited for */
    begin(&sides[0], listening());
    begin(&sides[1], dialled(atoi(argv[1])));
    for (;;) {
        const int count = epoll_wait(poll_fd, found, 4, -1);
        for (int i = 0; i < count; i++) {
            side *s = found[i].data.ptr;
            if (s == NULL) return 0;
            side *other = s == &sides[0] ? &sides[1] : &sides[0];
            if ((found[i].events & EPOLLIN) && (s->wanted & EPOLLIN) && !pull(s, other)) return 0;
        }
        for (int i = 0; i < 2; i++) { /* who cannot send is not read for */
            const int done = push(&sides[i]);
            want(&sides[i], (sides[i].wanted & EPOLLIN) | (done ? 0u : EPOLLOUT));
            want(&sides[1 - i], (sides[1 - i].wanted & EPOLLOUT) | (done ? EPOLLIN : 0u));
        }
    }
}
