//! The networks, by their genesis blocks.

use assay_types::{BlockHash, ChainId};
use bitcoin::consensus::Params;

/// One of the networks that speak Bitcoin's rules. Signets of one's own share the public signet's genesis block, and
/// thus its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    /// Which.
    pub(crate) kind: bitcoin::Network,
    /// What people call it.
    pub(crate) name: &'static str,
    /// The hash of its block 0.
    pub(crate) genesis: BlockHash,
}

const NETWORKS: [Network; 5] = [
    Network {
        kind: bitcoin::Network::Bitcoin,
        name: "the main network",
        genesis: BlockHash(written(b"000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f")),
    },
    Network {
        kind: bitcoin::Network::Testnet,
        name: "testnet3",
        genesis: BlockHash(written(b"000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943")),
    },
    Network {
        kind: bitcoin::Network::Testnet4,
        name: "testnet4",
        genesis: BlockHash(written(b"00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043")),
    },
    Network {
        kind: bitcoin::Network::Signet,
        name: "signet",
        genesis: BlockHash(written(b"00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6")),
    },
    Network {
        kind: bitcoin::Network::Regtest,
        name: "regtest",
        genesis: BlockHash(written(b"0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206")),
    },
];

/// A hash as it is written; decoded by the compiler.
pub(crate) const fn written(digits: &[u8; 64]) -> [u8; 32] {
    match const_hex::const_decode_to_array(digits) {
        Ok(hash) => hash,
        Err(_) => panic!("64 hexadecimal digits"),
    }
}

/// The digits of a genesis hash that CAIP-2 uses as a chain's reference.
const REFERENCE_DIGITS: usize = 32;

impl Network {
    /// The network with this CAIP-2 id: `bip122:` and the first 32 digits of its genesis hash.
    pub(crate) fn of(id: &ChainId) -> Result<&'static Network, String> {
        let known = NETWORKS.iter().find(|network| id.namespace() == "bip122" && network.reference() == id.reference());
        known.ok_or_else(|| {
            let ids: Vec<_> = NETWORKS.iter().map(|it| format!("bip122:{} ({})", it.reference(), it.name)).collect();
            format!("`{id}` is no Bitcoin network that is supported: {}", ids.join(", "))
        })
    }

    /// Its consensus parameters.
    pub(crate) fn params(&self) -> Params {
        Params::new(self.kind)
    }

    fn reference(&self) -> String {
        let mut digits = self.genesis.to_string();
        digits.truncate(REFERENCE_DIGITS);
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_known_by_their_genesis_hash() {
        for network in &NETWORKS {
            let id: ChainId = format!("bip122:{}", network.reference()).parse().unwrap();
            assert_eq!(Network::of(&id), Ok(network));
            // The library writes block 0 of each network out; testnet4's text differs there, so its header is not compared.
            let block = bitcoin::constants::genesis_block(network.params());
            if network.kind != bitcoin::Network::Testnet4 {
                assert_eq!(block.block_hash().to_string(), network.genesis.to_string());
            }
        }
        for other in ["eip155:1", "bip122:12a765e31ffd4059bada1e25190f6e98"] {
            let error = Network::of(&other.parse().unwrap()).unwrap_err();
            assert!(error.contains(other) && error.contains("regtest"), "{error}");
        }
    }
}
