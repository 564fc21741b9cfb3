//! The root that a header commits its transactions to.

use crate::sha256d::{self, RawHash};

/// The root over these leaves; `None` when two nodes side by side are equal. Such a tree has the same root as one with
/// fewer leaves, so that leaves could be repeated unnoticed (CVE-2012-2459); no honest block has it. The root of no leaves
/// at all does not exist.
pub(crate) fn root(leaves: &[RawHash]) -> Option<RawHash> {
    let mut row = leaves.to_vec();
    while row.len() > 1 {
        if row.chunks_exact(2).any(|pair| pair[0] == pair[1]) {
            return None;
        }
        if let (1, Some(last)) = (row.len() % 2, row.last().copied()) {
            row.push(last);
        }
        sha256d::of_pairs(&mut row);
    }
    row.pop()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sha256d::double_sha256;

    #[test]
    fn the_root_is_that_of_the_library() {
        use bitcoin::hashes::Hash as _;
        for count in 1..40_u8 {
            let leaves: Vec<RawHash> = (0..count).map(|n| double_sha256(&[n])).collect();
            let theirs = bitcoin::merkle_tree::calculate_root(
                leaves.iter().map(|leaf| bitcoin::hashes::sha256d::Hash::from_byte_array(*leaf)),
            );
            assert_eq!(root(&leaves), theirs.map(|hash| hash.to_byte_array()));
        }
        assert_eq!(root(&[]), None);
    }

    #[test]
    fn repeated_leaves_are_no_tree() {
        let leaves: Vec<RawHash> = (0..6_u8).map(|n| double_sha256(&[n])).collect();
        let honest = root(&leaves);
        // 5 and 6 once more: the root over eight leaves would be the same.
        assert!(honest.is_some());
        assert_eq!(root(&[&leaves[..], &leaves[4..]].concat()), None);
    }
}
