/* Clusters of blocks; see cuda_runtime_api.h. */
#ifndef ICT_TESTS_EMULATE_COOPERATIVE_GROUPS_H
#define ICT_TESTS_EMULATE_COOPERATIVE_GROUPS_H

#include "cuda_runtime_api.h"

namespace cooperative_groups {
struct Cluster {
    void sync() const {
        emulate_cluster_sync();
    }
    template <typename T> T *map_shared_rank(T *mine, unsigned rank) const {
        return (T *)emulate_remote(mine, rank);
    }
};
static inline Cluster this_cluster() {
    return Cluster();
}
} // namespace cooperative_groups

#endif
