/* The kernel's names: each function's results, the right ones and the wrong ones. */
#include <zsmalloc_kernel.h>

#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "check.h"

/* `errno` that the statement leaves, 0 for none. */
#define ERRNO_OF(statement) (errno = 0, (statement), errno)

static void sizes(struct zs_pool *pool)
{
    size_t huge = zs_huge_class_size(pool);
    CHECK(huge > 2048 && huge < 4096);
    for (unsigned int size = 1; size < 4096; size++) {
        unsigned int class_of = zs_lookup_class_index(pool, size);
        CHECK(class_of <= zs_lookup_class_index(pool, size + 1));
    }
    CHECK(zs_lookup_class_index(pool, 1) == 0 && zs_lookup_class_index(pool, 4096) == 127);
    CHECK(ERRNO_OF(CHECK(zs_lookup_class_index(pool, 0) == UINT_MAX)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_lookup_class_index(pool, 4097) == UINT_MAX)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_malloc(pool, 0, GFP_KERNEL, NUMA_NO_NODE) == 0)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_malloc(pool, 4097, GFP_KERNEL, NUMA_NO_NODE) == 0)) == ENOSPC);
}

static void read_and_write(struct zs_pool *pool)
{
    unsigned char bytes[3000], copy[3000];
    unsigned long handles[3];
    int spanning = 0;
    for (int at = 0; at < 3; at++) {
        memset(bytes, at + 1, sizeof bytes);
        handles[at] = zs_malloc(pool, sizeof bytes, GFP_KERNEL, NUMA_NO_NODE);
        CHECK(handles[at] != 0);
        CHECK(ERRNO_OF(zs_obj_write(pool, handles[at], bytes, sizeof bytes)) == 0);
    }
    for (int at = 0; at < 3; at++) {
        unsigned char *seen =
            (unsigned char *)zs_obj_read_begin(pool, handles[at], sizeof copy, copy);
        CHECK(seen != NULL && seen[0] == at + 1 && seen[2999] == at + 1);
        CHECK(ERRNO_OF(zs_obj_write(pool, handles[at], bytes, 1)) == EBUSY);
        CHECK(ERRNO_OF(CHECK(zs_map_object(pool, handles[at], ZS_MM_RW) == NULL)) == EBUSY);
        if (seen == copy) {
            spanning = 1;
            CHECK(ERRNO_OF(zs_obj_read_begin(pool, handles[at], sizeof copy, NULL)) == EINVAL);
        }
        CHECK(ERRNO_OF(zs_obj_read_end(pool, handles[at], 1, seen)) == EINVAL);
        CHECK(ERRNO_OF(zs_obj_read_end(pool, handles[at], sizeof copy, bytes)) == EINVAL);
        CHECK(ERRNO_OF(zs_obj_read_end(pool, handles[at], sizeof copy, seen)) == 0);
        CHECK(ERRNO_OF(zs_obj_read_end(pool, handles[at], sizeof copy, seen)) == EINVAL);
    }
    CHECK(spanning);
    CHECK(ERRNO_OF(zs_obj_write(pool, handles[0], bytes, 3001)) == EINVAL);
    CHECK(ERRNO_OF(zs_obj_write(pool, handles[0], NULL, 1)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_obj_read_begin(pool, handles[0], 3001, copy) == NULL)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_obj_read_begin(pool, handles[0], 0, copy) == NULL)) == EINVAL);
    for (int at = 0; at < 3; at++)
        CHECK(ERRNO_OF(zs_free(pool, handles[at])) == 0);
    CHECK(ERRNO_OF(zs_free(pool, handles[0])) == EINVAL);
    CHECK(ERRNO_OF(zs_free(pool, 0)) == 0);
}

