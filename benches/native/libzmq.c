/* What mqcore's examples `throughput` and `round_trip` measure, with libzmq: two threads of one process with a
 * context each (over inproc a common one), default options, a fresh message for each send. Prints one figure.
 *
 *     libzmq throughput ENDPOINT SIZE COUNT     messages per second, PUSH to PULL
 *     libzmq round_trip ENDPOINT SIZE COUNT     microseconds from a request to its answer, REQ and REP
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zmq.h>

struct peer {
    void *socket;
    size_t size;
    long count;
};

/* Ends the program unless `fine`. */
static void check(int fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(1);
    }
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static void send_one(const struct peer *peer, const void *payload)
{
    zmq_msg_t message;
    check(zmq_msg_init_size(&message, peer->size) == 0, "zmq_msg_init_size");
    memcpy(zmq_msg_data(&message), payload, peer->size);
    check(zmq_msg_send(&message, peer->socket, 0) >= 0, "zmq_msg_send");
}

static void receive_one(const struct peer *peer, zmq_msg_t *message)
{
    check(zmq_msg_recv(message, peer->socket, 0) >= 0, "zmq_msg_recv");
    if (zmq_msg_size(message) != peer->size) {
        fprintf(stderr, "a message of %zu bytes came back as %zu\n", peer->size, zmq_msg_size(message));
        exit(1);
    }
}

static void *payload_of(const struct peer *peer)
{
    void *payload = malloc(peer->size + 1);
    check(payload != NULL, "malloc");
    return memset(payload, 7, peer->size);
}

/* One message more than is counted: the clock starts when it arrives. */
static void *push_all(void *argument)
{
    const struct peer *peer = argument;
    void *payload = payload_of(peer);
    for (long sent = 0; sent <= peer->count; sent++)
        send_one(peer, payload);
    free(payload);
    return NULL;
}

static void pull_all(const struct peer *peer)
{
    zmq_msg_t message;
    zmq_msg_init(&message);
    receive_one(peer, &message);
    double start = now();
    for (long received = 0; received < peer->count; received++)
        receive_one(peer, &message);
    printf("%.0f messages/s\n", (double)peer->count / (now() - start));
    zmq_msg_close(&message);
}

/* One request more than is counted: the connection is made meanwhile. */
static void *answer_all(void *argument)
{
    const struct peer *peer = argument;
    zmq_msg_t message;
    zmq_msg_init(&message);
    for (long answered = 0; answered <= peer->count; answered++) {
        receive_one(peer, &message);
        check(zmq_msg_send(&message, peer->socket, 0) >= 0, "zmq_msg_send");
    }
    zmq_msg_close(&message);
    return NULL;
}

static void ask_all(const struct peer *peer)
{
    void *payload = payload_of(peer);
    double start = 0;
    zmq_msg_t message;
    zmq_msg_init(&message);
    for (long asked = 0; asked <= peer->count; asked++) {
        send_one(peer, payload);
        receive_one(peer, &message);
        if (asked == 0)
            start = now();
    }
    printf("%.3f us\n", (now() - start) / (double)peer->count * 1e6);
    zmq_msg_close(&message);
    free(payload);
}

int main(int count, char **arguments)
{
    int round_trip = count == 5 && strcmp(arguments[1], "round_trip") == 0;
    if (count != 5 || (!round_trip && strcmp(arguments[1], "throughput") != 0)) {
        fprintf(stderr, "usage: libzmq throughput|round_trip ENDPOINT SIZE COUNT\n");
        return 2;
    }
    struct peer here = {.size = strtoul(arguments[3], NULL, 10), .count = atol(arguments[4])};
    struct peer there = here;
    int inproc = strncmp(arguments[2], "inproc:", 7) == 0;
    void *context = zmq_ctx_new();
    void *far_context = inproc ? context : zmq_ctx_new();
    check(context != NULL && far_context != NULL, "zmq_ctx_new");

    /* The side that listens runs in the main thread for PULL, in the other one for REP. */
    void *bound = zmq_socket(context, round_trip ? ZMQ_REP : ZMQ_PULL);
    void *connected = zmq_socket(far_context, round_trip ? ZMQ_REQ : ZMQ_PUSH);
    check(bound != NULL && connected != NULL, "zmq_socket");
    char address[256];
    size_t length = sizeof address;
    check(zmq_bind(bound, arguments[2]) == 0, arguments[2]);
    check(zmq_getsockopt(bound, ZMQ_LAST_ENDPOINT, address, &length) == 0, "ZMQ_LAST_ENDPOINT");
    check(zmq_connect(connected, address) == 0, address);
    here.socket = round_trip ? connected : bound;
    there.socket = round_trip ? bound : connected;

    pthread_t thread;
    check(pthread_create(&thread, NULL, round_trip ? answer_all : push_all, &there) == 0, "pthread_create");
    if (round_trip)
        ask_all(&here);
    else
        pull_all(&here);
    pthread_join(thread, NULL);
    zmq_close(connected);
    zmq_close(bound);
    if (!inproc)
        zmq_ctx_term(far_context);
    return zmq_ctx_term(context);
}
