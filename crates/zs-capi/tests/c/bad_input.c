/* Whatever a program hands in is answered, and nothing crashes: NULL, wild pointers, handles of other pools and
 * freed ones, short buffers, long ranges, ends without beginnings, destruction in use, use after destruction. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* barriers, also under -std=c11 */
#endif

#include <zsmalloc.h>

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "pools.h"

enum { ROUNDS = 20000 };

static int count(void *context, zs_handle handle, const zs_spans *bytes)
{
    (void)handle;
    CHECK(bytes->first != NULL && bytes->first_len > 0);
    return ++*(int *)context == 2;
}

static int never(void *context, zs_handle handle, const zs_spans *bytes)
{
    (void)context, (void)handle, (void)bytes;
    CHECK(!"called");
    return 0;
}

static void unheard(void *context, const zs_pressure *pressure)
{
    (void)context, (void)pressure;
}

/* Every function of a pool answers `expected` to `pool`. */
static void pool_answers(zs_pool_t *pool, zs_result expected)
{
    zs_handle handle = 77;
    char byte = 1;
    size_t len = 78;
    uint64_t number = 79;
    zs_view view;
    zs_pool_info info;
    zs_class_info class_info;
    CHECK(zs_pool_insert(pool, &byte, 1, &handle) == expected);
    CHECK(zs_pool_allocate(pool, 1, &handle) == expected);
    CHECK(zs_pool_read(pool, 1, &byte, 1, &len) == expected);
    CHECK(zs_pool_replace(pool, 1, &byte, 1) == expected);
    CHECK(zs_pool_write(pool, 1, 0, &byte, 1) == expected);
    CHECK(zs_pool_free(pool, 1) == expected);
    CHECK(zs_view_begin(pool, 1, &view) == expected);
    CHECK(zs_pool_compact(pool, 1, 1, NULL, 0) == expected);
    CHECK(zs_pool_can_compact(pool, &number) == expected);
    CHECK(zs_pool_shrink(pool, 1, &number) == expected);
    CHECK(zs_pool_maintain(pool, 1, NULL, 0) == expected);
    CHECK(zs_pool_trim(pool, &number) == expected);
    CHECK(zs_pool_get_info(pool, &info, sizeof info) == expected);
    CHECK(zs_pool_get_class_info(pool, 0, &class_info, sizeof class_info) == expected);
    CHECK(zs_pool_validate(pool) == expected);
    CHECK(zs_pool_for_each(pool, never, NULL, &number) == expected);
    CHECK(zs_pool_clear(pool) == expected);
    CHECK(zs_pool_destroy(pool) == expected);
    CHECK(handle == 77 && len == 78 && number == 79); /* written on success only */
}

static void arena_answers(zs_arena *arena, zs_result expected)
{
    uint64_t bytes = 79;
    zs_arena_info info;
    zs_pool_t *pool = NULL;
    CHECK(zs_arena_trim(arena, &bytes) == expected);
    CHECK(zs_arena_decay(arena, &bytes) == expected);
    CHECK(zs_arena_get_info(arena, &info, sizeof info) == expected);
    CHECK(zs_pool_create(arena, NULL, 0, &pool) == expected);
    CHECK(zs_arena_destroy(arena) == expected);
    CHECK(bytes == 79 && pool == NULL);
}

static void null_and_wild_pointers(zs_arena *arena, zs_pool_t *pool)
{
    char on_the_stack[64];
    pool_answers(NULL, ZS_NULL);
    arena_answers(NULL, ZS_NULL);
    pool_answers((zs_pool_t *)on_the_stack, ZS_GONE);
    pool_answers((zs_pool_t *)(uintptr_t)8, ZS_GONE);
    pool_answers((zs_pool_t *)UINTPTR_MAX, ZS_GONE);
    pool_answers((zs_pool_t *)((char *)pool + 1), ZS_GONE);
    pool_answers((zs_pool_t *)arena, ZS_GONE);
    arena_answers((zs_arena *)pool, ZS_GONE);
    arena_answers((zs_arena *)on_the_stack, ZS_GONE);
    CHECK(zs_watcher_stop(NULL) == ZS_NULL);
    CHECK(zs_watcher_stop((zs_watcher *)pool) == ZS_GONE);
    CHECK(zs_view_end(NULL) == ZS_NULL);
}

