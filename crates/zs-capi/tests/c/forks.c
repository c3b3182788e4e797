/* Forked children: what they may do with the parent's pools, and what they are refused; nothing hangs. */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* fork, also under -std=c11 */
#endif

#include <zsmalloc.h>

#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "pools.h"

static void unheard(void *context, const zs_pressure *pressure)
{
    (void)context, (void)pressure;
}

/* A child may look and let go; anything else is answered, and nothing hangs. */
static void forked_child(void)
{
    zs_arena_options options;
    zs_arena *arena = NULL, *own = NULL;
    zs_pool_t *pool;
    zs_handle handle;
    zs_view view;
    int status;
    memset(&options, 0, sizeof options);
    options.limit = 4 << 20;
    options.flags = ZS_ARENA_DECAY_THREAD;
    CHECK(zs_arena_create(&options, sizeof options, &arena) == ZS_OK);
    pool = new_pool(arena);
    CHECK(zs_pool_insert(pool, "hello", 6, &handle) == ZS_OK);
    CHECK(zs_view_begin(pool, handle, &view) == ZS_OK);
    fflush(stderr);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char copy[6];
        size_t len;
        zs_pool_info info;
        zs_pool_t *none = NULL;
        CHECK(zs_pool_read(pool, handle, copy, 6, &len) == ZS_OK && strcmp(copy, "hello") == 0);
        CHECK(zs_pool_insert(pool, "bye", 4, &handle) == ZS_FORKED);
        CHECK(zs_pool_replace(pool, handle, "bye", 4) == ZS_FORKED);
        CHECK(zs_pool_write(pool, handle, 0, "bye", 4) == ZS_FORKED);
        CHECK(zs_pool_free(pool, handle) == ZS_FORKED);
        CHECK(zs_pool_clear(pool) == ZS_FORKED);
        CHECK(zs_pool_trim(pool, NULL) == ZS_FORKED);
        CHECK(zs_pool_get_info(pool, &info, sizeof info) == ZS_FORKED);
        CHECK(zs_pool_create(arena, NULL, 0, &none) == ZS_FORKED);
        CHECK(zs_arena_trim(arena, NULL) == ZS_FORKED);
        zs_compact_report report;
        CHECK(zs_pool_compact(pool, 1, 1, &report, sizeof report) == ZS_OK);
        CHECK(report.end == ZS_COMPACT_PAUSED);
        CHECK(zs_pool_destroy(pool) == ZS_OK);
        CHECK(zs_view_end(&view) == ZS_GONE); /* what it looked at is gone */
        CHECK(zs_arena_destroy(arena) == ZS_OK);
        own = new_arena(4 << 20);
        none = new_pool(own);
        CHECK(zs_pool_insert(none, "own", 4, &handle) == ZS_OK);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(zs_view_end(&view) == ZS_OK);
    CHECK(zs_pool_free(pool, handle) == ZS_OK);
    CHECK(zs_pool_destroy(pool) == ZS_OK);
    CHECK(zs_arena_destroy(arena) == ZS_OK);
}

/* A watcher where the kernel has pressure stall information, and a clear answer where it has none. */
static void watchers(void)
{
    zs_watcher *watcher = NULL;
    int status;
    zs_result result = zs_pressure_watch(NULL, 0, unheard, NULL, &watcher);
    if (result != ZS_OK) {
        CHECK(result == ZS_SYSTEM && watcher == NULL &&
              strstr(zs_last_error(), "/proc/pressure/memory") != NULL);
        return;
    }
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK(zs_watcher_stop(watcher) == ZS_OK); /* whose thread is not here: nobody waits for it */
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CHECK(zs_watcher_stop(watcher) == ZS_OK);
    CHECK(zs_watcher_stop(watcher) == ZS_GONE);
}

int main(void)
{
    forked_child();
    watchers();
    printf("forks: %lu checks passed\n", checks);
    return EXIT_SUCCESS;
}
