//! Which prefixes somebody subscribed to: the publisher's index from prefixes to peers, and the
//! subscriber's own counted set.
//!
//! The publisher's is a radix tree: a look-up walks down the topic once and costs the topic's length at most,
//! whatever peers subscribed to. Nothing recurses, so a prefix of any length is safe.

use std::collections::{HashMap, HashSet};

use foldhash::fast::RandomState;
use slab::Slab;
use smallvec::SmallVec;

/// What one subscription counts beside the bytes of its prefix: with the limit below, a million short ones
/// are allowed. (In memory it takes some hundred bytes.)
const ENTRY_COST: usize = 48;

/// Most bytes that one peer's subscriptions may count, unless set otherwise.
const DEFAULT_LIMIT: usize = 64 << 20;

const ROOT: usize = 0;

/// Whether a frame of a message subscribes (1) or cancels (0), and is no user's.
pub(super) fn is_subscription(frame: &[u8]) -> bool {
    matches!(frame.first(), Some(0 | 1))
}

/// A value in the tree; an empty one needs no node.
trait Value: Default {
    fn is_empty(&self) -> bool;
}

impl Value for Vec<u32> {
    fn is_empty(&self) -> bool {
        self.is_empty()
    }
}

impl Value for usize {
    fn is_empty(&self) -> bool {
        *self == 0
    }
}

/// A map from prefixes to values: a radix tree whose nodes lie in one arena.
///
/// A node keeps its whole prefix, not its part of it: so edges are split and joined without moving
/// names, and a node tells its prefix without climbing. The names of the nodes that only branch take
/// together no more than those of the nodes with a value.
struct PrefixTree<V> {
    /// Invariants: the node [`ROOT`] is there and its prefix is empty. Every other node has a value or at
    /// least two children. A node with a value keeps its place.
    nodes: Slab<Node<V>>,
}

struct Node<V> {
    /// Invariant: longer than the parent's, and begins with it.
    prefix: Box<[u8]>,
    value: V,
    parent: u32,
    /// The nodes below, by the byte that follows this prefix; sorted by it.
    children: Vec<(u8, u32)>,
}

impl<V: Value> Node<V> {
    fn new(prefix: &[u8], parent: usize) -> Self {
        Self {
            prefix: prefix.into(),
            value: V::default(),
            parent: parent as u32,
            children: Vec::new(),
        }
    }

    /// Where in `children` the branch for `byte` is, or would be.
    #[inline]
    fn branch(&self, byte: u8) -> Result<usize, usize> {
        self.children.binary_search_by_key(&byte, |&(byte, _)| byte)
    }
}

impl<V: Value> Default for PrefixTree<V> {
    fn default() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(b"", ROOT));
        Self { nodes }
    }
}

impl<V: Value> PrefixTree<V> {
    /// The nodes on the way to `topic`, from the root: those whose prefix it begins with.
    #[inline]
    fn path<'a>(&'a self, topic: &'a [u8]) -> impl Iterator<Item = (usize, &'a Node<V>)> {
        let mut next = Some(ROOT);
        std::iter::from_fn(move || {
            let at = next?;
            let node = &self.nodes[at];
            let depth = node.prefix.len();
            next = topic
                .get(depth)
                .and_then(|&byte| node.branch(byte).ok())
                .map(|index| node.children[index].1 as usize)
                .filter(|&below| topic[depth..].starts_with(&self.nodes[below].prefix[depth..]));
            Some((at, node))
        })
    }

    /// The node of exactly this prefix.
    fn find(&self, prefix: &[u8]) -> Option<usize> {
        self.path(prefix)
            .last()
            .filter(|(_, node)| node.prefix.len() == prefix.len())
            .map(|(at, _)| at)
    }

    /// The node of exactly this prefix, made if need be. Its value must not stay empty: see
    /// [`prune`](Self::prune).
    fn find_or_insert(&mut self, prefix: &[u8]) -> usize {
        let (mut at, node) = self.path(prefix).last().expect("the root is on every path");
        let depth = node.prefix.len();
        let Some(&byte) = prefix.get(depth) else {
            return at;
        };
        if let Ok(index) = node.branch(byte) {
            // The branch shares a part of the way only: a new node goes where they part.
            let below = node.children[index].1 as usize;
            let old = &self.nodes[below].prefix;
            let shared = prefix.iter().zip(old).take_while(|(a, b)| a == b).count();
            let byte = old[shared];
            let mut fork = Node::new(&prefix[..shared], at);
            fork.children.push((byte, below as u32));
            let fork = self.nodes.insert(fork);
            self.nodes[below].parent = fork as u32;
            self.nodes[at].children[index].1 = fork as u32;
            at = fork;
            if shared == prefix.len() {
                return at;
            }
        }
        let leaf = self.nodes.insert(Node::new(prefix, at)) as u32;
        let node = &mut self.nodes[at];
        let byte = prefix[node.prefix.len()];
        let index = node.branch(byte).expect_err("no branch for this byte yet");
        node.children.insert(index, (byte, leaf));
        leaf as usize
    }

    /// Removes what is not needed any more after the value of `at` may have become empty.
    fn prune(&mut self, mut at: usize) {
        loop {
            let node = &self.nodes[at];
            if at == ROOT || !node.value.is_empty() || node.children.len() > 1 {
                return;
            }
            let parent = node.parent as usize;
            let only = node.children.first().map(|&(_, below)| below);
            let byte = node.prefix[self.nodes[parent].prefix.len()];
            self.nodes.remove(at);
            let above = &mut self.nodes[parent];
            let index = above.branch(byte).expect("a node is its parent's child");
            match only {
                Some(below) => {
                    above.children[index].1 = below;
                    self.nodes[below as usize].parent = parent as u32;
                    return;
                }
                None => {
                    above.children.remove(index);
                    at = parent;
                }
            }
        }
    }
}

