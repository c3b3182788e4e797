/* The stress protocol of the kernel's zsmalloc (March 2026), by the kernel's names: threads allocate, map and
 * free, 1:1:1, by xorshift32 from seed 12345 (plus the thread's number); at most 1048576 live objects of 32
 * bytes to the largest that shares a page frame. Every byte is compared. Prints the time of an operation, and
 * the utilisation: payload over held.
 *
 *     stress [threads [operations of each [most live objects]]]      default: 24 936034 1048576 */
#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L /* clock_gettime, also under -std=c11 */
#endif

#include <zsmalloc_kernel.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MIN_LEN = 32, SEED = 12345 };

struct object {
    unsigned long handle; /* 0: none */
    uint32_t len;
    uint32_t version;
};

struct worker {
    pthread_t thread;
    struct zs_pool *pool;
    struct object *objects;
    uint32_t number, slots, max_len, state;
    uint64_t operations, failures;
};

static uint32_t draw(struct worker *worker)
{
    uint32_t state = worker->state;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return worker->state = state;
}

/* A number below `bound`; mixed, as the bits of this generator depend on the number before. */
static uint32_t below(struct worker *worker, uint32_t bound)
{
    uint32_t mixed = draw(worker);
    mixed = (mixed ^ mixed >> 16) * 0x85ebca6bu;
    mixed = (mixed ^ mixed >> 13) * 0xc2b2ae35u;
    mixed ^= mixed >> 16;
    return (uint32_t)((uint64_t)mixed * bound >> 32);
}

/* The bytes of an object follow from whose it is and how often it was written. */
static uint64_t tag_of(const struct worker *worker, uint32_t slot, uint32_t version)
{
    return (uint64_t)worker->number << 56 | (uint64_t)slot << 32 | version;
}

static uint64_t word_at(uint64_t tag, uint32_t at)
{
    return tag + (tag * 0x9e3779b97f4a7c15u | 1) * at;
}

static void fill(unsigned char *bytes, uint32_t len, uint64_t tag)
{
    for (uint32_t at = 0; at < len; at += 8) {
        uint64_t word = word_at(tag, at / 8);
        memcpy(bytes + at, &word, len - at < 8 ? len - at : 8);
    }
}

static int right(const unsigned char *bytes, uint32_t len, uint64_t tag)
{
    for (uint32_t at = 0; at < len; at += 8) {
        uint64_t word = word_at(tag, at / 8);
        if (memcmp(bytes + at, &word, len - at < 8 ? len - at : 8) != 0)
            return 0;
    }
    return 1;
}

static void allocate(struct worker *worker, uint32_t slot)
{
    struct object *object = &worker->objects[slot];
    unsigned char bytes[4096];
    object->len = MIN_LEN + below(worker, worker->max_len - MIN_LEN + 1);
    object->handle = zs_malloc(worker->pool, object->len, GFP_KERNEL, NUMA_NO_NODE);
    if (object->handle == 0) {
        worker->failures++;
        return;
    }
    object->version++;
    fill(bytes, object->len, tag_of(worker, slot, object->version));
    errno = 0;
    zs_obj_write(worker->pool, object->handle, bytes, object->len);
    worker->failures += errno != 0;
}

/* Compares, and writes anew every other time. */
static void map(struct worker *worker, uint32_t slot, int rewrite)
{
    struct object *object = &worker->objects[slot];
    uint64_t tag = tag_of(worker, slot, object->version);
    unsigned char *bytes = (unsigned char *)zs_map_object(worker->pool, object->handle,
                                                          rewrite ? ZS_MM_RW : ZS_MM_RO);
    if (bytes == NULL || !right(bytes, object->len, tag)) {
        worker->failures++;
    } else if (rewrite) {
        object->version++;
        fill(bytes, object->len, tag_of(worker, slot, object->version));
    }
    if (bytes != NULL)
        zs_unmap_object(worker->pool, object->handle);
}

static void release(struct worker *worker, uint32_t slot)
{
    errno = 0;
    zs_free(worker->pool, worker->objects[slot].handle);
    worker->failures += errno != 0;
    worker->objects[slot].handle = 0;
}

