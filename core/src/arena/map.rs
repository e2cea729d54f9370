//! What the ground of an arena is used for, stretch by stretch.

use super::Arena;
use crate::{
    buddy::Span,
    config::Config,
    descriptor::tag,
    size_class::{HostClasses, SizeClass},
    span_pool::Ground,
};

/// What a stretch of ground is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Use {
    /// Free, and without memory.
    Purged,
    /// Free, and maybe backed by memory.
    Dirty,
    /// A slab, of blocks of so many bytes.
    Slab {
        /// Bytes of a block.
        block_bytes: usize,
    },
    /// One large block.
    Large,
}

/// Ground that is used for one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Where it starts, as a number.
    pub address: usize,
    /// How long it is, bytes.
    pub bytes: usize,
    /// What for.
    pub used_for: Use,
}

/// How many stretches are looked at while the pool's lock is held.
const AT_ONCE: usize = 16;

impl<C: Config> Arena<C> {
    /// Tells `each` what all open ground is used for, from the lowest address on, until it returns
    /// false; whether it has not. Any thread. Stretches are as of the moment when each was looked at.
    pub fn map(&self, mut each: impl FnMut(Stretch) -> bool) -> bool {
        let mut granule = 0;
        loop {
            let mut stretches = [None; AT_ONCE];
            self.with_pool(|pool| {
                for stretch in &mut stretches {
                    let Some((span, ground)) = pool.ground(granule) else { break };
                    granule = span.granule + span.granules;
                    *stretch = Some(self.stretch(span, ground));
                }
            });
            for stretch in stretches {
                match stretch {
                    None => return true,
                    Some(stretch) if !each(stretch) => return false,
                    Some(_) => {}
                }
            }
        }
    }

    /// Under the pool's lock, so that no span changes hands: what its descriptor says is settled
    /// before its tag says that there is something.
    fn stretch(&self, span: Span, ground: Ground) -> Stretch {
        let descriptor = self.descriptor(span.granule);
        let used_for = match ground {
            Ground::Clean => Use::Purged,
            Ground::Dirty => Use::Dirty,
            Ground::Taken => match descriptor.tag_now() {
                // Kept at hand for the next request, or on its way from or to it.
                tag::FREE | tag::TAIL => Use::Dirty,
                tag::LARGE | tag::SAMPLED_LARGE => Use::Large,
                _ => {
                    let class = SizeClass::from_index(descriptor.class());
                    Use::Slab { block_bytes: class.map_or(0, HostClasses::block_bytes) }
                }
            },
        };
        let bytes = span.granules as usize * C::GRANULE_BYTES;
        Stretch { address: self.address_of(span.granule).addr().get(), bytes, used_for }
    }
}