/// A peer's subscriptions are more than its limit.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// The publisher's side: who subscribed to what. Peers are small numbers.
pub(super) struct PeerIndex {
    /// The peers of each prefix, in order.
    tree: PrefixTree<Vec<u32>>,
    /// Prefixes that have peers.
    topics: usize,
    /// By peer: what it subscribed to.
    peers: Vec<Subscriptions>,
    limit: usize,
}

#[derive(Default)]
struct Subscriptions {
    /// Nodes of the tree.
    nodes: HashSet<u32>,
    /// Invariant: the sum of `cost` over the prefixes of `nodes`.
    bytes: usize,
}

fn cost(prefix: &[u8]) -> usize {
    prefix.len() + ENTRY_COST
}

impl Default for PeerIndex {
    fn default() -> Self {
        Self {
            tree: PrefixTree::default(),
            topics: 0,
            peers: Vec::new(),
            limit: DEFAULT_LIMIT,
        }
    }
}

impl PeerIndex {
    /// Gives each peer `limit` bytes for its subscriptions. What is over it already stays.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Notes that `peer` subscribed to `prefix` (once, however often it says so).
    ///
    /// Returns whether nobody had subscribed to it before.
    pub(super) fn subscribe(&mut self, peer: u32, prefix: &[u8]) -> Result<bool, TooMany> {
        let own = self.peers.get(peer as usize);
        if own.map_or(0, |own| own.bytes) + cost(prefix) > self.limit {
            let at = self.tree.find(prefix);
            let known = own
                .zip(at)
                .is_some_and(|(own, at)| own.nodes.contains(&(at as u32)));
            if !known {
                return Err(TooMany);
            }
        }
        Ok(self.grant(peer, prefix))
    }

    /// As [`subscribe`](Self::subscribe), whatever the limit.
    pub(super) fn grant(&mut self, peer: u32, prefix: &[u8]) -> bool {
        let index = peer as usize;
        if self.peers.len() <= index {
            self.peers.resize_with(index + 1, Subscriptions::default);
        }
        let own = &mut self.peers[index];
        let at = self.tree.find_or_insert(prefix);
        let holders = &mut self.tree.nodes[at].value;
        let first = holders.is_empty();
        self.topics += usize::from(first);
        if let Err(place) = holders.binary_search(&peer) {
            holders.insert(place, peer);
            own.nodes.insert(at as u32);
            own.bytes += cost(prefix);
        }
        first
    }

    /// Notes that `peer` cancelled `prefix`, whether it had subscribed or not.
    ///
    /// Returns whether nobody is subscribed to it now.
    pub(super) fn cancel(&mut self, peer: u32, prefix: &[u8]) -> bool {
        let Some(at) = self.tree.find(prefix) else {
            return true;
        };
        let holders = &mut self.tree.nodes[at].value;
        if let Ok(place) = holders.binary_search(&peer) {
            holders.remove(place);
            let own = &mut self.peers[peer as usize];
            own.nodes.remove(&(at as u32));
            own.bytes -= cost(prefix);
            self.topics -= usize::from(holders.is_empty());
        }
        let last = holders.is_empty();
        self.tree.prune(at);
        last
    }