/* NULL in every other place. */
static void null_arguments(zs_arena *arena, zs_pool_t *pool)
{
    zs_arena_options options;
    char byte = 1;
    size_t len;
    zs_handle handle;
    memset(&options, 0, sizeof options);
    options.limit = 2 << 20;
    CHECK(zs_arena_create(NULL, sizeof options, &arena) == ZS_NULL);
    CHECK(zs_arena_create(&options, sizeof options, NULL) == ZS_NULL);
    CHECK(zs_arena_get_info(arena, NULL, sizeof(zs_arena_info)) == ZS_NULL);
    CHECK(zs_pool_create(arena, NULL, 0, NULL) == ZS_NULL);
    CHECK(zs_pool_insert(pool, NULL, 1, &handle) == ZS_NULL);
    CHECK(zs_pool_insert(pool, &byte, 1, NULL) == ZS_NULL);
    CHECK(zs_pool_allocate(pool, 1, NULL) == ZS_NULL);
    CHECK(zs_pool_insert(pool, &byte, 1, &handle) == ZS_OK);
    CHECK(zs_pool_read(pool, handle, NULL, 1, &len) == ZS_NULL);
    CHECK(zs_pool_read(pool, handle, &byte, 1, NULL) == ZS_NULL);
    CHECK(zs_pool_replace(pool, handle, NULL, 1) == ZS_NULL);
    CHECK(zs_pool_write(pool, handle, 0, NULL, 1) == ZS_NULL);
    CHECK(zs_view_begin(pool, handle, NULL) == ZS_NULL);
    CHECK(zs_pool_can_compact(pool, NULL) == ZS_NULL);
    CHECK(zs_pool_get_info(pool, NULL, sizeof(zs_pool_info)) == ZS_NULL);
    CHECK(zs_pool_get_class_info(pool, 0, NULL, sizeof(zs_class_info)) == ZS_NULL);
    CHECK(zs_pool_for_each(pool, NULL, NULL, NULL) == ZS_NULL);
    CHECK(zs_pressure_watch(NULL, 0, NULL, NULL, NULL) == ZS_NULL);
    CHECK(zs_pressure_watch(NULL, 0, unheard, NULL, NULL) == ZS_NULL);
    /* These may be NULL. */
    CHECK(zs_pool_shrink(pool, 1, NULL) == ZS_OK);
    CHECK(zs_pool_maintain(pool, 0, NULL, 0) == ZS_OK);
    CHECK(zs_pool_trim(pool, NULL) == ZS_OK);
    CHECK(zs_arena_trim(arena, NULL) == ZS_OK);
    CHECK(zs_arena_decay(arena, NULL) == ZS_OK);
    CHECK(zs_pool_compact(pool, 0, 0, NULL, 0) == ZS_OK);
    CHECK(zs_pool_write(pool, handle, 1, NULL, 0) == ZS_OK);
    CHECK(zs_pool_free(pool, handle) == ZS_OK);
}

static int refused(const char *word)
{
    return strstr(zs_last_error(), word) != NULL;
}

