/* The internet between the namespaces of the NAT lab: IP packets from one TUN device to another, late or never.
 *
 *   internet SECONDS NAME=/run/netns/NS:PREFIX[,PREFIX...] ...
 *
 * Each place gets a device "wan" in its namespace; a packet goes to the place one of whose prefixes (11.1.0.0/16,
 * 2a11:1::/32) its destination has, SECONDS after it came. All packets wait in one queue, so that none overtakes
 * another. Commands come on stdin, a line each, places as numbers from 0, and each is answered with one line on stdout:
 *
 *   delay SECONDS        from now on
 *   loss FROM TO SHARE   packets of this way that get lost, 0 to 1
 *   way FROM TO 0|1      whether anything at all goes this way
 *   udp FROM TO 0|1      whether UDP goes this way
 *   count                "FROM TO UDP-packets UDP-bytes other-packets other-bytes lost ..." as they came in
 *
 * It ends when stdin does, and its devices with it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define PLACES 4
#define PREFIXES 6
#define PACKET 2048
#define SLOTS 16384 /* 32 MiB: 10 ms at 3 GB/s; what does not fit is lost */
#define BATCH 64

struct prefix {
    int family, bits;
    uint8_t bytes[16];
};

struct place {
    int fd, prefixes;
    struct prefix prefix[PREFIXES];
};

struct way {
    int open, udp;
    double loss;
    unsigned long long udp_packets, udp_bytes, other_packets, other_bytes, lost;
};

struct packet {
    int64_t due;
    int to;
    uint32_t length;
    uint8_t bytes[PACKET];
};

static struct place places[PLACES];
static struct way ways[PLACES][PLACES];
static int count;
static int64_t delay;
static struct packet *ring;
static uint64_t head, tail; /* of the ring: taken from tail, put at head */
static uint64_t random_state = 88172645463325252u;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* xorshift64: the same losses in every run that sends the same packets. */
static double next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (double)(random_state >> 11) / 9007199254740992.0;
}

static void add_prefix(struct place *place, char *text) {
    struct prefix *prefix = &place->prefix[place->prefixes];
    char *slash = strchr(text, '/');
    if (place->prefixes == PREFIXES || slash == NULL) fail(text);
    *slash = 0;
    prefix->family = strchr(text, ':') ? AF_INET6 : AF_INET;
    prefix->bits = atoi(slash + 1);
    if (inet_pton(prefix->family, text, prefix->bytes) != 1) fail(text);
    place->prefixes++;
}

/* A descriptor keeps the namespace that it was made in: this one process has devices in all. */
static int open_tun(const char *namespace) {
    struct ifreq request;
    int there = open(namespace, O_RDONLY | O_CLOEXEC), fd;
    if (there < 0 || setns(there, CLONE_NEWNET) != 0) fail(namespace);
    close(there);
    fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) fail("/dev/net/tun");
    memset(&request, 0, sizeof request);
    strcpy(request.ifr_name, "wan");
    request.ifr_flags = IFF_TUN | IFF_NO_PI;
    if (ioctl(fd, TUNSETIFF, &request) != 0) fail("TUNSETIFF");
    return fd;
}

static void add_place(char *text) {
    struct place *place = &places[count];
    char *path = strchr(text, '='), *prefixes = strchr(text, ':');
    if (count == PLACES || path == NULL || prefixes == NULL) fail(text);
    *prefixes++ = 0;
    for (char *one = strtok(prefixes, ","); one != NULL; one = strtok(NULL, ",")) add_prefix(place, one);
    place->fd = open_tun(path + 1);
    for (int i = 0; i < PLACES; i++) ways[count][i].open = ways[count][i].udp = 1;
    count++;
}

static int has_prefix(const struct prefix *prefix, const uint8_t *address) {
    int whole = prefix->bits / 8, rest = prefix->bits % 8;
    return memcmp(prefix->bytes, address, (size_t)whole) == 0 &&
           (rest == 0 || ((prefix->bytes[whole] ^ address[whole]) >> (8 - rest)) == 0);
}

