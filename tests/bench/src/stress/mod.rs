//! Classic workloads that strain a C allocator, written anew.
//!
//! Each keeps the idea of its model: who allocates, who frees, how large, how long. All of them do
//! a fixed amount of work, and return a number that shows that they did it.

mod caches;
mod exchanges;
mod memory;
mod mixes;
mod threads;

/// A workload, which does the given part of its work: 1 for all, 100 for a hundredth.
pub type Workload = fn(divide: usize) -> usize;

/// All workloads by name.
pub const WORKLOADS: [(&str, Workload); 12] = [
    ("larson", exchanges::larson),
    ("mstress", exchanges::mstress),
    ("xmalloc", exchanges::xmalloc),
    ("cache-scratch", caches::scratch),
    ("cache-thrash", caches::thrash),
    ("sh6", mixes::sh6),
    ("sh8", mixes::sh8),
    ("alloc-test", mixes::alloc_test),
    ("malloc-large", mixes::large),
    ("thread-churn", threads::churn),
    ("threads-64", threads::many::<64>),
    ("threads-256", threads::many::<256>),
];

#[cfg(test)]
mod tests {
    use super::WORKLOADS;

    #[test]
    fn every_workload_ends_and_does_the_same_again() {
        for (name, workload) in WORKLOADS {
            let done = workload(100);
            assert!(done > 0, "{name}");
            assert_eq!(done, workload(100), "{name}");
        }
    }
}
