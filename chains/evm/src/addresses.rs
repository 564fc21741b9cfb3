//! Addresses: 20 bytes, written as `0x` and 40 hexadecimal digits whose case is a checksum (EIP-55).

use alloy::primitives::Address;
use assay_types::{Account, Addresses, Asset, Proven};

use crate::state::kept;

/// The address syntax of every EVM chain.
#[derive(Debug, Clone, Copy, Default)]
pub struct EvmAddresses;

impl Addresses for EvmAddresses {
    /// Mixed case must satisfy EIP-55; all lower or all upper case carries no checksum and is accepted.
    fn parse(&self, address: &str) -> Result<Account, String> {
        if address.starts_with("script:") {
            return Err("EVM chains have no scripts: an address of 0x and 40 hexadecimal digits is expected".into());
        }
        let Some(digits) = address.strip_prefix("0x").or_else(|| address.strip_prefix("0X")) else {
            return Err(without_prefix(address));
        };
        let mut bytes = [0; 20];
        if digits.len() != 40 || digits.starts_with("0x") || const_hex::decode_to_slice(digits, &mut bytes).is_err() {
            return Err(format!(
                "an EVM address has 40 hexadecimal digits after 0x, this has {}",
                match digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                    true => digits.len().to_string(),
                    false => "other characters".into(),
                }
            ));
        }
        let has = |test: fn(&u8) -> bool| digits.as_bytes().iter().any(test);
        let mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
        if mixed && Address::from(bytes).to_checksum(None)[2..] != *digits {
            return Err("wrong checksum (EIP-55): a letter's case or a digit is not what it was".into());
        }
        Ok(Account::new(&bytes))
    }

    /// With the EIP-55 checksum.
    fn show(&self, account: &Account) -> String {
        match address_of(account) {
            Some(address) => address.to_checksum(None),
            None => const_hex::encode_prefixed(&account.0),
        }
    }

    fn expand(&self, _descriptor: &str, _range: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
        Err("EVM chains have no output descriptors: list the addresses".into())
    }

    fn show_proof(&self, sealed: &[u8], proof: &[u8]) -> Result<String, String> {
        kept::show(sealed, proof)
    }

    fn check_proof(&self, document: &str, account: &Account, asset: Asset) -> Result<Proven, String> {
        kept::check(document, account, asset)
    }
}

fn without_prefix(address: &str) -> String {
    let lower = address.to_ascii_lowercase();
    if ["bc1", "tb1", "bcrt1"].iter().any(|prefix| lower.starts_with(prefix)) {
        return "a Bitcoin address, and this is an EVM chain".into();
    }
    if address.len() == 40 && address.bytes().all(|b| b.is_ascii_hexdigit()) {
        return format!("an EVM address begins with 0x: probably 0x{address}");
    }
    "not an EVM address: 0x and 40 hexadecimal digits are expected".into()
}

/// The address that an account is, if it has an address's length.
pub(crate) fn address_of(account: &Account) -> Option<Address> {
    <[u8; 20]>::try_from(&*account.0).ok().map(Address::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From EIP-55 itself.
    const CHECKSUMMED: [&str; 6] = [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ];

    #[test]
    fn a_checksummed_address_comes_back_as_it_was() {
        for text in CHECKSUMMED {
            let account = EvmAddresses.parse(text).unwrap();
            assert_eq!(EvmAddresses.show(&account), text);
            assert_eq!(EvmAddresses.parse(&text.to_lowercase()).unwrap(), account);
            assert_eq!(EvmAddresses.parse(&format!("0x{}", text[2..].to_uppercase())).unwrap(), account);
        }
    }

    #[test]
    fn a_letter_of_the_wrong_case_is_refused() {
        let text = CHECKSUMMED[2];
        for at in (2..text.len()).filter(|at| text.as_bytes()[*at].is_ascii_alphabetic()) {
            let flip = |c: u8| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = flip(bytes[at]);
            assert!(EvmAddresses.parse(std::str::from_utf8(&bytes).unwrap()).unwrap_err().contains("checksum"));
        }
    }

    #[test]
    fn what_is_no_address_is_refused_in_words() {
        for (text, word) in [
            ("", "0x"),
            ("0x", "has 0"),
            ("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae", "has 39"),
            ("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed00", "has 42"),
            ("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaeg", "other characters"),
            ("0x0x5aaeb6053f3e94c9b9a09f33669435e7ef1bea", "other characters"),
            ("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed", "probably 0x5aaeb6053"),
            ("bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "Bitcoin"),
            ("script:00", "no scripts"),
        ] {
            let why = EvmAddresses.parse(text).unwrap_err();
            assert!(why.contains(word), "{text}: {why}");
        }
        assert!(EvmAddresses.expand("wpkh(xpub/*)", Some((0, 1))).unwrap_err().contains("no output descriptors"));
    }
}