    /// Forgets a peer. `each` gets each prefix it had, and whether nobody is subscribed to it now.
    pub(super) fn remove(&mut self, peer: u32, mut each: impl FnMut(&[u8], bool)) {
        let Some(own) = self.peers.get_mut(peer as usize) else {
            return;
        };
        for at in std::mem::take(own).nodes {
            let at = at as usize;
            let node = &mut self.tree.nodes[at];
            if let Ok(place) = node.value.binary_search(&peer) {
                node.value.remove(place);
                self.topics -= usize::from(node.value.is_empty());
            }
            each(&node.prefix, node.value.is_empty());
            self.tree.prune(at);
        }
    }

    /// How many different prefixes somebody subscribed to.
    pub(super) fn topics(&self) -> usize {
        self.topics
    }

    /// Puts the peers with a prefix of `topic` into `matched`, each once and in order.
    #[inline]
    pub(super) fn matching(&self, topic: &[u8], matched: &mut Vec<u32>) {
        matched.clear();
        let mut sources = 0;
        for (_, node) in self.tree.path(topic) {
            if !node.value.is_empty() {
                matched.extend_from_slice(&node.value);
                sources += 1;
            }
        }
        if sources > 1 {
            matched.sort(); // a merge of sorted runs
            matched.dedup();
        }
    }
}

/// So many different lengths of prefixes are looked up one by one; with more, walking down a tree is faster.
const FEW_LENGTHS: usize = 8;

/// A short one lies in its place in the table: of many subscribers each has its own, and most look-ups find it in no cache.
/// (With prefixes in memory of their own, a message to 100 subscribers of 1,000 prefixes each took 1.3 to 1.7 times as long.)
type Prefix = SmallVec<[u8; 16]>;

/// The subscriber's side: prefixes, each with the number of times it was subscribed to.
///
/// Subscribers tend to have prefixes of few lengths. One look into a hash table for each of them touches far less
/// memory than a walk down a tree, of which each of many subscribers has its own.
#[derive(Default)]
pub(super) struct CountedSet {
    counts: HashMap<Prefix, usize, RandomState>,
    /// The lengths of the prefixes, rising, and how many there are of each.
    lengths: Vec<(usize, usize)>,
    /// The prefixes once more, while they have more than a few lengths.
    tree: Option<PrefixTree<usize>>,
}

impl CountedSet {
    /// Counts one more subscription.
    pub(super) fn add(&mut self, prefix: &[u8]) {
        if let Some(count) = self.counts.get_mut(prefix) {
            *count += 1;
            return;
        }
        self.counts.insert(Prefix::from_slice(prefix), 1);
        match self.length(prefix) {
            Ok(at) => self.lengths[at].1 += 1,
            Err(at) => self.lengths.insert(at, (prefix.len(), 1)),
        }
        match &mut self.tree {
            Some(tree) => tree.mark(prefix),
            None if self.lengths.len() <= FEW_LENGTHS => {}
            None => {
                let tree = self.tree.insert(PrefixTree::default());
                for prefix in self.counts.keys() {
                    tree.mark(prefix);
                }
            }
        }
    }

    /// Counts one subscription less, if there is one. Returns whether that was the last.
    pub(super) fn remove(&mut self, prefix: &[u8]) -> bool {
        let Some(count) = self.counts.get_mut(prefix) else {
            return false;
        };
        *count -= 1;
        if *count > 0 {
            return false;
        }
        self.counts.remove(prefix);
        if let Ok(at) = self.length(prefix) {
            self.lengths[at].1 -= 1;
            if self.lengths[at].1 == 0 {
                self.lengths.remove(at);
            }
        }
        // Not at the first length less: it would be built again and again.
        if self.lengths.len() <= FEW_LENGTHS / 2 {
            self.tree = None;
        } else if let Some(tree) = &mut self.tree
            && let Some(at) = tree.find(prefix)
        {
            tree.nodes[at].value = 0;
            tree.prune(at);
        }
        true
    }