static void maps(struct zs_pool *pool)
{
    unsigned long one = zs_malloc(pool, 2500, GFP_KERNEL, NUMA_NO_NODE);
    unsigned long two = zs_malloc(pool, 2500, GFP_KERNEL, NUMA_NO_NODE);
    CHECK(ERRNO_OF(zs_unmap_object(pool, one)) == EINVAL); /* without a map */
    char *first = (char *)zs_map_object(pool, one, ZS_MM_RW);
    char *second = (char *)zs_map_object(pool, two, ZS_MM_WO); /* nested */
    CHECK(first != NULL && second != NULL && first != second);
    CHECK(first[0] == 0 && second[2499] == 0);
    memset(first, 1, 2500);
    memset(second, 2, 1000);
    CHECK(ERRNO_OF(CHECK(zs_map_object(pool, one, ZS_MM_RO) == NULL)) == EBUSY);
    CHECK(ERRNO_OF(zs_free(pool, one)) == EBUSY);
    CHECK(ERRNO_OF(zs_destroy_pool(pool)) == EBUSY);
    CHECK(ERRNO_OF(zs_unmap_object(pool, one)) == 0);
    CHECK(ERRNO_OF(zs_unmap_object(pool, two)) == 0);
    CHECK(ERRNO_OF(zs_unmap_object(pool, two)) == EINVAL);
    first = (char *)zs_map_object(pool, one, ZS_MM_RO);
    CHECK(first != NULL && first == zs_map_object(pool, one, ZS_MM_RO));
    second = (char *)zs_map_object(pool, two, ZS_MM_RO);
    CHECK(first[2499] == 1 && second[999] == 2 && second[1000] == 0);
    CHECK(ERRNO_OF(zs_unmap_object(pool, one)) == 0);
    CHECK(ERRNO_OF(zs_unmap_object(pool, one)) == 0);
    CHECK(ERRNO_OF(zs_unmap_object(pool, two)) == 0);
    CHECK(ERRNO_OF(CHECK(zs_map_object(pool, one, (enum zs_mapmode)3) == NULL)) == EINVAL);
    zs_free(pool, one);
    zs_free(pool, two);
    CHECK(ERRNO_OF(CHECK(zs_map_object(pool, one, ZS_MM_RO) == NULL)) == EINVAL);
}

/* Several maps of one object that lies in two page frames are copies, and the latest ends first. */
static void maps_of_one_object(struct zs_pool *pool)
{
    unsigned long handles[3];
    char *first = NULL, *second = NULL;
    for (int at = 0; at < 3; at++) {
        handles[at] = zs_malloc(pool, 3000, GFP_KERNEL, NUMA_NO_NODE);
        char *bytes = (char *)zs_map_object(pool, handles[at], ZS_MM_WO);
        CHECK(bytes != NULL);
        memset(bytes, at + 1, 3000);
        zs_unmap_object(pool, handles[at]);
    }
    int spanning = -1;
    for (int at = 0; at < 3 && spanning < 0; at++) {
        first = (char *)zs_map_object(pool, handles[at], ZS_MM_RO);
        second = (char *)zs_map_object(pool, handles[at], ZS_MM_RO);
        CHECK(first != NULL && second != NULL);
        if (first != second) {
            spanning = at;
            zs_unmap_object(pool, handles[at]); /* the second */
        } else {
            zs_unmap_object(pool, handles[at]);
            zs_unmap_object(pool, handles[at]);
        }
    }
    CHECK(spanning >= 0);
    /* The buffer of the second is used again, that of the first is not. */
    int other = (spanning + 1) % 3;
    CHECK(zs_map_object(pool, handles[other], ZS_MM_RW) == second);
    CHECK(first[0] == spanning + 1 && first[2999] == spanning + 1);
    zs_unmap_object(pool, handles[other]);
    zs_unmap_object(pool, handles[spanning]);
    for (int at = 0; at < 3; at++)
        CHECK(ERRNO_OF(zs_free(pool, handles[at])) == 0);
}

struct left_open {
    struct zs_pool *pool;
    unsigned long handle;
};

static void *leave_open(void *argument)
{
    struct left_open *left = (struct left_open *)argument;
    CHECK(ERRNO_OF(zs_unmap_object(left->pool, left->handle)) == EINVAL); /* another thread's */
    memset(zs_map_object(left->pool, left->handle, ZS_MM_RW), 9, 100);
    return NULL;
}

