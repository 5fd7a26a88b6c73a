//! Real nodes in this process, with the parts around them: what can be seen only where a test reaches into a node.

mod differences;
mod own_writes;
mod replica;
