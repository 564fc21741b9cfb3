//! Addresses: display forms of scripts.

use std::error::Error;

use assay_types::{Account, Addresses, ChainId};
use bitcoin::address::{Address, NetworkUnchecked};
use bitcoin::{Script, base58, bech32};

use crate::descriptor;
use crate::network::Network;

/// How scripts without an address are written.
const SCRIPT_PREFIX: &str = "script:";
/// Longer scripts cannot be spent.
pub(crate) const MAX_SCRIPT_BYTES: usize = 10_000;
/// `OP_RETURN` as the first byte of a script: no coins can ever be spent from there.
pub(crate) const OP_RETURN: u8 = 0x6a;

/// The address syntax of one Bitcoin network.
#[derive(Debug, Clone, Copy)]
pub struct BitcoinAddresses {
    network: &'static Network,
}

impl BitcoinAddresses {
    /// The syntax of the network with this id.
    ///
    /// # Errors
    /// When it is no Bitcoin network that is supported, in words.
    pub fn new(id: &ChainId) -> Result<BitcoinAddresses, String> {
        Network::of(id).map(|network| BitcoinAddresses { network })
    }
}

impl Addresses for BitcoinAddresses {
    fn parse(&self, address: &str) -> Result<Account, String> {
        if let Some(digits) = address.strip_prefix(SCRIPT_PREFIX) {
            return script_of(digits);
        }
        let parsed: Address<NetworkUnchecked> = address.parse().map_err(|error| what_is_wrong(address, &error))?;
        if !parsed.is_valid_for_network(self.network.kind) {
            let home = home_of(&parsed);
            return Err(format!("`{address}` is an address of {home}, not of {}", self.network.name));
        }
        Ok(Account::new(parsed.assume_checked().script_pubkey().as_bytes()))
    }

    fn show(&self, account: &Account) -> String {
        Address::from_script(Script::from_bytes(&account.0), self.network.params())
            .map_or_else(|_| format!("{SCRIPT_PREFIX}{}", const_hex::encode(&account.0)), |address| address.to_string())
    }

    fn expand(&self, descriptor: &str, range: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
        descriptor::expand(self.network, descriptor, range)
    }
}

/// Can coins at this script ever be spent? If not, they are nobody's holdings.
pub(crate) fn is_unspendable(script: &[u8]) -> bool {
    script.first() == Some(&OP_RETURN) || script.len() > MAX_SCRIPT_BYTES
}

fn script_of(digits: &str) -> Result<Account, String> {
    let plain = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let bytes = plain.then(|| const_hex::decode(digits).ok()).flatten().ok_or_else(|| {
        format!("`{SCRIPT_PREFIX}` must be followed by an even number of hexadecimal digits, not by `{digits}`")
    })?;
    if is_unspendable(&bytes) {
        return Err(format!("the script `{digits}` can never be spent from: coins there are nobody's holdings"));
    }
    Ok(Account(bytes.into()))
}

/// The networks on which an address is good.
fn home_of(address: &Address<NetworkUnchecked>) -> &'static str {
    use bitcoin::Network::{Bitcoin, Regtest, Testnet};
    match [Bitcoin, Testnet, Regtest].map(|network| address.is_valid_for_network(network)) {
        [true, ..] => "the main network",
        [false, true, true] => "the test networks (testnet, signet, regtest)",
        [false, true, false] => "testnet and signet",
        _ => "regtest",
    }
}

/// Says it in the terms of the form that the address was meant to have.
fn what_is_wrong(address: &str, error: &bitcoin::address::ParseError) -> String {
    let lower = address.to_ascii_lowercase();
    if lower.strip_prefix("0x").is_some_and(|digits| digits.len() == 40) {
        return format!("`{address}` is an address of an EVM chain, not of Bitcoin");
    }
    if ["bc1", "tb1", "bcrt1"].iter().any(|prefix| lower.starts_with(prefix)) {
        return match bech32::segwit::decode(address) {
            Err(error) => format!("`{address}` is not a segwit address: {}", whole_chain(&error)),
            Ok(_) => format!("`{address}` is not a segwit address: {}", whole_chain(error)),
        };
    }
    match base58::decode_check(address) {
        Err(error) => {
            let why = whole_chain(&error);
            format!("`{address}` is not a Bitcoin address: {why}")
        }
        Ok(_) => format!("`{address}` is not an address of any Bitcoin network: {}", whole_chain(error)),
    }
}

