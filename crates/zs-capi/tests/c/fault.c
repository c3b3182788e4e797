/* A program with a fault: it says that a buffer is longer than it is. Under AddressSanitizer and valgrind it must be
 * reported, or their silence about the other programs would mean nothing. */
#include <zsmalloc.h>

#include <string.h>

#include "check.h"

int main(void)
{
    zs_arena_options options;
    zs_arena *arena;
    zs_pool_t *pool;
    zs_handle handle;
    char *ten = (char *)calloc(10, 1);
    memset(&options, 0, sizeof options);
    options.limit = 2 << 20;
    CHECK(zs_arena_create(&options, sizeof options, &arena) == ZS_OK);
    CHECK(zs_pool_create(arena, NULL, 0, &pool) == ZS_OK);
    fprintf(stderr, "fault: about to happen\n");
    CHECK(zs_pool_insert(pool, ten, 20, &handle) == ZS_OK);
    free(ten);
    return EXIT_SUCCESS;
}
