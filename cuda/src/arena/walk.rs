//! All nodes of an arena, in order of address.

use super::{Arena, Node};
use crate::bins::NONE;

impl Arena {
    /// Calls `visit` with each node, holes included.
    pub(crate) fn for_each_node(&self, mut visit: impl FnMut(&Node)) {
        let mut node = self.first();
        while node != NONE {
            let entry = self.node(node);
            visit(entry);
            node = entry.next;
        }
    }
}
