/* The smallest program: a blob goes in, comes out, and is gone.
 *
 *     cc minimal.c $(pkg-config --cflags --libs zsmalloc) && ./a.out */
#include <zsmalloc.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program with the library's own words if a call fails. */
static void must(zs_result result, const char *call)
{
    if (result != ZS_OK) {
        fprintf(stderr, "%s: %s %s\n", call, zs_strerror(result),
                result == ZS_INVALID ? zs_last_error() : "");
        exit(EXIT_FAILURE);
    }
}

int main(void)
{
    zs_arena_options options;
    memset(&options, 0, sizeof options); /* 0 is the default of every field */
    options.limit = 64 << 20;            /* never more than 64 MiB, metadata included */

    zs_arena *arena;
    zs_pool_t *pool;
    must(zs_arena_create(&options, sizeof options, &arena), "zs_arena_create");
    must(zs_pool_create(arena, NULL, 0, &pool), "zs_pool_create");

    const char blob[] = "a compressed page";
    zs_handle handle;
    must(zs_pool_insert(pool, blob, sizeof blob, &handle), "zs_pool_insert");

    char copy[4096];
    size_t len;
    must(zs_pool_read(pool, handle, copy, sizeof copy, &len), "zs_pool_read");
    printf("%zu bytes: %s\n", len, copy);

    must(zs_pool_free(pool, handle), "zs_pool_free");
    printf("freed twice: %s\n", zs_strerror(zs_pool_free(pool, handle)));

    must(zs_pool_destroy(pool), "zs_pool_destroy");
    must(zs_arena_destroy(arena), "zs_arena_destroy");
    return EXIT_SUCCESS;
}
