//! The root of a trie that holds a list, each item under its number: what a header has of its transactions and receipts (Yellow Paper, 4.3.2 and
//! appendix D). From the leaves up, so that all nodes of one depth are hashed side by side.

use alloy::primitives::B256;
use alloy::rlp::{Encodable, Header};
use alloy_trie::EMPTY_ROOT_HASH;
use arrayvec::ArrayVec;

use crate::verify::keccak;

/// The root of a trie of these, each under its number as RLP.
pub(crate) fn root_of(items: &[&[u8]]) -> B256 {
    if items.is_empty() {
        return EMPTY_ROOT_HASH;
    }
    let mut tree = Tree { keys: sorted_keys(items.len()), nodes: Vec::with_capacity(2 * items.len()) };
    tree.add(0, tree.keys.len(), 0);
    tree.root(items)
}

/// What a number is found under: its RLP, by half bytes.
struct Key {
    number: usize,
    path: ArrayVec<u8, 18>,
}

/// By path. That of 0 is 0x80, of 1 to 127 the number, of others its length and the number.
fn sorted_keys(count: usize) -> Vec<Key> {
    let numbers = (1..count.min(128)).chain([0]).chain(128..count);
    let key = |number: usize| {
        let path = alloy::rlp::encode_fixed_size(&number).iter().flat_map(|byte| [byte >> 4, byte & 15]).collect();
        Key { number, path }
    };
    numbers.map(key).collect()
}

struct Tree {
    keys: Vec<Key>,
    nodes: Vec<Node>,
}

/// A node, and at how many half bytes from the root it is.
struct Node {
    depth: usize,
    kind: Kind,
}

/// By what the node above names one: its hash as RLP, or itself where it is shorter.
type Name = ArrayVec<u8, 33>;

enum Kind {
    /// The end of this key's path, from the depth on.
    Leaf(usize),
    /// This part of this key's path, and the node behind it.
    Extension(usize, std::ops::Range<usize>, usize),
    /// By the next half byte. No key is the beginning of another one, and so no branch has a value.
    Branch(Box<[Option<usize>; 16]>),
}

impl Tree {
    /// Adds the nodes for these keys, which are the same above this depth; gives the place of the uppermost.
    fn add(&mut self, from: usize, to: usize, depth: usize) -> usize {
        let (first, last) = (&self.keys[from].path, &self.keys[to - 1].path);
        let kind = if to - from == 1 {
            Kind::Leaf(from)
        } else {
            let same = first[depth..].iter().zip(&last[depth..]).take_while(|(one, other)| one == other).count();
            if same > 0 {
                Kind::Extension(from, depth..depth + same, self.add(from, to, depth + same))
            } else {
                let (mut children, mut begin) = ([None; 16], from);
                while begin < to {
                    let half = self.keys[begin].path[depth];
                    let count = self.keys[begin..to].partition_point(|key| key.path[depth] == half);
                    children[usize::from(half)] = Some(self.add(begin, begin + count, depth + 1));
                    begin += count;
                }
                Kind::Branch(Box::new(children))
            }
        };
        self.nodes.push(Node { depth, kind });
        self.nodes.len() - 1
    }

    fn root(&self, items: &[&[u8]]) -> B256 {
        let mut by_depth: Vec<Vec<usize>> = Vec::new();
        for (place, node) in self.nodes.iter().enumerate() {
            if by_depth.len() <= node.depth {
                by_depth.resize_with(node.depth + 1, Vec::new);
            }
            by_depth[node.depth].push(place);
        }
        let mut names: Vec<Name> = vec![Name::new(); self.nodes.len()];
        let about = items.iter().map(|item| item.len() + 16).sum();
        let (mut bytes, mut ends) = (Vec::with_capacity(about), Vec::with_capacity(items.len() + 1));
        for places in by_depth.iter().rev() {
            bytes.clear();
            ends.clear();
            ends.push(0);
            for place in places {
                self.encode(&self.nodes[*place], items, &names, &mut bytes);
                ends.push(bytes.len());
            }
            let encoded: Vec<&[u8]> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
            let hashes = keccak::of_each(&encoded);
            for ((place, encoded), hash) in places.iter().zip(encoded).zip(hashes) {
                if self.nodes[*place].depth == 0 {
                    return hash;
                }
                names[*place] = match encoded.len() {
                    ..32 => encoded.iter().copied().collect(),
                    _ => alloy::rlp::encode_fixed_size(&hash),
                };
            }
        }
        EMPTY_ROOT_HASH
    }

    fn encode(&self, node: &Node, items: &[&[u8]], names: &[Name], bytes: &mut Vec<u8>) {
        let list = |payload_length: usize, bytes: &mut Vec<u8>| Header { list: true, payload_length }.encode(bytes);
        match &node.kind {
            Kind::Leaf(key) => {
                let Key { number, path } = &self.keys[*key];
                let (path, item) = (compact(&path[node.depth..], true), items[*number]);
                list(path[..].length() + item.length(), bytes);
                path[..].encode(bytes);
                item.encode(bytes);
            }
            Kind::Extension(key, part, child) => {
                let path = compact(&self.keys[*key].path[part.clone()], false);
                list(path[..].length() + names[*child].len(), bytes);
                path[..].encode(bytes);
                bytes.extend_from_slice(&names[*child]);
            }
            Kind::Branch(children) => {
                let name = |child: &Option<usize>| child.map_or(&[0x80][..], |child| &names[child]);
                list(children.iter().map(|child| name(child).len()).sum::<usize>() + 1, bytes);
                children.iter().for_each(|child| bytes.extend_from_slice(name(child)));
                bytes.push(0x80);
            }
        }
    }
}

/// Half bytes as bytes, of which the first says whether their count is odd, and whether the path ends with them (appendix C).
fn compact(path: &[u8], ends: bool) -> ArrayVec<u8, 10> {
    let (first, pairs) = match path.len() % 2 {
        0 => (0, path),
        _ => (0x10 | path[0], &path[1..]),
    };
    let pairs = pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1]);
    std::iter::once(first | if ends { 0x20 } else { 0 }).chain(pairs).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::consensus::proofs::ordered_trie_root_with_encoder;

    #[test]
    fn the_root_is_the_librarys_whatever_the_list() {
        for count in (0..300).chain([4_095, 4_096, 65_600]) {
            for longest in [1, 2, 40, 300] {
                let item = |number: usize| vec![u8::try_from(number % 251).unwrap(); 1 + number * 7 % longest];
                let items: Vec<Vec<u8>> = (0..count).map(item).collect();
                let items: Vec<&[u8]> = items.iter().map(|item| &item[..]).collect();
                let expected = ordered_trie_root_with_encoder(&items, |item, to| to.extend_from_slice(item));
                assert_eq!(root_of(&items), expected, "{count} of up to {longest} bytes");
            }
        }
    }
}