/// An error with its causes. Libraries differ in whether the text of an error includes that of its cause.
fn whole_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: &str = "bip122:000000000019d6689c085ae165831e93";
    const TESTNET: &str = "bip122:000000000933ea01ad0ee984209779ba";
    const REGTEST: &str = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328";

    fn on(id: &str) -> BitcoinAddresses {
        BitcoinAddresses::new(&id.parse().unwrap()).unwrap()
    }

    #[test]
    fn every_type_of_address_is_its_script() {
        // Examples of BIP 173, 350 and 341, and of the genesis block.
        let table = [
            (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"),
            (MAIN, "3P14159f73E4gFr7JterCCQh9QjiTjiZrG", "a914e9c3dd0c07aac76179ebc76a6c78d4d67c6c160a87"),
            (MAIN, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
            (
                MAIN,
                "bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qccfmv3",
                "00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262",
            ),
            (
                MAIN,
                "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
                "512079be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798",
            ),
            (MAIN, "bc1pfeessrawgf", "51024e73"),
            (MAIN, "bc1zw508d6qejxtdg4y5r3zarvaryvaxxpcs", "5210751e76e8199196d454941c45d1b3a323"),
            (MAIN, "bc1sw50qgdz25j", "6002751e"),
            (TESTNET, "mipcBbFg9gMiCh81Kj8tqqdgoZub1ZJRfn", "76a914243f1394f44554f4ce3fd68649c19adc483ce92488ac"),
            (REGTEST, "2N83imGV3gPwBzKJQvWJ7cRUY2SpUyU6A5e", "a914a25cea75f41b63418acfbaf55b556e4632047dc587"),
            (REGTEST, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", "0014751e76e8199196d454941c45d1b3a323f1433bd6"),
        ];
        for (id, address, script) in table {
            let account = on(id).parse(address).unwrap();
            assert_eq!(on(id).show(&account), address);
            assert_eq!(const_hex::encode(&account.0), script, "{address}");
            assert_eq!(on(id).parse(&format!("script:{}", const_hex::encode(&account.0))).unwrap(), account);
        }
        let upper = "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4";
        assert_eq!(on(MAIN).parse(upper), on(MAIN).parse(&upper.to_lowercase()));
    }

    #[test]
    fn scripts_without_an_address_are_shown_as_scripts() {
        let pay_to_pubkey = format!("script:21{}ac", "02".repeat(33));
        let bare_multisig = format!("script:5121{}51ae", "03".repeat(33));
        for text in [pay_to_pubkey.as_str(), &bare_multisig, "script:51", "script:0015751e"] {
            assert_eq!(on(MAIN).show(&on(MAIN).parse(text).unwrap()), text);
        }
        let too_long = format!("script:{}", "51".repeat(MAX_SCRIPT_BYTES + 1));
        for bad in ["script:", "script:5", "script:0x51", "script:xy", "script:6a00", "Script:51", &too_long] {
            assert!(on(MAIN).parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_in_words() {
        let table = [
            (MAIN, "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", vec!["testnet and signet", "the main network"]),
            (MAIN, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080", vec!["regtest", "the main network"]),
            (MAIN, "2N83imGV3gPwBzKJQvWJ7cRUY2SpUyU6A5e", vec!["test networks", "the main network"]),
            (REGTEST, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", vec!["the main network", "regtest"]),
            (REGTEST, "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", vec!["testnet and signet", "regtest"]),
            (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNb", vec!["checksum"]),
            (MAIN, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", vec!["checksum"]),
            (MAIN, "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqh2y7hd", vec!["checksum"]),
            (MAIN, "bc1qW508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", vec!["case"]),
            (MAIN, "0x52908400098527886E0F7030069857D2E4169EE7", vec!["EVM"]),
            (MAIN, "LM2WMpR1Rp6j3Sa59cMXMs1SPzj9eXpGc1", vec!["any Bitcoin network"]),
            (MAIN, "1A1zP1eP5QGefi2DMPTfTL5SLmv7Divf0O", vec!["invalid"]),
            (MAIN, "", vec!["not a Bitcoin address"]),
        ];
        for (id, address, words) in table {
            let error = on(id).parse(address).unwrap_err();
            for word in words {
                assert!(error.contains(word), "{error}");
            }
        }
    }
}