static void options_out_of_bounds(zs_arena *arena)
{
    zs_arena_options options, zero;
    zs_pool_options pool_options;
    zs_pressure_options pressure;
    zs_arena *made = NULL;
    zs_pool_t *pool = NULL;
    zs_watcher *watcher = NULL;
    memset(&zero, 0, sizeof zero);
    CHECK(zs_arena_create(&zero, sizeof zero, &made) == ZS_INVALID && refused("limit of 0"));
    options = zero;
    options.limit = UINT64_MAX;
    CHECK(zs_arena_create(&options, sizeof options, &made) == ZS_INVALID && refused("largest"));
    options.limit = 2 << 20;
    options.page_size = 8192;
    CHECK(zs_arena_create(&options, sizeof options, &made) == ZS_INVALID && refused("16384"));
    options.page_size = 0;
    options.flags = 1 << 20;
    CHECK(zs_arena_create(&options, sizeof options, &made) == ZS_INVALID && refused("0x100000"));
    CHECK(zs_arena_create(&options, 0, &made) == ZS_INVALID && refused("size 0"));
    CHECK(zs_arena_create(&options, SIZE_MAX, &made) == ZS_INVALID && refused("sizeof"));
    memset(&pool_options, 0, sizeof pool_options);
    pool_options.name = "a name of more than thirty-one bytes";
    CHECK(zs_pool_create(arena, &pool_options, sizeof pool_options, &pool) == ZS_INVALID);
    CHECK(refused("31 bytes"));
    pool_options.name = "\xff";
    CHECK(zs_pool_create(arena, &pool_options, sizeof pool_options, &pool) == ZS_INVALID);
    pool_options.name = NULL;
    pool_options.max_objects = UINT64_MAX;
    CHECK(zs_pool_create(arena, &pool_options, sizeof pool_options, &pool) == ZS_INVALID);
    pool_options.max_objects = 0;
    pool_options.flags = 2;
    CHECK(zs_pool_create(arena, &pool_options, sizeof pool_options, &pool) == ZS_INVALID);
    memset(&pressure, 0, sizeof pressure);
    pressure.source = 3;
    CHECK(zs_pressure_watch(&pressure, sizeof pressure, unheard, NULL, &watcher) == ZS_INVALID);
    pressure.source = ZS_PRESSURE_SYSTEM_STALLS;
    pressure.window_us = 1;
    CHECK(zs_pressure_watch(&pressure, sizeof pressure, unheard, NULL, &watcher) == ZS_INVALID);
    pressure.source = ZS_PRESSURE_GROUP_EVENTS;
    pressure.interval_ms = 3600001;
    zs_result result = zs_pressure_watch(&pressure, sizeof pressure, unheard, NULL, &watcher);
    /* Without groups of version 2, that is what is refused. */
    CHECK(result == ZS_INVALID ? refused("3600s") : result == ZS_SYSTEM && !refused("3600s"));
    pressure.interval_ms = 0;
    pressure.group = "/no such folder";
    CHECK(zs_pressure_watch(&pressure, sizeof pressure, unheard, NULL, &watcher) == ZS_SYSTEM);
    CHECK(refused("/no such folder"));
    CHECK(made == NULL && pool == NULL && watcher == NULL);
}

static void sizes_and_buffers(zs_pool_t *pool)
{
    static unsigned char bytes[5000];
    unsigned char copy[100];
    zs_handle handle;
    size_t len = 0;
    zs_pool_info info;
    CHECK(zs_pool_insert(pool, bytes, 0, &handle) == ZS_ZERO_SIZE);
    CHECK(zs_pool_insert(pool, NULL, 0, &handle) == ZS_ZERO_SIZE);
    CHECK(zs_pool_allocate(pool, 0, &handle) == ZS_ZERO_SIZE);
    CHECK(zs_pool_insert(pool, bytes, 4097, &handle) == ZS_TOO_LARGE);
    CHECK(zs_pool_insert(pool, bytes, SIZE_MAX, &handle) == ZS_TOO_LARGE);
    CHECK(zs_pool_allocate(pool, SIZE_MAX, &handle) == ZS_TOO_LARGE);
    memset(bytes, 7, sizeof bytes);
    CHECK(zs_pool_insert(pool, bytes, 100, &handle) == ZS_OK);
    CHECK(zs_pool_read(pool, handle, copy, 99, &len) == ZS_BUFFER_TOO_SMALL && len == 100);
    len = 0;
    CHECK(zs_pool_read(pool, handle, NULL, 0, &len) == ZS_BUFFER_TOO_SMALL && len == 100);
    CHECK(zs_pool_read(pool, handle, copy, 100, &len) == ZS_OK && len == 100 && copy[99] == 7);
    CHECK(zs_pool_write(pool, handle, 1, bytes, 100) == ZS_TOO_LARGE);
    CHECK(zs_pool_write(pool, handle, SIZE_MAX, bytes, 100) == ZS_TOO_LARGE);
    CHECK(zs_pool_write(pool, handle, 0, bytes, SIZE_MAX) == ZS_TOO_LARGE);
    CHECK(zs_pool_replace(pool, handle, bytes, 0) == ZS_ZERO_SIZE);
    CHECK(zs_pool_replace(pool, handle, bytes, 4097) == ZS_TOO_LARGE);
    CHECK(zs_pool_replace(pool, handle, bytes, 4096) == ZS_OK);
    CHECK(zs_pool_free(pool, handle) == ZS_OK);
    CHECK(zs_pool_get_info(pool, &info, sizeof info - 1) == ZS_INVALID);
    CHECK(zs_pool_get_info(pool, &info, SIZE_MAX) == ZS_INVALID);
    CHECK(zs_pool_get_class_info(pool, 128, NULL, sizeof(zs_class_info)) == ZS_NULL);
    zs_class_info class_info;
    CHECK(zs_pool_get_class_info(pool, 128, &class_info, sizeof class_info) == ZS_INVALID);
    CHECK(refused("127"));
}