static void *operate(void *argument)
{
    struct worker *worker = (struct worker *)argument;
    for (uint64_t done = 0; done < worker->operations;) {
        uint32_t slot = below(worker, worker->slots);
        uint32_t kind = below(worker, 3);
        int full = worker->objects[slot].handle != 0;
        if (full != (kind != 0))
            continue;
        if (kind == 0)
            allocate(worker, slot);
        else if (kind == 1)
            map(worker, slot, (int)below(worker, 2));
        else
            release(worker, slot);
        done++;
    }
    return NULL;
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void utilisation(const char *when, zs_arena *arena, struct zs_pool *pool)
{
    zs_arena_info held;
    zs_pool_info info;
    if (zs_arena_get_info(arena, &held, sizeof held) == ZS_OK &&
        zs_pool_get_info(pool, &info, sizeof info) == ZS_OK)
        printf("%s: %llu objects, payload %llu of %llu bytes held: %.1f %% utilisation\n", when,
               (unsigned long long)info.objects, (unsigned long long)info.payload_bytes,
               (unsigned long long)held.held,
               100.0 * (double)info.payload_bytes / (double)held.held);
}

/* Compares and frees what is left; returns what was wrong. */
static uint64_t finish(struct worker *worker)
{
    for (uint32_t slot = 0; slot < worker->slots; slot++) {
        if (worker->objects[slot].handle != 0) {
            map(worker, slot, 0);
            release(worker, slot);
        }
    }
    free(worker->objects);
    return worker->failures;
}

static uint64_t run(zs_arena *arena, struct zs_pool *pool, uint32_t threads, uint64_t operations,
                    uint32_t slots)
{
    struct worker *workers = (struct worker *)calloc(threads, sizeof *workers);
    uint64_t failures = 0;
    if (workers == NULL)
        return 1;
    double start = seconds();
    for (uint32_t number = 0; number < threads; number++) {
        struct worker *worker = &workers[number];
        worker->pool = pool;
        worker->number = number;
        worker->slots = slots;
        worker->max_len = (uint32_t)zs_huge_class_size(pool) - 1;
        worker->state = SEED + number;
        worker->operations = operations;
        worker->objects = (struct object *)calloc(slots, sizeof *worker->objects);
        if (worker->objects == NULL ||
            pthread_create(&worker->thread, NULL, operate, worker) != 0) {
            fprintf(stderr, "no memory or thread\n");
            exit(EXIT_FAILURE);
        }
    }
    for (uint32_t number = 0; number < threads; number++)
        pthread_join(workers[number].thread, NULL);
    double took = seconds() - start;
    printf("%.1f s; an operation with filling and comparing its bytes: %.0f ns\n", took,
           1e9 * took / ((double)threads * (double)operations));
    utilisation("at the end", arena, pool);
    printf("%lu page frames freed by compaction\n", zs_compact(pool));
    zs_pool_trim(pool, NULL);
    utilisation("compacted", arena, pool);
    if (zs_pool_validate(pool) != ZS_OK) {
        fprintf(stderr, "%s\n", zs_last_error());
        failures++;
    }
    for (uint32_t number = 0; number < threads; number++)
        failures += finish(&workers[number]);
    free(workers);
    return failures;
}

int main(int argc, char **argv)
{
    uint64_t threads = argc > 1 ? strtoull(argv[1], NULL, 10) : 24;
    uint64_t operations = argc > 2 ? strtoull(argv[2], NULL, 10) : 936034;
    uint64_t live = argc > 3 ? strtoull(argv[3], NULL, 10) : 1048576;
    if (threads < 1 || threads > 256 || live < threads || live / threads >= 1 << 24 ||
        operations < 1) {
        fprintf(stderr, "usage: %s [threads (1-256) [operations [live objects (a thread: 1 to "
                        "2^24 - 1)]]]\n", argv[0]);
        return EXIT_FAILURE;
    }
    zs_arena_options options;
    memset(&options, 0, sizeof options);
    /* Room for all objects at their largest, twice over. */
    options.limit = 2 * live * 4096 + (256 << 20);
    zs_arena *arena;
    struct zs_pool *pool;
    zs_result result = zs_arena_create(&options, sizeof options, &arena);
    if (result == ZS_OK)
        result = zs_pool_create(arena, NULL, 0, &pool);
    if (result != ZS_OK) {
        fprintf(stderr, "no pool: %s %s\n", zs_strerror(result), zs_last_error());
        return EXIT_FAILURE;
    }
    uint64_t failures = run(arena, pool, (uint32_t)threads, operations, (uint32_t)(live / threads));
    failures += zs_pool_destroy(pool) != ZS_OK;
    failures += zs_arena_destroy(arena) != ZS_OK;
    printf("%llu failures\n", (unsigned long long)failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