    /// Where in `lengths` that of `prefix` is, or would be.
    fn length(&self, prefix: &[u8]) -> Result<usize, usize> {
        self.lengths
            .binary_search_by_key(&prefix.len(), |&(length, _)| length)
    }

    /// Whether `topic` begins with one of the prefixes.
    #[inline]
    pub(super) fn matches(&self, topic: &[u8]) -> bool {
        if let Some(tree) = &self.tree {
            return tree.path(topic).any(|(_, node)| node.value > 0);
        }
        self.lengths
            .iter()
            .map_while(|&(length, _)| topic.get(..length))
            .any(|start| start.is_empty() || self.counts.contains_key(start))
    }

    /// How many different prefixes there are.
    pub(super) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Each prefix once.
    pub(super) fn prefixes(&self) -> impl Iterator<Item = &[u8]> {
        self.counts.keys().map(|prefix| &**prefix)
    }
}

impl PrefixTree<usize> {
    /// Gives a prefix a value.
    fn mark(&mut self, prefix: &[u8]) {
        let at = self.find_or_insert(prefix);
        self.nodes[at].value = 1;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn matching(index: &PeerIndex, topic: &[u8]) -> Vec<u32> {
        let mut matched = Vec::new();
        index.matching(topic, &mut matched);
        matched
    }

    #[test]
    fn prefix_of_megabytes_needs_no_recursion() {
        let mut index = PeerIndex::default();
        let long = vec![b'a'; 10 << 20];
        assert_eq!(index.subscribe(0, &long), Ok(true));
        for length in 0..2000 {
            assert_eq!(index.subscribe(1, &long[..length]), Ok(true));
        }
        assert_eq!(matching(&index, &long), [0, 1]);
        assert_eq!(matching(&index, &long[..1 << 20]), [1]);
        index.remove(1, |_, last| assert!(last));
        assert_eq!(index.tree.nodes.len(), 2);
        assert!(index.cancel(0, &long));
        assert_eq!(index.tree.nodes.len(), 1);
    }

    #[test]
    fn subscriptions_over_the_limit_are_refused_and_known_ones_are_not() {
        let mut index = PeerIndex::default();
        index.set_limit(2 * (1 + ENTRY_COST));
        assert_eq!(index.subscribe(0, b"a"), Ok(true));
        assert_eq!(index.subscribe(0, b"b"), Ok(true));
        assert_eq!(index.subscribe(0, b"b"), Ok(false), "no new one");
        assert_eq!(index.subscribe(0, b"c"), Err(TooMany));
        assert_eq!(index.subscribe(1, b"c"), Ok(true), "each has its own");
        assert!(index.cancel(0, b"a"));
        assert_eq!(index.subscribe(0, b"c"), Ok(false));
    }

    #[test]
    fn nodes_that_only_branch_go_when_they_do_not() {
        let mut index = PeerIndex::default();
        for prefix in ["topic/a", "topic/b", "topic/bb"] {
            index.subscribe(0, prefix.as_bytes()).unwrap();
        }
        assert_eq!(index.tree.nodes.len(), 5, "root, topic/ and the three");
        assert!(index.cancel(0, b"topic/a"));
        assert_eq!(index.tree.nodes.len(), 3);
        assert!(index.cancel(0, b"topic/b"));
        let mut matched = Vec::new();
        index.matching(b"topic/bb and more", &mut matched);
        assert_eq!(matched, [0]);
        assert!(index.cancel(0, b"topic/bb"));
        assert_eq!(index.tree.nodes.len(), 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Subscribe(u32, Vec<u8>),
        Cancel(u32, Vec<u8>),
        Remove(u32),
    }

    /// Prefixes of many lengths that often begin with each other.
    fn repeated() -> impl Strategy<Value = Vec<u8>> {
        (0..3 * FEW_LENGTHS, any::<bool>()).prop_map(|(length, other)| {
            let mut prefix = vec![b'a'; length];
            if other && let Some(last) = prefix.last_mut() {
                *last = b'b';
            }
            prefix
        })
    }

    /// Short, over two letters, so that prefixes meet often; now and then the empty one.
    fn prefix() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(&b"ab"[..]), 0..6)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0u32..5, prefix()).prop_map(|(peer, prefix)| Step::Subscribe(peer, prefix)),
            3 => (0u32..5, prefix()).prop_map(|(peer, prefix)| Step::Cancel(peer, prefix)),
            1 => (0u32..5).prop_map(Step::Remove),
        ]
    }

    /// The invariants of the tree.
    fn check<V: Value>(tree: &PrefixTree<V>) -> Result<(), TestCaseError> {
        for (at, node) in &tree.nodes {
            prop_assert!(node.children.is_sorted());
            if at != ROOT {
                prop_assert!(!node.value.is_empty() || node.children.len() > 1);
                let above = &tree.nodes[node.parent as usize];
                prop_assert!(above.prefix.len() < node.prefix.len());
                prop_assert!(node.prefix.starts_with(&above.prefix));
                let byte = node.prefix[above.prefix.len()];
                let index = above.branch(byte);
                prop_assert_eq!(above.children[index.unwrap()].1 as usize, at);
            }
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn index_answers_as_a_list_of_pairs_would(
            steps in prop::collection::vec(step(), 0..60),
            topics in prop::collection::vec(prefix(), 1..8),
        ) {
            let mut index = PeerIndex::default();
            let mut model: BTreeSet<(Vec<u8>, u32)> = BTreeSet::new();
            for step in steps {
                let held = |model: &BTreeSet<(Vec<u8>, u32)>, prefix: &[u8]| {
                    model.iter().any(|(held, _)| held == prefix)
                };
                match step {
                    Step::Subscribe(peer, prefix) => {
                        let first = !held(&model, &prefix);
                        prop_assert_eq!(index.subscribe(peer, &prefix), Ok(first));
                        model.insert((prefix, peer));
                    }
                    Step::Cancel(peer, prefix) => {
                        let last = index.cancel(peer, &prefix);
                        model.remove(&(prefix.clone(), peer));
                        prop_assert_eq!(last, !held(&model, &prefix));
                    }
                    Step::Remove(peer) => {
                        let mut told = BTreeMap::new();
                        index.remove(peer, |prefix, last| {
                            told.insert(prefix.to_vec(), last);
                        });
                        let had: Vec<_> = model.iter().filter(|pair| pair.1 == peer).cloned().collect();
                        model.retain(|pair| pair.1 != peer);
                        prop_assert_eq!(told.len(), had.len());
                        for (prefix, _) in had {
                            prop_assert_eq!(told.get(&prefix), Some(&!held(&model, &prefix)));
                        }
                    }
                }
                check(&index.tree)?;
            }
            for topic in topics {
                let expected: BTreeSet<u32> = model
                    .iter()
                    .filter(|(prefix, _)| topic.starts_with(prefix))
                    .map(|&(_, peer)| peer)
                    .collect();
                prop_assert_eq!(matching(&index, &topic), Vec::from_iter(expected));
            }
            for (peer, own) in index.peers.iter().enumerate() {
                let bytes: usize = model
                    .iter()
                    .filter(|pair| pair.1 as usize == peer)
                    .map(|(prefix, _)| cost(prefix))
                    .sum();
                prop_assert_eq!(own.bytes, bytes);
            }
        }

        #[test]
        fn counted_set_answers_as_a_map_of_counts_would(
            steps in prop::collection::vec((any::<bool>(), repeated()), 0..60),
            topics in prop::collection::vec(repeated(), 1..8),
        ) {
            let mut set = CountedSet::default();
            let mut model: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            for (add, prefix) in steps {
                if add {
                    set.add(&prefix);
                    *model.entry(prefix).or_default() += 1;
                } else {
                    let count = model.get(&prefix).copied().unwrap_or(0);
                    prop_assert_eq!(set.remove(&prefix), count == 1);
                    if count > 1 {
                        model.insert(prefix, count - 1);
                    } else {
                        model.remove(&prefix);
                    }
                }
                let lengths: BTreeSet<usize> = model.keys().map(Vec::len).collect();
                if lengths.len() > FEW_LENGTHS {
                    prop_assert!(set.tree.is_some());
                } else if lengths.len() <= FEW_LENGTHS / 2 {
                    prop_assert!(set.tree.is_none());
                }
                if let Some(tree) = &set.tree {
                    check(tree)?;
                }
            }
            for topic in topics {
                let expected = model.keys().any(|prefix| topic.starts_with(prefix));
                prop_assert_eq!(set.matches(&topic), expected);
            }
            let mut listed: Vec<Vec<u8>> = set.prefixes().map(<[u8]>::to_vec).collect();
            listed.sort();
            prop_assert_eq!(listed, Vec::from_iter(model.into_keys()));
        }
    }
}
