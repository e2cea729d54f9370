//! Parking: the owner leaves a full slab alone, and the first remote free hands it back.
//!
//! Bounds: two blocks freed by a thread each; the owner takes three steps beside them, and parks
//! again whenever it finds nothing.
#![cfg(genesis_loom)]

use std::sync::Arc;

use genesis_mem_core::remote::RemoteList;
use genesis_mem_loom::Slab;
use loom::thread;

/// The owner's view of its slab.
#[derive(Default)]
struct Owner {
    home: Vec<usize>,
    is_parked: bool,
    parks: u32,
    returns: u32,
}

impl Owner {
    /// A parked slab is looked for among those handed back, any other is drained or parked.
    fn step(&mut self, slab: &Slab<2>, returned: &RemoteList) {
        if self.is_parked {
            self.is_parked = !slab.take_back(returned);
            self.returns += u32::from(!self.is_parked);
        } else {
            self.home.extend(slab.drain());
            if self.home.len() < 2 {
                // Its last use before the slab is parked.
                slab.reuse_link();
                self.is_parked = slab.remote.park();
                self.parks += u32::from(self.is_parked);
            }
        }
    }

    /// The broken twin: a parked slab that has blocks is drained at once, and what is handed back
    /// is dropped, so that only the race on the link can give it away.
    fn step_impatiently(&mut self, slab: &Slab<2>, returned: &RemoteList) {
        let _ = returned.drain();
        if self.is_parked && slab.remote.count() > 0 {
            self.is_parked = false;
            self.returns += 1;
            self.home.extend(slab.drain());
            slab.reuse_link();
        } else if !self.is_parked {
            self.step(slab, returned);
        }
    }
}

fn model(step: fn(&mut Owner, &Slab<2>, &RemoteList)) {
    loom::model(move || {
        let shared = Arc::new((Slab::<2>::new(), RemoteList::new()));
        let threads = [0, 1].map(|index| {
            let shared = shared.clone();
            thread::spawn(move || {
                let (slab, returned) = &*shared;
                if slab.push(index) {
                    slab.hand_back(returned);
                }
            })
        });
        let (slab, returned) = &*shared;
        let mut owner = Owner::default();
        for _ in 0..3 {
            step(&mut owner, slab, returned);
        }
        for thread in threads {
            thread.join().unwrap();
        }
        // At most: taken back, drained.
        for _ in 0..2 {
            step(&mut owner, slab, returned);
        }
        assert!(!owner.is_parked && owner.parks == owner.returns, "each parking ends once");
        assert!(returned.drain().is_empty(), "nothing comes back unasked");
        owner.home.sort_unstable();
        assert_eq!(owner.home, [0, 1], "every block comes home once");
    });
}

#[test]
fn a_parked_slab_comes_back_once() {
    model(Owner::step);
}

#[test]
#[should_panic(expected = "Causality violation")]
fn draining_a_parked_slab_is_caught() {
    model(Owner::step_impatiently);
}
