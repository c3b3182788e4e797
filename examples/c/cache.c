/* A small compressed cache: pages by number, the oldest evicted when the limit is reached, memory given
 * back when the cache is cut.
 *
 * index (page number -> handle, compressed length) -> pool; eviction goes round like the hand of a clock.
 * The codec is run lengths, to keep the example whole: a real cache takes LZ4 or zstd. */
#include <zsmalloc.h>

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE = 4096, PAGES = 4096 };

struct entry {
    zs_handle handle; /* 0: not in the cache */
    unsigned char used; /* asked for since the hand came by */
};

struct cache {
    zs_arena *arena;
    zs_pool_t *pool;
    struct entry entries[PAGES];
    size_t hand;
    size_t live;
    size_t evicted;
};

/* Pairs of (length, byte); 0 if that would not be shorter than the page. */
static size_t compress(const unsigned char *page, unsigned char *out)
{
    size_t len = 0;
    for (size_t at = 0; at < PAGE;) {
        size_t run = 1;
        while (run < 255 && at + run < PAGE && page[at + run] == page[at])
            run++;
        if (len + 2 >= PAGE)
            return 0;
        out[len++] = (unsigned char)run;
        out[len++] = page[at];
        at += run;
    }
    return len;
}

static int decompress(const unsigned char *in, size_t len, unsigned char *page)
{
    size_t at = 0;
    for (size_t next = 0; next + 1 < len; next += 2) {
        if (at + in[next] > PAGE)
            return -1;
        memset(page + at, in[next + 1], in[next]);
        at += in[next];
    }
    return at == PAGE ? 0 : -1;
}

static int cache_open(struct cache *cache, uint64_t limit)
{
    zs_arena_options arena;
    zs_pool_options pool;
    memset(cache, 0, sizeof *cache);
    memset(&arena, 0, sizeof arena);
    memset(&pool, 0, sizeof pool);
    arena.limit = limit;
    pool.name = "cache";
    if (zs_arena_create(&arena, sizeof arena, &cache->arena) != ZS_OK)
        return -1;
    if (zs_pool_create(cache->arena, &pool, sizeof pool, &cache->pool) == ZS_OK)
        return 0;
    zs_arena_destroy(cache->arena);
    return -1;
}

static void cache_drop(struct cache *cache, struct entry *entry)
{
    if (entry->handle != 0 && zs_pool_free(cache->pool, entry->handle) == ZS_OK) {
        entry->handle = 0;
        cache->live--;
    }
}

/* Evicts a page that nobody asked for since the hand last came by; 0 if there is none to evict. */
static int cache_evict(struct cache *cache)
{
    for (size_t step = 0; step < 2 * PAGES; step++) {
        struct entry *entry = &cache->entries[cache->hand];
        cache->hand = (cache->hand + 1) % PAGES;
        if (entry->handle == 0)
            continue;
        if (entry->used) {
            entry->used = 0;
            continue;
        }
        cache_drop(cache, entry);
        cache->evicted++;
        return 1;
    }
    return 0;
}

static int cache_put(struct cache *cache, size_t number, const unsigned char *page)
{
    unsigned char packed[PAGE];
    size_t len = compress(page, packed);
    const void *bytes = len != 0 ? packed : page; /* a page that does not shrink is kept as it is */
    if (len == 0)
        len = PAGE;
    struct entry *entry = &cache->entries[number];
    cache_drop(cache, entry);
    for (;;) {
        zs_result result = zs_pool_insert(cache->pool, bytes, len, &entry->handle);
        if (result == ZS_OK) {
            entry->used = 0;
            cache->live++;
            return 0;
        }
        if (result != ZS_NO_MEMORY || !cache_evict(cache))
            return -1;
    }
}

/* 1: found, 0: not in the cache, -1: broken. */
static int cache_get(struct cache *cache, size_t number, unsigned char *page)
{
    struct entry *entry = &cache->entries[number];
    unsigned char packed[PAGE];
    size_t len;
    if (entry->handle == 0)
        return 0;
    if (zs_pool_read(cache->pool, entry->handle, packed, sizeof packed, &len) != ZS_OK)
        return -1;
    entry->used = 1;
    if (len == PAGE) {
        memcpy(page, packed, PAGE);
        return 1;
    }
    return decompress(packed, len, page) == 0 ? 1 : -1;
}

/* Gives up `pages` pages, and the memory they leave. */
static void cache_cut(struct cache *cache, size_t pages)
{
    while (pages-- > 0 && cache_evict(cache)) {
    }
    zs_pool_compact(cache->pool, ZS_UNLIMITED, ZS_UNLIMITED, NULL, 0);
    zs_pool_trim(cache->pool, NULL);
}

static int cache_close(struct cache *cache)
{
    if (zs_pool_clear(cache->pool) != ZS_OK || zs_pool_destroy(cache->pool) != ZS_OK)
        return -1;
    return zs_arena_destroy(cache->arena) == ZS_OK ? 0 : -1;
}

/* A page that is told by its number: runs of 3 to 34 bytes, and every eighth page does not compress. */
static void make_page(size_t number, unsigned char *page)
{
    uint32_t state = (uint32_t)number * 2654435761u + 1;
    for (size_t at = 0; at < PAGE;) {
        state = state * 1664525u + 1013904223u;
        size_t run = number % 8 == 7 ? 1 : 3 + (state >> 27);
        if (run > PAGE - at)
            run = PAGE - at;
        memset(page + at, (int)(state >> 16), run);
        at += run;
    }
}

static uint64_t held(const struct cache *cache)
{
    zs_arena_info info;
    return zs_arena_get_info(cache->arena, &info, sizeof info) == ZS_OK ? info.held : 0;
}

static size_t compare_all(struct cache *cache, size_t *wrong)
{
    unsigned char page[PAGE], expected[PAGE];
    size_t found = 0;
    for (size_t number = 0; number < PAGES; number++) {
        int got = cache_get(cache, number, page);
        make_page(number, expected);
        if (got < 0 || (got > 0 && memcmp(page, expected, PAGE) != 0))
            ++*wrong;
        found += got > 0;
    }
    return found;
}

int main(void)
{
    static struct cache cache;
    const uint64_t limit = 2 << 20;
    unsigned char page[PAGE];
    size_t wrong = 0;

    if (cache_open(&cache, limit) != 0)
        return EXIT_FAILURE;
    for (size_t number = 0; number < PAGES; number++) {
        make_page(number, page);
        if (cache_put(&cache, number, page) != 0)
            wrong++;
    }
    size_t found = compare_all(&cache, &wrong);
    uint64_t full = held(&cache);
    printf("%d pages put, %zu evicted, %zu found; %llu of %llu bytes held\n", PAGES,
           cache.evicted, found, (unsigned long long)full, (unsigned long long)limit);
    if (found != cache.live || cache.evicted == 0 || full > limit)
        wrong++;

    cache_cut(&cache, cache.live / 2);
    found = compare_all(&cache, &wrong);
    uint64_t cut = held(&cache);
    printf("cut by half: %zu found, %llu bytes held\n", found, (unsigned long long)cut);
    if (found != cache.live || cut > full * 3 / 4)
        wrong++;

    if (cache_close(&cache) != 0)
        wrong++;
    printf("%s\n", wrong == 0 ? "all as it should be" : "something is WRONG");
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