/* Where a packet goes, or -1. */
static int route(const uint8_t *packet, size_t length, int *is_udp) {
    int family = length >= 20 && packet[0] >> 4 == 4 ? AF_INET : length >= 40 && packet[0] >> 4 == 6 ? AF_INET6 : 0;
    const uint8_t *destination = packet + (family == AF_INET ? 16 : 24);
    if (family == 0) return -1;
    *is_udp = packet[family == AF_INET ? 9 : 6] == 17;
    for (int i = 0; i < count; i++)
        for (int j = 0; j < places[i].prefixes; j++)
            if (places[i].prefix[j].family == family && has_prefix(&places[i].prefix[j], destination)) return i;
    return -1;
}

static void take(int from) {
    for (int i = 0; i < BATCH; i++) {
        struct packet *packet = &ring[head % SLOTS];
        int is_udp = 0;
        ssize_t length = read(places[from].fd, packet->bytes, PACKET);
        if (length <= 0) return;
        packet->to = route(packet->bytes, (size_t)length, &is_udp);
        if (packet->to < 0) continue;
        struct way *way = &ways[from][packet->to];
        *(is_udp ? &way->udp_packets : &way->other_packets) += 1;
        *(is_udp ? &way->udp_bytes : &way->other_bytes) += (unsigned long long)length;
        int is_cut = !way->open || (is_udp && !way->udp);
        if (is_cut || (way->loss > 0 && next_random() < way->loss) || head - tail == SLOTS - 1) {
            way->lost++;
            continue;
        }
        packet->length = (uint32_t)length;
        packet->due = now() + delay;
        head++;
    }
}

static void deliver(void) {
    int64_t time = now();
    for (; tail != head && ring[tail % SLOTS].due <= time; tail++) {
        struct packet *packet = &ring[tail % SLOTS];
        if (write(places[packet->to].fd, packet->bytes, packet->length) < 0 && errno == EBADF) fail("write");
    }
}

static void tell_counts(void) {
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++) {
            struct way *way = &ways[i][j];
            printf("%d %d %llu %llu %llu %llu %llu ", i, j, way->udp_packets, way->udp_bytes, way->other_packets,
                   way->other_bytes, way->lost);
        }
    puts("");
}

static void obey(const char *line) {
    int from, to, value;
    double share;
    if (sscanf(line, "delay %lf", &share) == 1) {
        delay = (int64_t)(share * 1e9);
    } else if (strcmp(line, "count\n") == 0) {
        tell_counts();
        return;
    } else if (sscanf(line, "loss %d %d %lf", &from, &to, &share) == 3 && from < count && to < count) {
        ways[from][to].loss = share;
    } else if (sscanf(line, "way %d %d %d", &from, &to, &value) == 3 && from < count && to < count) {
        ways[from][to].open = value;
    } else if (sscanf(line, "udp %d %d %d", &from, &to, &value) == 3 && from < count && to < count) {
        ways[from][to].udp = value;
    } else {
        puts("what?");
        return;
    }
    puts("ok");
}

/* One command is on its way at a time: its sender waits for the answer. */
static void listen_to_stdin(void) {
    char line[256];
    if (fgets(line, sizeof line, stdin) == NULL) exit(0);
    obey(line);
}

int main(int argc, char **argv) {
    struct pollfd fds[PLACES + 1] = {{0}};
    ring = malloc(SLOTS * sizeof *ring);
    if (ring == NULL || argc < 3) fail("usage: internet SECONDS NAME=NAMESPACE:PREFIX,...");
    delay = (int64_t)(atof(argv[1]) * 1e9);
    for (int i = 2; i < argc; i++) add_place(argv[i]);
    setpriority(PRIO_PROCESS, 0, -15); /* a busy machine does not make the internet slow */
    setvbuf(stdout, NULL, _IOLBF, 0);
    puts("ready");
    for (int i = 0; i < count; i++) fds[i + 1].fd = places[i].fd;
    for (int i = 0; i <= count; i++) fds[i].events = POLLIN;
    for (;;) {
        int64_t left = tail == head ? 3600000000000 : ring[tail % SLOTS].due - now();
        struct timespec wait = {left > 0 ? left / 1000000000 : 0, left > 0 ? left % 1000000000 : 0};
        if (ppoll(fds, (nfds_t)count + 1, &wait, NULL) < 0 && errno != EINTR) fail("ppoll");
        deliver();
        for (int i = 0; i < count; i++)
            if (fds[i + 1].revents) take(i);
        if (fds[0].revents) listen_to_stdin();
    }
}
