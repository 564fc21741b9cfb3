//! A proof's nodes, followed from a root to what stands under a key, or to where it would stand (Yellow Paper, appendices C and D). Pure.

use alloy::primitives::{B256, Bytes};
use alloy::rlp::{EMPTY_STRING_CODE, Header, PayloadView};
use alloy_trie::EMPTY_ROOT_HASH;

use crate::verify::keccak;

/// Why nodes prove nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The first is not the root's.
    Begin,
    /// One is not what the one above it names, or is too much, or they end too early.
    Chain,
    /// One is none of a trie.
    Node,
}

/// How many half bytes a key has.
const HALVES: usize = 64;
/// A path has no more nodes, each of which may stand in the one above it and be repeated; and none has more bytes: a branch has 532, a leaf with an account 150.
const MOST_NODES: usize = 2 * (HALVES + 1);
const LARGEST_NODE: usize = 1_024;

/// Are there more, or larger ones, than any path has?
pub(crate) fn is_no_path(nodes: &[Bytes]) -> bool {
    nodes.len() > MOST_NODES || nodes.iter().any(|node| node.len() > LARGEST_NODE)
}

/// What stands under this key in the trie of this root; `None` where nothing does. Each of the nodes must be needed, and they must come in order,
/// from the root.
pub(crate) fn value(root: B256, key: B256, nodes: &[Bytes]) -> Result<Option<&[u8]>, Broken> {
    let is_empty = nodes.iter().all(|node| node[..] == [EMPTY_STRING_CODE]) && nodes.len() < 2;
    if is_empty {
        return if root == EMPTY_ROOT_HASH { Ok(None) } else { Err(Broken::Begin) };
    }
    if is_no_path(nodes) {
        return Err(Broken::Node);
    }
    let nodes: Vec<&[u8]> = nodes.iter().map(|node| &node[..]).collect();
    let hashes = keccak::of_each(&nodes);
    if hashes[0] != root {
        return Err(Broken::Begin);
    }
    let (mut node, mut used, mut depth) = (nodes[0], 1, 0);
    let value = loop {
        let mut behind = node;
        let items = match Header::decode_raw(&mut behind) {
            Ok(PayloadView::List(items)) if behind.is_empty() => items,
            _ => return Err(Broken::Node),
        };
        let child = match items[..] {
            [_, _, ..] if items.len() == 17 && depth < HALVES => {
                depth += 1;
                items[usize::from(half(&key, depth - 1))]
            }
            [part, child] => {
                let (halves, is_leaf) = part_of_path(part).ok_or(Broken::Node)?;
                let from = depth;
                depth += halves.clone().count();
                if depth > HALVES || is_leaf != (depth == HALVES) {
                    return Err(Broken::Node);
                }
                if !halves.eq((from..depth).map(|place| half(&key, place))) {
                    break None;
                }
                if is_leaf {
                    break Some(Header::decode_bytes(&mut &*child, false).map_err(|_| Broken::Node)?);
                }
                child
            }
            _ => return Err(Broken::Node),
        };
        // It names the next by its hash, or is the next where that is shorter.
        match child {
            [EMPTY_STRING_CODE] => break None,
            [0xa0, hash @ ..] => {
                if hashes.get(used).is_none_or(|next| next != hash) {
                    return Err(Broken::Chain);
                }
                node = nodes[used];
                used += 1;
            }
            // Reth and test nodes repeat it.
            short => {
                used += usize::from(nodes.get(used) == Some(&short));
                node = short;
            }
        }
    };
    if used == nodes.len() { Ok(value) } else { Err(Broken::Chain) }
}

/// A key's half byte.
fn half(key: &B256, place: usize) -> u8 {
    key[place / 2] >> (4 * (1 - place % 2)) & 15
}

