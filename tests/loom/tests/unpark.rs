//! Unparking: the owner frees a block of its parked slab itself, against a remote free.
//!
//! Bounds: one parked slab, one remote free, one unpark beside it.
#![cfg(genesis_loom)]

use std::sync::Arc;

use genesis_mem_core::remote::RemoteList;
use genesis_mem_loom::Slab;
use loom::thread;

/// `heeds`: whether the owner heeds the answer of `unpark`; the broken twin does not.
fn model(heeds: bool) {
    loom::model(move || {
        let shared = Arc::new((Slab::<1>::new(), RemoteList::new()));
        let (slab, returned) = &*shared;
        assert!(slab.remote.park(), "nothing was freed yet");
        let thread = thread::spawn({
            let shared = shared.clone();
            move || {
                let (slab, returned) = &*shared;
                let was_parked = slab.push(0);
                if was_parked {
                    slab.hand_back(returned);
                }
                was_parked
            }
        });
        let unparked = slab.remote.unpark();
        let mut returns = 0;
        if unparked || !heeds {
            slab.reuse_link();
        } else {
            returns += u32::from(slab.take_back(returned));
        }
        let handed_back = thread.join().unwrap();
        returns += u32::from(slab.take_back(returned));
        assert!(unparked != handed_back, "exactly one brings the slab back");
        assert_eq!(returns, u32::from(handed_back), "it is handed back once or not at all");
        assert_eq!(slab.drain(), [0], "the block comes home");
    });
}

#[test]
fn one_of_both_brings_the_slab_back() {
    model(true);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_owner_that_was_too_late_is_caught() {
    model(false);
}
