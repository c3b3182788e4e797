/* Arenas and pools for test programs, made or the program ends. */
#ifndef POOLS_H
#define POOLS_H

#include <zsmalloc.h>

#include <stdint.h>
#include <string.h>

#include "check.h"

static zs_arena *new_arena(uint64_t limit)
{
    zs_arena_options options;
    zs_arena *arena = NULL;
    memset(&options, 0, sizeof options);
    options.limit = limit;
    CHECK(zs_arena_create(&options, sizeof options, &arena) == ZS_OK);
    return arena;
}

static zs_pool_t *new_pool(zs_arena *arena)
{
    zs_pool_t *pool = NULL;
    CHECK(zs_pool_create(arena, NULL, 0, &pool) == ZS_OK);
    return pool;
}

#endif
