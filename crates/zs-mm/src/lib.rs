//! Page frames: arena, limit, descriptors, pageblocks, zones, frame caches