static void handle_answers_stale(zs_pool_t *pool, zs_handle handle)
{
    char byte = 1;
    size_t len;
    zs_view view;
    CHECK(zs_pool_read(pool, handle, &byte, 1, &len) == ZS_STALE);
    CHECK(zs_pool_replace(pool, handle, &byte, 1) == ZS_STALE);
    CHECK(zs_pool_write(pool, handle, 0, &byte, 1) == ZS_STALE);
    CHECK(zs_pool_free(pool, handle) == ZS_STALE);
    CHECK(zs_view_begin(pool, handle, &view) == ZS_STALE);
}

static void handles_that_name_nothing(zs_arena *arena, zs_pool_t *pool)
{
    zs_pool_t *other = new_pool(arena);
    zs_handle freed, foreign, next;
    CHECK(zs_pool_allocate(pool, 10, &freed) == ZS_OK);
    CHECK(zs_pool_free(pool, freed) == ZS_OK);
    handle_answers_stale(pool, freed);
    CHECK(zs_pool_allocate(pool, 10, &next) == ZS_OK && next != freed);
    handle_answers_stale(pool, freed);
    CHECK(zs_pool_allocate(other, 10, &foreign) == ZS_OK);
    handle_answers_stale(pool, foreign);
    handle_answers_stale(other, next);
    handle_answers_stale(pool, 0);
    handle_answers_stale(pool, UINT64_MAX);
    handle_answers_stale(pool, next ^ 1ull << 63);
    CHECK(zs_pool_free(pool, next) == ZS_OK);
    CHECK(zs_pool_free(other, foreign) == ZS_OK);
    CHECK(zs_pool_destroy(other) == ZS_OK);
}

static pthread_barrier_t together;
static int arrived; /* of the threads that end one view, in all rounds */

/* Ends a view at the same moment as another thread, again and again; counts how often it was the one that did. */
static void *end_together(void *view)
{
    uintptr_t ended = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pthread_barrier_wait(&together);
        /* A barrier wakes one after the other: closer together than that. */
        __atomic_add_fetch(&arrived, 1, __ATOMIC_RELAXED);
        for (int turn = 1; __atomic_load_n(&arrived, __ATOMIC_RELAXED) < 2 * (round + 1); turn++)
            if (turn % 1000 == 0)
                sched_yield();
        ended += zs_view_end((zs_view *)view) == ZS_OK;
        pthread_barrier_wait(&together);
    }
    return (void *)ended;
}

/* Of two threads that end one view at once, one does. */
static void views_ended_by_two(zs_pool_t *pool)
{
    zs_view view;
    zs_handle handle;
    pthread_t threads[2];
    uintptr_t all = 0;
    CHECK(zs_pool_insert(pool, "hello", 6, &handle) == ZS_OK);
    CHECK(pthread_barrier_init(&together, NULL, 3) == 0);
    for (int at = 0; at < 2; at++)
        CHECK(pthread_create(&threads[at], NULL, end_together, &view) == 0);
    for (int round = 0; round < ROUNDS; round++) {
        CHECK(zs_view_begin(pool, handle, &view) == ZS_OK);
        pthread_barrier_wait(&together);
        pthread_barrier_wait(&together);
    }
    for (int at = 0; at < 2; at++) {
        void *ended;
        CHECK(pthread_join(threads[at], &ended) == 0);
        all += (uintptr_t)ended;
    }
    CHECK(all == ROUNDS);
    pthread_barrier_destroy(&together);
    CHECK(zs_pool_free(pool, handle) == ZS_OK);
    CHECK(zs_pool_validate(pool) == ZS_OK);
}

