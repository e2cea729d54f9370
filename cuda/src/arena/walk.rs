//! All nodes of an arena, in order of address.

use super::{Arena, Node};
use crate::bins::NONE;

impl Arena {
    /// Calls `visit` with each node and its number, holes included.
    pub(crate) fn for_each_node(&self, mut visit: impl FnMut(u32, &Node)) {
        let mut node = self.first();
        while node != NONE {
            let entry = self.node(node);
            visit(node, entry);
            node = entry.next;
        }
    }
}
