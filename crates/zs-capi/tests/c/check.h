/* What the test programs share: a check that says where it failed. */
#ifndef CHECK_H
#define CHECK_H

#include <stdio.h>
#include <stdlib.h>

static unsigned long checks;

#define CHECK(holds) check((holds), #holds, __FILE__, __LINE__)

static void check(int holds, const char *what, const char *file, int line)
{
    checks++;
    if (!holds) {
        fprintf(stderr, "%s:%d: %s\n", file, line, what);
        exit(EXIT_FAILURE);
    }
}

#endif
