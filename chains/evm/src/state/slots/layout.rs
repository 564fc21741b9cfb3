//! Where a token keeps its balances, as compilers lay out a mapping from accounts to amounts.
//!
//! Pure. Which of these a token uses is found out in `slots`.

use std::fmt;

use alloy::primitives::{Address, B256, U256, b256, keccak256};

/// A mapping declared at a slot: the balance of an account is at the hash of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `keccak256(account ‖ slot)`, both padded to 32 bytes.
    Solidity(U256),
    /// `keccak256(slot ‖ account)`, both padded to 32 bytes.
    Vyper(U256),
}

/// Contracts declare their balances early.
const LAST_SLOT: u64 = 30;
/// Behind the gaps of OpenZeppelin's upgradeable contracts, version 4: after `Context`, and after `Ownable` too.
const AFTER_GAPS: [u64; 2] = [51, 101];
/// `openzeppelin.storage.ERC20` by ERC-7201, whose first member is the balances: OpenZeppelin's version 5.
const NAMESPACED: B256 = b256!("52c63247e1f47db19d5ce0460030c497f067ca4cebf71ba98eeadabe20bace00");

impl Layout {
    /// Every layout that is tried, in order.
    pub(crate) fn all() -> Vec<Layout> {
        let early = || (0..=LAST_SLOT).map(U256::from);
        let late = AFTER_GAPS.map(U256::from).into_iter().chain([NAMESPACED.into()]);
        early().chain(late).map(Layout::Solidity).chain(early().map(Layout::Vyper)).collect()
    }

    /// The storage key of this account's balance.
    pub(crate) fn key(self, account: Address) -> B256 {
        let account = account.into_word();
        match self {
            Layout::Solidity(slot) => keccak256([account, slot.into()].concat()),
            Layout::Vyper(slot) => keccak256([slot.into(), account].concat()),
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Solidity(slot) if *slot == U256::from_be_bytes(NAMESPACED.0) => write!(f, "ERC-7201's namespace"),
            Layout::Solidity(slot) => write!(f, "Solidity's slot {slot}"),
            Layout::Vyper(slot) => write!(f, "Vyper's slot {slot}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::address;

    #[test]
    fn keys_are_those_that_the_compilers_use() {
        // keccak256 of two zero words, as every Ethereum tool knows it
        let zeros = b256!("ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5");
        assert_eq!(Layout::Solidity(U256::ZERO).key(Address::ZERO), zeros);
        assert_eq!(Layout::Vyper(U256::ZERO).key(Address::ZERO), zeros);
        // anvil's second account in a mapping at slot 0, as a node computed it
        let account = address!("70997970c51812dc3a010c7d01b50e0d17dc79c8");
        let key = b256!("14e04a66bf74771820a7400ff6cf065175b3d7eb25805a5bd1633b161af5d101");
        assert_eq!(Layout::Solidity(U256::ZERO).key(account), key);
        // the order of the two parts is all that differs
        let one = Address::with_last_byte(1);
        assert_eq!(
            Layout::Solidity(U256::from(2)).key(one),
            Layout::Vyper(U256::from(1)).key(Address::with_last_byte(2))
        );
        assert_ne!(Layout::Solidity(U256::from(2)).key(one), Layout::Vyper(U256::from(2)).key(one));
    }

    #[test]
    fn no_two_layouts_share_a_key() {
        let account = Address::repeat_byte(7);
        let mut keys: Vec<B256> = Layout::all().into_iter().map(|layout| layout.key(account)).collect();
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!((keys.len(), count), (65, 65));
    }
}