static void *end_elsewhere(void *view)
{
    CHECK(zs_view_end((zs_view *)view) == ZS_OK);
    return NULL;
}

static void views(zs_pool_t *pool)
{
    zs_view view, copy, many[15];
    zs_handle handle;
    pthread_t thread;
    memset(&view, 0, sizeof view);
    CHECK(zs_view_end(&view) == ZS_NOT_OPEN); /* never begun */
    memset(&view, 0xa5, sizeof view);
    CHECK(zs_view_end(&view) == ZS_NOT_OPEN);
    CHECK(zs_pool_insert(pool, "hello", 6, &handle) == ZS_OK);
    CHECK(zs_view_begin(pool, handle, &view) == ZS_OK);
    CHECK(view.bytes.first_len == 6 && memcmp(view.bytes.first, "hello", 6) == 0);
    CHECK(view.bytes.second == NULL && view.bytes.second_len == 0);
    CHECK(zs_pool_replace(pool, handle, "bye", 4) == ZS_BUSY);
    CHECK(zs_pool_write(pool, handle, 0, "bye", 4) == ZS_BUSY);
    copy = view;
    CHECK(zs_view_end(&copy) == ZS_NOT_OPEN);
    CHECK(zs_pool_free(pool, handle) == ZS_OK); /* stale at once, the bytes stay */
    handle_answers_stale(pool, handle);
    CHECK(memcmp(view.bytes.first, "hello", 6) == 0);
    CHECK(zs_pool_destroy(pool) == ZS_BUSY);
    CHECK(zs_pool_clear(pool) == ZS_BUSY);
    CHECK(zs_view_end(&view) == ZS_OK);
    CHECK(zs_view_end(&view) == ZS_NOT_OPEN); /* twice */
    CHECK(zs_view_end((zs_view *)((char *)&view + 1)) == ZS_INVALID && refused("multiple of 8"));
    CHECK(zs_pool_insert(pool, "hello", 6, &handle) == ZS_OK);
    for (int at = 0; at < 15; at++)
        CHECK(zs_view_begin(pool, handle, &many[at]) == ZS_OK);
    CHECK(zs_view_begin(pool, handle, &view) == ZS_BUSY);
    CHECK(pthread_create(&thread, NULL, end_elsewhere, &many[0]) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    for (int at = 1; at < 15; at++)
        CHECK(zs_view_end(&many[at]) == ZS_OK);
    CHECK(zs_pool_free(pool, handle) == ZS_OK);
}

static void every_object_is_visited(zs_pool_t *pool)
{
    zs_handle handles[4];
    uint64_t skipped = 1;
    int visited = -4;
    for (int at = 0; at < 4; at++)
        CHECK(zs_pool_allocate(pool, 10, &handles[at]) == ZS_OK);
    CHECK(zs_pool_for_each(pool, count, &visited, &skipped) == ZS_OK);
    CHECK(visited == 0 && skipped == 0);
    CHECK(zs_pool_for_each(pool, count, &visited, NULL) == ZS_OK);
    CHECK(visited == 2); /* it said that this is enough */
    CHECK(zs_pool_destroy(pool) == ZS_BUSY); /* with live objects */
    CHECK(zs_pool_clear(pool) == ZS_OK);
    handle_answers_stale(pool, handles[0]);
}

int main(void)
{
    zs_arena *arena = new_arena(8 << 20);
    zs_pool_t *pool = new_pool(arena);
    null_and_wild_pointers(arena, pool);
    null_arguments(arena, pool);
    options_out_of_bounds(arena);
    sizes_and_buffers(pool);
    handles_that_name_nothing(arena, pool);
    views(pool);
    views_ended_by_two(pool);
    every_object_is_visited(pool);
    CHECK(zs_arena_destroy(arena) == ZS_BUSY); /* with a pool */
    CHECK(zs_pool_validate(pool) == ZS_OK);
    CHECK(zs_pool_destroy(pool) == ZS_OK);
    pool_answers(pool, ZS_GONE); /* use after destruction */
    CHECK(zs_arena_destroy(arena) == ZS_OK);
    arena_answers(arena, ZS_GONE);
    printf("bad_input: %lu checks passed\n", checks);
    return EXIT_SUCCESS;
}