/// The half bytes of a part of a path, and whether it ends with them.
fn part_of_path(item: &[u8]) -> Option<(impl Iterator<Item = u8> + Clone, bool)> {
    let bytes = Header::decode_bytes(&mut &*item, false).ok()?;
    let (first, is_odd) = (*bytes.first()?, bytes.first()? & 0x10 != 0);
    let is_right = first & 0xc0 == 0 && (is_odd || first & 15 == 0);
    let halves = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).skip(if is_odd { 1 } else { 2 });
    is_right.then_some((halves, first & 0x20 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::tests::trie;
    use alloy::primitives::{U256, keccak256};
    use alloy_trie::Nibbles;
    use alloy_trie::proof::verify_proof;

    /// Keys that begin alike, so that there are extensions; short values, so that there are nodes within nodes.
    fn key(number: u64) -> B256 {
        let hash = keccak256(number.to_be_bytes());
        let mut key = B256::ZERO;
        let same = usize::try_from(number % 4).unwrap() * 8;
        key[same..].copy_from_slice(&hash[same..]);
        key
    }

    #[test]
    fn it_finds_what_the_library_finds() {
        for count in [0, 1, 2, 3, 17, 200, 2_000] {
            for length in [1, 3, 70] {
                let leaf = |number: u64| (key(number), vec![u8::try_from(number % 100).unwrap() + 1; length]);
                for wanted in (0..count.min(40)).chain([count, count + 1, count + 7]) {
                    let (root, nodes) = trie((0..count).map(leaf), key(wanted));
                    let expected = (wanted < count).then(|| leaf(wanted).1);
                    assert_eq!(value(root, key(wanted), &nodes), Ok(expected.as_deref()), "{wanted} of {count}");
                    let long: Vec<_> = nodes.iter().filter(|node| node.len() >= 32).cloned().collect();
                    assert_eq!(value(root, key(wanted), &long), Ok(expected.as_deref()), "{wanted} of {count}");
                    if !long.is_empty() {
                        verify_proof(root, Nibbles::unpack(key(wanted)), expected, &long).unwrap();
                    }
                }
            }
        }
    }

    /// Keys that differ only at their ends: what they stand for is within the nodes above.
    #[test]
    fn nodes_within_nodes_are_followed() {
        let key = |number: u64| B256::from(U256::from(number));
        for count in [2, 3, 16, 17, 300] {
            for wanted in 0..count + 20 {
                let (root, nodes) = trie((0..count).map(|number| (key(number), vec![7])), key(wanted));
                let expected = (wanted < count).then_some(&[7][..]);
                assert_eq!(value(root, key(wanted), &nodes), Ok(expected), "{wanted} of {count}");
            }
        }
    }

    #[test]
    fn what_is_altered_proves_nothing() {
        let leaf = |number: u64| (key(number), vec![9; 40]);
        for wanted in [3, 500] {
            let (root, honest) = trie((0..200).map(leaf), key(wanted));
            for place in 0..honest.len() {
                for byte in 0..honest[place].len() {
                    let mut nodes = honest.clone();
                    let mut bytes = nodes[place].to_vec();
                    bytes[byte] ^= 0x10;
                    nodes[place] = bytes.into();
                    assert!(value(root, key(wanted), &nodes).is_err(), "byte {byte} of node {place}");
                }
                let without = [&honest[..place], &honest[place + 1..]].concat();
                assert!(value(root, key(wanted), &without).is_err(), "without node {place}");
                let twice = [&honest[..=place], &honest[place..]].concat();
                assert_eq!(value(root, key(wanted), &twice), Err(Broken::Chain), "node {place} twice");
            }
            assert_eq!(value(B256::repeat_byte(1), key(wanted), &honest), Err(Broken::Begin));
            assert_eq!(value(root, key(wanted), &[]), Err(Broken::Begin));
            assert_eq!(value(EMPTY_ROOT_HASH, key(wanted), &honest), Err(Broken::Begin));
        }
        assert_eq!(value(EMPTY_ROOT_HASH, key(1), &[]), Ok(None));
        assert_eq!(value(EMPTY_ROOT_HASH, key(1), &[vec![EMPTY_STRING_CODE].into()]), Ok(None));
    }

    /// Whoever may choose the root as well can make no node that is read beyond its end.
    #[test]
    fn nodes_that_are_none_are_refused() {
        let item = |bytes: &[u8]| alloy::rlp::encode(bytes);
        let list = |items: &[Vec<u8>]| {
            let mut node = Vec::new();
            Header { list: true, payload_length: items.iter().map(Vec::len).sum() }.encode(&mut node);
            items.iter().for_each(|item| node.extend_from_slice(item));
            node
        };
        let path = |first: u8, count: usize| item(&[&[first][..], &vec![0; count]].concat());
        let deep = (0..200).fold(item(&[]), |child, _| list(&[path(0, 1), child]));
        let odd = [
            vec![],
            item(b"a text"),
            list(&[]),
            list(&[item(&[]), item(&[])]),
            list(&[path(0x20, 31), item(&[1])]),
            list(&[path(0x20, 33), item(&[1])]),
            list(&[path(0x60, 32), item(&[1])]),
            list(&[path(0x21, 32), item(&[1])]),
            list(&[path(0x00, 32), item(&[1])]),
            list(&[path(0x20, 32), list(&[])]),
            list(&[path(0x00, 1), item(b"abc")]),
            list(&vec![item(&[]); 16]),
            list(&vec![item(&[]); 18]),
            list(&vec![vec![0xc0]; 17]),
            deep,
            vec![0xf8, 0xff, 1],
            [list(&[path(0x20, 32), item(&[1])]), vec![0]].concat(),
        ];
        for node in odd {
            let root = keccak256(&node);
            assert_eq!(value(root, B256::ZERO, &[node.clone().into()]), Err(Broken::Node), "{node:02x?}");
        }
        let good = list(&[path(0x20, 32), item(&[1])]);
        assert_eq!(value(keccak256(&good), B256::ZERO, &[good.into()]), Ok(Some(&[1][..])));
    }
}