/* A thread that ends has nothing mapped any more; what it wrote is there. */
static void a_thread_ends(struct zs_pool *pool)
{
    struct left_open left;
    pthread_t thread;
    char byte;
    size_t len;
    left.pool = pool;
    left.handle = zs_malloc(pool, 100, GFP_KERNEL, NUMA_NO_NODE);
    CHECK(pthread_create(&thread, NULL, leave_open, &left) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(zs_pool_read(pool, left.handle, &byte, 1, &len) == ZS_BUFFER_TOO_SMALL && len == 100);
    char *seen = (char *)zs_map_object(pool, left.handle, ZS_MM_RO);
    CHECK(seen != NULL && seen[99] == 9);
    zs_unmap_object(pool, left.handle);
    zs_free(pool, left.handle);
}

static void compaction(struct zs_pool *pool)
{
    enum { OBJECTS = 3000 };
    static unsigned long handles[OBJECTS];
    struct zs_pool_stats stats;
    for (int at = 0; at < OBJECTS; at++) {
        handles[at] = zs_malloc(pool, 500, GFP_KERNEL, NUMA_NO_NODE);
        CHECK(ERRNO_OF(zs_obj_write(pool, handles[at], &at, sizeof at)) == 0);
    }
    for (int at = 0; at < OBJECTS; at++)
        if (at % 3 != 0)
            zs_free(pool, handles[at]);
    unsigned long before = zs_get_total_pages(pool);
    CHECK(zs_get_total_size_bytes(pool) == 4096 * (uint64_t)before);
    unsigned long freed = zs_compact(pool);
    CHECK(freed > 0 && zs_get_total_pages(pool) == before - freed);
    CHECK(zs_compact(pool) == 0);
    CHECK(ERRNO_OF(zs_pool_stats(pool, &stats)) == 0 && stats.pages_compacted == freed);
    /* What a shrink compacts counts, too. */
    for (int at = 0; at < OBJECTS; at += 6) {
        zs_free(pool, handles[at]);
        handles[at] = 0;
    }
    CHECK(zs_pool_trim(pool, NULL) == ZS_OK);
    before = zs_get_total_pages(pool);
    CHECK(zs_pool_shrink(pool, UINT64_MAX, NULL) == ZS_OK);
    freed += before - zs_get_total_pages(pool);
    CHECK(zs_get_total_pages(pool) < before);
    CHECK(ERRNO_OF(zs_pool_stats(pool, &stats)) == 0 && stats.pages_compacted == freed);
    /* And what a maintenance compacts. */
    for (int at = 3; at < OBJECTS; at += 12) {
        zs_free(pool, handles[at]);
        handles[at] = 0;
    }
    CHECK(zs_pool_trim(pool, NULL) == ZS_OK);
    before = zs_get_total_pages(pool);
    zs_maintain_report done;
    CHECK(zs_pool_maintain(pool, ZS_UNLIMITED, &done, sizeof done) == ZS_OK);
    CHECK(done.size == sizeof done && done.end == ZS_MAINTAIN_DONE);
    CHECK(done.frames_freed > 0 && done.frames_freed == before - zs_get_total_pages(pool));
    CHECK(done.objects_moved > 0 && done.bytes_moved >= done.objects_moved);
    freed += done.frames_freed;
    CHECK(ERRNO_OF(zs_pool_stats(pool, &stats)) == 0 && stats.pages_compacted == freed);
    for (int at = 9; at < OBJECTS; at += 12) {
        int seen;
        void *bytes = zs_obj_read_begin(pool, handles[at], sizeof seen, &seen);
        CHECK(bytes != NULL && memcmp(bytes, &at, sizeof at) == 0);
        zs_obj_read_end(pool, handles[at], sizeof seen, bytes);
        zs_free(pool, handles[at]);
    }
}

static void not_a_pool(struct zs_pool *pool)
{
    char byte = 1;
    struct zs_pool_stats stats;
    CHECK(ERRNO_OF(zs_destroy_pool(pool)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_malloc(pool, 1, GFP_KERNEL, NUMA_NO_NODE) == 0)) == EINVAL);
    CHECK(ERRNO_OF(zs_free(pool, 1)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_obj_read_begin(pool, 1, 1, &byte) == NULL)) == EINVAL);
    CHECK(ERRNO_OF(zs_obj_read_end(pool, 1, 1, &byte)) == EINVAL);
    CHECK(ERRNO_OF(zs_obj_write(pool, 1, &byte, 1)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_map_object(pool, 1, ZS_MM_RO) == NULL)) == EINVAL);
    CHECK(ERRNO_OF(zs_unmap_object(pool, 1)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_compact(pool) == 0)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_get_total_pages(pool) == 0)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_get_total_size_bytes(pool) == 0)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_huge_class_size(pool) == 0)) == EINVAL);
    CHECK(ERRNO_OF(CHECK(zs_lookup_class_index(pool, 1) == UINT_MAX)) == EINVAL);
    CHECK(ERRNO_OF(zs_pool_stats(pool, &stats)) == EINVAL);
}

int main(void)
{
    struct zs_pool *pool = zs_create_pool("kernel \xff names that are longer than 31 bytes");
    CHECK(pool != NULL);
    sizes(pool);
    read_and_write(pool);
    maps(pool);
    maps_of_one_object(pool);
    a_thread_ends(pool);
    compaction(pool);
    CHECK(ERRNO_OF(zs_pool_stats(pool, NULL)) == EINVAL);
    CHECK(zs_get_total_pages(pool) < 200); /* one kept back for each class at most */
    CHECK(ERRNO_OF(zs_destroy_pool(pool)) == 0);
    not_a_pool(pool); /* any more */
    not_a_pool(NULL);
    pool = zs_create_pool(NULL);
    CHECK(pool != NULL && ERRNO_OF(zs_destroy_pool(pool)) == 0);
    printf("kernel_names: %lu checks passed\n", checks);
    return EXIT_SUCCESS;
}
