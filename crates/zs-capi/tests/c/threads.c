/* Threads on one pool: each with objects of its own, which the others look at by handles that may be stale; one more
 * thread moves objects all the while. Every byte is compared; what the test is about must have happened. */
#include <zsmalloc.h>

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

enum { THREADS = 4, SLOTS = 500, OPERATIONS = 20000, MOST = 4096 };

static zs_pool_t *pool;
static pthread_mutex_t board_lock = PTHREAD_MUTEX_INITIALIZER;
static zs_handle board[THREADS * SLOTS]; /* the latest handle of each slot; its object may be gone */
static int working = THREADS;
static int moving; /* an object was moved while the others were at work */

struct worker {
    pthread_t thread;
    unsigned number;
    uint32_t state;
    zs_handle own[SLOTS];
    unsigned long looks, stale, replaced;
};

static uint32_t below(struct worker *worker, uint32_t bound)
{
    worker->state = worker->state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)worker->state * bound >> 32);
}

static void publish(struct worker *worker, unsigned slot)
{
    pthread_mutex_lock(&board_lock);
    board[worker->number * SLOTS + slot] = worker->own[slot];
    pthread_mutex_unlock(&board_lock);
}

/* All bytes of an object are the same, and none is 0. */
static void same(unsigned char first, const void *bytes, size_t len)
{
    const unsigned char *all = (const unsigned char *)bytes;
    for (size_t at = 0; at < len; at++)
        if (all[at] != first)
            CHECK(!"a byte is wrong");
}

static void look(struct worker *worker)
{
    zs_view view;
    pthread_mutex_lock(&board_lock);
    zs_handle handle = board[below(worker, THREADS * SLOTS)];
    pthread_mutex_unlock(&board_lock);
    zs_result result = zs_view_begin(pool, handle, &view);
    if (result == ZS_STALE) {
        worker->stale++;
        return;
    }
    if (result == ZS_BUSY)
        return;
    if (result != ZS_OK)
        CHECK(!"an unexpected answer");
    unsigned char first = *(const unsigned char *)view.bytes.first;
    same(first, view.bytes.first, view.bytes.first_len);
    same(first, view.bytes.second, view.bytes.second_len);
    if (first == 0 || zs_view_end(&view) != ZS_OK)
        CHECK(!"a view is wrong");
    worker->looks++;
}

static void change(struct worker *worker)
{
    unsigned char bytes[MOST];
    unsigned slot = below(worker, SLOTS);
    size_t len = 1 + below(worker, MOST);
    memset(bytes, (int)(1 + below(worker, 255)), len);
    if (worker->own[slot] == 0) {
        if (zs_pool_insert(pool, bytes, len, &worker->own[slot]) != ZS_OK)
            CHECK(!"an insert is refused");
    } else if (below(worker, 2) == 0) {
        /* Another thread may be looking. */
        zs_result result = zs_pool_replace(pool, worker->own[slot], bytes, len);
        if (result != ZS_OK && result != ZS_BUSY)
            CHECK(!"a replace is refused");
        worker->replaced += result == ZS_OK;
        return;
    } else {
        if (zs_pool_free(pool, worker->own[slot]) != ZS_OK)
            CHECK(!"a free is refused");
        worker->own[slot] = 0;
        return; /* the board keeps the stale handle */
    }
    publish(worker, slot);
}

static int moved_yet(void)
{
    pthread_mutex_lock(&board_lock);
    int moved = moving;
    pthread_mutex_unlock(&board_lock);
    return moved;
}

static void *work(void *argument)
{
    struct worker *worker = (struct worker *)argument;
    /* On a busy machine the compactor may get its first turn late. */
    for (int at = 0; at < OPERATIONS || !moved_yet(); at++) {
        if (below(worker, 2) == 0)
            look(worker);
        else
            change(worker);
    }
    pthread_mutex_lock(&board_lock);
    working--;
    pthread_mutex_unlock(&board_lock);
    return NULL;
}

static void *compact(void *moved)
{
    zs_compact_report report;
    int others;
    do {
        if (zs_pool_compact(pool, ZS_UNLIMITED, ZS_UNLIMITED, &report, sizeof report) != ZS_OK)
            CHECK(!"a compaction is refused");
        *(uint64_t *)moved += report.objects_moved;
        pthread_mutex_lock(&board_lock);
        moving |= report.objects_moved > 0;
        others = working;
        pthread_mutex_unlock(&board_lock);
    } while (others > 0);
    return NULL;
}

int main(void)
{
    static struct worker workers[THREADS];
    zs_arena_options options;
    zs_arena *arena;
    pthread_t compactor;
    uint64_t moved = 0;
    unsigned long looks = 0, stale = 0, replaced = 0;
    memset(&options, 0, sizeof options);
    options.limit = 64 << 20;
    CHECK(zs_arena_create(&options, sizeof options, &arena) == ZS_OK);
    CHECK(zs_pool_create(arena, NULL, 0, &pool) == ZS_OK);
    CHECK(pthread_create(&compactor, NULL, compact, &moved) == 0);
    for (unsigned number = 0; number < THREADS; number++) {
        workers[number].number = number;
        workers[number].state = number;
        CHECK(pthread_create(&workers[number].thread, NULL, work, &workers[number]) == 0);
    }
    for (unsigned number = 0; number < THREADS; number++) {
        CHECK(pthread_join(workers[number].thread, NULL) == 0);
        looks += workers[number].looks;
        stale += workers[number].stale;
        replaced += workers[number].replaced;
    }
    CHECK(pthread_join(compactor, NULL) == 0);
    CHECK(looks > 0 && stale > 0 && replaced > 0 && moved > 0);
    CHECK(zs_pool_validate(pool) == ZS_OK);
    CHECK(zs_pool_clear(pool) == ZS_OK);
    CHECK(zs_pool_destroy(pool) == ZS_OK);
    CHECK(zs_arena_destroy(arena) == ZS_OK);
    printf("threads: %lu looks, %lu stale, %lu replaced, %llu moved\n", looks, stale, replaced,
           (unsigned long long)moved);
    return EXIT_SUCCESS;
}
